"""Convolution as plain loops, without im2col: with stride 1, an entry of all windows is x̄, shifted.

    y_fp = Σt W_ft·x̄_(p + o_t)       dW_ft = Σp dy_fp·x̄_(p + o_t)

t = (c, k) runs over the C·K entries of a window, and o_t is the distance in memory from a window's first
position to its entry t. p runs over all positions from the first window to the last, also those at the end
of a row, where no window begins; what is computed there is dropped. So the inner loops are long, and read
and write memory in order. x̄ ends in a plane of zeros and one of ones: the bias is the weight of the ones, and
the entries that make their number a multiple of 4 read the zeros.

If rows are short, a block holds n samples on its last axis: then a row is n times longer.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

from ...backends import Array
from ...backends.cpu.blocks import slices, threads_for
from ...backends.cpu.loop_helpers import helper, sum_helper
from ...backends.cpu.loops import Loop
from ...backends.cpu.pool_loops import fits_a_loop, plain
from ...ops.dims import Shape
from ..windows.sliding_view import Windows

CHUNK = 1024
"""Numbers of a filter that are worked on at a time: they stay in the fastest cache."""

ENTRIES = 64, 1024
"""Least and most entries of a window, C·K: with fewer or more, BLAS is as fast."""

COPIES = 9
"""Least entries of the kernel, K: so many copies of x make X large enough to go without."""

PART = 1 << 15
"""Numbers of x that a thread works on at a time."""


class Layout(NamedTuple):
    """Where the rows of x and y are in their blocks.

    n            samples in a block, a divisor of N
    x_starts     for each row of a sample of x: its place in x̄ (·, n)
    y_starts     for each row of a sample of y: its place in ȳ (·, n)
    offsets      (T,), the distances o_t for x̄ (·,)
    planes       the shape of x̄ as (C + 2, positions·n)
    windows      the shape of ȳ as (F, positions·n), F a multiple of 4
    """

    n: int
    x_starts: numpy.ndarray
    y_starts: numpy.ndarray
    offsets: numpy.ndarray
    planes: Shape
    windows: Shape


@functools.lru_cache(maxsize=256)
def layout_of(shape: Shape, windows: Windows, filters: int) -> Layout:
    """Return the layout for x of `shape` and windows with stride 1."""
    N, C, *space = shape
    padded = [S + a + b for S, a, b in zip(space, windows.before, windows.after, strict=True)]
    count = windows.counts(tuple(space))
    steps = [math.prod(padded[axis + 1 :]) for axis in range(len(padded))]
    plane, positions = math.prod(padded), 1 + _dot([P - 1 for P in count], steps)
    n = math.gcd(N, 16) if positions < 256 else 1
    inside = [[S + a for S in range(size)] for size, a in zip(space, windows.before, strict=True)]
    inside[-1] = inside[-1][:1]
    first = [range(P) for P in count[:-1]] + [range(1)]
    entries = [_dot(map(int.__mul__, k, windows.dilation), steps) for k in windows.offsets()]
    offsets = [c * plane + entry for c in range(C) for entry in entries] + [(C + 1) * plane]
    offsets += [C * plane] * (-len(offsets) % 4)
    return Layout(
        n,
        numpy.array([c * plane + _dot(q, steps) for c in range(C) for q in itertools.product(*inside)]),
        numpy.array(
            [f * positions + _dot(p, steps) for f in range(filters) for p in itertools.product(*first)]
        ),
        numpy.array(offsets) * n,
        (C + 2, plane * n),
        (filters + -filters % 4, positions * n),
    )


def _dot(a: Any, b: Sequence[int]) -> int:
    return sum(i * j for i, j in zip(a, b, strict=True))


@helper
def pack(x: Array, starts: Array, xbar: Array) -> None:
    """Copy the rows of x (n, R, S) to x̄ (·,), each to its place."""
    n, R, S = x.shape
    for r in range(R):
        if n == 1:
            for i in range(S):
                xbar[starts[r] + i] = x[0, r, i]
        else:
            for k in range(n):
                for i in range(S):
                    xbar[(starts[r] + i) * n + k] = x[k, r, i]


@helper
def unpack(ybar: Array, starts: Array, y: Array) -> None:
    """Copy the rows of ȳ (·,) to y (n, R, S)."""
    n, R, S = y.shape
    for r in range(R):
        if n == 1:
            for i in range(S):
                y[0, r, i] = ybar[starts[r] + i]
        else:
            for k in range(n):
                for i in range(S):
                    y[k, r, i] = ybar[(starts[r] + i) * n + k]


@sum_helper
def add_four(y: Any, a: Any, p: Any, b: Any, q: Any, c: Any, r: Any, d: Any, s: Any) -> Any:
    """y + ap + bq + cr + ds"""
    return y + (a * p + b * q + c * r + d * s)


@sum_helper
def add(total: Any, a: Any, x: Any) -> Any:
    """total + ax"""
    return total + a * x


def conv_forward_loop(
    x: Array, x_starts: Array, y_starts: Array, offsets: Array, W: Array, xbar: Array, ybar: Array, y: Array
) -> None:
    """y_fp = Σt W_ft·x̄_(p + o_t), for x (B, n, R, S): four filters and four entries at a time."""
    (F, P), T, xs, ys = ybar.shape, len(offsets), xbar.reshape(-1), ybar.reshape(-1)
    for block in range(len(x)):
        pack(x[block], x_starts, xs)
        ybar[:] = 0
        for start in range(0, P, CHUNK):
            stop = min(start + CHUNK, P)
            for f in range(0, F, 4):
                y0, y1 = ybar[f, start:stop], ybar[f + 1, start:stop]
                y2, y3 = ybar[f + 2, start:stop], ybar[f + 3, start:stop]
                for t in range(0, T, 4):
                    a0, a1, a2, a3 = W[f, t], W[f, t + 1], W[f, t + 2], W[f, t + 3]
                    b0, b1, b2, b3 = W[f + 1, t], W[f + 1, t + 1], W[f + 1, t + 2], W[f + 1, t + 3]
                    c0, c1, c2, c3 = W[f + 2, t], W[f + 2, t + 1], W[f + 2, t + 2], W[f + 2, t + 3]
                    d0, d1, d2, d3 = W[f + 3, t], W[f + 3, t + 1], W[f + 3, t + 2], W[f + 3, t + 3]
                    x0, x1 = xs[start + offsets[t] :], xs[start + offsets[t + 1] :]
                    x2, x3 = xs[start + offsets[t + 2] :], xs[start + offsets[t + 3] :]
                    for p in range(stop - start):
                        u0, u1, u2, u3 = x0[p], x1[p], x2[p], x3[p]
                        y0[p] = add_four(y0[p], a0, u0, a1, u1, a2, u2, a3, u3)
                        y1[p] = add_four(y1[p], b0, u0, b1, u1, b2, u2, b3, u3)
                        y2[p] = add_four(y2[p], c0, u0, c1, u1, c2, u2, c3, u3)
                        y3[p] = add_four(y3[p], d0, u0, d1, u1, d2, u2, d3, u3)
        unpack(ys, y_starts, y[block])


def conv_weight_loop(
    x: Array, x_starts: Array, y_starts: Array, offsets: Array, dW: Array, xbar: Array, ybar: Array, dy: Array
) -> None:
    """Add Σp dy_fp·x̄_(p + o_t) to dW_ft, for x (B, n, R, S): four filters and four entries at a time."""
    (F, P), T, xs, ys = ybar.shape, len(offsets), xbar.reshape(-1), ybar.reshape(-1)
    zero = x.dtype.type(0)
    for block in range(len(x)):
        pack(x[block], x_starts, xs)
        pack(dy[block], y_starts, ys)
        for start in range(0, P, CHUNK):
            stop = min(start + CHUNK, P)
            for f in range(0, F, 4):
                y0, y1 = ybar[f, start:stop], ybar[f + 1, start:stop]
                y2, y3 = ybar[f + 2, start:stop], ybar[f + 3, start:stop]
                for t in range(0, T, 4):
                    x0, x1 = xs[start + offsets[t] :], xs[start + offsets[t + 1] :]
                    x2, x3 = xs[start + offsets[t + 2] :], xs[start + offsets[t + 3] :]
                    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zero
                    c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = zero
                    for p in range(stop - start):
                        u0, u1, u2, u3 = x0[p], x1[p], x2[p], x3[p]
                        v = y0[p]
                        a0, a1, a2, a3 = add(a0, v, u0), add(a1, v, u1), add(a2, v, u2), add(a3, v, u3)
                        v = y1[p]
                        b0, b1, b2, b3 = add(b0, v, u0), add(b1, v, u1), add(b2, v, u2), add(b3, v, u3)
                        v = y2[p]
                        c0, c1, c2, c3 = add(c0, v, u0), add(c1, v, u1), add(c2, v, u2), add(c3, v, u3)
                        v = y3[p]
                        d0, d1, d2, d3 = add(d0, v, u0), add(d1, v, u1), add(d2, v, u2), add(d3, v, u3)
                    sums = (a0, a1, a2, a3), (b0, b1, b2, b3), (c0, c1, c2, c3), (d0, d1, d2, d3)
                    for i in range(4):
                        for j in range(4):
                            dW[f + i, t + j] += sums[i][j]


_forward, _weight = Loop(conv_forward_loop), Loop(conv_weight_loop)


def conv_forward_cpu(
    x: Array, weight: Array, bias: Array | None, windows: Windows, groups: int
) -> tuple[Array, None] | Any:
    """Return y (N, F, *P) and None, or NotImplemented where the body is to work."""
    if not _fits(windows, groups, x, weight, x if bias is None else bias):
        return NotImplemented
    F, T = len(weight), math.prod(weight.shape[1:])
    layout = layout_of(x.shape, windows, F)
    W = numpy.zeros((layout.windows[0], len(layout.offsets)), x.dtype)
    W[:F, :T] = weight.reshape(F, T)
    if bias is not None:
        W[:F, T] = bias
    y = numpy.empty((len(x), F, *windows.counts(x.shape[2:])), x.dtype)
    xs, ys = _rows(x, layout.n), _rows(y, layout.n)

    def run(part: slice) -> None:
        _forward(xs[part], *layout[1:4], W, *_buffers(layout, x.dtype), ys[part])

    list(threads_for(x.size * COPIES)(run, _parts(xs)))
    return y, None


def weight_gradients(
    dy: Array, x: Array, weight: Array, windows: Windows, groups: int
) -> tuple[Array, Array] | Any:
    """Return dweight and dbias in the shapes of weight and bias, or NotImplemented."""
    if not _fits(windows, groups, x, weight, dy):
        return NotImplemented
    F, T = len(weight), math.prod(weight.shape[1:])
    layout = layout_of(x.shape, windows, F)
    xs, dys = _rows(x, layout.n), _rows(dy, layout.n)

    def run(part: slice) -> Array:
        dW = numpy.zeros((layout.windows[0], len(layout.offsets)))
        _weight(xs[part], *layout[1:4], dW, *_buffers(layout, x.dtype), dys[part])
        return dW

    dW = sum(threads_for(x.size * COPIES)(run, _parts(xs)))[:F]
    if not numpy.isfinite(dW).all():  # where no window begins, 0 was multiplied by what is not finite
        return NotImplemented
    dW = dW.astype(x.dtype)
    return dW[:, :T].reshape(weight.shape), dW[:, T].copy()


def _fits(windows: Windows, groups: int, x: Array, weight: Array, other: Array) -> bool:
    return (
        groups == 1
        and fits_a_loop(x, weight, other)
        and max(windows.stride) == 1
        and min(windows.before) >= 0
        and min(windows.after) >= 0
        and math.prod(weight.shape[2:]) >= COPIES
        and ENTRIES[0] <= math.prod(weight.shape[1:]) <= ENTRIES[1]
    )


def _rows(x: Array, n: int) -> Array:
    """Return x (N, C, *S) as (N/n, n, C·rows, S): contiguous and writable, as Numba compiles it once."""
    return plain(x).reshape(len(x) // n, n, -1, x.shape[-1])


def _buffers(layout: Layout, dtype: numpy.dtype) -> tuple[Array, Array]:
    xbar = numpy.zeros(layout.planes, dtype)
    xbar[-1] = 1
    return xbar, numpy.zeros(layout.windows, dtype)


def _parts(xs: Array) -> list[slice]:
    return list(slices(len(xs), max(1, PART * len(xs) // xs.size)))
