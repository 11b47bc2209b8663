"""Positional normalization (PONO): the channels at every position get mean 0 and variance 1, and tell both.

    x (N, C, ...)   m = mean(x)   v = mean((x - m)²)   σ = √(v + eps) over the C channels of one position
    x̂ = (x - m)/σ   y = x̂

Three results: x̂, m and σ, the last two (N, 1, ...): two images of the structure that the norm took out. A
moment shortcut puts them back later, where a decoder has features h of that size: h·σ + m. Right after the
norm it is its inverse, x̂·σ + m = x.

In the code: r = 1/σ rstd, m mean, σ std; the pools are rows of layernorm.py.

Li, Wu, Weinberger, Belongie 2019, arXiv:1907.04312. Their PyTorch code divides the variance by C - 1, their
TensorFlow code by C, as here.

Backward, from dy = dL/dx̂, dm = dL/dm and dσ = dL/dσ, which come back through the shortcut. x̂ takes the
three paths of layernorm.py with g = dy, and with ∂m/∂x_i = 1/C and ∂σ/∂x_i = (x_i - m)/(C·σ) = x̂_i/C,

    through the norm       r·(dy - mean(dy) - x̂·mean(dy·x̂))
    through m and σ        (dm + x̂·dσ)/C

    dx = r·(dy - mean(dy) - x̂·mean(dy·x̂)) + (dm + x̂·dσ)/C

Insight: the norm takes out of the gradient just the two directions, 1 and x̂, that the moments bring back.
With the shortcut right behind it, dx is the gradient of h·σ + m again: nothing is lost.
"""

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Column, Rows, kernel
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import downcast
from ...module import Module
from ...ops import ones
from ...ops.checks import check_channels, check_eps
from ...registry import Case, ErrorCase, register
from ..core.moments import std_of
from ..core.pools import pools_as_rows, rows_as_pools
from .layernorm import layer_norm_backward, layer_norm_forward

POOL = (1,)  # of x (N, C, ...): the channels of one position


def positional_norm_composed(input: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor, Tensor]:
    """Positional normalization from primitives: autograd finds the gradient."""
    mean = input.mean(1, keepdim=True)
    centered = input - mean
    std = ((centered * centered).mean(1, keepdim=True) + eps) ** 0.5
    return centered / std, mean, std


@kernel
def positional_norm_forward(x: Rows, eps: float) -> tuple[Rows, Column, Column]:
    """Return y (P, C), mean and rstd (P, 1), for x (P, C): a row for each position."""
    return layer_norm_forward(x, None, None, eps)


@in_blocks("dx", "x_hat", "dmean", "dstd")
def _with_the_moments(dx: Rows, x_hat: Rows, dmean: Column, dstd: Column) -> Rows:
    return dx + (dmean + x_hat * dstd) / x_hat.shape[1]


@kernel
def positional_norm_backward(
    dy: Rows, x: Rows, x_hat: Rows, mean: Column, rstd: Column, dmean: Column, dstd: Column
) -> Rows:
    """Return dx (P, C)."""
    dx, *_ = layer_norm_backward(dy, x, None, mean, rstd)
    return _with_the_moments(dx, x_hat, dmean, dstd)


class PositionalNormFunction(Function):
    """y = (x - m)·r, m, σ = 1/r · dx = r·(dy - mean(dy) - x̂·mean(dy·x̂)) + (dm + x̂·dσ)/C"""

    def forward(self, x: Array, *, eps: float) -> tuple[Array, Array, Array]:
        rows = pools_as_rows(x, POOL)
        y, mean, rstd = positional_norm_forward(rows, eps)
        self.saved = rows, y, mean, rstd
        std = downcast(std_of(rstd), x)
        return (
            rows_as_pools(y, x.shape, POOL),
            rows_as_pools(downcast(mean, x), x.shape, POOL),
            rows_as_pools(std, x.shape, POOL),
        )

    def backward(self, dy: Array, dmean: Array, dstd: Array) -> Gradients:
        rows, *moments = (pools_as_rows(a, POOL) for a in (dy, dmean, dstd))
        dx = positional_norm_backward(rows, *self.saved, *moments)
        return (rows_as_pools(dx, dy.shape, POOL),)


def positional_norm(input: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize the channels at every position of (N, C, ...); return y, and mean and std (N, 1, ...).

    `eps` is added to the (biased) variance, in units of input², and so it is in the std. Gradients go
    through all three results.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if the input has less than 2 axes or no channels, or if eps is negative.

    Source: Li, Wu, Weinberger, Belongie 2019, arXiv:1907.04312.
    """
    if check_channels(input, "positional_norm") == 0:
        raise ValueError(f"positional_norm takes an input with channels, got shape {input.shape}")
    check_eps(eps)
    return PositionalNormFunction.apply(input, eps=float(eps))


class PositionalNorm(Module):
    """Positional normalization of (N, C, ...): returns y, and mean and std (N, 1, ...) for a MomentShortcut.

    Source: Li, Wu, Weinberger, Belongie 2019, arXiv:1907.04312.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        check_eps(eps)
        self.eps = eps

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return positional_norm(input, self.eps)

    def extra_repr(self) -> str:
        return f"eps={self.eps}"


class MomentShortcut(Module):
    """input·std + mean: the moments of a PositionalNorm, put back where a decoder has features of that size.

    `forward(input, mean, std)` with input (N, C, ...), mean and std (N, 1, ...). Nothing is learned.
    Source: Li, Wu, Weinberger, Belongie 2019, arXiv:1907.04312.
    """

    def forward(self, input: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        for name, moment in (("mean", mean), ("std", std)):
            expected = (input.shape[0], 1, *input.shape[2:])
            if moment.shape != expected:
                raise ValueError(
                    f"MomentShortcut takes a {name} of shape {expected} for an input {input.shape}, got "
                    f"{moment.shape}: the norm and the shortcut must stand at features of one size"
                )
        return input * std + mean


register(
    name="positional_norm",
    function=positional_norm,
    composed=positional_norm_composed,
    cases=(
        Case(((2, 3, 2, 4),)),
        Case(((3, 5),), {"eps": 0.1}),
        Case(((2, 33, 3),)),
        Case(((0, 3, 2),)),
    ),
    errors=(
        ErrorCase(lambda: positional_norm(ones(2, 3, dtype=int)), TypeError, "floating-point"),
        ErrorCase(lambda: positional_norm(ones(3)), ValueError, "2 axes"),
        ErrorCase(lambda: positional_norm(ones(2, 0, 3)), ValueError, "with channels"),
        ErrorCase(lambda: PositionalNorm(-1.0), ValueError, "eps"),
        ErrorCase(
            lambda: MomentShortcut()(ones(2, 3, 4), ones(2, 1, 2), ones(2, 1, 2)), ValueError, "one size"
        ),
    ),
    kind="normalization",
    title="PositionalNorm",
    paper="Li, Wu, Weinberger, Belongie 2019, arXiv:1907.04312",
    pool="the channels of each position; mean and deviation are results too",
    bench=(Case(((8, 64, 32, 32),)),),
)
