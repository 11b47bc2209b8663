"""Local contrast normalization: every entry minus the mean of its neighbourhood, over its deviation.

    v = x - G·x    y = v/max(σ, c)    σ = √(G·v²)    c = max(mean(σ), eps), or eps

G is the mean over a Gaussian window and all channels, of images (N, C, H, W): subtractivenorm.py, and then
divisivenorm.py of what it leaves, with the same window. At a border the window holds only positions of the
image, and its weights sum to 1. data/contrast.py does the same to the images of a data set, with c = eps.

Jarrett, Kavukcuoglu, Ranzato, LeCun 2009, "What is the Best Multi-Stage Architecture for Object
Recognition?", with windows of 9 × 9, behind a convolution and its rectified responses. Ren, Liao, Urtasun,
Sinz, Zemel 2016, arXiv:1611.04520, compare such windows with the pools of batch and layer normalization.

Backward, by the chain rule through v: with dv = dy/s + v·Gᵀ·(dσ/σ) of divisivenorm.py,

    dx = dv - Gᵀ·dv

so there is nothing to derive. Nor is there to fuse: σ needs v in the whole window, and v needs x in another.

Insight: brightness and contrast of a neighbourhood are what light and shadow change; y has neither. The two
halves are what whitening does with a mean and a variance, for a pool that moves with the position: with a
window as large as the image and no Gaussian, this is layer normalization of (C, H, W).
"""

import math
from collections.abc import Sequence

from ...autograd.tensor import Tensor
from ...ops import ones
from ...registry import Case, ErrorCase, register
from ..core.gaussian import check_image
from .divisivenorm import DivisiveNorm2d, divisive_norm, divisive_norm_composed
from .subtractivenorm import subtractive_norm, subtractive_norm_composed


def local_contrast_norm_composed(
    input: Tensor,
    kernel_size: int | Sequence[int] = 9,
    sigma: float | None = None,
    eps: float = 1e-3,
    mean_floor: bool = True,
) -> Tensor:
    """Local contrast normalization from primitives: autograd finds the gradient."""
    v = subtractive_norm_composed(input, kernel_size, sigma)
    return divisive_norm_composed(v, kernel_size, sigma, eps, mean_floor)


def local_contrast_norm(
    input: Tensor,
    kernel_size: int | Sequence[int] = 9,
    sigma: float | None = None,
    eps: float = 1e-3,
    mean_floor: bool = True,
) -> Tensor:
    """Give every Gaussian window, over all channels, mean 0 and deviation 1, as far as its contrast allows.

    Args:
        input: (N, C, H, W).
        kernel_size: size of the window, odd: an int, or one each for H and W. Only positions of the image
            count, and their weights sum to 1; so a window may be larger than the image.
        sigma: standard deviation of the Gaussian, in positions; by default the window is 6·sigma wide.
        eps: least divisor, in units of the input.
        mean_floor: whether the divisor is also at least the mean deviation of the sample.

    Raises:
        TypeError, ValueError: as `subtractive_norm` and `divisive_norm` do.

    Source: Jarrett, Kavukcuoglu, Ranzato, LeCun 2009.
    """
    check_image(input, "local_contrast_norm")
    v = subtractive_norm(input, kernel_size, sigma)
    return divisive_norm(v, kernel_size, sigma, eps, mean_floor)


class LocalContrastNorm2d(DivisiveNorm2d):
    """Local contrast normalization of (N, channels, H, W); see local_contrast_norm. It has no parameters.

    Source: Jarrett, Kavukcuoglu, Ranzato, LeCun 2009.
    """

    def forward(self, input: Tensor) -> Tensor:
        check_image(input, "LocalContrastNorm2d", self.channels)
        return local_contrast_norm(input, self.kernel_size, self.sigma, self.eps, self.mean_floor)


register(
    name="local_contrast_norm",
    function=local_contrast_norm,
    composed=local_contrast_norm_composed,
    cases=(
        Case(((2, 3, 5, 6),), {"kernel_size": 3}),
        Case(((2, 2, 4, 7),), {"kernel_size": (3, 5), "sigma": 0.8, "mean_floor": False}),
        Case(((2, 2, 4, 4),), {"kernel_size": 3, "mean_floor": False, "eps": 0.7}),
        Case(((1, 1, 12, 11),)),
        Case(((2, 3, 2, 2),), {"kernel_size": 1}),
        Case(((0, 3, 4, 4),), {"kernel_size": 3}),
    ),
    errors=(
        ErrorCase(lambda: local_contrast_norm(ones(1, 2, 3, 3, dtype=int), 3), TypeError, "floating-point"),
        ErrorCase(lambda: local_contrast_norm(ones(2, 3, 3), 3), ValueError, "(N, C, H, W)"),
        ErrorCase(lambda: local_contrast_norm(ones(1, 2, 3, 3), 4), ValueError, "must be odd"),
        ErrorCase(lambda: local_contrast_norm(ones(1, 2, 3, 3), 3, math.inf), ValueError, "sigma"),
        ErrorCase(lambda: local_contrast_norm(ones(1, 2, 3, 3), 3, eps=0.0), ValueError, "eps"),
        ErrorCase(lambda: LocalContrastNorm2d(2, 6), ValueError, "must be odd"),
        ErrorCase(lambda: LocalContrastNorm2d(2, 3)(ones(1, 3, 4, 4)), ValueError, "2 channels"),
    ),
    kind="normalization",
    title="LocalContrastNorm",
    paper="Jarrett, Kavukcuoglu, Ranzato, LeCun 2009",
    pool="a Gaussian window around each position, all channels; c: the whole sample",
    bench=(Case(((8, 16, 64, 64),)),),
)
