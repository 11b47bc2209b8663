"""SeeDNorm: RMS normalization whose scale depends on the row itself, by one bounded number.

    x (..., D)   r = 1/√(mean(x²) + eps)   x̂ = x·r
    t = tanh(Σ x·β)   s = t·α + w   y = s·x̂

r and t are one number per row; α, β and w are (D,), where D stands for all of `normalized_shape`. What
normalization takes from a row, its size, comes back through t, which sees x and not x̂.

In the code: r rstd, x̂ x_hat, α alpha, β beta, w weight.

Cai et al. 2025, arXiv:2510.22777.

Backward, for one row, from dy = dL/dy. All rows share the parameters:

    dw = Σrows dy·x̂      dα = Σrows t·dy·x̂      g := dL/dx̂ = s·dy

t takes Σ dy·α·x̂ of its row, and with ∂tanh(u)/∂u = 1 - t² the product u = Σ x·β takes

    q = (1 - t²)·Σ dy·α·x̂      dβ = Σrows q·x

Three paths lead from x to y: the two of rmsnorm.py through x̂, and that through t, as ∂u/∂x_i = β_i:

    dx = r·(g - x̂·mean(g·x̂)) + β·q

Insight: with β = 0, t = 0 and it is RMSNorm, where α has no gradient yet but β has. The last part of dx has a
component along x̂: y moves if a row is made larger.
"""

from collections.abc import Sequence

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Column, Rows, Vector, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.sums import column_sums, row_mean_products, row_sums
from ...module import Module, Parameter
from ...ops import ones
from ...ops.checks import Shape, as_shape, check_eps, check_rows, check_vectors
from ...registry import Case, ErrorCase, register
from ..core.rows import as_rows
from .rmsnorm import rms_norm_composed, rms_norm_forward


def seed_norm_composed(
    input: Tensor, alpha: Tensor, beta: Tensor, weight: Tensor | None = None, eps: float = 1e-6
) -> Tensor:
    """SeeDNorm from primitives: autograd finds the gradients."""
    axes = tuple(range(-alpha.ndim, 0))
    t = (input * beta).sum(axes, keepdim=True).tanh()
    s = t * alpha + (1 if weight is None else weight)
    return s * rms_norm_composed(input, alpha.shape, None, eps)


@in_blocks("x_hat", "x", weight=1.0)
def _rescaled(x_hat: Rows, x: Rows, alpha: Vector, beta: Vector, weight: Vector | None) -> Rows:
    t = namespace(x).tanh(row_sums(x * beta))
    return (t * alpha + weight) * x_hat


@kernel
def seed_norm_forward(
    x: Rows, alpha: Vector, beta: Vector, weight: Vector | None, eps: float
) -> tuple[Rows, Column]:
    """Return y (N, D) and rstd (N, 1), for x (N, D), alpha, beta and weight (D,)."""
    x_hat, rstd = rms_norm_forward(x, None, eps)
    return _rescaled(x_hat, x, alpha, beta, weight), rstd


@kernel
@in_blocks("dy", "x", "rstd", add=True, weight=1.0)
def seed_norm_backward(
    dy: Rows, x: Rows, alpha: Vector, beta: Vector, weight: Vector | None, rstd: Column
) -> tuple[Rows, Vector, Vector, Vector]:
    """Return dx (N, D), dalpha, dbeta and dweight (D,)."""
    x_hat, t = x * rstd, namespace(x).tanh(row_sums(x * beta))
    g = (t * alpha + weight) * dy
    q = (1 - t * t) * row_sums(dy * alpha * x_hat)
    dx = rstd * (g - x_hat * row_mean_products(g, x_hat)) + beta * q
    return dx, column_sums(t * dy * x_hat), column_sums(q * x), column_sums(dy * x_hat)


class SeeDNormFunction(Function):
    """y = (t·α + w)·x·r, t = tanh(Σ x·β) · dx = r·(g - x̂·mean(g·x̂)) + β·(1 - t²)·Σ dy·α·x̂"""

    def forward(self, x: Array, alpha: Array, beta: Array, weight: Array | None, *, eps: float) -> Array:
        self.shape: Shape = alpha.shape
        rows, *vectors = as_rows(self.shape, x, alpha, beta, weight)
        y, rstd = seed_norm_forward(rows, *vectors, eps)
        self.saved = rows, *vectors, rstd
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, *vectors = seed_norm_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return dx.reshape(dy.shape), *[vector.reshape(self.shape) for vector in vectors]


def seed_norm(
    input: Tensor, alpha: Tensor, beta: Tensor, weight: Tensor | None = None, eps: float = 1e-6
) -> Tensor:
    """Divide each row by its root mean square, then multiply by tanh(Σ input·beta)·alpha + weight.

    Args:
        input: (..., *shape).
        alpha: of the last sizes of the input: the shape of a row.
        beta: of that shape, in units of 1/input.
        weight: of that shape; None is 1.
        eps: added to the mean square, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if alpha has not the last sizes of the input, beta or weight another shape than alpha, or
            if eps is negative.

    Source: Cai et al. 2025, arXiv:2510.22777.
    """
    shape = check_rows(input, alpha.shape, eps, "seed_norm", weight=weight)
    check_vectors(input, shape, alpha=alpha, beta=beta)
    return SeeDNormFunction.apply(input, alpha, beta, weight, eps=float(eps))


class SeeDNorm(Module):
    """SeeDNorm of (..., *normalized_shape), which starts as RMSNorm: weight and alpha are ones, beta zeros.

    All three have the shape `normalized_shape`. The start is ours. Source: Cai et al. 2025, arXiv:2510.22777.
    """

    def __init__(self, normalized_shape: int | Sequence[int], eps: float = 1e-6) -> None:
        super().__init__()
        check_eps(eps)
        self.normalized_shape, self.eps = as_shape(normalized_shape), eps
        self.weight = Parameter(numpy.ones(self.normalized_shape, numpy.float32))
        self.alpha = Parameter(numpy.ones(self.normalized_shape, numpy.float32))
        self.beta = Parameter(numpy.zeros(self.normalized_shape, numpy.float32))

    def forward(self, input: Tensor) -> Tensor:
        return seed_norm(input, self.alpha, self.beta, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


register(
    name="seed_norm",
    function=seed_norm,
    composed=seed_norm_composed,
    parameters=("alpha", "beta", "weight"),
    cases=(
        Case(((4, 5), (5,), (5,), (5,))),
        Case(((2, 3, 4), (4,), (4,), None), {"eps": 1e-2}),
        Case(((3, 2, 3), (2, 3), (2, 3), (2, 3))),
        Case(((0, 4), (4,), (4,), (4,))),
    ),
    errors=(
        ErrorCase(lambda: seed_norm(ones(2, 3).long(), ones(3), ones(3)), TypeError, "floating-point"),
        ErrorCase(lambda: seed_norm(ones(2, 3), ones(2), ones(2)), ValueError, "last sizes"),
        ErrorCase(lambda: seed_norm(ones(2, 3), ones(3), ones(2)), ValueError, "beta has shape (2,)"),
        ErrorCase(lambda: seed_norm(ones(2, 3), ones(3), ones(3), ones(2)), ValueError, "weight"),
        ErrorCase(lambda: SeeDNorm(3, eps=-1.0), ValueError, "eps"),
    ),
    kind="normalization",
    title="SeeDNorm",
    paper="Cai et al. 2025, arXiv:2510.22777",
    pool="the last axes of each sample, no mean; then a scale that the row chooses",
    bench=(Case(((512, 768), (768,), (768,), (768,))),),
)
