"""Rectifiers: activations made of straight pieces.

Their derivative is one number per piece, and PyTorch's choice at a kink, where there is none.
"""

import math
from typing import Any

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..module import Module, Parameter
from ..normalization.checks import check_input
from ..ops import full, ones
from ..ops.arguments import as_number, as_size
from ..ops.broadcast import unbroadcast
from ..ops.operands import check_same_dtype
from ..registry import Case, ErrorCase, distinct, register
from .pointwise import Pointwise


def relu_composed(input: Tensor) -> Tensor:
    """Relu from primitives: autograd finds the gradient."""
    return input.clamp(min=0)


class Relu(Function):
    """y = max(x, 0) · dx = dy where x > 0, else 0"""

    def forward(self, x: Array) -> Array:
        y = x.clip(0, math.inf)  # in NumPy three times faster than maximum(x, 0)
        self.saved = (y,)
        return y

    def backward(self, dy: Array) -> Gradients:
        (y,) = self.saved
        return dy * (y > 0)


def relu(input: Tensor) -> Tensor:
    """Return input where it is positive, else 0."""
    check_input(input, "relu")
    return Relu.apply(input)


class ReLU(Module):
    """relu as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        return relu(input)


def leaky_relu_composed(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """Leaky relu from primitives: autograd finds the gradient."""
    return input.clamp(min=0) + negative_slope * input.clamp(max=0)


class LeakyRelu(Pointwise):
    """y = x where x > 0, else s·x · dx = dy where x > 0, else s·dy, with s = negative_slope"""

    def value(self, x: Array, *, negative_slope: float) -> Array:
        return namespace(x).maximum(x, 0) + negative_slope * namespace(x).minimum(x, 0)

    def slope(self, x: Array, *, negative_slope: float) -> Array:
        return (x > 0) + (x <= 0) * x.dtype.type(negative_slope)


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """Return input where it is positive, else negative_slope·input."""
    check_input(input, "leaky_relu")
    return LeakyRelu.apply(input, negative_slope=as_number(negative_slope, "negative_slope"))


class LeakyReLU(Module):
    """leaky_relu as a layer."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, input: Tensor) -> Tensor:
        return leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


def prelu_composed(input: Tensor, weight: Tensor) -> Tensor:
    """Parametric relu from primitives: autograd finds the gradient."""
    w = weight.reshape(-1, *(1,) * (input.ndim - 2)) if input.ndim > 1 else weight.reshape(())
    return input.clamp(min=0) + w * input.clamp(max=0)


class Prelu(Function):
    """y = x where x > 0, else w·x · dx = dy where x > 0, else w·dy; dw = Σ dy·x where x <= 0"""

    def forward(self, x: Array, weight: Array) -> Array:
        w = weight.reshape(-1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else weight.reshape(())
        self.saved = x, w, weight.shape
        return namespace(x).maximum(x, 0) + w * namespace(x).minimum(x, 0)

    def backward(self, dy: Array) -> Gradients:
        x, w, shape = self.saved
        dx = dy * (x > 0) + dy * w * (x <= 0) if self.needs[0] else None
        dw = unbroadcast(dy * namespace(x).minimum(x, 0), w.shape).reshape(shape) if self.needs[1] else None
        return dx, dw


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """Return input where it is positive, else weight·input.

    Args:
        input: (N, C, ...), or fewer axes with one weight.
        weight: (C,), one slope per channel, or (1,) or () for all.

    Raises:
        TypeError: for an input that is no floating-point tensor, or of another dtype than weight.
        ValueError: for a weight of another shape.

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
    return Prelu.apply(input, weight)


class PReLU(Module):
    """prelu as a layer, with a learned weight (num_parameters,): one slope per channel, or one for all."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        super().__init__()
        self.num_parameters = as_size(num_parameters, "num_parameters")
        self.weight = Parameter(full((num_parameters,), as_number(init, "init")))

    def forward(self, input: Tensor) -> Tensor:
        return prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class ThresholdFunction(Pointwise):
    """y = x where x > threshold, else value · dx = dy where x > threshold, else 0"""

    def value(self, x: Array, *, threshold: float, fill: float) -> Array:
        return namespace(x).where(x > threshold, x, fill)

    def slope(self, x: Array, *, threshold: float, fill: float) -> Array:
        return x > threshold


def threshold_composed(input: Tensor, threshold: float, value: float) -> Tensor:
    """Threshold from primitives: autograd finds the gradient."""
    return input.masked_fill(input <= threshold, value)


def threshold(input: Tensor, threshold: float, value: float) -> Tensor:
    """Return input where it is above `threshold`, else `value`."""
    check_input(input, "threshold")
    threshold, fill = as_number(threshold, "threshold"), as_number(value, "value")
    return ThresholdFunction.apply(input, threshold=threshold, fill=fill)


class Threshold(Module):
    """threshold as a layer."""

    def __init__(self, threshold: float, value: float) -> None:
        super().__init__()
        self.threshold, self.value = threshold, value

    def forward(self, input: Tensor) -> Tensor:
        return threshold(input, self.threshold, self.value)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, value={self.value}"


def hardtanh_composed(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """Hard tanh from primitives: autograd finds the gradient."""
    return input.clamp(min_val, max_val)


class HardtanhFunction(Pointwise):
    """y = min(max(x, low), high) · dx = dy where low < x < high, else 0"""

    def value(self, x: Array, *, low: float, high: float) -> Array:
        return namespace(x).clip(x, low, high)

    def slope(self, x: Array, *, low: float, high: float) -> Array:
        return (x > low) & (x < high)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """Return input, but at least `min_val` and at most `max_val`.

    Raises:
        TypeError: for an input that is no floating-point tensor.
        ValueError: where min_val is above max_val.
    """
    check_input(input, "hardtanh")
    low, high = as_number(min_val, "min_val"), as_number(max_val, "max_val")
    if low > high:
        raise ValueError(f"hardtanh needs min_val <= max_val, got {min_val} and {max_val}")
    return HardtanhFunction.apply(input, low=low, high=high)


class Hardtanh(Module):
    """hardtanh as a layer."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        super().__init__()
        self.min_val, self.max_val = min_val, max_val

    def forward(self, input: Tensor) -> Tensor:
        return hardtanh(input, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


def relu6_composed(input: Tensor) -> Tensor:
    """relu6 from primitives: autograd finds the gradient."""
    return input.clamp(0, 6)


def relu6(input: Tensor) -> Tensor:
    """Return input, but at least 0 and at most 6."""
    return hardtanh(input, 0.0, 6.0)


class ReLU6(Module):
    """relu6 as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        return relu6(input)


def hardsigmoid_composed(input: Tensor) -> Tensor:
    """Hard sigmoid from primitives: autograd finds the gradient."""
    return (input / 6 + 0.5).clamp(0, 1)


class HardsigmoidFunction(Pointwise):
    """y = min(max(x/6 + 1/2, 0), 1) · dx = dy/6 where -3 < x < 3, else 0"""

    def value(self, x: Array) -> Array:
        return namespace(x).clip(x / 6 + 0.5, 0, 1)

    def slope(self, x: Array) -> Array:
        return (abs(x) < 3) * x.dtype.type(1 / 6)


def hardsigmoid(input: Tensor) -> Tensor:
    """Return input/6 + 1/2, but at least 0 and at most 1."""
    check_input(input, "hardsigmoid")
    return HardsigmoidFunction.apply(input)


class Hardsigmoid(Module):
    """hardsigmoid as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        return hardsigmoid(input)


def hardswish_composed(input: Tensor) -> Tensor:
    """Hard swish from primitives: autograd finds the gradient."""
    return input * (input / 6 + 0.5).clamp(0, 1)


class HardswishFunction(Pointwise):
    """y = x·min(max(x/6 + 1/2, 0), 1) · dx = dy·(x/3 + 1/2) where -3 < x < 3, dy above, 0 below"""

    def value(self, x: Array) -> Array:
        return x * namespace(x).clip(x / 6 + 0.5, 0, 1)

    def slope(self, x: Array) -> Array:
        return (abs(x) < 3) * (namespace(x).clip(x, -3, 3) / 3 + 0.5) + (x >= 3)


def hardswish(input: Tensor) -> Tensor:
    """Return input·hardsigmoid(input). Source: Howard et al. 2019, arXiv:1905.02244."""
    check_input(input, "hardswish")
    return HardswishFunction.apply(input)


class Hardswish(Module):
    """hardswish as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        return hardswish(input)


_SHAPES = (Case((distinct(3, 4),)), Case((distinct(2, 3, 2),)), Case((distinct(),)), Case(((0, 3),)))


def _no_tensor(function: Any) -> ErrorCase:
    return ErrorCase(lambda: function([1.0]), TypeError, f"{function.__name__} takes a Tensor")


register(
    name="relu",
    function=relu,
    composed=relu_composed,
    cases=_SHAPES,
    errors=(
        _no_tensor(relu),
        ErrorCase(lambda: relu(ones(2, dtype=int)), TypeError, "floating-point"),
    ),
    torch="torch.nn.functional.relu",
)
register(
    name="leaky_relu",
    function=leaky_relu,
    composed=leaky_relu_composed,
    cases=(*_SHAPES, Case((distinct(3, 4),), {"negative_slope": 2.0})),
    errors=(_no_tensor(leaky_relu),),
    torch="torch.nn.functional.leaky_relu",
)
register(
    name="prelu",
    function=prelu,
    composed=prelu_composed,
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
register(
    name="hardtanh",
    function=hardtanh,
    composed=hardtanh_composed,
    cases=(*_SHAPES, Case((distinct(3, 4),), {"min_val": -0.25, "max_val": 1.4})),
    errors=(ErrorCase(lambda: hardtanh(ones(2), 1.0, -1.0), ValueError, "min_val <= max_val"),),
    torch="torch.nn.functional.hardtanh",
)
_BEYOND_THE_KINKS = Case((distinct(9, 9),))
register(
    name="relu6",
    function=relu6,
    composed=relu6_composed,
    cases=(*_SHAPES, _BEYOND_THE_KINKS),
    errors=(ErrorCase(lambda: relu6([1.0]), TypeError, "Tensor"),),  # type: ignore[arg-type]
    torch="torch.nn.functional.relu6",
)
register(
    name="hardsigmoid",
    function=hardsigmoid,
    composed=hardsigmoid_composed,
    cases=(*_SHAPES, _BEYOND_THE_KINKS),
    errors=(_no_tensor(hardsigmoid),),
)
register(
    name="hardswish",
    function=hardswish,
    composed=hardswish_composed,
    cases=(*_SHAPES, _BEYOND_THE_KINKS),
    errors=(_no_tensor(hardswish),),
    title="Hard swish",
    paper="Howard et al. 2019, arXiv:1905.02244",
    torch="torch.nn.functional.hardswish",
)
