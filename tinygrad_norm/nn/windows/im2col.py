"""im2col: the windows of x as columns of a matrix X, so that a convolution becomes a matrix product.

    X_(c,k),p = x̄_c(s·p + d·k - a)

X holds K copies of x, so it is built in blocks that fit in the cache. Within a block the last axis runs over
n samples: each contiguous copy is then n times longer, which is faster if rows are short.

Chellapilla, Puri, Simard 2006.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from ...backends import Array, namespace
from ...backends.cpu.blocks import slices
from ...backends.cpu.half import upcast
from ...ops.dims import Shape
from .padding import overlap
from .sliding_view import Slices, Windows, window_view

BLOCK = 128 * 1024
"""Entries of X in one block: 512 KiB of float32, which fit in the cache of a core."""


@dataclass(frozen=True)
class Im2colLayout:
    """The layout of X for an x of one shape.

    count      P, the number of windows along each axis
    n          the number of samples on the last axis, a divisor of N
    m          the number of such groups of n samples in one block
    shape      x as (N/n, G, C/G, *S, n)
    padded     the shape of x̄, for the m groups of one block
    inside     the part of x̄ that is x
    kept       the part of x that is in x̄: all of it, unless padding is negative
    """

    windows: Windows
    count: Shape
    n: int
    m: int
    shape: Shape
    padded: Shape
    inside: Slices
    kept: Slices

    def blocks(self, x: Array, constant: bool) -> Iterator[tuple[slice, Array]]:
        """Yield a slice of the first axis of `samples_last(x, n)`, and its X (m, G, C/G·K, P·n).

        `constant` adds a row of ones to X. The next block overwrites X.
        """
        xp = namespace(x)
        groups, channels = self.shape[1:3]
        rows, width = channels * math.prod(self.windows.kernel), math.prod(self.count) * self.n
        X = xp.empty((self.m, groups, rows + constant, width), upcast(x[:0]).dtype)
        X[:, :, rows:] = 1
        parts = X[:, :, :rows].reshape(self.m, groups, channels, *self.windows.kernel, *self.count, self.n)
        x = samples_last(x, self.n).reshape(self.shape)
        if not any(self.windows.before) and not any(self.windows.after):
            patches = window_view(x, self.windows, self.count, 3)
            for block in slices(self.shape[0], self.m):
                parts[: block.stop - block.start] = patches[block]
                yield block, X[: block.stop - block.start]
            return
        padded = xp.zeros(self.padded, X.dtype)
        patches = window_view(padded, self.windows, self.count, 3)
        inner, x = padded[self.inside], x[self.kept]
        for block in slices(self.shape[0], self.m):
            size = block.stop - block.start
            inner[:size] = x[block]
            parts[:size] = patches[:size]
            yield block, X[:size]


@functools.lru_cache(maxsize=256)
def im2col_layout(shape: Shape, windows: Windows, groups: int, filters: int) -> Im2colLayout:
    """Return the layout of X for an x of `shape` and a convolution with `filters` output channels.

    Moving samples to the last axis of x and y costs less than it saves if X has more rows than x and y have
    channels, and if one sample has few windows.
    """
    N, C, *space = shape
    count = windows.counts(tuple(space))
    rows, P = C * math.prod(windows.kernel), math.prod(count)
    n = math.gcd(N, 8) if rows > C + filters and P < 256 else 1
    m = max(1, min(N // n, BLOCK // max(1, rows * P * n)))
    widths = ((0, 0),) * 3 + tuple(zip(windows.before, windows.after, strict=True)) + ((0, 0),)
    blocked = N // n, groups, C // groups, *space, n
    inside, kept = overlap(blocked, widths)
    padded = [S + a + b for S, (a, b) in zip(blocked, widths, strict=True)]
    everything = slice(None)
    return Im2colLayout(
        windows,
        count,
        n,
        m,
        blocked,
        (m, *padded[1:]),
        (everything, *inside[1:]),
        (everything, *kept[1:]),
    )


def samples_last(x: Array, n: int) -> Array:
    """Return x (N, C, *S) as a view (N/n, C, *S, n); n divides N."""
    x = x.reshape(len(x) // n, n, *x.shape[1:])
    return x.transpose(0, *range(2, x.ndim), 1)
