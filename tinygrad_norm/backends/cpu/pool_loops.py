"""Pool loops: what stands between a kernel whose body runs in blocks and its plain loop.

A loop takes the arguments of the body, then the arrays for its results, and then what it asks for by name:

    zero          0 in the precision of its sums: that of x, or float64 if x has long rows
    left          (n,) bool, one for each pool: True for those that it leaves to the body
    start, stop   the pools to work on; without them, the arrays are slices that hold only these pools

Its arrays are contiguous and of one dtype, float32 or float64, and its numbers are of that dtype. Results
that are sums over pools come filled with zeros. All else is left to the body: other dtypes, empty arrays, a
weight or bias of another shape than the loop's, and every pool in which a guard of the body would act.
"""

import functools
import math
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy

from .blocks import MANY, InBlocks, slices, threads_for
from .loops import Loop
from .sums import total_of_parts

_ndarray, _empty, _zeros = numpy.ndarray, numpy.empty, numpy.zeros
F4, F8 = numpy.dtype(numpy.float32), numpy.dtype(numpy.float64)

LONG = 1 << 13
"""Numbers in a row of float32 above which they are summed up in float64."""

BLOCK = 1 << 18
"""Elements in a block, of which each thread takes one at a time."""

LEAST = 1 << 10
"""Elements of a row in a block, so that threads do not write to the same lines and pages of memory."""

SUM_COST = 16
"""Pools in a block for each sum over pools that is as large as a pool, as each block clears and adds its own;
unless these would be fewer than four blocks."""

MOST_ROWS = 512
"""Pools in a block if there are sums over pools: so many numbers are added one after another."""

Shape = tuple[int, ...]
ShapeOf = Callable[[Shape], Shape]


def kept(*axes: int) -> ShapeOf:
    """The shape of an array with these axes of the first argument; its other axes have size 1."""
    return lambda shape: tuple([n if axis in axes else 1 for axis, n in enumerate(shape)])


ROWS = kept(0, 1)
"""(N, D): the shape of x (N, D)."""

COLUMN = kept(0)
"""(N, 1): one number for each row of x (N, D)."""


def VECTOR(shape: Shape) -> Shape:
    """(D,): one number for each column of x (N, D)."""
    return shape[1:]


class _Plan(NamedTuple):
    """What follows from the shape and dtype of the first argument."""

    missing: dict[int, numpy.ndarray]
    first: Shape  # of the results
    others: list[Shape]
    zero: Any
    pools: int
    step: int  # pools in a block
    is_whole: bool  # whether that is all of them


class PoolLoop:
    """The version of a kernel that runs a loop.

    Args:
        body: the NumPy version.
        function: the loop.
        shapes: by name, those of the results after the first, and of the arguments that may be missing.
        blocks: decorated with `in_blocks`, whose names, axis and sums hold here too; None if `body` is.
    """

    def __init__(
        self,
        body: Any,
        function: Callable[..., Any],
        shapes: dict[str, ShapeOf],
        blocks: InBlocks | None = None,
    ) -> None:
        blocks = blocks or body
        self.loop, self.body, self.parameters = Loop(function), body, blocks.parameters
        self.axis, self.add, self.split = blocks.axis, blocks.add, blocks.split
        self.missing = [(*pair, shapes[blocks.parameters[pair[0]]]) for pair in blocks.missing]
        self.results = [shape_of for name, shape_of in shapes.items() if name not in blocks.parameters]
        inputs = len(blocks.parameters)
        extras = self.loop.parameters[inputs + 1 + len(self.results) :]
        self._check_parameters([name for name in shapes if name not in blocks.parameters], extras)
        self.sliced, self.guarded = "start" not in extras, "left" in extras
        self.choose_extras = _chooser(extras)
        self.plan = functools.lru_cache(maxsize=256)(self._plan)

    def _check_parameters(self, results: list[str], extras: list[str]) -> None:
        inputs, taken = self.parameters, self.loop.parameters
        first = taken[len(inputs) : len(inputs) + 1]
        if taken != [*inputs, *first, *results, *extras] or not first or not set(extras) <= set(_EXTRAS):
            expected = ", ".join([*inputs, "its first result", *results])
            raise TypeError(
                f"{self.loop.function.__name__} must take {expected}, and then, as far as it needs them, "
                f"{', '.join(_EXTRAS)}; it takes {', '.join(taken)}. Results after the first are those whose "
                "shapes are given to .loops(...), by name"
            )

    def _plan(self, shape: Shape, dtype: numpy.dtype) -> _Plan:
        pools, size = shape[self.axis], math.prod(shape)
        step = (
            max(1, BLOCK * pools // size, LEAST // math.prod(shape[self.axis + 1 :]))
            if size >= MANY
            else pools
        )
        others = [shape_of(shape) for shape_of in self.results]
        if self.add:
            sums = sum(map(math.prod, others))
            step = min(max(step, min(SUM_COST * sums * pools // size, pools // 4)), MOST_ROWS)
        return _Plan(
            {place: numpy.full(shape_of(shape), number, dtype) for place, number, shape_of in self.missing},
            shape,
            others,
            (F8 if shape[-1] > LONG else dtype).type(0),
            pools,
            step,
            step >= pools,
        )

    def __call__(self, *args: Any) -> Any:
        """Return the results of the body, or NotImplemented if the loop cannot work on `args`."""
        x, dtype = args[0], dtype_of(args[0])
        if dtype is None or not x.size:
            return NotImplemented
        missing, first, others, zero, pools, step, is_whole = self.plan(x.shape, dtype)
        given: list[Any] = []
        for a in args:
            if type(a) is _ndarray:
                if a.dtype is not dtype and a.dtype != dtype:
                    return NotImplemented
                given.append(a if a.flags.carray else plain(a))
            elif a is None:
                given.append(missing.get(len(given)))
            else:
                given.append(_number(a, dtype))
        for place, default in missing.items():  # such as a weight for each sample, of which it would read one
            if given[place].shape != default.shape:
                return NotImplemented
        new = _zeros if self.add else _empty
        results = [_empty(first, dtype)]
        for shape in others:
            results.append(new(shape, dtype))
        left = _empty(pools, bool) if self.guarded else None
        if is_whole or (not self.add and threads_for(x.size) is map):
            self.loop(*given, *results, *self.choose_extras((zero, left, 0, pools)))
        else:
            self._run_blocks(threads_for(x.size), given, results, left, zero, pools, step)
        if left is not None and 1 in left.tobytes():
            if left.all():
                return NotImplemented
            self._hand_over(args, results, left.nonzero()[0])
        return tuple(results) if len(results) > 1 else results[0]

    def _run_blocks(
        self, run_all: Any, given: list[Any], results: list[Any], left: Any, zero: Any, pools: int, step: int
    ) -> None:
        """Run the loop on blocks of `step` pools; the results do not depend on who runs which."""
        inputs = len(given)
        cut = [*self.split, inputs] if self.sliced else []
        if self.sliced and not self.add:
            cut += range(inputs + 1, inputs + len(results))

        def run_block(block: slice) -> Sequence[Any]:
            part = [*given, *results]
            for place in cut:
                part[place] = part[place][block]
            if self.add:
                part[inputs + 1 :] = map(numpy.zeros_like, results[1:])
            here = left[block] if self.sliced and left is not None else left
            self.loop(*part, *self.choose_extras((zero, here, block.start, block.stop)))
            return part[inputs + 1 :]

        parts = run_all(run_block, slices(pools, step))
        if self.add:
            results[1:] = total_of_parts(parts)
        else:
            list(parts)

    def _hand_over(self, args: Sequence[Any], results: list[Any], pools: numpy.ndarray) -> None:
        """Let the body work on the pools that the loop left to it."""
        at = (*(slice(None),) * self.axis, pools)
        part = list(args)
        for place in self.split:
            if part[place] is not None and part[place].shape[self.axis] > 1:
                part[place] = part[place][at]
        found = self.body(*part)
        first, *others = found if type(found) is tuple else (found,)
        results[0][at] = first
        for result, value in zip(results[1:], others, strict=True):
            if self.add:
                result += value
            else:
                result[at] = value


def dtype_of(x: Any) -> numpy.dtype | None:
    """Return F4 or F8 if that is the dtype of x, which is another object in an array that was pickled."""
    dtype = x.dtype
    if dtype is F4 or dtype is F8:
        return dtype
    return F4 if dtype == F4 else F8 if dtype == F8 else None


def plain(a: Any) -> numpy.ndarray:
    """Return `a` contiguous and writable: for other arrays, Numba would compile a loop anew."""
    return a if a.flags.carray else numpy.array(a, order="C")


def fits_a_loop(*arrays: Any) -> bool:
    """Return whether arrays are of one dtype, float32 or float64, and the first is not empty."""
    dtype = dtype_of(arrays[0])
    if dtype is None or not arrays[0].size:
        return False
    others = [a for a in arrays if a.dtype is not dtype]
    return not others or all(dtype_of(a) is dtype for a in others)


def run_over_pools(loop: Loop, size: int, pools: int, *args: Any) -> None:
    """Run `loop(*args, start, stop)` over all pools: in blocks, if an array of `size` is worth threads."""
    run_all = threads_for(size)
    if run_all is map:
        loop(*args, 0, pools)
    else:
        blocks = slices(pools, max(1, BLOCK * pools // size))
        list(run_all(lambda block: loop(*args, block.start, block.stop), blocks))


_EXTRAS = ("zero", "left", "start", "stop")


def _chooser(names: Sequence[str]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Return a function that takes the values of all extras and returns those with these names, in order."""
    places = [_EXTRAS.index(name) for name in names]
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple([values[place] for place in places])


@functools.lru_cache(maxsize=256)
def _number(value: float, dtype: numpy.dtype) -> Any:
    return dtype.type(value)
