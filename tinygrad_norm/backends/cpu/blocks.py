"""Blocks: bodies run on parts of their arrays that fit into the cache, on threads if that is faster.

A body is the maths of one pass of a normalization, written for whole arrays. `in_blocks` runs it on parts
that hold whole pools, so the body does not know how many there are. The results do not depend on the number
of threads: the blocks are the same, and sums over blocks are taken in order.
"""

from __future__ import annotations

import functools
import inspect
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy

from .. import Array
from .half import downcast, is_half, upcast
from .silence import silent_context
from .sums import LONG_ROW, total_of_parts

FEW = 1 << 14  # up to so many elements nothing pays but a small number of calls
MANY = 1 << 19  # from here on, threads pay
SMALL_BLOCK = 1 << 19  # bytes of one array, for formulas with many intermediate results


def _threads(environment: Mapping[str, str]) -> int:
    text = environment.get("TINYGRAD_NORM_THREADS", "1")
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"TINYGRAD_NORM_THREADS must be a number of at least 1, got {text!r}")
    return int(text)


class _Settings(threading.local):
    """How bodies are run: elements in a block, and threads."""

    block = 1 << 16
    threads = _threads(os.environ)


_settings = _Settings()


@contextmanager
def settings(*, block: int | None = None, threads: int | None = None) -> Iterator[None]:
    """Run bodies on blocks of another size, or on another number of threads, inside.

    Args:
        block: elements in a block; up to two blocks stay one, and a pool is never split, however large.
        threads: used from 524,288 elements on.

    Raises:
        ValueError: if either is less than 1.
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


def in_blocks(*names: str, axis: int = 0, add: bool = False, **missing: float) -> Callable[..., Any]:
    """Run a body block by block along `axis` of the arguments called `names`.

    The body returns an array of the shape of the first of them, or a tuple that begins with one. What else
    it returns is joined along `axis`, or with `add` summed up over the blocks. An array of size 1 along
    `axis` is passed to every block unsplit.

    Sums are not the gradient of an argument that varies along `axis`, such as a weight for each sample: then
    do without `add`, and return its gradient with the axis.

    Half types are upcast for the body, and its first result is downcast. An argument that is None is
    replaced by its number in `missing`: `weight=1.0`, `bias=0.0`.
    """
    return lambda body: InBlocks(body, names, axis, add, missing)


class InBlocks:
    """A body that runs block by block, as `in_blocks` describes.

    Attributes:
        body: what runs on each block.
        parameters: the names of its arguments.
        split: the places of the arguments that are cut along `axis`.
        missing: the places of those that may be None, each with the number that replaces it.
    """

    def __init__(
        self,
        body: Callable[..., Any],
        names: Sequence[str],
        axis: int,
        add: bool,
        missing: Mapping[str, float],
    ) -> None:
        functools.update_wrapper(self, body)
        self.body, self.axis, self.add = body, axis, add
        self.parameters = list(inspect.signature(body).parameters)
        self.split = tuple([self.parameters.index(name) for name in names])
        self.missing = tuple([(self.parameters.index(name), number) for name, number in missing.items()])
        may_be_summed = [place for place, _ in self.missing if add]
        self._shared = [i for i in range(len(self.parameters)) if i not in self.split or i in may_be_summed]

    def __call__(self, *args: Any) -> Any:
        given = list(args)
        for place, number in self.missing:
            if given[place] is None:
                given[place] = number
        x: Any = given[self.split[0]]
        half = is_half(x) if x.dtype.itemsize == 2 else False
        if half:
            given = [upcast(a) if hasattr(a, "dtype") else a for a in given]
        if type(x) is not numpy.ndarray:
            results = self.body(*given)
        elif x.size <= FEW and x.size <= _settings.block:
            results = _contexts.short_rows.run(self.body, *given)
        else:
            self._check_shared(given, x)
            results = self._run_blocks(given)
        if not half:
            return results
        if type(results) is not tuple:
            return downcast(results, x)
        return downcast(results[0], x), *results[1:]

    def _check_shared(self, given: Sequence[Any], x: Any) -> None:
        """Raise ValueError if an argument that the blocks share varies along their axis."""
        n = x.shape[self.axis]
        for place in self._shared:
            shape = getattr(given[place], "shape", ())
            if len(shape) == x.ndim and shape[self.axis] == n > 1:
                raise ValueError(
                    f"{self.body.__name__}: {self.parameters[place]} {shape} varies along axis {self.axis} "
                    f"of {self.parameters[self.split[0]]} {x.shape}, cut into blocks there: name it in "
                    "in_blocks, without add"
                )

    def _run_blocks(self, given: Sequence[Any]) -> Any:
        x, body, axis = given[self.split[0]], self.body, self.axis
        row = math.prod(x.shape[axis:]) if axis else x.shape[-1]  # along which NumPy's inner loop runs
        context = "long_rows" if row >= LONG_ROW else "short_rows"
        n = x.shape[axis]
        step = max(1, _settings.block // (x.size // n))
        if step >= n or x.size <= 2 * _settings.block:
            return getattr(_contexts, context).run(body, *given)
        whole = (slice(None),) * axis
        y = numpy.empty(x.shape, x.dtype)

        def run_block(rows: slice) -> Sequence[Any]:
            part = list(given)
            for place in self.split:
                a = given[place]
                if hasattr(a, "shape") and a.shape[axis] != 1:
                    part[place] = a[(*whole, rows)]
            results = getattr(_contexts, context).run(body, *part)
            if type(results) is not tuple:
                y[(*whole, rows)] = results
                return ()
            y[(*whole, rows)] = results[0]
            return results[1:]

        parts = threads_for(x.size)(run_block, slices(n, step))
        others: Sequence[Any]
        if self.add:  # as they come: the sums of thousands of blocks would take memory
            others = total_of_parts(parts)
        else:
            others = [numpy.concatenate(results, axis) for results in zip(*parts, strict=True)]
        return (y, *others) if others else y


def threads_for(size: int) -> Callable[..., Any]:
    """Return `map`, or the map of a pool of threads if an array of `size` elements is worth them."""
    return map if _settings.threads == 1 or size < MANY else _pool(_settings.threads).map


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


class _Contexts(threading.local):
    """Contexts for bodies, one pair for each thread, in which NumPy was set up once and for all.

    Infinity and NaN are results there, no warnings. With long rows, the buffers through which NumPy
    copies broadcast operands are better small. Outside, NumPy's own settings stay.
    """

    def __init__(self) -> None:
        self.short_rows, self.long_rows = silent_context(), silent_context()
        self.long_rows.run(numpy.setbufsize, LONG_ROW)


_contexts = _Contexts()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="rows")


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
