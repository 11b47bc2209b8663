"""Subtractive normalization: every entry minus the mean of its neighbourhood, in all channels.

    x (N, C, H, W)   m_p = Σ w(q - p)·x_cq / (C·Z_p) over all channels c and the q in the window of p
    y = x - m

w is a Gaussian, and Z_p the sum of its weights in the image, so that they sum to 1 at the borders too: see
core/gaussian.py, where the mean is a matrix, m = G·x with G = D·W after a sum over channels.

In the code: window = w and scale = 1/(C·Z).

Jarrett, Kavukcuoglu, Ranzato, LeCun 2009, "What is the Best Multi-Stage Architecture for Object
Recognition?", with windows of 9 × 9: the first half of local contrast normalization. Ren, Liao, Urtasun,
Sinz, Zemel 2016, arXiv:1611.04520, compare such windows with the pools of batch and layer normalization.

Backward, from dy = dL/dy. x_cq is in its own entry of y, and in the mean of all windows p that hold q:

    straight           dy_cq
    through every m    Σp w(q - p)·(-Σc dy_cp)/(C·Z_p), with dm_p = -Σc dy_cp

    dx = dy - Gᵀ·dy      Gᵀ·dy = window_sums(scale·Σ dy over channels)

where the forward is y = x - scale·window_sums(Σ x over channels).

Insight: y is what a neighbourhood cannot predict of its middle; a slow change of brightness is gone, and an
edge stays. The map is linear: dx does not depend on x, and away from borders G is symmetric, so backward is
subtractive normalization of dy.
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
from ...backends.cpu.sums import sums
from ...backends.cuda.launch import CudaSource, contiguous, wide_empty
from ...module import Module
from ...ops import ones
from ...ops.arguments import as_size
from ...registry import Case, ErrorCase, register
from ..core.gaussian import (
    CHANNELS,
    THREADS,
    Gaussian,
    Window,
    as_gaussian,
    blocks_of,
    check_image,
    finite_or_zero,
    first_entries,
    wide_planes,
    window_means_composed,
    window_on,
    window_sums,
    window_sums_along_rows,
    window_sums_of_plane,
)

_kernels = CudaSource(__file__, "../core/gaussian.cuh")


def subtractive_norm_composed(
    input: Tensor, kernel_size: int | Sequence[int] = 9, sigma: float | None = None
) -> Tensor:
    """Subtractive normalization from primitives: autograd finds the gradient."""
    m = window_means_composed(input, as_gaussian(kernel_size, sigma))
    return input - m


@kernel
@in_blocks("x")
def subtractive_norm_forward(x: Array, window: Window) -> Array:
    """Return y, as x (N, C, H, W)."""
    relative = wide_planes(x) - first_entries(x)
    m = window.scale * window_sums(sums(relative, CHANNELS), window)
    return (relative - m).astype(x.dtype, copy=False)


def subtractive_norm_forward_loop(
    x: Array, rows: Array, columns: Array, scale: Array, y: Array, start: int, stop: int
) -> None:
    """One sample after the other: the sum of its channels, the sums over windows, and y."""
    (_, C, H, W), real = x.shape, x.dtype.type
    t, across, m = numpy.empty((H, W)), numpy.empty((H, W)), numpy.empty((H, W))
    for n in range(start, stop):
        first = numpy.float64(finite_or_zero(x[n, 0, 0, 0]))
        t[:] = 0.0
        for c in range(C):
            for h in range(H):
                for i in range(W):
                    t[h, i] += x[n, c, h, i] - first
        window_sums_of_plane(t, rows, columns, across, m)
        for c in range(C):
            for h in range(H):
                for i in range(W):
                    y[n, c, h, i] = real((x[n, c, h, i] - first) - scale[h, i] * m[h, i])


_forward_loop = Loop(subtractive_norm_forward_loop)


@subtractive_norm_forward.cpu
def _subtractive_norm_forward_cpu(x: Array, window: Window) -> Any:
    """Two passes over x; the planes of a sample stay in the cache."""
    return _run(_forward_loop, x, window)


def _run(loop: Loop, x: Array, window: Window) -> Any:
    if not fits_a_loop(x):
        return NotImplemented
    y = numpy.empty(x.shape, x.dtype)
    run_over_pools(loop, x.size, len(x), plain(x), *window, y)
    return y


@subtractive_norm_forward.cuda
def subtractive_norm_forward_cuda(x: Array, window: Window) -> Array:
    """Three kernels: the sums of channels, their sums along rows, and those along columns with y."""
    return _less_windows(x, window, is_forward=True)


def _less_windows(x: Array, window: Window, is_forward: bool) -> Array:
    """Return x less its windows' sums: scaled after them in forward, before them in backward."""
    (N, C, H, W), (x,) = x.shape, contiguous(x)
    t, y = wide_empty(x, N, 1, H, W), namespace(x).empty_like(x)
    before, after = (None, window.scale) if is_forward else (window.scale, None)
    sums = x, before, t, t.size, C, H * W, is_forward
    _kernels.launch("channel_sums", x.dtype, (), blocks_of(t.size), THREADS, sums)
    t = window_sums_along_rows(_kernels, t, window)
    rest = x, t, window.rows, after, y, t.size, C, H, W, len(window.rows) // 2, is_forward
    _kernels.launch("less_windows", x.dtype, (), blocks_of(t.size), THREADS, rest)
    return y


@kernel
@in_blocks("dy")
def subtractive_norm_backward(dy: Array, window: Window) -> Array:
    """Return dx (N, C, H, W)."""
    g = window_sums(window.scale * sums(wide_planes(dy), CHANNELS), window)
    return (dy - g).astype(dy.dtype, copy=False)


def subtractive_norm_backward_loop(
    dy: Array, rows: Array, columns: Array, scale: Array, dx: Array, start: int, stop: int
) -> None:
    """One sample after the other: the scaled sum of its channels, the sums over windows, and dx."""
    (_, C, H, W), real = dy.shape, dy.dtype.type
    t, across, g = numpy.empty((H, W)), numpy.empty((H, W)), numpy.empty((H, W))
    for n in range(start, stop):
        t[:] = 0.0
        for c in range(C):
            for h in range(H):
                for i in range(W):
                    t[h, i] += scale[h, i] * dy[n, c, h, i]
        window_sums_of_plane(t, rows, columns, across, g)
        for c in range(C):
            for h in range(H):
                for i in range(W):
                    dx[n, c, h, i] = real(dy[n, c, h, i] - g[h, i])


_backward_loop = Loop(subtractive_norm_backward_loop)


@subtractive_norm_backward.cpu
def _subtractive_norm_backward_cpu(dy: Array, window: Window) -> Any:
    """Two passes over dy."""
    return _run(_backward_loop, dy, window)


@subtractive_norm_backward.cuda
def subtractive_norm_backward_cuda(dy: Array, window: Window) -> Array:
    """The three kernels of forward, with the scale at the other end."""
    return _less_windows(dy, window, is_forward=False)


class SubtractiveNormFunction(Function):
    """y = x - G·x, the mean over windows and channels · dx = dy - Gᵀ·dy"""

    def forward(self, x: Array, *, gaussian: Gaussian) -> Array:
        window = window_on(x, gaussian)
        self.saved = (window,)
        return subtractive_norm_forward(x, window)

    def backward(self, dy: Array) -> Gradients:
        return subtractive_norm_backward(dy, *self.saved)


def subtractive_norm(
    input: Tensor, kernel_size: int | Sequence[int] = 9, sigma: float | None = None
) -> Tensor:
    """Subtract from every entry the mean of a Gaussian window around it, over all channels.

    Args:
        input: (N, C, H, W).
        kernel_size: size of the window, odd: an int, or one each for H and W. Only positions of the image
            count, and their weights sum to 1; so a window may be larger than the image.
        sigma: standard deviation of the Gaussian, in positions; by default the window is 6·sigma wide.

    Raises:
        TypeError: if the input is not a floating-point tensor, a size not an int, or sigma not a number.
        ValueError: if the input is not (N, C, H, W) with positions, a size is not odd, or sigma not positive.

    Source: Jarrett, Kavukcuoglu, Ranzato, LeCun 2009.
    """
    gaussian = as_gaussian(kernel_size, sigma)
    check_image(input, "subtractive_norm")
    return SubtractiveNormFunction.apply(input, gaussian=gaussian)


class SubtractiveNorm2d(Module):
    """Subtractive normalization of (N, channels, H, W); see subtractive_norm. It has no parameters.

    Source: Jarrett, Kavukcuoglu, Ranzato, LeCun 2009.
    """

    def __init__(
        self, channels: int, kernel_size: int | Sequence[int] = 9, sigma: float | None = None
    ) -> None:
        super().__init__()
        as_gaussian(kernel_size, sigma)
        self.channels, self.kernel_size, self.sigma = as_size(channels, "channels"), kernel_size, sigma

    def forward(self, input: Tensor) -> Tensor:
        check_image(input, "SubtractiveNorm2d", self.channels)
        return subtractive_norm(input, self.kernel_size, self.sigma)

    def extra_repr(self) -> str:
        return f"{self.channels}, kernel_size={self.kernel_size}, sigma={self.sigma}"


register(
    name="subtractive_norm",
    function=subtractive_norm,
    composed=subtractive_norm_composed,
    cases=(
        Case(((2, 3, 5, 6),), {"kernel_size": 3}),
        Case(((2, 2, 4, 7),), {"kernel_size": (3, 5), "sigma": 0.8}),
        Case(((1, 1, 12, 11),)),
        Case(((2, 2, 2, 3),)),
        Case(((2, 3, 1, 4),), {"kernel_size": (1, 3)}),
        Case(((2, 3, 2, 2),), {"kernel_size": 1}),
        Case(((3, 2, 1, 1),), {"kernel_size": 5}),
        Case(((0, 3, 4, 4),), {"kernel_size": 3}),
        Case(((2, 0, 4, 4),), {"kernel_size": 3}),
    ),
    errors=(
        ErrorCase(lambda: subtractive_norm(ones(1, 2, 3, 3, dtype=int), 3), TypeError, "floating-point"),
        ErrorCase(lambda: subtractive_norm(ones(2, 3, 3), 3), ValueError, "(N, C, H, W)"),
        ErrorCase(lambda: subtractive_norm(ones(1, 2, 0, 3), 3), ValueError, "with positions"),
        ErrorCase(lambda: subtractive_norm(ones(1, 2, 3, 3), 4), ValueError, "must be odd"),
        ErrorCase(lambda: subtractive_norm(ones(1, 2, 3, 3), (3, 2)), ValueError, "must be odd"),
        ErrorCase(lambda: subtractive_norm(ones(1, 2, 3, 3), (3, 3, 3)), ValueError, "an int or 2 ints"),
        ErrorCase(lambda: subtractive_norm(ones(1, 2, 3, 3), 0), ValueError, "at least 1"),
        ErrorCase(lambda: subtractive_norm(ones(1, 2, 3, 3), 2.5), TypeError, "must be an int"),  # type: ignore[arg-type]
        ErrorCase(lambda: subtractive_norm(ones(1, 2, 3, 3), 3, 0.0), ValueError, "sigma must be positive"),
        ErrorCase(lambda: subtractive_norm(ones(1, 2, 3, 3), 3, math.nan), ValueError, "sigma"),
        ErrorCase(lambda: subtractive_norm(ones(1, 2, 3, 3), 3, "1"), TypeError, "sigma"),  # type: ignore[arg-type]
        ErrorCase(lambda: SubtractiveNorm2d(2, 4), ValueError, "must be odd"),
        ErrorCase(lambda: SubtractiveNorm2d(2, 3)(ones(1, 3, 4, 4)), ValueError, "2 channels"),
    ),
    kind="normalization",
    title="SubtractiveNorm",
    paper="Jarrett, Kavukcuoglu, Ranzato, LeCun 2009",
    pool="a Gaussian window around each position, all channels; mean only",
    bench=(Case(((8, 16, 64, 64),)),),
)
