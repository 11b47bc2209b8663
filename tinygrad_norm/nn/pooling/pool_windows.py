"""The windows of average and max pooling."""

import functools
from typing import NamedTuple

import numpy

from ...ops.dims import Shape
from ..windows.sliding_view import Sizes, Windows, as_tuple, check_fit


def pool_windows(
    space: Shape,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
    name: str,
) -> Windows:
    """Return the windows of a pooling; stride=None means kernel_size.

    With `ceil_mode` the last window may extend beyond the padding, but must begin in x or before it.

    Raises:
        ValueError: if no window fits, or a window would contain only padding.
    """
    axes = len(space)
    kernel = as_tuple(kernel_size, axes, "kernel_size", 1)
    strides = kernel if stride is None else as_tuple(stride, axes, "stride", 1)
    dilations = as_tuple(dilation, axes, "dilation", 1)
    before = as_tuple(padding, axes, "padding", 0)
    windows = Windows(kernel, strides, dilations, before, before)
    if any(a > extent // 2 for a, extent in zip(before, windows.extent, strict=True)):
        raise ValueError(
            f"{name}: padding ({padding}) must be at most half the extent of a window {windows.extent}"
        )
    if ceil_mode:
        terms = zip(space, strides, windows.extent, before, strict=True)
        windows = windows._replace(after=tuple([_rounded_up(S, s, extent, a) for S, s, extent, a in terms]))
    check_fit(windows, space, name)
    for S, s, d, a in zip(space, strides, dilations, before, strict=True):
        if any(start % d >= S for start in range(-a, 0, s)):
            raise ValueError(
                f"{name}: with dilation {d} and padding {a}, a window would contain only padding, "
                f"none of the {S} positions of the input: use a smaller dilation or padding"
            )
    return windows


class Bounds(NamedTuple):
    """Windows as plain loops take them: along axis i, window p is range(begin[i][p], end[i][p], step[i]).

    There are three axes; missing ones come first, with one window of one position.
    """

    begin: tuple[numpy.ndarray, ...]
    end: tuple[numpy.ndarray, ...]
    step: Shape

    @property
    def counts(self) -> Shape:
        """The number of windows along each axis."""
        return tuple([len(begin) for begin in self.begin])


def as_bounds(axes: list[tuple[numpy.ndarray, numpy.ndarray, int]]) -> Bounds:
    """Return the bounds of windows with begin, end and step along one, two or three axes."""
    whole = numpy.zeros(1, numpy.int64), numpy.ones(1, numpy.int64), 1
    begin, end, step = zip(*[whole] * (3 - len(axes)), *axes, strict=True)
    return Bounds(begin, end, step)


@functools.lru_cache(maxsize=256)
def bounds_inside(windows: Windows, space: Shape) -> Bounds:
    """Return the bounds of the parts of all windows that are inside of x."""
    axes = []
    for S, P, extent, s, d, a in zip(
        space,
        windows.counts(space),
        windows.extent,
        windows.stride,
        windows.dilation,
        windows.before,
        strict=True,
    ):
        first = numpy.arange(P) * s - a
        axes.append((numpy.where(first < 0, first % d, first), numpy.minimum(first + extent, S), d))
    return as_bounds(axes)


@functools.lru_cache(maxsize=256)
def window_weights(windows: Windows, space: Shape, padded: bool, divisor: int | None) -> numpy.ndarray:
    """Return 1/n_p for every window, (*P)."""
    counts = window_sizes(windows, space, padded) if divisor is None else divisor
    return numpy.array(numpy.broadcast_to(1 / counts, windows.counts(space)))


def window_sizes(windows: Windows, space: Shape, padded: bool) -> numpy.ndarray:
    """Return the number of entries of every window in x, with `padded` also in its padding; shape (*P)."""
    sizes = numpy.ones(())
    for S, P, K, s, a in zip(
        space, windows.counts(space), windows.kernel, windows.stride, windows.before, strict=True
    ):
        begin = numpy.arange(P) * s - a
        low, high = (-a, S + a) if padded else (0, S)
        sizes = sizes[..., None] * (numpy.minimum(begin + K, high) - numpy.maximum(begin, low))
    return sizes


def adaptive_windows(size: int, count: int) -> list[tuple[int, int]]:
    """Return the begin and the end of every window."""
    return [(p * size // count, -(-(p + 1) * size // count)) for p in range(count)]


@functools.lru_cache(maxsize=256)
def adaptive_bounds(space: Shape, count: Shape, dtype: numpy.dtype) -> tuple[Bounds, numpy.ndarray]:
    """Return the windows as loops take them, and 1/n_p for each, (*P)."""
    windows = [numpy.array(adaptive_windows(S, P)).T.copy() for S, P in zip(space, count, strict=True)]
    sizes = numpy.ones(())
    for begin, end in windows:
        sizes = sizes[..., None] * (end - begin)
    return as_bounds([(begin, end, 1) for begin, end in windows]), (1 / sizes).astype(dtype)


def as_planes(space: Shape) -> Shape:
    """Return three sizes for the one, two or three axes of x in `space`."""
    return (1,) * (3 - len(space)) + space


def _rounded_up(size: int, stride: int, extent: int, before: int) -> int:
    """Return the padding after x with which the last window fits."""
    more = -(-(size + 2 * before - extent) // stride)
    if more * stride >= size + before:
        more -= 1
    return more * stride + extent - size - before
