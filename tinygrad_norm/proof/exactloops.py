"""Loops on exact numbers: the plain loops that Numba compiles, run as Python in place of the bodies.

A loop, and what stands between it and its kernel, asks for NumPy's floats: for arrays of a dtype, for a
square root of one number. `_exact` copies such a function with other globals, in which NumPy makes arrays of
objects and knows exact numbers, and every array fits a loop. Nothing that runs otherwise is changed.
"""

import functools
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy

from ..backends import KERNELS
from ..backends.cpu import blocks, element_loops, loop_packs, pool_loops
from ..backends.cpu.loop_helpers import helper
from ..backends.cpu.loops import Loop
from ..backends.cpu.pool_loops import PoolLoop
from .numberarray import NumberArray, as_numbers, each, numbers

_PACKAGE = __name__.partition(".")[0]


@contextmanager
def loops_in_place_of_bodies() -> Iterator[set[str]]:
    """Run kernels with a loop by it, for arrays of numbers; yield the names of those that did."""
    seen: set[str] = set()
    kernels = [kernel for kernel in KERNELS.values() if kernel.cpu_version is not None]
    for kernel in kernels:
        kernel.versions["numpy"] = _by_loop(kernel, seen)
    try:
        yield seen
    finally:
        for kernel in kernels:
            kernel.versions["numpy"] = kernel.numpy_version


def _by_loop(kernel: Any, seen: set[str]) -> Callable[..., Any]:
    def call(x: Any, *args: Any, **options: Any) -> Any:
        if type(x) is NumberArray:
            results = _exact(kernel.cpu_version)(x, *args, **options)
            if results is not NotImplemented:
                seen.add(kernel.__name__)
                return as_numbers(results)
        return kernel.numpy_version(x, *args, **options)

    return call


class _Numpy:
    """NumPy for loops: its floats are exact numbers, its arrays hold them."""

    ndarray = NumberArray

    def __getattr__(self, name: str) -> Any:
        function = getattr(numpy, name)
        return functools.partial(_of_scalars, function) if isinstance(function, numpy.ufunc) else function

    @staticmethod
    def float64(number: Any) -> Any:
        """Return the number, in which nothing is rounded."""
        return number

    @staticmethod
    def empty(shape: Any, dtype: Any = float, **_: Any) -> Any:
        """Return an array for numbers, or for the integers of a dtype."""
        return _array_of(numpy.zeros(shape, object if _is_float(dtype) else dtype))

    zeros = empty

    @staticmethod
    def ones(shape: Any, dtype: Any = float, **_: Any) -> Any:
        """Return ones."""
        return _array_of(numpy.ones(shape, object if _is_float(dtype) else dtype))


def _of_scalars(function: numpy.ufunc, *given: Any, **options: Any) -> Any:
    """Call a function of NumPy, also of single numbers, which NumPy alone would ask for a method."""
    if any(isinstance(a, numpy.ndarray) for a in given):
        return function(*given, **options)
    return function(*map(numbers, given), **options).item()


def _is_float(dtype: Any) -> bool:
    return numpy.dtype(dtype).kind in "fO"


def _array_of(values: numpy.ndarray) -> Any:
    return as_numbers(values)


def _fits(*arrays: Any) -> bool:
    return bool(arrays[0].size)


def _run_over_pools(loop: Any, _: int, pools: int, *args: Any) -> None:
    loop(*args, 0, pools)


def _plain(a: Any) -> Any:
    return a if a.flags.carray else as_numbers(numpy.array(a, order="C"))


def _in_place_of(value: Any) -> Any:
    """Return what stands for a global of a loop, or of what runs it."""
    if value is numpy:
        return _Numpy()
    for known, exact in _KNOWN:
        if value is known:
            return exact
    if isinstance(value, Loop | PoolLoop | helper | element_loops.ElementLoop | element_loops.CurveLoop):
        return _exact(value)
    if isinstance(value, types.FunctionType) and value.__module__.startswith(_PACKAGE):
        return _exact(value) if ".backends" not in value.__module__ or _is_of_loops(value) else value
    if type(value) in (tuple, list):
        return type(value)(map(_in_place_of, value))
    return value


def _is_of_loops(function: Any) -> bool:
    return function.__module__ in (element_loops.__name__, pool_loops.__name__)


_COPIES: dict[int, tuple[Any, Any]] = {}


def _exact(function: Any) -> Any:
    """Return a copy of a function, a loop or a helper that works on exact numbers."""
    if id(function) not in _COPIES:
        _COPIES[id(function)] = function, _copied(function)
    return _COPIES[id(function)][1]


def _copied(function: Any) -> Any:
    if isinstance(function, PoolLoop):
        return functools.partial(_run_pools, function)
    if isinstance(function, Loop):
        return _exact(function.function)
    if isinstance(function, helper):
        return _exact(function.double)
    if isinstance(function, element_loops.ElementLoop | element_loops.CurveLoop):
        return functools.partial(_run_elements, function)
    if not isinstance(function, types.FunctionType):
        return function
    scope: dict[str, Any] = {}
    closure = function.__closure__ and tuple(types.CellType() for _ in function.__closure__)
    copy = types.FunctionType(function.__code__, scope, function.__name__, function.__defaults__, closure)
    copy.__kwdefaults__ = function.__kwdefaults__
    _COPIES[id(function)] = function, copy  # a helper may call itself
    names = set(_names(function.__code__))
    scope |= {
        name: _in_place_of(value) if name in names else value for name, value in function.__globals__.items()
    }
    for own, cell in zip(closure or (), function.__closure__ or (), strict=True):
        own.cell_contents = _in_place_of(cell.cell_contents)
    return copy


def _names(code: types.CodeType) -> Iterator[str]:
    """Return the names in the code of a function, and of functions in it."""
    yield from code.co_names
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            yield from _names(part)


def _run_pools(loop: PoolLoop, *args: Any) -> Any:
    """Return what the loop of a body with pools gives: what `PoolLoop` does, without blocks and dtypes."""
    x = args[0]
    plan = loop._plan(x.shape, numpy.dtype(object))
    missing = {place: as_numbers(numpy.array(default, object)) for place, default in plan.missing.items()}
    given: list[Any] = [missing.get(i) if a is None else a for i, a in enumerate(args)]
    if any(given[place].shape != default.shape for place, default in missing.items()):
        return NotImplemented
    results = [as_numbers(numpy.zeros(shape, object)) for shape in (plan.first, *plan.others)]
    left = numpy.zeros(plan.pools, bool)
    _exact(loop.loop)(*given, *results, *loop.choose_extras((0, left, 0, plan.pools)))
    if left.all():
        return NotImplemented
    if left.any():
        loop._hand_over(args, results, left.nonzero()[0])
    return tuple(results) if len(results) > 1 else results[0]


def _run_elements(loop: Any, x: Any, *args: Any, slope: bool = True) -> Any:
    """Return what an element loop gives."""
    if isinstance(loop, element_loops.ElementLoop):
        arrays, one = (x, *args)[: loop.arrays], loop.loop.function.__globals__["formula"]
        constants = args[loop.arrays - 1 :]
        if any(a.shape != x.shape for a in arrays):
            return NotImplemented
        return each(lambda *entries: _exact(one)(*entries, *constants), *arrays)
    one = _exact(loop.pair.function.__globals__["formula"])
    pairs = [each(lambda entry, k=k: one(entry, *args)[k], x) for k in range(2 if slope else 1)]
    return tuple(pairs)


_KNOWN: tuple[tuple[Any, Any], ...] = (
    (pool_loops.dtype_of, lambda x: x.dtype),
    (pool_loops.fits_a_loop, _fits),
    (pool_loops.plain, _plain),
    (pool_loops.run_over_pools, _run_over_pools),
    (blocks.threads_for, lambda size: map),
    (loop_packs.fill, lambda a, r: numbers([a] * (loop_packs.PLAIN_WIDTH * r))),
)
