"""Element loops: a formula of one number, run over all elements of an array.

The formula is a helper of loops. It takes one number of each array, and then the numbers that are the same
for all; it returns one number, or a pair: y and its derivative. The arrays are float32 or float64, all of one
dtype and shape. All else is left to the body.
"""

import inspect
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from .blocks import slices, threads_for
from .loop_compiler import NotCompiled
from .loop_helpers import helper
from .loops import Loop
from .pool_loops import BLOCK, dtype_of, plain


def formula(*_: Any) -> Any:
    """Stand for the formula in the loops below."""
    raise NotImplementedError


def _each(x: Any, y: Any, numbers: Any) -> None:
    for i in range(x.size):
        y[i] = formula(x[i], *numbers)


def _each_of_two(dy: Any, x: Any, dx: Any, numbers: Any) -> None:
    for i in range(x.size):
        dx[i] = formula(dy[i], x[i], *numbers)


def _first_of_pair(x: Any, y: Any, numbers: Any) -> None:
    for i in range(x.size):
        y[i] = formula(x[i], *numbers)[0]


def _pair(x: Any, y: Any, slope: Any, numbers: Any) -> None:
    for i in range(x.size):
        y[i], slope[i] = formula(x[i], *numbers)


class ElementLoop:
    """A loop over the elements of one array or of two, with one result.

    Calling it with the arrays and the numbers returns the result, or NotImplemented.
    """

    def __init__(self, one_number: helper, arrays: int = 1) -> None:
        self.arrays = arrays
        self.loop = _loop(_each if arrays == 1 else _each_of_two, one_number)

    def __call__(self, *args: Any) -> Any:
        results: Any = _run(self.loop, args[: self.arrays], args[self.arrays :], 1)
        return results if results is NotImplemented else results[0]


class CurveLoop:
    """A loop over the elements of an array whose formula returns y and dy/dx.

    `options` are the names of the numbers that it takes. Calling it with the array and these numbers returns
    (y, slope), or only (y,) without `slope`, or NotImplemented.
    """

    def __init__(self, one_number: helper) -> None:
        self.pair, self.first = _loop(_pair, one_number), _loop(_first_of_pair, one_number)
        self.options = list(inspect.signature(one_number).parameters)[1:]

    def __call__(self, x: Any, *numbers: float, slope: bool = True) -> Any:
        results = _run(self.pair if slope else self.first, (x,), numbers, 2 if slope else 1)
        return results if results is NotImplemented else tuple(results)


def _loop(over: Callable[..., None], one_number: helper) -> Loop:
    """Return the loop `over` all elements, with this formula. Its name is one under which it is kept."""
    name = f"{over.__name__}_{one_number.double.__name__}"
    copy = types.FunctionType(over.__code__, {**over.__globals__, "formula": one_number}, name)
    copy.__qualname__ = name
    return Loop(copy)


def _run(loop: Loop, given: Sequence[Any], numbers: Sequence[float], results: int) -> Any:
    x = given[0]
    dtype, shape = dtype_of(x), x.shape
    if dtype is None or not x.size:
        return NotImplemented
    arrays = []
    for a in given:
        if type(a) is not numpy.ndarray or a.shape != shape:
            return NotImplemented
        if a.dtype is not dtype and dtype_of(a) is not dtype:
            return NotImplemented
        arrays.append(plain(a).reshape(-1))
    made = []
    for _ in range(results):
        y = numpy.empty(shape, dtype)
        made.append(y)
        arrays.append(y.reshape(-1))
    constants = tuple([dtype.type(number) for number in numbers]) if numbers else ()
    run_all = threads_for(x.size)
    try:
        if run_all is map:
            loop(*arrays, constants)
        else:
            list(run_all(lambda part: loop(*[a[part] for a in arrays], constants), slices(x.size, BLOCK)))
    except NotCompiled:
        return NotImplemented
    return made
