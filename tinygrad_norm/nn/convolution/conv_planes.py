"""Where the numbers of a convolution lie, so that each entry of all windows is one stretch of memory.

With stride s, entry k of window p reads x̄ at s·p + d·k, along each axis. Every s-th position is one *phase*:

    s·p + d·k = s·(p + ⌊d·k/s⌋) + (d·k mod s)

is position p + ⌊d·k/s⌋ of phase d·k mod s. Each phase of a channel is a plane of its own, whose positions are
numbered in memory order, with as many after each row as windows reach over its end. These are zeros: the
padding. So what entry k reads for all p is a plane, shifted by a number o_k, and

    y_p = Σk w_k·x̄[o_k + p]

for all p of the plane, also those at the end of a row, where no window begins and whose sums are dropped. The
zeros after a row serve as those before the next row, and those of the last row as those of the next sample:
n samples are one line.

The gradient of x is such a sum, too. Its phase φ gets, at position m, dy_p from those entries k with
d·k mod s = φ, for p = m - ⌊d·k/s⌋. So there dy has one plane, and dx has sᵃˣᵉˢ.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy

from ...backends import Array
from ...ops.dims import Shape
from ..windows.sliding_view import Windows

TILE = 4
"""Filters that are computed at a time."""

ROUND = 96
"""Positions of a line are a multiple of this: of three packs, whatever their width."""

SPAN = 21 * ROUND
"""Most positions that are worked on at a time: x̄ is then in the cache for all filters."""

LINE = 1 << 17
"""Numbers of x̄ and ȳ that stay in the cache: so many samples are in a line."""


class Planes(NamedTuple):
    """The layout of a sum of shifted planes.

    n          samples in a line
    plane      positions of a sample
    positions  those from the first window to the last
    span       positions of a line to work on at a time
    x_starts   (R, s): for each row of a sample of x, the places of its first s numbers in x̄; each is followed
               by every s-th number after it
    y_starts   the same for y and ȳ
    offsets    (F/4, T): o_t in x̄ for each entry of a window, for four rows of ȳ; then those of `ones`, which
               make T a multiple of 3
    counts     (F/4,): how many entries a window has
    ones       the offset of a line that is free in x̄, after all others
    y_shape    the shape of ȳ: F rows, a multiple of 4, of one line each
    """

    n: int
    plane: int
    positions: int
    span: int
    x_starts: Array
    y_starts: Array
    offsets: Array
    counts: Array
    ones: int
    y_shape: tuple[int, int]

    def buffers(self, dtype: numpy.dtype, y: Callable[..., Any] = numpy.zeros) -> tuple[Array, Array]:
        """Return x̄, filled with zeros, and ȳ, made by `y`."""
        x_size, y_size = self.ones + self.y_shape[1], math.prod(self.y_shape)
        return _aligned(numpy.zeros, x_size, dtype), _aligned(y, y_size, dtype)


def _aligned(make: Callable[..., Any], size: int, dtype: numpy.dtype) -> Array:
    """Return an array that begins at a line of the cache."""
    raw = make(size + 64 // dtype.itemsize, dtype)
    return raw[-raw.ctypes.data % 64 // dtype.itemsize :][:size]


class _Axis(NamedTuple):
    """An axis of x or y: position q is in phase (q + before) mod step, at ⌊(q + before)/step⌋."""

    size: int
    before: int
    step: int


@functools.lru_cache(maxsize=256)
def planes_of(shape: Shape, windows: Windows, groups: int, filters: int) -> Planes:
    """Return the layout of a convolution of x of `shape`: y from x, and dweight from x and dy."""
    count = windows.counts(shape[2:])
    x = list(map(_Axis, shape[2:], windows.before, windows.stride))
    y = [_Axis(P, 0, 1) for P in count]
    entries = [tuple(map(int.__mul__, k, windows.dilation)) for k in windows.offsets()]
    sizes = shape[0], groups, shape[1] // groups, filters // groups
    return _planes(sizes, x, y, count, _reach(windows), [entries])


@functools.lru_cache(maxsize=256)
def adjoint_planes_of(shape: Shape, windows: Windows, groups: int, filters: int, count: Shape) -> Planes:
    """Return the layout of its transpose: dx of `shape` from dy with `count` positions."""
    skipped = [a // s for a, s in zip(windows.before, windows.stride, strict=True)]  # places of dx in padding
    reach = tuple(map(max, _reach(windows), skipped))
    before = [a % s for a, s in zip(windows.before, windows.stride, strict=True)]
    x = list(map(_Axis, shape[2:], before, windows.stride))
    y = [_Axis(P, h - first, 1) for P, h, first in zip(count, reach, skipped, strict=True)]
    places = tuple([(axis.before + axis.size - 1) // axis.step + 1 for axis in x])
    steps = list(zip(reach, windows.dilation, windows.stride, strict=True))
    offsets = list(windows.offsets())
    entries = [
        [tuple([h - d * i // s for i, (h, d, s) in zip(offsets[k], steps, strict=True)]) for k in phase]
        for phase in entries_of_phases(windows)
    ]
    sizes = shape[0], groups, filters // groups, shape[1] // groups
    return _planes(sizes, y, x, places, reach, entries)


@functools.lru_cache(maxsize=256)
def entries_of_phases(windows: Windows) -> list[list[int]]:
    """Return, for each phase of dx, the numbers of the entries k that add to it: d·k mod s is the phase."""
    phases: dict[Shape, list[int]] = {phase: [] for phase in itertools.product(*map(range, windows.stride))}
    for number, k in enumerate(windows.offsets()):
        steps = zip(k, windows.dilation, windows.stride, strict=True)
        phases[tuple([d * i % s for i, d, s in steps])].append(number)
    return list(phases.values())


def _reach(windows: Windows) -> Shape:
    """Return how many places a window spans on its last, beyond its first."""
    return tuple([(extent - 1) // s for extent, s in zip(windows.extent, windows.stride, strict=True)])


def _planes(
    sizes: tuple[int, int, int, int],
    source: Sequence[_Axis],
    target: Sequence[_Axis],
    count: Shape,
    reach: Shape,
    entries: Sequence[Sequence[Shape]],
) -> Planes:
    """Return the layout; `sizes` are N, groups, and the channels of source and target in a group.

    `count` is the number of places along each axis of a target's phase, and `entries` are the positions in
    the source of the entries of a window, for each of these phases.
    """
    N, groups, channels, filters = sizes
    rows = [
        max(P, (axis.before + axis.size - 1) // axis.step + 1, P + h - axis.before // axis.step)
        for P, h, axis in zip(count, reach, source, strict=True)
    ]
    steps = [math.prod(rows[axis + 1 :]) for axis in range(len(rows))]
    plane, positions = math.prod(rows), 1 + sum((P - 1) * step for P, step in zip(count, steps, strict=True))
    source_phases, tiles = math.prod([axis.step for axis in source]), -(-filters // TILE)
    n = max(1, min(N, LINE // (plane * groups * (channels * source_phases + filters * len(entries)))))
    line = _rounded((n - 1) * plane + positions)
    channel = n * plane * source_phases
    in_source = _Places(source, steps, n * plane)
    in_target = _Places(target, steps, groups * tiles * TILE * line)
    offsets = [
        [c * channel + in_source.of(entry) for c in range(channels) for entry in phase] for phase in entries
    ]
    T = max(map(len, offsets)) // 3 * 3 + 3
    ones = max(
        max(itertools.chain(*offsets)) + (groups - 1) * channels * channel + line, groups * channels * channel
    )
    table = numpy.full((len(entries), groups, tiles, T), ones)
    for phase, o in zip(table, offsets, strict=True):
        phase[..., : len(o)] = numpy.arange(groups)[:, None, None] * (channels * channel) + numpy.array(
            o, int
        )
    row = numpy.arange(groups)[:, None] * (tiles * TILE) + numpy.arange(filters)
    return Planes(
        n,
        plane,
        positions,
        _rounded(-(-line // -(-line // SPAN))),
        in_source.starts(numpy.arange(groups * channels) * channel),
        in_target.starts(row.reshape(-1) * line),
        table.reshape(-1, T),
        numpy.repeat([len(phase) for phase in offsets], groups * tiles),
        ones,
        (len(entries) * groups * tiles * TILE, line),
    )


def _rounded(positions: int) -> int:
    return -(-positions // ROUND) * ROUND


class _Places:
    """The places of positions along axes, in the planes of one channel; `unit` is the distance of phases."""

    def __init__(self, axes: Sequence[_Axis], steps: Sequence[int], unit: int) -> None:
        self.axes, self.steps = axes, steps
        self.units = [unit * math.prod([later.step for later in axes[i + 1 :]]) for i in range(len(axes))]

    def of(self, entry: Shape) -> int:
        """Return the distance between the place of a position and that of the position `entry` after it.

        The first is in phase 0.
        """
        parts = zip(entry, self.axes, self.steps, self.units, strict=True)
        return sum(q // axis.step * step + q % axis.step * unit for q, axis, step, unit in parts)

    def starts(self, channels: Array) -> Array:
        """Return the places (R, s) of the first s positions of all rows, for channels that begin there."""
        places = channels
        for i, (axis, step, unit) in enumerate(zip(self.axes, self.steps, self.units, strict=True)):
            last = i == len(self.axes) - 1
            q = numpy.arange(min(axis.step, axis.size) if last else axis.size) + axis.before
            places = places[..., None] + (q // axis.step * step + q % axis.step * unit)
        return places.reshape(-1, places.shape[-1])
