"""Sums, means and extremes, as fast and as exact as NumPy can be made to compute them.

NumPy's own reductions walk an array element by element; a product with a vector of ones is the same sum,
two to four times faster, as BLAS computes it. Bodies name what they sum, and this file decides how. On
other backends these are plain sums.

A sum of n numbers, added one after another, is wrong by up to n/2 units in its last place: 3,000,000
float32 numbers around 1 keep two digits. NumPy adds in pairs along the axis that is contiguous in memory,
but one after another along every other axis, and BLAS adds a few numbers at a time. Here long sums are sums
of the sums of chunks, so that no more than some hundred numbers are added in a row.
"""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy

from .. import Array, namespace

Axes = tuple[int, ...]

LONG_ROW = 256
"""Elements from which on the start of NumPy's inner loop does not count."""

CHUNK = 64
"""Numbers in a chunk; up to twice as many are added one after another."""

MANY_ROWS, MANY_COLUMNS = 512, 1 << 12
"""Rows, and numbers in a row, in a chunk that BLAS adds: up to twice as many are one product."""


_reduce: Any = numpy.add.reduce  # NumPy's annotations take no bool for keepdims


def total(x: Array, axes: Axes, keepdims: bool = False) -> Any:
    """Return Σ x over `axes`, as x.sum does, but to the last digits that the dtype of x can hold."""
    if type(x) is not numpy.ndarray:
        return x.sum(axes, keepdims=keepdims)
    if x.size <= 2 * CHUNK or not (order := _in_chunks(x.shape, x.strides, axes)):
        return _reduce(x, axes, keepdims=keepdims)
    y = x
    for axis in order:
        y = _total_along(y, axis)
    return y if keepdims else y.reshape([n for axis, n in enumerate(x.shape) if axis not in axes])


@functools.lru_cache(maxsize=256)
def _in_chunks(shape: tuple[int, ...], strides: tuple[int, ...], axes: Axes) -> Axes:
    """Return the order in which to sum `axes` in chunks, or () if NumPy does well.

    NumPy sums in pairs over the innermost axes, if they are contiguous, and adds those sums up.
    """
    inwards = sorted([i for i, n in enumerate(shape) if n > 1], key=lambda i: abs(strides[i]))
    size, in_pairs = math.prod([shape[axis] for axis in axes]), 1
    for before, axis in zip([None, *inwards], inwards, strict=False):
        if axis not in axes or (before is not None and strides[axis] != strides[before] * shape[before]):
            break
        in_pairs *= shape[axis]
    if size <= 2 * CHUNK * in_pairs:
        return ()
    return tuple([axis for axis in reversed(inwards) if axis in axes])


def _total_along(x: numpy.ndarray, axis: int) -> numpy.ndarray:
    """Return Σ x over `axis`, which stays with size 1, in chunks.

    The numbers of a chunk lie apart: all chunks are summed at once, and NumPy's inner loop is long.
    """
    n, shape = x.shape[axis], x.shape
    if n <= 2 * CHUNK or not _in_chunks(shape, x.strides, (axis,)):
        return _reduce(x, axis, keepdims=True)
    before, m = (slice(None),) * axis, n // CHUNK
    chunks = x[(*before, slice(m * CHUNK))].reshape(*shape[:axis], CHUNK, m, *shape[axis + 1 :])
    y = _total_along(_reduce(chunks, axis), axis)
    if m * CHUNK < n:
        y += _reduce(x[(*before, slice(m * CHUNK, None))], axis, keepdims=True)
    return y


def total_of_parts(parts: Iterable[Sequence[Array]]) -> Sequence[Array]:
    """Return the sums over `parts` of their first arrays, their second, …, added in pairs as they come.

    Of n parts, at most log₂ n sums are held at a time: those of 1, 2, 4, … parts.
    """
    held: list[Sequence[Array]] = []
    for i, part in enumerate(parts):
        for _ in range(((i + 1) & ~i).bit_length() - 1):  # as often as 2 divides i + 1
            part = _added(held.pop(), part)
        held.append(part)
    return functools.reduce(lambda sums, part: _added(part, sums), reversed(held)) if held else ()


def _added(part: Sequence[Array], other: Sequence[Array]) -> Sequence[Array]:
    return [a + b for a, b in zip(part, other, strict=True)]


def sums(x: Array, axes: Axes) -> Array:
    """Return Σ x over `axes`, which stay with size 1."""
    if type(x) is not numpy.ndarray:
        return x.sum(axes, keepdims=True)
    return _plan(x.shape, axes, x.dtype).sums(x)


def sum_products(x: Array, y: Array, axes: Axes) -> Array:
    """Return Σ x·y over `axes`, which stay with size 1; x and y have one shape."""
    if type(x) is not numpy.ndarray:
        return (x * y).sum(axes, keepdims=True)
    return _plan(x.shape, axes, x.dtype).sum_products(x, y)


def means(x: Array, axes: Axes) -> Array:
    """Return the mean of x over `axes`, which stay with size 1; of nothing, 0."""
    return sums(x, axes) / _count(x, axes)


def mean_products(x: Array, y: Array, axes: Axes) -> Array:
    """Return the mean of x·y over `axes`, which stay with size 1; x and y have one shape."""
    return sum_products(x, y, axes) / _count(x, axes)


def _count(x: Array, axes: Axes) -> Any:
    if type(x) is numpy.ndarray:
        return _plan(x.shape, axes, x.dtype).count
    return max(math.prod(x.shape[axis] for axis in axes), 1)


def channel_sums(x: Array) -> Array:
    """Return Σ x over the samples and positions of each channel of x (N, C, S), as (1, C, 1).

    Under `repeat_vectors` it is (1, C, S): each sum stands S times.
    """
    return _like_vectors(sums(x, (0, 2)), x)


def channel_sum_products(x: Array, y: Array) -> Array:
    """Return Σ x·y over the samples and positions of each channel, as `channel_sums` does."""
    return _like_vectors(sum_products(x, y, (0, 2)), x)


def channel_means(x: Array) -> Array:
    """Return the mean over the samples and positions of each channel, as `channel_sums` does."""
    return _like_vectors(means(x, (0, 2)), x)


def channel_mean_products(x: Array, y: Array) -> Array:
    """Return the mean of x·y over the samples and positions of each channel, as `channel_sums` does."""
    return _like_vectors(mean_products(x, y, (0, 2)), x)


def _like_vectors(v: Array, x: Array) -> Array:
    return _repeated(v, x.shape[2]) if _has_short_rows(x) else v


def repeat_vectors(body: Callable[..., Any]) -> Callable[..., Any]:
    """Run a body over x (N, C, S), its first argument, with vectors (1, C, S) for (1, C, 1) if S is small.

    NumPy's inner loop then runs along C·S, not along rows that are too short for it. Vectors among the
    arguments are repeated, as `channel_sums` and `channel_means` are; vectors among the results are cut
    again.
    """

    @functools.wraps(body)
    def call(x: Array, *args: Any) -> Any:
        if not _has_short_rows(x):
            return body(x, *args)
        S = x.shape[-1]
        y, *vectors = body(x, *[_repeated(a, S) if getattr(a, "shape", (0,))[-1] == 1 else a for a in args])
        return y, *[v[..., :1] for v in vectors]

    return call


def _has_short_rows(x: Array) -> bool:
    return 1 < x.shape[-1] < LONG_ROW and x.shape[0] > 1 and type(x) is numpy.ndarray


def _repeated(v: Array, S: int) -> numpy.ndarray:
    wide = numpy.empty((*v.shape[:-1], S), v.dtype)
    wide[...] = v
    return wide


def row_sums(x: Array) -> Array:
    """Return Σ x over each row of x (N, D), as (N, 1)."""
    if type(x) is not numpy.ndarray:
        return x.sum(1, keepdims=True)
    return _row_sums(x)[:, None]


def row_sum_products(x: Array, y: Array) -> Array:
    """Return Σ x·y over each row of x and y (N, D), as (N, 1)."""
    if type(x) is not numpy.ndarray:
        return (x * y).sum(1, keepdims=True)
    return _row_dots(x, y)[:, None]


def _row_sums(x: Any) -> Any:
    """Return Σ x over the last axis, by products with ones."""
    D = x.shape[-1]
    if D <= 2 * MANY_COLUMNS:
        return numpy.dot(x, _ones(D, x.dtype)) if x.ndim == 2 else x @ _ones(D, x.dtype)
    chunks, rest = _chunks_of_rows(x)
    return _row_sums(chunks @ _ones(MANY_COLUMNS, x.dtype)) + rest @ _ones(rest.shape[-1], x.dtype)


def _row_dots(x: Array, y: Array) -> Any:
    """Return Σ x·y over the last axis of x and y, which have one shape."""
    if x.shape[-1] <= 2 * MANY_COLUMNS:
        return _vecdot(x, y)
    (x_chunks, x_rest), (y_chunks, y_rest) = _chunks_of_rows(x), _chunks_of_rows(y)
    return _row_sums(_vecdot(x_chunks, y_chunks)) + _vecdot(x_rest, y_rest)


_vecdot: Any = numpy.vecdot  # NumPy's annotations know no other array than its own


def _chunks_of_rows(x: Array) -> tuple[Array, Array]:
    """Return x (..., D) as (..., D // MANY_COLUMNS, MANY_COLUMNS), and what is left of each row."""
    whole = x.shape[-1] // MANY_COLUMNS * MANY_COLUMNS
    return x[..., :whole].reshape(*x.shape[:-1], -1, MANY_COLUMNS), x[..., whole:]


def row_means(x: Array) -> Array:
    """Return the mean of each row of x (N, D), as (N, 1)."""
    if type(x) is not numpy.ndarray:
        return x.sum(1, keepdims=True) / max(x.shape[1], 1)
    return (_row_sums(x) / _scalar(x.shape[1] or 1, x.dtype))[:, None]


def row_mean_products(x: Array, y: Array) -> Array:
    """Return the mean of x·y over each row of x and y (N, D), as (N, 1)."""
    if type(x) is not numpy.ndarray:
        return (x * y).sum(1, keepdims=True) / max(x.shape[1], 1)
    return (_row_dots(x, y) / _scalar(x.shape[1] or 1, x.dtype))[:, None]


def column_sums(x: Array) -> Array:
    """Return Σ x over the rows of x (N, D), as (D,)."""
    if type(x) is not numpy.ndarray:
        return x.sum(0)
    return _column_sums(x)


def _column_sums(x: Any) -> Any:
    N = len(x)
    if N <= 2 * MANY_ROWS:
        return numpy.dot(_ones(N, x.dtype), x)
    m = N // MANY_ROWS
    chunks, rest = x[: m * MANY_ROWS].reshape(m, MANY_ROWS, -1), x[m * MANY_ROWS :]
    return _column_sums(_ones(MANY_ROWS, x.dtype) @ chunks) + numpy.dot(_ones(len(rest), x.dtype), rest)


def row_maxima(x: Array) -> Array:
    """Return the largest element of each row of x (N, D), D > 0, as (N, 1); NaN for a row with a NaN."""
    if type(x) is not numpy.ndarray or not x.flags.c_contiguous:
        return x.max(1, keepdims=True)
    at = x.argmax(1)  # with short rows twice as fast as x.max(1)
    at += row_starts(x)
    return x.reshape(-1).take(at)[:, None]


def row_starts(x: Array) -> Array:
    """Return the indices (N,) at which the rows of x (N, D) begin in the flattened x. Do not write to it."""
    return _row_starts(*x.shape) if type(x) is numpy.ndarray else namespace(x).arange(len(x)) * x.shape[1]


def largest(x: Array) -> Any:
    """Return the largest element of a non-empty x, to compare with a number; NaN if there is a NaN."""
    return x.item(x.argmax()) if type(x) is numpy.ndarray else x.max()  # 4 times faster than x.max()


def smallest(x: Array) -> Any:
    """Return the smallest element of a non-empty x, to compare with a number; NaN if there is a NaN."""
    return x.item(x.argmin()) if type(x) is numpy.ndarray else x.min()


def scalar(value: float, like: Array) -> Any:
    """Return `value` in the dtype of `like`, for arithmetic with it.

    NumPy converts a Python number anew in every operation, which takes as long as the arithmetic on
    1000 elements; a 0-d array it uses as it is.
    """
    return _scalar(value, like.dtype) if type(like) is numpy.ndarray else value


def increment(counter: Array) -> None:
    """Add 1 to the integer in the 0-d array `counter`."""
    if type(counter) is numpy.ndarray:
        counter[...] = counter.item() + 1  # 10 times faster than counter += 1
    else:
        counter += 1


class _Plan:
    """How to sum arrays of one shape over some axes, by products with vectors of ones if possible.

    That works if the other axes are neighbours: an array is then (before, kept, after). Long rows are
    summed first, short ones last.
    """

    def __init__(self, shape: tuple[int, ...], axes: Axes, dtype: numpy.dtype) -> None:
        self.axes = axes
        self.result = tuple([1 if axis in axes else size for axis, size in enumerate(shape)])
        self.count = _scalar(max(math.prod(shape[axis] for axis in axes), 1), dtype)
        kept = [axis for axis in range(len(shape)) if axis not in axes]
        self.by_product = 0 not in shape and len(kept) > 0 and kept[-1] - kept[0] < len(kept)
        if self.by_product:
            first, behind = kept[0], kept[-1] + 1
            sizes = shape[:first], shape[first:behind], shape[behind:]
            self.rows = self.before, self.kept, self.after = tuple(map(math.prod, sizes))
            self.columns = self.before, self.kept * self.after
            self.rows_first = self.after >= LONG_ROW or self.before == 1 < self.after

    def sum_products(self, x: Array, y: Array) -> Any:
        if not (self.by_product and self.rows_first):
            return self.sums(x * y)
        s = _row_dots(x.reshape(self.rows), y.reshape(self.rows))
        return (s if self.before == 1 else _column_sums(s)).reshape(self.result)

    def sums(self, x: Array) -> Any:
        if not self.by_product:
            return total(x, self.axes, True)
        if self.rows_first:
            s = _row_sums(x.reshape(self.rows))
            s = s if self.before == 1 else _column_sums(s)
        else:
            s = _column_sums(x.reshape(self.columns))
            if self.after > 1:
                s = _row_sums(s.reshape(self.kept, self.after))
        return s.reshape(self.result)


_plan = functools.lru_cache(maxsize=256)(_Plan)


@functools.lru_cache(maxsize=64)
def _row_starts(N: int, D: int) -> numpy.ndarray:
    starts = numpy.arange(N) * D
    starts.flags.writeable = False
    return starts


@functools.lru_cache(maxsize=256)
def _scalar(value: float, dtype: numpy.dtype) -> numpy.ndarray:
    array = numpy.array(value, dtype)
    array.flags.writeable = False
    return array


@functools.lru_cache(maxsize=64)
def _ones(n: int, dtype: numpy.dtype) -> numpy.ndarray:
    ones = numpy.ones(n, dtype)
    ones.flags.writeable = False
    return ones
