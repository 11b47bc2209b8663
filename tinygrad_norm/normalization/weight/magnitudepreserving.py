"""Magnitude-preserving weights (EDM2): each output has a weight of length 1, however long the learned one is.

    w (K, ...)   one row of n = fan_in weights per output   ρ = √(mean(w²))   û = w/‖w‖, ‖w‖ = √n·ρ
    y = w/(eps + ρ)/√n = a·û      a = ρ/(eps + ρ)

eps is outside the root and added to ρ, so the length of y is a, a little below 1. If the inputs of the layer
are independent and have variance 1, so do its outputs, nearly.

In the code: w v, 1/‖w‖ rnorm, a share, û direction; bodies and kernels are weightnorm.py's, with g = a.

Karras, Aittala, Lehtinen, Hellsten, Aila, Laine 2023, arXiv:2312.02696.

Backward, for one row, from dy = dL/dy. By the chain rule, with q = 1/(√n·(eps + ρ)) = a/‖w‖, y = q·w and
∂ρ/∂w = w/(n·ρ) = û/√n:

    straight   q·dy
    through ρ  ∂q/∂ρ = -q/(eps + ρ)      Σ(dy·w)·(-q/(eps + ρ))·û/√n = -q·a·û·Σ(dy·û)

    dw = dx = q·(dy - a·û·Σ(dy·û))

That is weight normalization's (a/‖w‖)·(dy - û·Σ(dy·û)), and of the part along û the share 1 - a stays. A row
of zeros has no û: dw = dy/(eps·√n).

Insight: dw is nearly orthogonal to w, so training makes w longer, and its steps ever smaller beside it. EDM2
sets w to √n·y before each step (forced weight normalization, nn.MPConv2d): then lr alone says how fast it
turns.
"""

import math
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Column, Rows, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...ops import ones
from ...ops.checks import check_eps, check_input
from ...registry import Case, ErrorCase, register
from .cosinelinear import ones_of
from .weightnorm import weight_norm_backward, weight_norm_forward


def magnitude_preserving_weight_composed(weight: Tensor, eps: float = 1e-4) -> Tensor:
    """Magnitude-preserving weights from primitives: autograd finds the gradient."""
    axes = tuple(range(1, weight.ndim))
    rms = (weight * weight).mean(axes, keepdim=True).sqrt()
    return weight / (eps + rms) * math.prod(weight.shape[1:]) ** -0.5


@in_blocks("direction", "share")
def _scaled(direction: Rows, share: Column) -> Rows:
    return share * direction


@in_blocks("dv", "y", "dy", "along", "at_zero")
def _with_rest(dv: Rows, y: Rows, dy: Rows, along: Column, at_zero: Column) -> Rows:
    return dv + along * y + at_zero * dy


@kernel
def magnitude_preserving_weight_forward(v: Rows, eps: float) -> tuple[Rows, Column, Column]:
    """Return y (K, D), rnorm and share (K, 1)."""
    direction, rnorm = weight_norm_forward(v, ones_of(v))
    share = 1 / (1 + eps * v.shape[1] ** 0.5 * rnorm)
    return _scaled(direction, share), rnorm, share


@kernel
def magnitude_preserving_weight_backward(
    dy: Rows, v: Rows, y: Rows, rnorm: Column, share: Column, eps: float
) -> Rows:
    """Return dv (K, D)."""
    dv, along = weight_norm_backward(dy, v, rnorm, share)
    at_zero = namespace(v).where(rnorm == 0, 1 / (eps * v.shape[1] ** 0.5) if eps else 0.0, 0.0)
    return _with_rest(dv, y, dy, (1 - share) * rnorm * along, at_zero.astype(rnorm.dtype))


class MagnitudePreservingWeightFunction(Function):
    """y = w/(eps + ρ)/√n, ρ = √mean(w²) · dw = q·(dy - a·û·Σ dy·û) with a = ρ/(eps + ρ), q = a/‖w‖"""

    def forward(self, v: Array, *, eps: float) -> Array:
        rows = v.reshape(len(v), math.prod(v.shape[1:]))
        y, rnorm, share = magnitude_preserving_weight_forward(rows, eps)
        self.saved = rows, y, rnorm, share, eps
        return y.reshape(v.shape)

    def backward(self, dy: Array) -> Gradients:
        return magnitude_preserving_weight_backward(dy.reshape(self.saved[0].shape), *self.saved).reshape(
            dy.shape
        )


def magnitude_preserving_weight(weight: Tensor, eps: float = 1e-4) -> Tensor:
    """Return weight/(eps + root mean square)/√fan_in: each output has a weight of length 1, nearly.

    Args:
        weight: (K, ...), with fan_in weights for each output.
        eps: added to the root mean square, in units of weight.

    Raises:
        TypeError: if the weight is not a floating-point tensor.
        ValueError: if it has fewer than two axes, or eps is negative.

    Source: Karras et al. 2023, arXiv:2312.02696.
    """
    check_input(weight, "magnitude_preserving_weight")
    if weight.ndim < 2:
        raise ValueError(
            f"magnitude_preserving_weight takes a weight (out, in, ...), got shape {weight.shape}"
        )
    check_eps(eps)
    return MagnitudePreservingWeightFunction.apply(weight, eps=float(eps))


def _ones(*shape: int, dtype: Any = numpy.float64) -> Tensor:
    return ones(*shape, dtype=dtype)


register(
    name="magnitude_preserving_weight",
    function=magnitude_preserving_weight,
    composed=magnitude_preserving_weight_composed,
    parameters=("weight",),
    cases=(
        Case(((4, 3),)),
        Case(((3, 2, 3, 3),), {"eps": 0.1}),
        Case(((1, 33),)),
        Case(((2, 4, 2),), {"eps": 1.0}),
        Case(((0, 3),)),
    ),
    errors=(
        ErrorCase(
            lambda: magnitude_preserving_weight(_ones(3)), ValueError, "(out, in, ...), got shape (3,)"
        ),
        ErrorCase(lambda: magnitude_preserving_weight(_ones(3, 2, dtype=int)), TypeError, "floating-point"),
        ErrorCase(lambda: magnitude_preserving_weight(_ones(3, 2), -1.0), ValueError, "eps"),
    ),
    kind="normalization",
    title="Magnitude-preserving weights (EDM2)",
    paper="Karras et al. 2023, arXiv:2312.02696",
    pool="the weights of each output, no mean; eps outside the root",
    bench=tuple(Case((shape,)) for shape in ((128, 64, 3, 3), (512, 512, 3, 3))),
)
