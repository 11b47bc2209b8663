"""Pixel normalization: the channels at every position are divided by their root mean square.

    x (N, C, ...)   r = 1/√(mean(x²) + eps) over the C channels of one position   x̂ = x·r   y = x̂

r is one number per position of a sample; nothing is learned. The pools are those of LayerNorm2d, the core
is that of RMSNorm: rmspools.py makes rows of the pools.

In the code: r rstd.

Karras, Aila, Laine, Lehtinen 2018, arXiv:1710.10196.

Backward, from dy = dL/dy: without a weight g := dL/dx̂ is dy, and the two paths of rmsnorm.py, straight and
through r, add up within each position:

    dx = r·(dy - x̂·mean(dy·x̂))

Insight: a generator cannot make a feature louder by making all of them louder. dx has no part along x̂ for
eps = 0, so growing weights before it change nothing.
"""

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel
from ...module import Module
from ...ops import ones
from ...ops.checks import check_channels, check_eps
from ...registry import Case, ErrorCase, register
from .rmspools import rms_pools_backward, rms_pools_forward

POOL = (1,)  # of x (N, C, ...): the channels of one position


def pixel_norm_composed(input: Tensor, eps: float = 1e-8) -> Tensor:
    """Pixel normalization from primitives: autograd finds the gradient."""
    return input * ((input * input).mean(1, keepdim=True) + eps) ** -0.5


@kernel
def pixel_norm_forward(x: Array, eps: float) -> tuple[Array, Array]:
    """Return y (N, C, ...) and rstd (N, 1, ...)."""
    return rms_pools_forward(x, POOL, eps)


@kernel
def pixel_norm_backward(dy: Array, x: Array, rstd: Array) -> Array:
    """Return dx (N, C, ...)."""
    return rms_pools_backward(dy, x, rstd, POOL)


class PixelNormFunction(Function):
    """y = x·r · dx = r·(dy - x̂·mean(dy·x̂)), means over the channels of each position"""

    def forward(self, x: Array, *, eps: float) -> Array:
        y, rstd = pixel_norm_forward(x, eps)
        self.saved = x, rstd
        return y

    def backward(self, dy: Array) -> Gradients:
        return (pixel_norm_backward(dy, *self.saved),)


def pixel_norm(input: Tensor, eps: float = 1e-8) -> Tensor:
    """Divide the channels at every position of (N, C, ...) by their root mean square.

    `eps` is added to the mean square, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if the input has less than 2 axes or no channels, or if eps is negative.

    Source: Karras, Aila, Laine, Lehtinen 2018, arXiv:1710.10196.
    """
    if check_channels(input, "pixel_norm") == 0:
        raise ValueError(f"pixel_norm takes an input with channels, got shape {input.shape}")
    check_eps(eps)
    return PixelNormFunction.apply(input, eps=float(eps))


class PixelNorm(Module):
    """Pixel normalization of (N, C, ...): every position has root mean square 1; nothing is learned.

    Source: Karras, Aila, Laine, Lehtinen 2018, arXiv:1710.10196.
    """

    def __init__(self, eps: float = 1e-8) -> None:
        super().__init__()
        check_eps(eps)
        self.eps = eps

    def forward(self, input: Tensor) -> Tensor:
        return pixel_norm(input, self.eps)

    def extra_repr(self) -> str:
        return f"eps={self.eps}"


register(
    name="pixel_norm",
    function=pixel_norm,
    composed=pixel_norm_composed,
    cases=(
        Case(((2, 3, 2, 4),)),
        Case(((3, 5),), {"eps": 0.1}),
        Case(((2, 33, 3),)),
        Case(((0, 3, 2),)),
    ),
    errors=(
        ErrorCase(lambda: pixel_norm(ones(2, 3, dtype=int)), TypeError, "floating-point"),
        ErrorCase(lambda: pixel_norm(ones(3)), ValueError, "2 axes"),
        ErrorCase(lambda: pixel_norm(ones(2, 0, 3)), ValueError, "with channels"),
        ErrorCase(lambda: PixelNorm(-1.0), ValueError, "eps"),
    ),
    kind="normalization",
    title="PixelNorm",
    paper="Karras, Aila, Laine, Lehtinen 2018, arXiv:1710.10196",
    pool="the channels of each position, no mean",
    bench=(Case(((8, 64, 32, 32),)),),
)
