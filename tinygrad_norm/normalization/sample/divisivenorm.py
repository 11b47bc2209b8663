"""Divisive normalization: every entry over the deviation of its neighbourhood, in all channels.

    x (N, C, H, W)   σ_p = √(Σ w(q - p)·x_iq² / (C·Z_p)) over all channels i and the q in the window of p
    c = max(mean(σ), eps), the mean over one sample; or c = eps
    s = max(σ, c)    y = x/s

w is a Gaussian, and Z_p the sum of its weights in the image: σ² = G·x², with the windows and the matrix G of
core/gaussian.py. No mean is subtracted: σ is a deviation if x has local mean 0, as subtractivenorm.py leaves.

In the code: σ deviation, c least, s divisor, w window and 1/(C·Z) its scale.

Jarrett, Kavukcuoglu, Ranzato, LeCun 2009, "What is the Best Multi-Stage Architecture for Object
Recognition?": the second half of local contrast normalization, with c = mean(σ). Ren, Liao, Urtasun, Sinz,
Zemel 2016, arXiv:1611.04520, compare such windows with the pools of batch and layer normalization.

Backward, from dy = dL/dy. x is in its own entry of y, and in s of all windows that hold it:

    straight       dy/s
    through s      ds_p = -Σ dy_ip·x_ip/s_p² = -(Σ dy·y)/s over the channels
    through max    where σ > c, s is σ and ds goes there; elsewhere to c, one for all: dc = Σ ds over these p
    through c      dc/(H·W) to every σ of the sample, if c is their mean; nowhere, if c = eps
    through σ      ∂σ_p/∂x_iq = w(q - p)·x_iq/(C·Z_p·σ_p), so Gᵀ takes dσ/σ back to the entries

    dx = dy/s + x·Gᵀ·(dσ/σ)      dσ = (ds where σ > c, else 0) + (dc/(H·W) or 0)

A window of zeros has σ = 0, and no entry that could change it to first order: 0 stands for dσ/σ there. So a
flat image has a finite gradient. Where σ = c, all of ds goes to c: one of the subgradients; PyTorch's maximum
gives one half each. The code squares x in units of its sample, a power of two, so no square overflows, and
computes x/c and dσ·c/σ, which are not extreme if x is.

Insight: y does not know how strong the contrast of an image is: twice x has twice σ and c, and the same y, so
Σ dx·x = 0 unless c = eps. The maximum with the mean lets it know where the contrast is: what is flatter than
the image as a whole stays flat, and its noise is not made as loud as an edge.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.loops import Loop
from ...backends.cpu.pool_loops import fits_a_loop, plain, run_over_pools
from ...backends.cpu.sums import means, sum_products, sums
from ...backends.cuda.launch import CudaSource, contiguous, wide_empty
from ...module import Module
from ...ops import ones
from ...ops.arguments import as_size, check_flags
from ...registry import Case, ErrorCase, register
from ..batch.fixednorm import channel_kernels
from ..core.gaussian import (
    CHANNELS,
    THREADS,
    Gaussian,
    Window,
    as_gaussian,
    as_positive,
    blocks_of,
    check_image,
    units_of_samples,
    wide_planes,
    window_means_composed,
    window_on,
    window_sums,
    window_sums_along_rows,
)
from .divisiveloops import FAR, divisive_norm_backward_loop, divisive_norm_forward_loop

_kernels = CudaSource(__file__, "../core/gaussian.cuh")
PLANE = (2, 3)


def divisive_norm_composed(
    input: Tensor,
    kernel_size: int | Sequence[int] = 9,
    sigma: float | None = None,
    eps: float = 1e-3,
    mean_floor: bool = True,
) -> Tensor:
    """Divisive normalization from primitives: autograd finds the gradient."""
    deviation = window_means_composed(input * input, as_gaussian(kernel_size, sigma)).sqrt()
    least = deviation.mean(PLANE, keepdim=True).clamp(min=eps) if mean_floor else eps
    divisor = deviation.maximum(least)
    return input / divisor


@kernel
@in_blocks("x")
def divisive_norm_forward(
    x: Array, window: Window, eps: float, mean_floor: bool
) -> tuple[Array, Array, Array]:
    """Return y (N, C, H, W), deviation (N, 1, H, W) and least (N, 1, 1, 1)."""
    xp, wide = namespace(x), wide_planes(x)
    unit = units_of_samples(x)
    scaled = wide / unit
    squares = window_sums(sum_products(scaled, scaled, CHANNELS), window)
    deviation = unit * xp.sqrt(window.scale * squares)
    least = _least(means(deviation, PLANE), eps, mean_floor)
    return (wide / xp.maximum(deviation, least)).astype(x.dtype, copy=False), deviation, least


def _least(mean: Array, eps: float, mean_floor: bool) -> Array:
    """Return c of each sample (N, 1, 1, 1), for the mean of its deviations."""
    xp = namespace(mean)
    return xp.maximum(mean, eps) if mean_floor else xp.full_like(mean, eps)


_forward_loop = Loop(divisive_norm_forward_loop)


@divisive_norm_forward.cpu
def _divisive_norm_forward_cpu(x: Array, window: Window, eps: float, mean_floor: bool) -> Any:
    """Two passes over x; the planes of a sample stay in the cache."""
    if not fits_a_loop(x):
        return NotImplemented
    (N, _, H, W), y = x.shape, numpy.empty(x.shape, x.dtype)
    deviation, least = numpy.empty((N, 1, H, W)), numpy.empty((N, 1, 1, 1))
    args = plain(x), *window, units_of_samples(x), eps, mean_floor, y, deviation, least
    run_over_pools(_forward_loop, x.size, N, *args)
    return y, deviation, least


@divisive_norm_forward.cuda
def divisive_norm_forward_cuda(
    x: Array, window: Window, eps: float, mean_floor: bool
) -> tuple[Array, Array, Array]:
    """The norms of channels, of windows along rows, and along columns; the means; y."""
    (N, C, H, W), (x,) = x.shape, contiguous(x)
    t, along, deviation = (wide_empty(x, N, 1, H, W) for _ in range(3))
    y, blocks = namespace(x).empty_like(x), blocks_of(t.size)
    _kernels.launch("channel_norms", x.dtype, (), blocks, THREADS, (x, t, t.size, C, H * W))
    rows = t, window.columns, None, along, t.size, W, 1, len(window.columns) // 2, H * W
    _kernels.launch("window_norms", t.dtype, (), blocks, THREADS, rows)
    columns = along, window.rows, window.scale, deviation, t.size, H, W, len(window.rows) // 2, H * W
    _kernels.launch("window_norms", t.dtype, (), blocks, THREADS, columns)
    least = _least(_plane_sums(deviation / (H * W)), eps, mean_floor)
    rest = x, deviation, least, y, t.size, C, H * W
    _kernels.launch("divide_by_deviations", x.dtype, (), blocks, THREADS, rest)
    return y, deviation, least


def _plane_sums(t: Array) -> Array:
    """Return the sums (N, 1, 1, 1) of planes t (N, 1, H, W), on a GPU: every plane is a channel."""
    N, xp = len(t), namespace(t)
    planes, nothing = t.reshape(1, N, t.size // N), xp.zeros((1, N, 1), t.dtype)
    return channel_kernels.sums(planes, planes, nothing, nothing)[1].reshape(N, 1, 1, 1)


@kernel
@in_blocks("dy", "x", "deviation", "least")
def divisive_norm_backward(
    dy: Array, x: Array, deviation: Array, least: Array, window: Window, eps: float
) -> Array:
    """Return dx (N, C, H, W)."""
    divisor = namespace(x).maximum(deviation, least)
    ds = -sum_products(wide_planes(dy), x / divisor, CHANNELS) / divisor
    dc = sums(_to_least(ds, deviation, least), PLANE)
    pull = _through_deviations(ds, dc, deviation, least, eps, least)
    return (dy / divisor + x / least * window_sums(window.scale * pull, window)).astype(dy.dtype, copy=False)


def _to_least(ds: Array, deviation: Array, least: Array) -> Array:
    """Return ds where the divisor is c, else 0."""
    return namespace(ds).where(deviation <= least, ds, 0)


def _through_deviations(
    ds: Array, dc: Array, deviation: Array, least: Array, eps: float, unit: Array
) -> Array:
    """Return dσ·unit/σ (N, 1, H, W), and 0 for a window of zeros."""
    xp, (_, _, H, W) = namespace(ds), ds.shape
    d_deviation = xp.where(deviation <= least, 0, ds) + xp.where(least > eps, dc / (H * W), 0)
    none, far = deviation == 0, deviation < unit / FAR
    ratio = xp.where(far, 0, unit / xp.where(none | far, 1, deviation))
    return xp.where(none, 0, d_deviation * ratio)


_backward_loop = Loop(divisive_norm_backward_loop)


@divisive_norm_backward.cpu
def _divisive_norm_backward_cpu(
    dy: Array, x: Array, deviation: Array, least: Array, window: Window, eps: float
) -> Any:
    """Two passes over dy and x."""
    if not fits_a_loop(dy, x):
        return NotImplemented
    dx = numpy.empty(x.shape, x.dtype)
    args = plain(dy), plain(x), deviation, least, *window, eps, dx
    run_over_pools(_backward_loop, x.size, len(x), *args)
    return dx


@divisive_norm_backward.cuda
def divisive_norm_backward_cuda(
    dy: Array, x: Array, deviation: Array, least: Array, window: Window, eps: float
) -> Array:
    """The gradients of divisors, and their sum for c; windows along rows, and along columns with dx."""
    (N, C, H, W), (dy, x) = x.shape, contiguous(dy, x)
    ds, dx = wide_empty(x, N, 1, H, W), namespace(x).empty_like(x)
    given, sizes = (dy, x, deviation, least), (ds.size, C, H * W)
    _kernels.launch("divisor_gradients", x.dtype, (), blocks_of(ds.size), THREADS, (*given, ds, *sizes))
    dc = _plane_sums(_to_least(ds, deviation, least))
    mean = _plane_sums(deviation / (H * W))
    unit = namespace(x).where((mean > least) & (mean < math.inf), mean, least)  # c can be far from all σ
    pull = window.scale * _through_deviations(ds, dc, deviation, least, eps, unit)
    along = window_sums_along_rows(_kernels, pull, window)
    rest = *given, unit, along, window.rows, dx, ds.size, C, H, W, len(window.rows) // 2
    _kernels.launch("divided_gradients", x.dtype, (), blocks_of(ds.size), THREADS, rest)
    return dx


class DivisiveNormFunction(Function):
    """y = x/s, s = max(σ, c) · dx = dy/s + x·Gᵀ·(dσ/σ)"""

    def forward(self, x: Array, *, gaussian: Gaussian, eps: float, mean_floor: bool) -> Array:
        window = window_on(x, gaussian)
        y, deviation, least = divisive_norm_forward(x, window, eps, mean_floor)
        self.saved = x, deviation, least, window, eps
        return y

    def backward(self, dy: Array) -> Gradients:
        return divisive_norm_backward(dy, *self.saved)


def divisive_norm(
    input: Tensor,
    kernel_size: int | Sequence[int] = 9,
    sigma: float | None = None,
    eps: float = 1e-3,
    mean_floor: bool = True,
) -> Tensor:
    """Divide every entry by the root mean square of a Gaussian window around it, over all channels.

    Args:
        input: (N, C, H, W).
        kernel_size: size of the window, odd: an int, or one each for H and W. Only positions of the image
            count, and their weights sum to 1; so a window may be larger than the image.
        sigma: standard deviation of the Gaussian, in positions; by default the window is 6·sigma wide.
        eps: least divisor, in units of the input.
        mean_floor: whether the divisor is also at least the mean over all windows of the sample.

    Raises:
        TypeError: if the input is not a floating-point tensor, a size not an int, or another argument not a
            number or a bool.
        ValueError: if the input is not (N, C, H, W) with positions, a size is not odd, or sigma or eps not
            positive and finite.

    Source: Jarrett, Kavukcuoglu, Ranzato, LeCun 2009.
    """
    check_flags(mean_floor=mean_floor)
    gaussian, eps = as_gaussian(kernel_size, sigma), as_positive(eps, "eps")
    check_image(input, "divisive_norm")
    return DivisiveNormFunction.apply(input, gaussian=gaussian, eps=eps, mean_floor=bool(mean_floor))


class DivisiveNorm2d(Module):
    """Divisive normalization of (N, channels, H, W); see divisive_norm. It has no parameters.

    Source: Jarrett, Kavukcuoglu, Ranzato, LeCun 2009.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | Sequence[int] = 9,
        sigma: float | None = None,
        eps: float = 1e-3,
        mean_floor: bool = True,
    ) -> None:
        super().__init__()
        check_flags(mean_floor=mean_floor)
        as_gaussian(kernel_size, sigma)
        self.channels, self.kernel_size, self.sigma = as_size(channels, "channels"), kernel_size, sigma
        self.eps, self.mean_floor = as_positive(eps, "eps"), mean_floor

    def forward(self, input: Tensor) -> Tensor:
        check_image(input, "DivisiveNorm2d", self.channels)
        return divisive_norm(input, self.kernel_size, self.sigma, self.eps, self.mean_floor)

    def extra_repr(self) -> str:
        return (
            f"{self.channels}, kernel_size={self.kernel_size}, sigma={self.sigma}, eps={self.eps}, "
            f"mean_floor={self.mean_floor}"
        )


register(
    name="divisive_norm",
    function=divisive_norm,
    composed=divisive_norm_composed,
    cases=(
        Case(((2, 3, 5, 6),), {"kernel_size": 3}),
        Case(((2, 2, 4, 7),), {"kernel_size": (3, 5), "sigma": 0.8, "mean_floor": False}),
        Case(((2, 2, 4, 4),), {"kernel_size": 3, "mean_floor": False, "eps": 0.9}),
        Case(((2, 2, 4, 4),), {"kernel_size": 3, "eps": 3.0}),
        Case(((1, 1, 12, 11),)),
        Case(((2, 3, 1, 4),), {"kernel_size": (1, 3)}),
        Case(((2, 3, 2, 2),), {"kernel_size": 1}),
        Case(((3, 2, 1, 1),), {"kernel_size": 5}),
        Case(((0, 3, 4, 4),), {"kernel_size": 3}),
        Case(((2, 0, 4, 4),), {"kernel_size": 3}),
    ),
    errors=(
        ErrorCase(lambda: divisive_norm(ones(1, 2, 3, 3, dtype=int), 3), TypeError, "floating-point"),
        ErrorCase(lambda: divisive_norm(ones(2, 3, 3), 3), ValueError, "(N, C, H, W)"),
        ErrorCase(lambda: divisive_norm(ones(1, 2, 3, 0), 3), ValueError, "with positions"),
        ErrorCase(lambda: divisive_norm(ones(1, 2, 3, 3), 4), ValueError, "must be odd"),
        ErrorCase(lambda: divisive_norm(ones(1, 2, 3, 3), 3, -1.0), ValueError, "sigma must be positive"),
        ErrorCase(lambda: divisive_norm(ones(1, 2, 3, 3), 3, eps=0.0), ValueError, "eps must be positive"),
        ErrorCase(lambda: divisive_norm(ones(1, 2, 3, 3), 3, eps="1"), TypeError, "eps"),  # type: ignore[arg-type]
        ErrorCase(lambda: divisive_norm(ones(1, 2, 3, 3), 3, mean_floor=1), TypeError, "mean_floor"),  # type: ignore[arg-type]
        ErrorCase(lambda: DivisiveNorm2d(2, 3, eps=-1.0), ValueError, "eps must be positive"),
        ErrorCase(lambda: DivisiveNorm2d(2, 3)(ones(1, 3, 4, 4)), ValueError, "2 channels"),
    ),
    kind="normalization",
    title="DivisiveNorm",
    paper="Jarrett, Kavukcuoglu, Ranzato, LeCun 2009",
    pool="a Gaussian window around each position, all channels; no mean; c: the whole sample",
    bench=(Case(((8, 16, 64, 64),)),),
)
