"""Linear: every output is a weighted sum of the inputs, plus a bias.

    x (..., D)   weight (K, D)   bias (K,)   y = x @ weightᵀ + bias   y (..., K)

All leading axes together are N rows.

Backward, from dy = dL/dy (N, K). The chain rule is dL/dv = Σnk dy_nk·∂y_nk/∂v for any input v: all outputs
that v reaches contribute, and their contributions add up.

    y_nk = Σd x_nd·weight_kd + bias_k

    through x       dx_nd      = Σk dy_nk·weight_kd    dx      = dy @ weight
    through weight  dweight_kd = Σn dy_nk·x_nd         dweight = dyᵀ @ x
    through bias    dbias_k    = Σn dy_nk              dbias   = Σrows dy

Bilinear: one weight for every product of an element of x1 and one of x2.

    y_k = x1ᵀ @ weight_k @ x2 + bias_k = Σij weight_kij·p_ij + bias_k   with p = x1 ⊗ x2 (..., I, J)

It is linear in p, so the same three lines hold with p for x; p passes its gradient on to both factors:

    dx1 = dp @ x2      dx2 = dpᵀ @ x1

Insight: an outer product of an activation and a gradient, summed over the batch, is all that a weight
ever learns from; the batch is just the inner axis of dyᵀ @ x.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, kernel, namespace
from ..backends.cpu.half import downcast, is_half, upcast
from ..backends.cpu.sums import column_sums
from ..module import Module, Parameter
from ..ops import ones
from ..ops.arguments import as_size, check_flags
from ..ops.checks import check_input, check_same_dtype, check_vector
from ..registry import Case, ErrorCase, register
from . import init


def linear_composed(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Linear from primitives: autograd finds the gradient."""
    y = input @ weight.T
    return y if bias is None else y + bias


@kernel
def linear_forward(x: Array, weight: Array, bias: Array | None) -> Array:
    """Return y (N, K): x (N, D), weight (K, D), bias (K,)."""
    y = upcast(x) @ upcast(weight).T
    if bias is not None:
        y += bias
    return downcast(y, x)


@kernel
def linear_backward(
    dy: Array, x: Array, weight: Array, needs: Sequence[bool], out: Array | None = None
) -> tuple[Array | None, Array | None, Array | None]:
    """Return dx (N, D), dweight (K, D), in `out` if given, and dbias (K,), or None where `needs` is False."""
    dy = upcast(dy)
    dx = dy @ upcast(weight) if needs[0] else None
    dweight = namespace(dy).matmul(dy.T, upcast(x), out=out) if needs[1] else None
    return dx, dweight, column_sums(dy) if needs[2] else None


class LinearFunction(Function):
    """y = x @ wᵀ + b · dx = dy @ w, dw = dyᵀ @ x, db = Σ dy over the rows"""

    def forward(self, x: Array, weight: Array, bias: Array | None) -> Array:
        if x.ndim == 2:
            self.saved = x, weight
            return linear_forward(x, weight, bias)
        rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        self.saved = rows, weight
        y = linear_forward(rows, weight, bias)
        return y.reshape(*x.shape[:-1], len(weight))

    def backward(self, dy: Array) -> Gradients:
        rows, weight = self.saved
        out = self.gradient_buffer(1) if self.needs[1] and not is_half(weight) else None
        if dy.ndim == 2:
            return linear_backward(dy, rows, weight, self.needs, out)
        dx, *others = linear_backward(dy.reshape(len(rows), len(weight)), rows, weight, self.needs, out)
        return None if dx is None else dx.reshape(*dy.shape[:-1], rows.shape[1]), *others


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return input @ weightᵀ + bias.

    Args:
        input: (..., D).
        weight: (K, D) for an output (..., K), or (D,) for an output (...).
        bias: (K,), or () for a weight (D,), or None. (1, K) too, if the input has at least 2 axes.

    Raises:
        TypeError: if the input is not a floating-point tensor, or its dtype differs from the weight's.
        ValueError: if the sizes do not fit.
    """
    check_input(input, "linear")
    x, w = input.array, weight.array
    if w.ndim == 1:
        column = None if bias is None else bias.reshape(1)
        return linear(input, weight.reshape(1, -1), column).squeeze(-1)
    if w.ndim != 2 or not x.ndim or x.shape[-1] != w.shape[1]:
        raise ValueError(
            f"linear with a weight (out, in) of shape {w.shape} takes x (..., {w.shape[-1]}), "
            f"got shape {x.shape}"
        )
    if w.dtype is not x.dtype or (bias is not None and bias.array.dtype is not w.dtype):
        check_same_dtype("linear", input, weight=weight, bias=bias)
    if bias is not None and bias.array.shape != w.shape[:1]:
        if bias.array.shape == (1, w.shape[0]) and x.ndim > 1:
            bias = bias.reshape(w.shape[0])
        check_vector(bias, "bias", w.shape[:1])
    return LinearFunction.apply(input, weight, bias)


class Linear(Module):
    """Linear layer: weight (out_features, in_features), bias (out_features,).

    Takes (..., in_features), returns (..., out_features). Both start uniform in ±1/√in_features.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        check_flags(bias=bias)
        in_features, out_features = (
            as_size(in_features, "in_features", 0),
            as_size(out_features, "out_features", 0),
        )
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(numpy.empty((out_features, in_features), numpy.float32))
        self.register_parameter("bias", Parameter(numpy.empty(out_features, numpy.float32)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values for weight and bias."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        _reset_uniform(self.bias, self.in_features)

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        )


def _reset_uniform(parameter: Tensor | None, fan_in: int) -> None:
    if parameter is not None:
        bound = 1 / math.sqrt(max(fan_in, 1))
        init.uniform_(parameter, -bound, bound)


def bilinear_composed(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Bilinear from primitives: autograd finds the gradient."""
    row, column = input1.unsqueeze(-2).unsqueeze(-2), input2.unsqueeze(-2).unsqueeze(-1)
    y = (row @ weight @ column).squeeze(-1).squeeze(-1)
    return y if bias is None else y + bias


@kernel
def bilinear_forward(x1: Array, x2: Array, weight: Array, bias: Array | None) -> Array:
    """Return y (N, K): x1 (N, I), x2 (N, J), weight (K, I, J), bias (K,)."""
    return downcast(linear_forward(_products(x1, x2), _flat(weight), bias), x1)


@kernel
def bilinear_backward(
    dy: Array, x1: Array, x2: Array, weight: Array, needs: Sequence[bool]
) -> tuple[Array | None, Array | None, Array | None, Array | None]:
    """Return dx1 (N, I), dx2 (N, J), dweight (K, I, J) and dbias (K,), or None where `needs` is False."""
    p = _products(x1, x2)
    dp, dweight, dbias = linear_backward(dy, p, _flat(weight), (needs[0] or needs[1], *needs[2:]))
    dx1 = dx2 = None
    if dp is not None:
        dp = dp.reshape(len(dp), *weight.shape[1:])
        dx1 = (dp @ x2[:, :, None])[:, :, 0] if needs[0] else None
        dx2 = (x1[:, None] @ dp)[:, 0] if needs[1] else None
    return dx1, dx2, None if dweight is None else dweight.reshape(weight.shape), dbias


def _flat(weight: Array) -> Array:
    return weight.reshape(len(weight), math.prod(weight.shape[1:]))


def _products(x1: Array, x2: Array) -> Array:
    return (upcast(x1)[:, :, None] * x2[:, None]).reshape(len(x1), x1.shape[1] * x2.shape[1])


class BilinearFunction(Function):
    """y = w·(x1 ⊗ x2) + b · dx1 = dp @ x2, dx2 = dpᵀ @ x1 with dp = dy·w, dw = dy ⊗ x1 ⊗ x2, db = Σ dy"""

    def forward(self, x1: Array, x2: Array, weight: Array, bias: Array | None) -> Array:
        self.shapes = x1.shape, x2.shape
        N = math.prod(x1.shape[:-1])
        x1, x2 = x1.reshape(N, x1.shape[-1]), x2.reshape(N, x2.shape[-1])
        self.saved = x1, x2, weight
        y = bilinear_forward(x1, x2, weight, bias)
        return y.reshape(*self.shapes[0][:-1], len(weight))

    def backward(self, dy: Array) -> Gradients:
        x1, _, weight = self.saved
        dx1, dx2, *others = bilinear_backward(dy.reshape(len(x1), len(weight)), *self.saved, self.needs)
        dx1, dx2 = (None if d is None else d.reshape(s) for d, s in zip((dx1, dx2), self.shapes, strict=True))
        return dx1, dx2, *others


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return, for every k, input1ᵀ @ weight_k @ input2 + bias_k.

    Args:
        input1: (..., I).
        input2: (..., J), with the same leading sizes.
        weight: (K, I, J) for an output (..., K).
        bias: (K,), or None.

    Raises:
        TypeError: if an input is not a floating-point tensor, or its dtype differs from the weight's.
        ValueError: if the sizes do not fit.
    """
    check_input(input1, "bilinear")
    check_input(input2, "bilinear")
    fits = weight.ndim == 3 and input1.ndim and input1.shape[:-1] == input2.shape[:-1]
    if not fits or (input1.shape[-1], input2.shape[-1]) != weight.shape[1:]:
        raise ValueError(
            f"bilinear with a weight (out, in1, in2) of shape {weight.shape} takes x1 (..., in1) and "
            f"x2 (..., in2) with equal leading sizes, got shapes {input1.shape} and {input2.shape}"
        )
    check_same_dtype("bilinear", input1, input2=input2, weight=weight, bias=bias)
    check_vector(bias, "bias", weight.shape[:1])
    return BilinearFunction.apply(input1, input2, weight, bias)


class Bilinear(Module):
    """Bilinear layer: weight (out_features, in1_features, in2_features), bias (out_features,).

    Takes (..., in1_features) and (..., in2_features), returns (..., out_features). Weight and bias start
    uniform in ±1/√in1_features.
    """

    def __init__(self, in1_features: int, in2_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        check_flags(bias=bias)
        self.in1_features = as_size(in1_features, "in1_features")
        self.in2_features = as_size(in2_features, "in2_features", 0)
        self.out_features = as_size(out_features, "out_features", 0)
        shape = self.out_features, self.in1_features, self.in2_features
        self.weight = Parameter(numpy.empty(shape, numpy.float32))
        self.register_parameter(
            "bias", Parameter(numpy.empty(self.out_features, numpy.float32)) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values for weight and bias."""
        _reset_uniform(self.weight, self.in1_features)
        _reset_uniform(self.bias, self.in1_features)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


class Identity(Module):
    """Return the input unchanged. Accepts and ignores any arguments, so it can replace any layer."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input


register(
    name="linear",
    function=linear,
    composed=linear_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((4, 3), (5, 3), (5,))),
        Case(((4, 3), (5, 3), None)),
        Case(((2, 4, 3), (5, 3), (5,))),
        Case(((3,), (5, 3), (5,))),
        Case(((4, 3), (3,), None)),
        Case(((4, 1), (1, 1), (1,))),
        Case(((0, 3), (5, 3), (5,))),
        Case(((4, 0), (5, 0), (5,))),
    ),
    errors=(
        ErrorCase(lambda: linear(ones(2, 3), ones(4, 2)), ValueError, "takes x"),
        ErrorCase(lambda: linear(ones(2, 3), ones(4, 3), ones(3)), ValueError, "bias"),
        ErrorCase(lambda: linear(ones(2, 3), ones(4, 3).double()), TypeError, "one dtype"),
        ErrorCase(lambda: linear(ones(2, 3).long(), ones(4, 3)), TypeError, "floating-point"),
        ErrorCase(lambda: linear([[1.0]], ones(4, 1)), TypeError, "Tensor"),  # type: ignore[arg-type]
        ErrorCase(lambda: Linear(3, 4)(ones(2, 4)), ValueError, "takes x"),
    ),
    kind="block",
    title="Linear",
    torch="torch.nn.functional.linear",
    bench=tuple(
        Case(((N, D), (K, D), (K,))) for N, D, K in ((64, 128, 128), (1024, 512, 512), (2048, 128, 512))
    ),
)
register(
    name="bilinear",
    function=bilinear,
    composed=bilinear_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((4, 3), (4, 2), (5, 3, 2), (5,))),
        Case(((4, 3), (4, 2), (5, 3, 2), None)),
        Case(((2, 4, 3), (2, 4, 2), (1, 3, 2), (1,))),
        Case(((0, 3), (0, 2), (5, 3, 2), (5,))),
    ),
    errors=(
        ErrorCase(lambda: bilinear(ones(2, 3), ones(2, 4), ones(5, 4, 3)), ValueError, "takes x1"),
        ErrorCase(lambda: bilinear(ones(2, 3), ones(1, 4), ones(5, 3, 4)), ValueError, "leading"),
        ErrorCase(lambda: bilinear(ones(2, 3), ones(2, 4), ones(5, 3, 4), ones(1)), ValueError, "bias"),
        ErrorCase(lambda: bilinear(ones(2, 3), ones(2, 4).double(), ones(5, 3, 4)), TypeError, "one dtype"),
    ),
    kind="block",
    title="Bilinear",
    torch="torch.nn.functional.bilinear",
)
