"""AdaNorm, and the standard score of a row that it scales: centered, over its unbiased deviation.

    x (..., D)   m = mean(x)   s = √(Σ(x - m)²/(D - 1))   k = 1/(s + eps)   z = (x - m)·k
    standard score: y = z
    AdaNorm: y = φ·z with φ = C·(1 - 0.1·z), which the gradient takes as constants

m, s and k are one number per row. Unlike LayerNorm's, the deviation is unbiased, eps is added to the root and
has the unit of x, and nothing is learned. In reinforcement learning, group advantages are standard scores.

In the code: s std, k scale, φ phi; x̂ = (x - m)/σ with the biased deviation σ is layernorm.py's for eps = 0.

AdaNorm: Xu, Sun, Zhang, Zhao, Lin 2019, arXiv:1911.07013.

Backward, for one row, from g = dL/dz: dy for the standard score, φ·dy for AdaNorm. Three paths, as in
layernorm.py, with ∂s/∂x_i = (x_i - m)/((D - 1)·s) and ∂k/∂s = -k²:

    straight     k·g_i
    through m    -k·mean(g)
    through k    -k²·(x_i - m)/((D - 1)·s)·Σ g·(x - m) = -k·(s·k)·x̂_i·mean(g·x̂)

as (x - m) = σ·x̂ and σ² = s²·(D - 1)/D. With the share s·k = s/(s + eps) of the deviation in the divisor,

    dx = k·(g - mean(g) - s·k·x̂·mean(g·x̂))

Insight: the authors found that the gradients through m and k matter more than the values: with m and s
detached, training gets worse. Here φ is detached, so that the core stays, and φ only weighs the entries of
dy: those of large z less.
"""

import math

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Column, Rows, kernel
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.sums import row_mean_products, row_means
from ...module import Module
from ...ops import ones
from ...ops.arguments import as_number, as_size
from ...ops.checks import check_eps, check_input, check_pool, check_rows
from ...registry import Case, ErrorCase, register
from ..core.moments import std_of
from ..core.rows import as_rows
from .layernorm import layer_norm_forward


def standard_score_composed(input: Tensor, eps: float = 1e-5) -> Tensor:
    """The standard score from primitives: autograd finds the gradient."""
    centered = input - input.mean(-1, keepdim=True)
    var = (centered * centered).sum(-1, keepdim=True) / (input.shape[-1] - 1)
    return centered / (var.sqrt() + eps)


@in_blocks("x_hat", "share")
def _shared(x_hat: Rows, share: Column) -> Rows:
    return x_hat * share


@kernel
def standard_score_forward(x: Rows, eps: float) -> tuple[Rows, Rows, Column]:
    """Return z and x̂ (N, D), and s (N, 1), for x (N, D). x̂ is 0 in a constant row."""
    D = x.shape[1]
    x_hat, _, rstd = layer_norm_forward(x, None, None, 0.0)
    sigma = std_of(rstd)
    std = sigma * math.sqrt(D / (D - 1))
    return _shared(x_hat, sigma / (std + eps)), x_hat, std


@kernel
@in_blocks("dy", "x_hat", "std")
def standard_score_backward(dy: Rows, x_hat: Rows, std: Column, eps: float) -> Rows:
    """Return dx (N, D)."""
    scale = 1 / (std + eps)
    return scale * (dy - row_means(dy) - std * scale * x_hat * row_mean_products(dy, x_hat))


class StandardScoreFunction(Function):
    """y = (x - m)·k, k = 1/(s + eps) · dx = k·(dy - mean(dy) - s·k·x̂·mean(dy·x̂)), means over each row"""

    def forward(self, x: Array, *, eps: float) -> Array:
        (rows,) = as_rows(x.shape[-1:], x)
        y, x_hat, std = standard_score_forward(rows, eps)
        self.saved = x_hat, std, eps
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        return standard_score_backward(dy.reshape(self.saved[0].shape), *self.saved).reshape(dy.shape)


def standard_score(input: Tensor, eps: float = 1e-5) -> Tensor:
    """Center each row, and divide it by its unbiased standard deviation plus eps.

    Args:
        input: (..., D) with D > 1.
        eps: added to the deviation, in units of the input. Without it, a constant row would have no gradient.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if a row has one entry, or if eps is not positive.

    Source: AdaNorm's x̂ in Xu, Sun, Zhang, Zhao, Lin 2019, arXiv:1911.07013.
    """
    check_input(input, "standard_score")
    (D,) = check_rows(input, input.shape[-1:], eps, "standard_score")
    if not eps > 0:
        raise ValueError(f"standard_score divides by std + eps, so eps must be positive, got {eps}")
    check_pool(input, D, "standard_score", "a row needs more than one entry", "row")
    return StandardScoreFunction.apply(input, eps=float(eps))


class AdaNorm(Module):
    """AdaNorm of (..., dim): y = C·(1 - k·z)·z, z the standard score; the first factor is detached.

    Nothing is learned. `scale` is C, a number to choose for each task. Above z = 1/k the output turns
    around: with k = 0.1, ten deviations from the mean.
    Source: Xu, Sun, Zhang, Zhao, Lin 2019, arXiv:1911.07013.
    """

    def __init__(self, dim: int, scale: float = 1.0, k: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        check_eps(eps)
        self.dim = as_size(dim, "dim")
        self.scale, self.k, self.eps = as_number(scale, "scale"), as_number(k, "k"), eps

    def forward(self, input: Tensor) -> Tensor:
        check_rows(input, (self.dim,), self.eps, "AdaNorm")
        z = standard_score(input, self.eps)
        phi = self.scale * (1 - self.k * z.detach())
        return phi * z

    def extra_repr(self) -> str:
        return f"{self.dim}, scale={self.scale}, k={self.k}, eps={self.eps}"


register(
    name="standard_score",
    function=standard_score,
    composed=standard_score_composed,
    cases=(
        Case(((4, 5),)),
        Case(((2, 3, 4),), {"eps": 0.3}),
        Case(((2, 33),)),
        Case(((0, 4),)),
    ),
    errors=(
        ErrorCase(lambda: standard_score(ones(2, 3).long()), TypeError, "floating-point"),
        ErrorCase(lambda: standard_score(ones(2, 1)), ValueError, "more than one"),
        ErrorCase(lambda: standard_score(ones(2, 3), eps=0.0), ValueError, "must be positive, got 0.0"),
        ErrorCase(lambda: AdaNorm(3)(ones(2, 4)), ValueError, "last sizes"),
        ErrorCase(lambda: AdaNorm(3, "1"), TypeError, "scale"),  # type: ignore[arg-type]
    ),
    kind="normalization",
    title="AdaNorm's standard score",
    paper="Xu, Sun, Zhang, Zhao, Lin 2019, arXiv:1911.07013",
    pool="the last axis of each sample, unbiased",
    bench=(Case(((512, 768),)),),
)
