"""Rectifiers: the identity above a threshold, a small slope or a constant below it.

    relu(x) = max(x, 0)
    leaky_relu(x), prelu(x) = x where x > 0, else s·x; s is constant in leaky_relu, learned in prelu
    threshold(x) = x where x > t, else v

The derivative is constant on each piece. At the kink and at NaN there is none: there it is the one PyTorch
chooses.
"""

import math
from typing import Any

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.element_loops import ElementLoop
from ...backends.cpu.loop_helpers import helper
from ...backends.cuda.elements import ElementSource
from ...module import Module, Parameter
from ...ops import full, ones
from ...ops.arguments import as_number, as_size, check_numbers
from ...ops.broadcast import unbroadcast
from ...ops.checks import check_input, check_same_dtype
from ...registry import Case, ErrorCase, distinct, register
from .pointwise import InplaceModule, PointwiseFunction, register_activation

_kernels = ElementSource(__file__)


def relu_composed(input: Tensor) -> Tensor:
    """ReLU from primitives: autograd finds the gradient."""
    return input.clamp(min=0)


@kernel
def relu_backward(dy: Array, y: Array) -> Array:
    """Return dx, of the shape of dy and of the output y."""
    return dy * (y != 0).astype(dy.dtype)  # in a product NumPy converts more slowly, copying dy too


@helper
def relu_backward_loop(dy: Any, y: Any) -> Any:
    """Return dx at one number."""
    return dy * (1.0 if y != 0 else 0.0)


relu_backward.cpu(ElementLoop(relu_backward_loop, arrays=2))


@relu_backward.cuda
def relu_backward_cuda(dy: Array, y: Array) -> Array:
    """One launch: dy and y are read once."""
    return _kernels.each("relu_backward", (dy, y))


class ReLUFunction(Function):
    """y = max(x, 0) · dx = dy where x > 0, else 0"""

    def forward(self, x: Array) -> Array:
        y = x.clip(0, math.inf)  # three times faster than maximum(x, 0) in NumPy
        self.saved = (y,)
        return y

    def backward(self, dy: Array) -> Gradients:
        return relu_backward(dy, *self.saved)


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """Return input where it is positive, else 0.

    `inplace` is accepted but has no effect: see pointwise.py.

    Raises:
        TypeError: if the input is not a floating-point tensor.

    Source: Nair, Hinton 2010.
    """
    check_input(input, "relu")
    return ReLUFunction.apply(input)


class ReLU(InplaceModule):
    """relu as a layer: y = max(x, 0), of x's shape. Source: Nair, Hinton 2010."""

    def forward(self, input: Tensor) -> Tensor:
        return relu(input)


def leaky_relu_composed(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """Leaky ReLU from primitives: autograd finds the gradient."""
    return input.clamp(min=0) + negative_slope * input.clamp(max=0)


class LeakyReLUFunction(PointwiseFunction):
    """y = x where x > 0, else s·x · dx = dy where x > 0, else s·dy, with s = negative_slope"""

    def value(self, x: Array, _: None, *, negative_slope: float) -> Array:
        return x.clip(0, math.inf) + negative_slope * x.clip(-math.inf, 0)

    def slope(self, x: Array, _: None, *, negative_slope: float) -> Array:
        above = x > 0
        return above + ~above * x.dtype.type(negative_slope)


@LeakyReLUFunction.loop
def leaky_relu_loop(x: Any, negative_slope: Any) -> tuple[Any, Any]:
    """Return y and dy/dx at one number."""
    return (x, 1.0) if x > 0.0 else (negative_slope * x, negative_slope)


LeakyReLUFunction.cuda(_kernels, "leaky_relu")


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """Return input where it is positive, else negative_slope·input.

    `inplace` is accepted but has no effect: see pointwise.py.

    Raises:
        TypeError: if the input is not a floating-point tensor, or negative_slope is not a number.

    Source: Maas, Hannun, Ng 2013.
    """
    check_input(input, "leaky_relu")
    return LeakyReLUFunction.apply(input, negative_slope=as_number(negative_slope, "negative_slope"))


class LeakyReLU(InplaceModule):
    """leaky_relu as a layer: y = x where x > 0, else negative_slope·x, of x's shape.

    Source: Maas, Hannun, Ng 2013.
    """

    shown = ("negative_slope",)

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(inplace)
        check_numbers(negative_slope=negative_slope)
        self.negative_slope = negative_slope

    def forward(self, input: Tensor) -> Tensor:
        return leaky_relu(input, self.negative_slope)


def prelu_composed(input: Tensor, weight: Tensor) -> Tensor:
    """PReLU from primitives: autograd finds the gradient."""
    w = weight.reshape(-1, *(1,) * (input.ndim - 2)) if input.ndim > 1 else weight.reshape(())
    return input.clamp(min=0) + w * input.clamp(max=0)


class PReLUFunction(Function):
    """y = x where x > 0, else w·x · dx = dy where x > 0, else w·dy; dw = Σ dy·x over x <= 0"""

    def forward(self, x: Array, weight: Array) -> Array:
        w = weight.reshape(-1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else weight.reshape(())
        self.saved = x, w, weight.shape
        return namespace(x).maximum(x, 0) + w * namespace(x).minimum(x, 0)

    def backward(self, dy: Array) -> Gradients:
        x, w, shape = self.saved
        dx = dy * namespace(x).where(x > 0, 1, w) if self.needs[0] else None
        dw = unbroadcast(dy * namespace(x).minimum(x, 0), w.shape).reshape(shape) if self.needs[1] else None
        return dx, dw


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """Return input where it is positive, else weight·input.

    Args:
        input: (N, C, ...); with fewer than two axes, there is one weight.
        weight: (C,), one slope per channel, or (1,) or () for all.

    Raises:
        TypeError: if the input is not a floating-point tensor, or its dtype differs from that of the weight.
        ValueError: if the weight has another shape.

    Source: He, Zhang, Ren, Sun 2015, arXiv:1502.01852.
    """
    check_input(input, "prelu")
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.shape not in ((), (1,), (channels,)):
        raise ValueError(
            f"prelu of an input {input.shape} takes a weight of shape (1,) or ({channels},), "
            f"got {weight.shape}"
        )
    check_same_dtype("prelu", input, weight=weight)
    return PReLUFunction.apply(input, weight)


class PReLU(Module):
    """prelu as a layer: y = x where x > 0, else w·x, of x's shape (N, C, ...).

    Its parameter weight (num_parameters,) holds one slope per channel, or one for all; it starts at `init`.
    Source: He, Zhang, Ren, Sun 2015, arXiv:1502.01852.
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        super().__init__()
        self.num_parameters = as_size(num_parameters, "num_parameters")
        self.weight = Parameter(full((num_parameters,), as_number(init, "init")))

    def forward(self, input: Tensor) -> Tensor:
        return prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


def threshold_composed(input: Tensor, threshold: float, value: float) -> Tensor:
    """Threshold from primitives: autograd finds the gradient."""
    return input.masked_fill(input <= threshold, value)


class ThresholdFunction(PointwiseFunction):
    """y = fill where x <= threshold, else x · dx = 0 where x <= threshold, else dy"""

    def shared(self, x: Array, *, threshold: float, fill: float) -> Array:
        return ~(x <= threshold)  # NaN is kept

    def value(self, x: Array, kept: Array, *, threshold: float, fill: float) -> Array:
        return namespace(x).where(kept, x, fill)

    def slope(self, x: Array, kept: Array, *, threshold: float, fill: float) -> Array:
        return kept


@ThresholdFunction.loop
def threshold_loop(x: Any, threshold: Any, fill: Any) -> tuple[Any, Any]:
    """Return y and dy/dx at one number."""
    return (fill, 0.0) if x <= threshold else (x, 1.0)


ThresholdFunction.cuda(_kernels, "threshold")


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """Return `value` where input is at most `threshold`, else input.

    `inplace` is accepted but has no effect: see pointwise.py.

    Raises:
        TypeError: if the input is not a floating-point tensor, or threshold or value is not a number.
    """
    check_input(input, "threshold")
    threshold, fill = as_number(threshold, "threshold"), as_number(value, "value")
    return ThresholdFunction.apply(input, threshold=threshold, fill=fill)


class Threshold(InplaceModule):
    """threshold as a layer: y = x where x > threshold, else value, of x's shape."""

    shown = ("threshold", "value")

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(inplace)
        check_numbers(threshold=threshold, value=value)
        self.threshold, self.value = threshold, value

    def forward(self, input: Tensor) -> Tensor:
        return threshold(input, self.threshold, self.value)


register_activation(relu, relu_composed, paper="Nair, Hinton 2010")
register_activation(leaky_relu, leaky_relu_composed, {"negative_slope": 2.0}, paper="Maas, Hannun, Ng 2013")
register(
    name="prelu",
    function=prelu,
    composed=prelu_composed,
    parameters=("weight",),
    cases=(
        Case((distinct(4, 3), (3,))),
        Case((distinct(2, 3, 2, 2), (3,))),
        Case((distinct(4, 3), (1,))),
        Case((distinct(4), (1,))),
        Case((distinct(), (1,))),
        Case(((0, 3), (3,))),
    ),
    errors=(
        ErrorCase(lambda: prelu(ones(2, 3), ones(2)), ValueError, "(3,)"),
        ErrorCase(lambda: prelu(ones(3), ones(3)), ValueError, "(1,)"),
        ErrorCase(lambda: prelu(ones(2, 3), ones(3).double()), TypeError, "one dtype"),
        ErrorCase(lambda: prelu([1.0], ones(1)), TypeError, "Tensor"),  # type: ignore[arg-type]
    ),
    title="PReLU",
    paper="He, Zhang, Ren, Sun 2015, arXiv:1502.01852",
    torch="torch.nn.functional.prelu",
)
register(
    name="threshold",
    function=threshold,
    composed=threshold_composed,
    cases=(
        Case((distinct(3, 4),), {"threshold": 0.1, "value": 2}),
        Case(((0, 3),), {"threshold": 0.0, "value": 0.0}),
    ),
    errors=(ErrorCase(lambda: threshold([1.0], 0.0, 0.0), TypeError, "Tensor"),),  # type: ignore[arg-type]
    torch="torch.nn.functional.threshold",
)
