"""Convolution as plain loops, without im2col: an entry of all windows is a shifted plane of x.

    y_fp = bias_f + Σt W_ft·x̄[o_t + p]       dW_ft = Σp dy_fp·x̄[o_t + p]

t = (c, k) runs over the C·K entries of a window; conv_planes.py says where their planes lie. Both are
computed as BLAS computes a product: the sums of four filters at three packs of positions (y), or of four
filters with three entries (dW), stay in registers.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy

from ...backends import Array
from ...backends.cpu.blocks import slices, threads_for
from ...backends.cpu.loop_helpers import helper
from ...backends.cpu.loop_packs import add_product, fill, load, store, total, width
from ...backends.cpu.loops import Loop
from ...backends.cpu.pool_loops import fits_a_loop, plain
from ...ops.dims import Shape
from ..windows.sliding_view import Windows
from .conv_planes import TILE, Planes, adjoint_planes_of, entries_of_phases, planes_of

ENTRIES = 32, 1024
"""Least and most entries of a window, C·K: with fewer or more, BLAS is as fast, except with groups."""

PART = 1 << 18
"""Numbers of x that a thread works on at a time."""


@helper
def copy_in(x: Array, starts: Array, plane: int, xbar: Array) -> None:
    """Copy x (n, R, S) to x̄ (·,): each row to its place, sample by sample."""
    (n, R, S), s = x.shape, starts.shape[1]
    for k in range(n):
        for r in range(R):
            if s == 1:
                first = starts[r, 0] + k * plane
                for i in range(S):
                    xbar[first + i] = x[k, r, i]
            else:
                for phase in range(s):
                    first = starts[r, phase] + k * plane
                    for i in range((S - phase + s - 1) // s):
                        xbar[first + i] = x[k, r, phase + i * s]


@helper
def copy_out(ybar: Array, starts: Array, plane: int, y: Array) -> None:
    """Copy ȳ (·,) to y (n, R, S)."""
    (n, R, S), s = y.shape, starts.shape[1]
    for k in range(n):
        for r in range(R):
            if s == 1:
                first = starts[r, 0] + k * plane
                for i in range(S):
                    y[k, r, i] = ybar[first + i]
            else:
                for phase in range(s):
                    first = starts[r, phase] + k * plane
                    for i in range((S - phase + s - 1) // s):
                        y[k, r, phase + i * s] = ybar[first + i]


@helper
def add_totals(dW: Array, t: int, f: int, p: Array, q: Array, r: Array) -> None:
    """Add the totals of three packs to dW_f for the entries t, t + 1, t + 2."""
    dW[t, f] += total(p)
    dW[t + 1, f] += total(q)
    dW[t + 2, f] += total(r)


def conv_forward_loop(
    x: Array,
    x_starts: Array,
    y_starts: Array,
    offsets: Array,
    counts: Array,
    n: int,
    plane: int,
    positions: int,
    span: int,
    W: Array,
    bias: Array,
    xbar: Array,
    ybar: Array,
    y: Array,
) -> None:
    """y_fp = bias_f + Σt W_ft·x̄[o_t + p], for x (N, R, S): four filters at three packs of positions."""
    w, line = width(x, 2), len(ybar) // (4 * len(W))
    for sample in range(0, len(x), n):
        samples = min(n, len(x) - sample)
        copy_in(x[sample : sample + samples], x_starts, plane, xbar)
        end = (samples - 1) * plane + positions
        for start in range(0, end, span):
            for g in range(len(W)):
                for p in range(start, min(start + span, end), 3 * w):
                    a0 = a1 = a2 = fill(bias[g, 0], 2)
                    b0 = b1 = b2 = fill(bias[g, 1], 2)
                    c0 = c1 = c2 = fill(bias[g, 2], 2)
                    d0 = d1 = d2 = fill(bias[g, 3], 2)
                    for t in range(counts[g]):
                        o = offsets[g, t] + p
                        u0, u1, u2 = load(xbar, o, 2), load(xbar, o + w, 2), load(xbar, o + 2 * w, 2)
                        v = W[g, t, 0]
                        a0, a1, a2 = add_product(a0, v, u0), add_product(a1, v, u1), add_product(a2, v, u2)
                        v = W[g, t, 1]
                        b0, b1, b2 = add_product(b0, v, u0), add_product(b1, v, u1), add_product(b2, v, u2)
                        v = W[g, t, 2]
                        c0, c1, c2 = add_product(c0, v, u0), add_product(c1, v, u1), add_product(c2, v, u2)
                        v = W[g, t, 3]
                        d0, d1, d2 = add_product(d0, v, u0), add_product(d1, v, u1), add_product(d2, v, u2)
                    o = 4 * g * line + p
                    store(ybar, o, a0), store(ybar, o + w, a1), store(ybar, o + 2 * w, a2)
                    o += line
                    store(ybar, o, b0), store(ybar, o + w, b1), store(ybar, o + 2 * w, b2)
                    o += line
                    store(ybar, o, c0), store(ybar, o + w, c1), store(ybar, o + 2 * w, c2)
                    o += line
                    store(ybar, o, d0), store(ybar, o + w, d1), store(ybar, o + 2 * w, d2)
        copy_out(ybar, y_starts, plane, y[sample : sample + samples])


def conv_weight_loop(
    x: Array,
    x_starts: Array,
    y_starts: Array,
    offsets: Array,
    n: int,
    plane: int,
    positions: int,
    span: int,
    dy: Array,
    xbar: Array,
    ybar: Array,
    dW: Array,
) -> None:
    """Add Σp dy_fp·x̄[o_t + p] to dW_ft, for x (N, R, S): four filters with three entries at a time."""
    w, (G, T, _), zero = width(x, 1), dW.shape, x.dtype.type(0)
    line = len(ybar) // (4 * G)
    for sample in range(0, len(x), n):
        samples = min(n, len(x) - sample)
        if samples < n:
            ybar[:] = zero
        copy_in(x[sample : sample + samples], x_starts, plane, xbar)
        copy_in(dy[sample : sample + samples], y_starts, plane, ybar)
        end = (samples - 1) * plane + positions
        for start in range(0, end, span):
            for g in range(G):
                for t in range(0, T, 3):
                    a0 = a1 = a2 = b0 = b1 = b2 = c0 = c1 = c2 = d0 = d1 = d2 = fill(zero, 1)
                    o0, o1, o2, row = offsets[g, t], offsets[g, t + 1], offsets[g, t + 2], 4 * g * line
                    for p in range(start, min(start + span, end), w):
                        u0, u1, u2 = load(xbar, o0 + p, 1), load(xbar, o1 + p, 1), load(xbar, o2 + p, 1)
                        v = load(ybar, row + p, 1)
                        a0, a1, a2 = add_product(a0, v, u0), add_product(a1, v, u1), add_product(a2, v, u2)
                        v = load(ybar, row + line + p, 1)
                        b0, b1, b2 = add_product(b0, v, u0), add_product(b1, v, u1), add_product(b2, v, u2)
                        v = load(ybar, row + 2 * line + p, 1)
                        c0, c1, c2 = add_product(c0, v, u0), add_product(c1, v, u1), add_product(c2, v, u2)
                        v = load(ybar, row + 3 * line + p, 1)
                        d0, d1, d2 = add_product(d0, v, u0), add_product(d1, v, u1), add_product(d2, v, u2)
                    add_totals(dW[g], t, 0, a0, a1, a2)
                    add_totals(dW[g], t, 1, b0, b1, b2)
                    add_totals(dW[g], t, 2, c0, c1, c2)
                    add_totals(dW[g], t, 3, d0, d1, d2)


_forward, _weight = Loop(conv_forward_loop), Loop(conv_weight_loop)


def conv_forward_cpu(
    x: Array, weight: Array, bias: Array | None, windows: Windows, groups: int
) -> tuple[Array, None] | Any:
    """Return y (N, F, *P) and None, or NotImplemented where the body is to work."""
    if not _fits(windows, groups, weight.shape[1], x, weight, x if bias is None else bias):
        return NotImplemented
    F = len(weight)
    W = weight.reshape(groups, F // groups, math.prod(weight.shape[1:]))
    count = windows.counts(x.shape[2:])
    return _sums(x, planes_of(x.shape, windows, groups, F), [W], bias, (F, *count)), None


def conv_adjoint_cpu(
    dy: Array, weight: Array, windows: Windows, groups: int, space: Shape, bias: Array | None = None
) -> Array | Any:
    """Return dx (N, C, *S) + bias, or NotImplemented."""
    F, C = weight.shape[:2]
    if C * groups == 1 or not _fits(windows, groups, F // groups, dy, weight, dy if bias is None else bias):
        return NotImplemented
    shape = len(dy), C * groups, *space
    planes = adjoint_planes_of(shape, windows, groups, F, dy.shape[2:])
    W = weight.reshape(groups, F // groups, C, math.prod(windows.kernel)).swapaxes(1, 2)
    phases = entries_of_phases(windows)
    Ws = [(W[..., entries] if len(phases) > 1 else W).reshape(groups, C, -1) for entries in phases]
    return _sums(dy, planes, Ws, bias, shape[1:])


def _sums(x: Array, planes: Planes, Ws: list[Array], bias: Array | None, shape: Shape) -> Array:
    """Return y (N, *shape), from the weights (groups, filters, T) of each phase."""
    tiles, T = planes.offsets.shape
    W = numpy.zeros((len(Ws), len(Ws[0]), tiles // len(Ws) // len(Ws[0]), T, TILE), x.dtype)
    for packed, part in zip(W, Ws, strict=True):
        for i in range(TILE):
            filters = part[:, i::TILE]
            packed[:, : filters.shape[1], : filters.shape[2], i] = filters
    b = numpy.zeros((*W.shape[:3], TILE), x.dtype)
    if bias is not None:
        b.reshape(*W.shape[:2], -1)[..., : Ws[0].shape[1]] = bias.reshape(len(Ws[0]), -1)
    y = numpy.empty((len(x), *shape), x.dtype)
    xs, ys, b, W = _rows(x), _rows(y), b.reshape(tiles, TILE), W.reshape(tiles, T, TILE)
    free = _Buffers(lambda: planes.buffers(x.dtype, numpy.empty))

    def run(part: slice) -> None:
        buffers = free.take()
        _forward(xs[part], *planes[4:8], *planes[:4], W, b, *buffers, ys[part])
        free.append(buffers)

    list(threads_for(y.size // shape[0] * T)(run, _parts(xs, planes.n)))
    return y


def weight_gradients(
    dy: Array, x: Array, weight: Array, windows: Windows, groups: int
) -> tuple[Array, Array] | Any:
    """Return dweight and dbias in the shapes of weight and bias, or NotImplemented."""
    if not _fits(windows, groups, weight.shape[1], x, weight, dy):
        return NotImplemented
    F, T = len(weight), math.prod(weight.shape[1:])
    planes = planes_of(x.shape, windows, groups, F)
    xs, dys = _rows(x), _rows(dy)
    free = _Buffers(lambda: planes.buffers(x.dtype))

    def run(part: slice) -> Array:
        xbar, ybar = free.take()
        xbar[planes.ones :] = 1
        dW = numpy.zeros((*planes.offsets.shape, TILE))
        _weight(xs[part], *planes[4:7], *planes[:4], dys[part], xbar, ybar, dW)
        free.append((xbar, ybar))
        return dW

    dW = sum(threads_for(dy.size // F * T)(run, _parts(xs, planes.n)))
    if not numpy.isfinite(dW).all():  # where no window begins, 0 was multiplied by what is not finite
        return NotImplemented
    dW = dW.swapaxes(1, 2).reshape(groups, -1, planes.offsets.shape[1])[:, : F // groups].astype(x.dtype)
    return dW[..., :T].reshape(weight.shape), dW[..., T].reshape(F).copy()


class _Buffers(list[tuple[Array, Array]]):
    """Buffers that no thread works with; `make` makes more."""

    def __init__(self, make: Callable[[], tuple[Array, Array]]) -> None:
        self.make = make

    def take(self) -> tuple[Array, Array]:
        try:
            return self.pop()
        except IndexError:
            return self.make()


def _fits(windows: Windows, groups: int, channels: int, *arrays: Array) -> bool:
    K, (least, most) = math.prod(windows.kernel), ENTRIES
    return (
        fits_a_loop(*arrays)
        and K > 1
        and (groups > 1 or least <= channels * K)
        and channels * K <= most
        and min(windows.before) >= 0
    )


def _rows(x: Array) -> Array:
    """Return x (N, C, *S) as (N, C·rows, S): contiguous and writable, as Numba compiles it once."""
    return plain(x).reshape(len(x), -1, x.shape[-1])


def _parts(xs: Array, n: int) -> list[slice]:
    """Return slices of the samples: whole lines of `n`."""
    return list(slices(len(xs), max(1, PART * len(xs) // (xs.size * n)) * n))
