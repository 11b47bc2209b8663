"""Gaussian windows: means over a neighbourhood of every position and over all channels, and their transpose.

    x (N, C, H, W)   m_p = Σ w(q - p)·x_cq / (C·Z_p) over all channels c and the q of window p
                     w(d) = exp(-d²/(2·sigma²))      Z_p = Σ w(q - p)

A window has KH × KW positions, both odd, around its own. At a border it holds only positions of the image,
and Z makes its weights sum to 1: there is no padding. As in data/contrast.py, which does the same to images.

With the matrix W of all w(q - p), the mean is G = D·W, D = diag(1/(C·Z)), after a sum over channels. W is
symmetric, as the distance from q to p is that from p to q. So the gradient of x, Gᵀ = W·D, is the same sum
over windows; only the division comes before it:

    mean        scale · window_sums(Σ x over channels)
    transpose   window_sums(scale · Σ d over channels)       scale = 1/(C·Z)

A Gaussian is a product of one for each axis, and so are W and Z: KH + KW numbers are added, not KH·KW.
Planes (N, 1, H, W) are in float64 on the CPU: they are small beside x, and no digits are lost in them.
"""

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

from ...autograd.tensor import Tensor
from ...backends import Array, backend_of, namespace
from ...backends.cpu.loop_helpers import helper
from ...backends.cuda.capture import upload
from ...backends.cuda.launch import CudaSource, accumulator_dtype, wide_empty
from ...ops import cat, zeros
from ...ops.arguments import as_number, as_size
from ...ops.checks import Shape, check_input
from .magnitudes import scales_of_rows

CHANNELS = (1,)
THREADS = 256  # of a block


class Gaussian(NamedTuple):
    """The sizes and standard deviations of a window, for rows and for columns, in positions."""

    sizes: tuple[int, int]
    sigmas: tuple[float, float]


class Window(NamedTuple):
    """A Gaussian window on an image: weights (KH,) and (KW,), up to its size, and scale (H, W)."""

    rows: Array
    columns: Array
    scale: Array


def as_gaussian(kernel_size: int | Sequence[int], sigma: float | None) -> Gaussian:
    """Return the window of this size; without sigma it is six standard deviations wide.

    Raises:
        TypeError: if a size is not an int, or sigma is not a number.
        ValueError: if there are not one or two sizes, one is not odd, or sigma is not positive and finite.
    """
    sizes: Any = tuple(kernel_size) if isinstance(kernel_size, Sequence) else (kernel_size,) * 2
    if len(sizes) != 2:
        raise ValueError(f"kernel_size must be an int or 2 ints, got {kernel_size!r}")
    sizes = tuple([as_size(size, "kernel_size") for size in sizes])
    if not all(size % 2 for size in sizes):
        raise ValueError(f"kernel_size must be odd, so that a window has a middle, got {kernel_size}")
    if sigma is None:
        return Gaussian(sizes, tuple([size / 6 for size in sizes]))
    return Gaussian(sizes, (as_positive(sigma, "sigma"),) * 2)


def as_positive(value: float, name: str) -> float:
    """Return `value` as a float.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not positive and finite.
    """
    number = as_number(value, name)
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value}")
    return number


def check_image(x: Tensor, name: str, channels: int | None = None) -> None:
    """Check that x is (N, C, H, W), of floating-point numbers, with positions.

    Raises:
        TypeError: if it is not a floating-point tensor.
        ValueError: if it has other axes, no positions, or not `channels`, if that is given.
    """
    check_input(x, name)
    if x.ndim != 4 or 0 in x.shape[2:]:
        raise ValueError(f"{name} takes an input (N, C, H, W) with positions, got shape {x.shape}")
    if channels is not None and x.shape[1] != channels:
        raise ValueError(
            f"{name} was made for {channels} channels, but x of shape {x.shape} has {x.shape[1]}"
        )


def window_on(x: Array, gaussian: Gaussian) -> Window:
    """Return the window on x (N, C, H, W), where x is, in the precision of planes."""
    window = _window_on(x.shape[1:], gaussian)
    if backend_of(x).name == "numpy":
        return window
    return Window(*[upload(a.astype(accumulator_dtype(x)), namespace(x)) for a in window])


@functools.lru_cache(maxsize=256)
def _window_on(image: Shape, gaussian: Gaussian) -> Window:
    C, *space = image
    weights: list[numpy.ndarray] = []
    totals: list[numpy.ndarray] = []
    for S, size, sigma in zip(space, *gaussian, strict=True):
        reach = min(size // 2, S - 1)
        with numpy.errstate(over="ignore"):  # of a tiny sigma: only the middle counts
            w = numpy.exp(-0.5 * (numpy.arange(-reach, reach + 1) / sigma) ** 2)
        weights.append(w)
        totals.append(numpy.array([w[max(0, reach - p) : reach + S - p].sum() for p in range(S)]))
    return Window(weights[0], weights[1], 1 / (max(C, 1) * totals[0][:, None] * totals[1]))


def window_means_composed(x: Tensor, gaussian: Gaussian) -> Tensor:
    """Return the means (N, 1, H, W) over the windows and channels of x, from primitives."""
    window, t = _window_on(x.shape[1:], gaussian), x.sum(1, keepdim=True)
    for axis, weights in ((2, window.rows), (3, window.columns)):
        S, reach = t.shape[axis], len(weights) // 2
        edge = zeros(*t.shape[:axis], reach, *t.shape[axis + 1 :], dtype=t.dtype)
        padded, whole = cat([edge, t, edge], axis), (slice(None),) * axis
        parts = [padded[(*whole, slice(k, k + S))] * float(weights[k]) for k in range(len(weights))]
        t = functools.reduce(operator.add, parts)
    return t * Tensor(window.scale.astype(x.dtype))


def window_sums(t: Array, window: Window) -> Array:
    """Return Σ w·t over the window of every position of planes t (N, 1, H, W)."""
    for axis, weights in ((2, window.rows), (3, window.columns)):
        sums, before = namespace(t).zeros_like(t), (slice(None),) * axis
        S, reach = t.shape[axis], len(weights) // 2
        for k in range(-reach, reach + 1):
            own, other = slice(max(0, -k), S - max(0, k)), slice(max(0, k), S - max(0, -k))
            sums[(*before, own)] += weights[k + reach] * t[(*before, other)]
        t = sums
    return t


@helper
def window_sums_of_plane(t: Array, rows: Array, columns: Array, across: Array, m: Array) -> None:
    """Write Σ w·t over the windows of a plane t (H, W) into m: first along rows, into `across`."""
    (H, W), R, S = t.shape, len(rows) // 2, len(columns) // 2
    for h in range(H):
        for i in range(W):
            across[h, i] = 0.0
        for k in range(-S, S + 1):
            for i in range(max(0, -k), min(W, W - k)):
                across[h, i] += columns[k + S] * t[h, i + k]
    for h in range(H):
        for i in range(W):
            m[h, i] = 0.0
        for k in range(max(-R, -h), min(R + 1, H - h)):
            for i in range(W):
                m[h, i] += rows[k + R] * across[h + k, i]


def wide_planes(x: Array) -> Array:
    """Return x in the precision of planes."""
    return x.astype(numpy.float64, copy=False)


def units_of_samples(x: Array) -> Array:
    """Return powers of two (N, 1, 1, 1) near the largest |x| of each sample; 1 if no square overflows."""
    if x.dtype != numpy.float64 or not x.size:
        return namespace(x).ones((len(x), 1, 1, 1))
    scales = scales_of_rows(x.reshape(len(x), -1)).reshape(-1, 1, 1, 1)
    return namespace(x).maximum(scales, 2.0**-1000)  # so that 1/unit is finite


def first_entries(x: Array) -> Array:
    """Return the first entry of each sample: what is taken off first, so that a flat image becomes exactly 0.

    One that is not finite is 0, as it would reach farther than its windows.
    """
    xp, first = namespace(x), x[:, :1, :1, :1]
    return wide_planes(xp.where(xp.isfinite(first), first, 0))


@helper
def finite_or_zero(first: float) -> float:
    """Return the first entry of a sample, or 0 if it is not finite."""
    return first if abs(first) < math.inf else 0.0


def window_sums_along_rows(source: CudaSource, t: Array, window: Window) -> Array:
    """Return Σ w·t along the rows of planes t (N, 1, H, W), by one kernel; half of `window_sums`."""
    sums, W = wide_empty(t, *t.shape), t.shape[3]
    args = t, window.columns, sums, t.size, W, len(window.columns) // 2
    source.launch("window_sums", t.dtype, (), blocks_of(t.size), THREADS, args)
    return sums


def blocks_of(positions: int) -> int:
    """Return how many blocks have a thread for every position."""
    return -(-positions // THREADS)
