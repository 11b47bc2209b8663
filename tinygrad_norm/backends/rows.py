"""The CPU machine: runs a body over cache-sized blocks, on threads where that pays, and sums with BLAS.

A body is the maths of one normalization, written for whole arrays. It keeps a big intermediate result
in its `out`, and every pool lies whole in one block, so the body does not know how many blocks there
are. The results do not depend on the threads: every block has its own, and sums are taken in order.

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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy

from . import Array

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Settings:
    """How a body is run: elements in a block, and threads (used from `THREADED` elements on)."""

    block: int = 1 << 17
    threads: int = 1


THREADED = 1 << 19
_DEFAULT = Settings(threads=int(os.environ.get("TINYGRAD_NORM_THREADS", "1")))
_settings = contextvars.ContextVar("settings", default=_DEFAULT)


@contextmanager
def settings(**changes: int) -> Iterator[Settings]:
    """Run bodies with another `block` or number of `threads` inside."""
    token = _settings.set(Settings(**{**_settings.get().__dict__, **changes}))
    try:
        yield _settings.get()
    finally:
        _settings.reset(token)


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
    now = _settings.get()
    if type(x) is not numpy.ndarray or x.size <= now.block or x.shape[axis] <= 1:
        return body(*split, *whole, None)
    n = x.shape[axis]
    step = max(1, now.block // (x.size // n))
    out = numpy.empty(x.shape, x.dtype)
    before = (slice(None),) * axis

    def run_block(start: int) -> tuple[Any, ...]:
        part = (*before, slice(start, start + step))
        arrays = [a if a is None or a.shape[axis] == 1 else a[part] for a in split]
        with _buffer_size(x.shape[-1]):
            return body(*arrays, *whole, out[part])[1:]

    starts = range(0, n, step)
    if now.threads > 1 and x.size >= THREADED:
        results = list(_pool(now.threads).map(run_block, starts))
    else:
        results = [run_block(start) for start in starts]
    return out, *(_combine(parts, axis, add) for parts in zip(*results, strict=True))


def _combine(parts: Sequence[Any], axis: int, add: bool) -> Array | None:
    if parts[0] is None:
        return None
    return functools.reduce(operator.add, parts) if add else numpy.concatenate(parts, axis)


@contextmanager
def _buffer_size(row: int) -> Iterator[None]:
    """Let NumPy's buffers, through which broadcast operands are copied, hold one row and not many."""
    if row <= 192:
        yield
        return
    previous = numpy.setbufsize(max(256, min(8192, row // 16 * 16)))
    try:
        yield
    finally:
        numpy.setbufsize(previous)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="rows")


def row_sums(x: Array) -> Array:
    """Return Σ x over each row of x (N, D), as (N, 1)."""
    if type(x) is not numpy.ndarray:
        return x.sum(1, keepdims=True)
    return numpy.dot(x, _ones(x.shape[1], x.dtype))[:, None]


def row_dots(x: Array, y: Array) -> Array:
    """Return Σ x·y over each row of x (N, D), as (N, 1); y is (N, D), or (D,) for all rows."""
    if type(x) is not numpy.ndarray:
        return (x * y).sum(1, keepdims=True)
    return (numpy.dot(x, y) if y.ndim == 1 else numpy.vecdot(x, y))[:, None]


def column_sums(x: Array) -> Array:
    """Return Σ x over the rows of x (N, D), as (D,)."""
    if type(x) is not numpy.ndarray:
        return x.sum(0)
    return numpy.dot(_ones(x.shape[0], x.dtype), x)


def sums(x: Array, axes: Axes) -> Array:
    """Return Σ x over `axes`, which stay with size 1."""
    return _sums(x, axes, row_sums, lambda a: a)


def square_sums(x: Array, axes: Axes) -> Array:
    """Return Σ x² over `axes`, which stay with size 1."""
    return _sums(x, axes, lambda rows: row_dots(rows, rows), numpy.square)


def _sums(x: Array, axes: Axes, of_rows: Callable[[Array], Array], of_one: Callable[[Array], Array]) -> Array:
    """Sum the axes at the end as rows, then those at the beginning as columns."""
    if all(x.shape[axis] == 1 for axis in axes):
        return of_one(x)
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    if type(x) is not numpy.ndarray or not (x.size and kept) or kept[-1] - kept[0] >= len(kept):
        return of_one(x).sum(axes, keepdims=True)
    shape = x.shape
    before, after = math.prod(shape[: kept[0]]), math.prod(shape[kept[-1] + 1 :])
    x = of_rows(x.reshape(-1, after)) if after != 1 else of_one(x)
    if before != 1:
        x = column_sums(x.reshape(before, -1))
    return x.reshape([1 if axis in axes else n for axis, n in enumerate(shape)])


@functools.lru_cache(maxsize=64)
def _ones(n: int, dtype: numpy.dtype) -> numpy.ndarray:
    ones = numpy.ones(n, dtype)
    ones.flags.writeable = False
    return ones
