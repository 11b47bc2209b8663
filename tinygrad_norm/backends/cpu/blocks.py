"""The CPU machine: runs a body over cache-sized blocks, on threads where that pays, and sums with BLAS.

A body is the maths of one normalization, written for whole arrays. It keeps a big intermediate result
in its `out`, and every pool lies whole in one block, so the body does not know how many blocks there
are. The results do not depend on the threads: the blocks are the same, and sums are taken in order.

NumPy's own reductions walk an array element by element; a product with a vector of ones is the same
sum, two to four times faster. `row_sums` and its relatives say what is computed and leave the how to
this file. On other backends they are plain sums.
"""

from __future__ import annotations

import functools
import math
import operator
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy

from .. import Array, namespace
from .silence import silent_context

Axes = tuple[int, ...]

FEW = 1 << 14  # up to so many elements nothing pays but a small number of calls
MANY = 1 << 19  # from here on, threads pay
SMALL_BLOCK = 1 << 19  # bytes of one array, for formulas with many intermediate results
LONG_ROW = 256  # elements: NumPy's inner loop is worth its start


def _threads(environment: Mapping[str, str]) -> int:
    text = environment.get("TINYGRAD_NORM_THREADS", "1")
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"TINYGRAD_NORM_THREADS must be a number of at least 1, got {text!r}")
    return int(text)


class _Settings(threading.local):
    """How bodies are run: elements in a block, and threads."""

    block = 1 << 19
    threads = _threads(os.environ)


_settings = _Settings()


@contextmanager
def settings(*, block: int | None = None, threads: int | None = None) -> Iterator[None]:
    """Run bodies on blocks of another size, or another number of threads, inside.

    Args:
        block: elements in a block; a pool is never split, however large.
        threads: used from 524,288 elements on.

    Raises:
        ValueError: for less than one of either.
    """
    changes = {name: n for name, n in (("block", block), ("threads", threads)) if n is not None}
    for name, n in changes.items():
        if n < 1:
            raise ValueError(f"{name} must be at least 1, got {n}")
    before = {name: getattr(_settings, name) for name in changes}
    _settings.__dict__.update(changes)
    try:
        yield
    finally:
        _settings.__dict__.update(before)


def run(
    body: Callable[..., tuple[Any, ...]],
    split: Sequence[Array | None],
    whole: Sequence[Any] = (),
    *,
    axis: int = 0,
    add: bool = False,
) -> tuple[Any, ...]:
    """Call `body(*split, *whole, out)` block by block along `axis` of the arrays in `split`.

    An array with size 1 there goes whole into every block. The body returns a tuple: `out`, of the
    shape of split[0], and further results. Those are joined along `axis`, or with `add` summed up; a
    negative `axis` is found in arrays that lack leading axes too. Where one block is enough, or off the
    CPU, the body is called once with out=None and makes its own.
    """
    x: Any = split[0]
    if type(x) is not numpy.ndarray:
        return body(*split, *whole, None)
    if x.size <= FEW and x.size <= _settings.block:
        return _contexts.short_rows.run(body, *split, *whole, None)
    kind = "long_rows" if x.shape[-1] >= LONG_ROW else "short_rows"
    n = x.shape[axis]
    step = max(1, _settings.block // (x.size // n))
    if step >= n:
        return getattr(_contexts, kind).run(body, *split, *whole, None)
    out = numpy.empty(x.shape, x.dtype)

    def run_block(rows: slice) -> tuple[Any, ...]:
        part = _part(axis, rows)
        arrays = [a if a is None or a.shape[axis] == 1 else a[part] for a in split]
        return getattr(_contexts, kind).run(body, *arrays, *whole, out[part])[1:]

    run_all = map if _settings.threads == 1 or x.size < MANY else _pool(_settings.threads).map
    results = list(run_all(run_block, slices(n, step)))
    return out, *(_combine(parts, axis, add) for parts in zip(*results, strict=True))


def slices(n: int, step: int) -> Iterator[slice]:
    """Yield slices of at most `step` that together cover range(n), in order."""
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def elementwise(formula: Callable[..., tuple[Array, ...]], x: Array, **options: Any) -> tuple[Array, ...]:
    """Return `formula(x, **options)`, computed in small blocks; its results are arrays of x's shape."""
    step = SMALL_BLOCK // x.dtype.itemsize
    if x.size <= 4 * step or type(x) is not numpy.ndarray:
        return formula(x, **options)
    flat = x.reshape(-1)
    whole: tuple[Array, ...] = ()
    for part in slices(x.size, step):
        results = formula(flat[part], **options)
        whole = whole or tuple([numpy.empty(x.size, result.dtype) for result in results])
        for y, result in zip(whole, results, strict=True):
            y[part] = result
    return tuple([y.reshape(x.shape) for y in whole])


def _part(axis: int, part: slice) -> tuple[Any, ...]:
    """Return the index of a part of an array along `axis`."""
    all_of = slice(None)
    return (*(all_of,) * axis, part) if axis >= 0 else (..., part, *(all_of,) * (-1 - axis))


class _Contexts(threading.local):
    """Contexts for bodies, one pair per thread, in which NumPy was set up once and for all.

    Infinity and NaN are results there, no warnings. With long rows, the buffers through which NumPy
    copies broadcast operands are better small. Outside, NumPy's own settings stay.
    """

    def __init__(self) -> None:
        self.short_rows, self.long_rows = silent_context(), silent_context()
        self.long_rows.run(numpy.setbufsize, LONG_ROW)


_contexts = _Contexts()


def _combine(parts: Sequence[Any], axis: int, add: bool) -> Array | None:
    if parts[0] is None:
        return None
    return functools.reduce(operator.add, parts) if add else numpy.concatenate(parts, axis)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="rows")


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def row_sums(x: Array, weight: Array | None = None) -> Array:
    """Return Σ x over each row of x (N, D), as (N, 1); with a weight (D,), Σ weight·x."""
    if type(x) is not numpy.ndarray:
        return (x if weight is None else x * weight).sum(1, keepdims=True)
    return numpy.dot(x, _ones(x.shape[1], x.dtype) if weight is None else weight)[:, None]


def row_dots(x: Array, y: Array) -> Array:
    """Return Σ x·y over each row of x and y (N, D), as (N, 1)."""
    if type(x) is not numpy.ndarray:
        return (x * y).sum(1, keepdims=True)
    return numpy.vecdot(x, y)[:, None]


def column_sums(x: Array, weight: Array | None = None) -> Array:
    """Return Σ x over the rows of x (N, D), as (D,); with a weight (N, 1), Σ weight·x."""
    if type(x) is not numpy.ndarray:
        return (x if weight is None else x * weight).sum(0)
    return numpy.dot(_ones(x.shape[0], x.dtype) if weight is None else weight[:, 0], x)


def number(value: float, like: Array) -> Any:
    """Return a number to compute with, in the dtype of `like`.

    NumPy looks at a Python number anew in every operation, which takes as long as the arithmetic on
    1000 elements; at a 0-d array it does not.
    """
    return _number(value, like.dtype) if type(like) is numpy.ndarray else value


@functools.lru_cache(maxsize=256)
def _number(value: float, dtype: numpy.dtype) -> numpy.ndarray:
    array = numpy.array(value, dtype)
    array.flags.writeable = False
    return array


def count_up(counter: Array) -> None:
    """Add 1 to the integer in the 0-d array `counter`: through Python's integers 10 times faster in NumPy."""
    if type(counter) is numpy.ndarray:
        counter[...] = counter.item() + 1
    else:
        counter += 1


class Pools:
    """The pools of an array: all values that differ only in their places on `axes`, `n` to a pool.

    Results keep `axes` with size 1, but for leading ones: of x (N, C, S) over 0 and 2 they are (C, 1).
    `each` is 1/n; where there are no values, n is 1.
    """

    def __init__(self, shape: tuple[int, ...], axes: Axes) -> None:
        self.axes = axes
        leading = next((axis for axis in range(len(shape)) if axis not in axes), len(shape))
        self.shape = tuple([1 if axis in axes else shape[axis] for axis in range(leading, len(shape))])
        self.n: Any = max(math.prod(shape[axis] for axis in axes), 1)
        self.each: Any = 1 / self.n

    def sums(self, x: Array) -> Array:
        """Return Σ x of each pool."""
        return x.sum(self.axes).reshape(self.shape)

    def dots(self, x: Array, y: Array, out: Array | None = None) -> Array:
        """Return Σ x·y of each pool; `out` is room for the products, if they are made."""
        return self.sums(x * y)

    def means(self, x: Array) -> Array:
        """Return the mean of each pool; of equal numbers, this very number."""
        return self.sums(x) / self.n

    def mean_squares(self, x: Array) -> Array:
        """Return the mean of x² of each pool."""
        return self.dots(x, x) / self.n


class _Products(Pools):
    """Pools of NumPy's arrays, summed as products with vectors of ones if the other axes are neighbours.

    Then an array is (before, kept, after). Long rows are summed first, short ones last.
    """

    def __init__(self, shape: tuple[int, ...], axes: Axes, dtype: numpy.dtype) -> None:
        super().__init__(shape, axes)
        self.n, self.each = _number(self.n, dtype), _number(self.each, dtype)
        kept = [axis for axis in range(len(shape)) if axis not in axes]
        self.by_product = 0 not in shape and len(kept) > 0 and kept[-1] - kept[0] < len(kept)
        if self.by_product:
            first, behind = kept[0], kept[-1] + 1
            sizes = shape[:first], shape[first:behind], shape[behind:]
            self.rows = self.before, self.kept, self.after = tuple(map(math.prod, sizes))
            self.columns = self.before, self.kept * self.after
            self.rows_first = self.after >= LONG_ROW or self.before == 1 < self.after
            self.ones_before, self.ones_after = numpy.ones(self.before, dtype), numpy.ones(self.after, dtype)
            self.matrix = len(shape) == 2 and axes == (0,)

    def sums(self, x: numpy.ndarray) -> numpy.ndarray:
        if not self.by_product:
            return super().sums(x)
        if self.matrix:
            return self.ones_before.dot(x)
        if self.before == 1:
            s = x if self.after == 1 else x.reshape(self.rows[1:]).dot(self.ones_after)
            return s.reshape(self.shape)
        if self.rows_first:
            return self._of_columns(numpy.matmul(x.reshape(self.rows), self.ones_after))
        s = self.ones_before.dot(x.reshape(self.columns))
        if self.after > 1:
            s = s.reshape(self.kept, self.after).dot(self.ones_after)
        return s.reshape(self.shape)

    def dots(self, x: numpy.ndarray, y: numpy.ndarray, out: numpy.ndarray | None = None) -> numpy.ndarray:
        if not self.by_product or not self.rows_first:
            return self.sums(numpy.multiply(x, y, out=out))
        return self._of_columns(numpy.vecdot(x.reshape(self.rows), y.reshape(self.rows)))

    def _of_columns(self, x: numpy.ndarray) -> numpy.ndarray:
        return (x if self.before == 1 else self.ones_before.dot(x)).reshape(self.shape)


_products = functools.lru_cache(maxsize=256)(_Products)


def pools(x: Array, axes: Axes) -> Pools:
    """Return the pools that `axes` make of arrays with the shape and the dtype of x."""
    return _products(x.shape, axes, x.dtype) if type(x) is numpy.ndarray else Pools(x.shape, axes)


def row_maxima(x: Array) -> Array:
    """Return the largest element of each row of x (N, D), D > 0, as (N, 1), or NaN where there is one."""
    if type(x) is not numpy.ndarray:
        return x.max(1, keepdims=True)
    if not x.flags.c_contiguous:
        return x.max(1, keepdims=True)
    at = x.argmax(1)  # with short rows twice as fast as x.max(1)
    at += row_starts(x)
    return x.reshape(-1).take(at)[:, None]


def row_starts(x: Array) -> Array:
    """Return where the rows of x (N, D) begin, as (N,) indices into all its elements. To be read only."""
    return _row_starts(*x.shape) if type(x) is numpy.ndarray else namespace(x).arange(len(x)) * x.shape[1]


@functools.lru_cache(maxsize=64)
def _row_starts(N: int, D: int) -> numpy.ndarray:
    starts = numpy.arange(N) * D
    starts.flags.writeable = False
    return starts


def largest(x: Array) -> float:
    """Return the largest element of x, which is not empty, or NaN where there is one."""
    return x.item(x.argmax()) if type(x) is numpy.ndarray else float(x.max())  # 4 times faster than x.max()


def smallest(x: Array) -> float:
    """Return the smallest element of x, which is not empty, or NaN where there is one."""
    return x.item(x.argmin()) if type(x) is numpy.ndarray else float(x.min())


def spread(v: Array, x: Array) -> Array:
    """Return v (C, 1), to be combined with x (N, C, S), as (C, S) where that is faster.

    The innermost loop then runs along C·S, and not along rows that are too short for it.
    """
    if v.ndim == 1 or not 1 < x.shape[-1] < LONG_ROW or type(x) is not numpy.ndarray:
        return v
    if v.ndim == x.ndim and (len(v) > 1 or len(x) == 1):
        return v
    wide = numpy.empty((*v.shape[:-1], x.shape[-1]), v.dtype)
    wide[...] = v
    return wide


@functools.lru_cache(maxsize=64)
def _ones(n: int, dtype: numpy.dtype) -> numpy.ndarray:
    ones = numpy.ones(n, dtype)
    ones.flags.writeable = False
    return ones
