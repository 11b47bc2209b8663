"""The CPU machine: runs a body over cache-sized blocks, on threads where that pays, and sums with BLAS.

A body is the maths of one normalization, written for whole arrays. It keeps a big intermediate result
in its `out`, and every pool lies whole in one block, so the body does not know how many blocks there
are. The results do not depend on the threads: the blocks are the same, and sums are taken in order.

NumPy's own reductions walk an array element by element; a product with a vector of ones is the same
sum, two to four times faster. `row_sums` and its relatives say what is computed and leave the how to
this file. On other backends they are plain sums.
"""

from __future__ import annotations

import contextvars
import functools
import math
import operator
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy

from . import Array

Axes = tuple[int, ...]

FEW = 1 << 14  # up to so many elements nothing pays but a small number of calls
MANY = 1 << 19  # from here on, threads pay
LONG_ROW = 256  # elements: NumPy's inner loop is worth its start


class _Settings(threading.local):
    """How bodies are run: elements in a block, and threads."""

    block = 1 << 17
    threads = int(os.environ.get("TINYGRAD_NORM_THREADS", "1"))


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
    shape of split[0], and further results. Those are joined along `axis`, or with `add` summed up.
    Where one block is enough, or off the CPU, the body is called once with out=None and makes its own.
    """
    x: Any = split[0]
    if type(x) is not numpy.ndarray:
        return body(*split, *whole, None)
    if x.size <= min(FEW, _settings.block):
        return _contexts.short_rows.run(body, *split, *whole, None)
    kind = "long_rows" if x.shape[-1] >= LONG_ROW else "short_rows"
    n = x.shape[axis]
    step = max(1, _settings.block // (x.size // n))
    if step >= n:
        return getattr(_contexts, kind).run(body, *split, *whole, None)
    out = numpy.empty(x.shape, x.dtype)
    before = (slice(None),) * axis

    def run_block(start: int) -> tuple[Any, ...]:
        part = (*before, slice(start, start + step))
        arrays = [a if a is None or a.shape[axis] == 1 else a[part] for a in split]
        return getattr(_contexts, kind).run(body, *arrays, *whole, out[part])[1:]

    blocks = map if _settings.threads == 1 or x.size < MANY else _pool(_settings.threads).map
    results = list(blocks(run_block, range(0, n, step)))
    return out, *(_combine(parts, axis, add) for parts in zip(*results, strict=True))


class _Contexts(threading.local):
    """Contexts for bodies, one pair per thread, in which NumPy was set up once and for all.

    Infinity and NaN are results there, no warnings. With long rows, the buffers through which NumPy
    copies broadcast operands are better small. Outside, NumPy's own settings stay.
    """

    def __init__(self) -> None:
        self.short_rows = contextvars.Context()
        self.short_rows.run(numpy.seterr, all="ignore")
        self.long_rows = self.short_rows.copy()
        self.long_rows.run(numpy.setbufsize, LONG_ROW)


_contexts = _Contexts()


def _combine(parts: Sequence[Any], axis: int, add: bool) -> Array | None:
    if parts[0] is None:
        return None
    return functools.reduce(operator.add, parts) if add else numpy.concatenate(parts, axis)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="rows")


def row_sums(x: Array, weight: Array | None = None) -> Array:
    """Return Σ x over each row of x (N, D), as (N, 1); with a weight (D,), Σ weight·x."""
    if type(x) is not numpy.ndarray:
        return (x if weight is None else x * weight).sum(1, keepdims=True)
    return numpy.dot(x, _equal(x.shape[1], 1, x.dtype) if weight is None else weight)[:, None]


def row_dots(x: Array, y: Array) -> Array:
    """Return Σ x·y over each row of x and y (N, D), as (N, 1)."""
    if type(x) is not numpy.ndarray:
        return (x * y).sum(1, keepdims=True)
    return numpy.vecdot(x, y)[:, None]


def column_sums(x: Array, weight: Array | None = None) -> Array:
    """Return Σ x over the rows of x (N, D), as (D,); with a weight (N, 1), Σ weight·x."""
    if type(x) is not numpy.ndarray:
        return (x if weight is None else x * weight).sum(0)
    return numpy.dot(_equal(x.shape[0], 1, x.dtype) if weight is None else weight[:, 0], x)


def sums(x: Array, axes: Axes) -> Array:
    """Return Σ x over `axes`, which stay with size 1; x itself where they have size 1 already."""
    return _reduce(x, None, axes, 1)


def means(x: Array, axes: Axes) -> Array:
    """Return the means of x over `axes`, which stay with size 1; of equal numbers, this very number."""
    return _reduce(x, None, axes, 1) / pool_size(x.shape, axes)


def dots(x: Array, y: Array, axes: Axes) -> Array:
    """Return Σ x·y over `axes`, which stay with size 1; x and y have one shape."""
    return _reduce(x, y, axes, 1)


def mean_squares(x: Array, axes: Axes) -> Array:
    """Return the means of x² over `axes`, which stay with size 1."""
    return _reduce(x, x, axes, pool_size(x.shape, axes))


def _reduce(x: Array, y: Array | None, axes: Axes, n: int) -> Array:
    """Return Σ x·y/n over `axes`, or without y Σ x/n."""
    layout = _layout(x.shape, axes)
    if layout is None or type(x) is not numpy.ndarray:
        return (x if y is None else x * y).sum(axes, keepdims=True) / n
    before, kept, after, along_rows, shape = layout
    if along_rows:
        x = x.reshape(before, kept, after)
        s = numpy.matmul(x, _equal(after, 1, x.dtype)) if y is None else numpy.vecdot(x, y.reshape(x.shape))
        return _first_sums(s, n).reshape(shape)
    if y is not None:
        x = x * y
    s = _first_sums(x.reshape(before, kept * after), n)
    return (s if after == 1 else numpy.dot(s.reshape(kept, after), _equal(after, 1, s.dtype))).reshape(shape)


def _first_sums(x: numpy.ndarray, n: int) -> numpy.ndarray:
    """Return Σ x/n over the first axis of x (N, D)."""
    if len(x) > 1:
        return numpy.dot(_equal(len(x), 1 / n, x.dtype), x)
    return x[0] if n == 1 else x[0] / n


@functools.lru_cache(maxsize=256)
def _layout(shape: tuple[int, ...], axes: Axes) -> tuple[int, int, int, bool, tuple[int, ...]] | None:
    """Return how to see an x of `shape` as (before, kept, after), to be summed over the first and the last.

    Then follow whether to begin with the last, along the rows, and the shape of the sums. None where
    the axes that stay are not neighbours.
    """
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    if 0 in shape or not kept or kept[-1] - kept[0] >= len(kept):
        return None
    first, behind = kept[0], kept[-1] + 1
    before, after = math.prod(shape[:first]), math.prod(shape[behind:])
    along_rows = after >= LONG_ROW or before == 1 < after
    sums = tuple([1 if axis in axes else n for axis, n in enumerate(shape)])
    return before, math.prod(shape[first:behind]), after, along_rows, sums


@functools.lru_cache(maxsize=256)
def pool_size(shape: tuple[int, ...], axes: Axes) -> int:
    """Return how many values of an x of `shape` share one statistic; 1 where there are none."""
    return max(math.prod(shape[axis] for axis in axes), 1)


def largest(x: Array) -> float:
    """Return the largest element of x, which is not empty, or NaN where there is one."""
    return x.item(x.argmax()) if type(x) is numpy.ndarray else float(x.max())  # 4 times faster than x.max()


def smallest(x: Array) -> float:
    """Return the smallest element of x, which is not empty, or NaN where there is one."""
    return x.item(x.argmin()) if type(x) is numpy.ndarray else float(x.min())


def spread(v: Array, x: Array) -> Array:
    """Return v (1, C, 1), to be combined with x (N, C, S), as (1, C, S) where that is faster.

    The innermost loop then runs along C·S, and not along rows that are too short for it.
    """
    if not 1 < x.shape[-1] < LONG_ROW or len(v) > 1 or len(x) == 1 or type(x) is not numpy.ndarray:
        return v
    wide = numpy.empty((*v.shape[:-1], x.shape[-1]), v.dtype)
    wide[...] = v
    return wide


@functools.lru_cache(maxsize=256)
def _equal(n: int, value: float, dtype: numpy.dtype) -> numpy.ndarray:
    """Return n times `value`, to be read only."""
    array = numpy.full(n, value, dtype)
    array.flags.writeable = False
    return array
