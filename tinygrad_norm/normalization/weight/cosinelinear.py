"""Cosine normalization: every output of a linear layer is the cosine of the angle between input and weight.

    x (N, D)   w (K, D)   u = x/‖x‖, v = w/‖w‖ row by row   y = u @ vᵀ (N, K), from -1 to 1

It takes the place of x @ wᵀ before the activation; there is no bias. A row of zeros has no direction: its
cosines are 0, and so are its gradients.

u and v are weight-normalized rows of length 1, so their bodies, loops and kernels are those of weightnorm.py.

In the code: rnorm is 1/‖·‖.

Luo, Zhan, Wang, Yang 2017, arXiv:1702.05870.

Backward, from dy = dL/dy. The product is that of linear.py:

    du = dy @ v      dv = dyᵀ @ u

and each length is that of weightnorm.py, with g = 1: by ∂‖x‖/∂x = u, what points along u is taken away,

    dx = rnorm·(du - u·Σ(du·u))      dw = rnorm·(dv - v·Σ(dv·v))

Insight: dx is orthogonal to x and dw to w, as in weight normalization, but on both sides: neither a large
input nor a large weight can saturate the activation. So the range of y is fixed, and what follows must do
with at most 1.
"""

import math

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Column, Rows, kernel, namespace
from ...backends.cpu.half import downcast, upcast
from ...ops import norm, ones, where
from ...ops.checks import check_input, check_same_dtype
from ...registry import Case, ErrorCase, fixed, register
from .weightnorm import weight_norm_backward, weight_norm_forward


def cosine_linear_composed(input: Tensor, weight: Tensor) -> Tensor:
    """Cosine normalization from primitives: autograd finds the gradients."""
    return directions_composed(input) @ directions_composed(weight).T


def directions_composed(x: Tensor) -> Tensor:
    """Return x/‖x‖ along the last axis from primitives, and 0 for vectors of zeros."""
    length = norm(x, 2, -1, keepdim=True)
    return x / where(length <= 0, 1.0, length)


@kernel
def cosine_linear_forward(x: Rows, w: Rows) -> tuple[Array, Rows, Column, Rows, Column]:
    """Return y (N, K); the directions of x (N, D) and of w (K, D), each with its rnorm."""
    (u, x_rnorm), (v, w_rnorm) = weight_norm_forward(x, ones_of(x)), weight_norm_forward(w, ones_of(w))
    return downcast(upcast(u) @ upcast(v).T, x), u, x_rnorm, v, w_rnorm


@kernel
def cosine_linear_backward(
    dy: Array, x: Rows, w: Rows, u: Rows, x_rnorm: Column, v: Rows, w_rnorm: Column
) -> tuple[Rows, Rows]:
    """Return dx (N, D) and dw (K, D)."""
    dy = upcast(dy)
    du, dv = downcast(dy @ upcast(v), x), downcast(dy.T @ upcast(u), w)
    dx, _ = weight_norm_backward(du, x, x_rnorm, ones_of(x))
    dw, _ = weight_norm_backward(dv, w, w_rnorm, ones_of(w))
    return dx, dw


class CosineLinearFunction(Function):
    """y = u @ vᵀ, u = x/‖x‖, v = w/‖w‖ · dx = (du - u·Σ du·u)/‖x‖ with du = dy @ v, dw likewise"""

    def forward(self, x: Array, weight: Array) -> Array:
        rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        y, *directions = cosine_linear_forward(rows, weight)
        self.saved = rows, weight, *directions
        return y.reshape(*x.shape[:-1], len(weight))

    def backward(self, dy: Array) -> Gradients:
        shape = len(self.saved[0]), dy.shape[-1]
        dx, dw = cosine_linear_backward(dy.reshape(shape), *self.saved)
        return dx.reshape(*dy.shape[:-1], dx.shape[1]), dw


def cosine_linear(input: Tensor, weight: Tensor) -> Tensor:
    """Return the cosines of the angles between each vector of `input` and each row of `weight`.

    Args:
        input: (..., D).
        weight: (K, D), for an output (..., K).

    Raises:
        TypeError: if the input is not a floating-point tensor, or its dtype differs from the weight's.
        ValueError: if the sizes do not fit.

    Source: Luo, Zhan, Wang, Yang 2017, arXiv:1702.05870.
    """
    check_input(input, "cosine_linear")
    check_input(weight, "cosine_linear, for weight,")
    if weight.ndim != 2 or not input.ndim or input.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"cosine_linear with a weight (out, in) of shape {weight.shape} takes x "
            f"(..., {weight.shape[-1] if weight.ndim else 'in'}), got shape {input.shape}"
        )
    check_same_dtype("cosine_linear", input, weight=weight)
    return CosineLinearFunction.apply(input, weight)


def ones_of(rows: Rows) -> Column:
    """Return the length 1 for each row, as (N, 1)."""
    return namespace(rows).ones((len(rows), 1), rows.dtype)


register(
    name="cosine_linear",
    function=cosine_linear,
    composed=cosine_linear_composed,
    parameters=("weight",),
    cases=(
        Case(((3, 4), (2, 4))),
        Case(((4,), (2, 4))),
        Case(((2, 3, 5), (4, 5))),
        Case((fixed([[2.0], [-0.5]], differentiable=True), (3, 1))),
        Case(((3, 33), (5, 33))),
        Case(((0, 4), (2, 4))),
    ),
    errors=(
        ErrorCase(lambda: cosine_linear(ones(2, 3), ones(4, 2)), ValueError, "takes x (..., 2)"),
        ErrorCase(lambda: cosine_linear(ones(2, 3), ones(3)), ValueError, "(out, in)"),
        ErrorCase(lambda: cosine_linear(ones(2, 3).long(), ones(4, 3)), TypeError, "floating-point"),
        ErrorCase(lambda: cosine_linear(ones(2, 3), ones(4, 3).double()), TypeError, "one dtype"),
    ),
    kind="normalization",
    title="Cosine normalization",
    paper="Luo et al. 2017, arXiv:1702.05870",
    pool="each input vector, and the weights of each output, no mean",
    bench=tuple(Case(shapes) for shapes in (((64, 64), (64, 64)), ((512, 768), (768, 768)))),
)
