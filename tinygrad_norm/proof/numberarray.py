"""NumberArray: an array of exact numbers, on which bodies run as they are.

It is NumPy's own array of objects. NumPy adds, multiplies and compares its elements by their operators; what
it has no operator for, such as √ or isfinite, is looked up here.
"""

import math
from collections.abc import Callable
from contextvars import ContextVar
from fractions import Fraction
from typing import Any

import numpy

from .decisions import decided
from .errors import NoRoot, NotAlgebraic, NotExact
from .residues import real

_BY_OPERATORS = frozenset(
    """
    add subtract multiply divide true_divide negative positive matmul vecdot matvec vecmat conjugate
    equal not_equal less less_equal greater greater_equal maximum minimum fmax fmin
    logical_and logical_or logical_not logical_xor bitwise_and bitwise_or invert
    """.split()  # noqa: SIM905
)


lifted: ContextVar[Callable[[Any], Any]] = ContextVar("lifted", default=lambda number: number)
"""Makes a plain number one of the kind in use, if that has functions which are not algebraic."""


class NumberArray(numpy.ndarray):
    """An array of dtype object, whose elements are numbers with operators, and ordinary Python numbers."""

    def __array_ufunc__(self, ufunc: numpy.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        for x in inputs:
            _refuse_wrapped(x)
        if ufunc.__name__ in _DECIDE:
            decided(ufunc.__name__)
        if ufunc.__name__ in _BY_OPERATORS:
            return self._plain(ufunc, method, inputs, options)
        if ufunc.__name__ == "frexp":
            exponents = numpy.frompyfunc(_exponent, 1, 1)(numpy.asarray(inputs[0]).view(numpy.ndarray))
            return each(lambda x: x / 2.0 ** _exponent(x), *inputs), numpy.asarray(exponents, int)
        if method in ("reduce", "accumulate"):
            function = numpy.frompyfunc(_function(ufunc), ufunc.nin, ufunc.nout)
            return self._plain(function, method, inputs, options)
        if method != "__call__":
            raise NotExact(f"numpy.{ufunc.__name__}.{method} does not work on exact numbers")
        return self._by_elements(ufunc, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        """Run a function of NumPy; many of them return a plain array of objects."""
        if function is numpy.linalg.eigh:
            return as_numbers(_method("eigh")(lifted.get()(0), *args))
        return as_numbers(super().__array_function__(function, types, args, options))

    @staticmethod
    def _plain(ufunc: numpy.ufunc, method: str, inputs: Any, options: dict[str, Any]) -> Any:
        """Let NumPy apply the operators of the elements."""
        arrays = [numpy.asarray(x).view(numpy.ndarray) if isinstance(x, NumberArray) else x for x in inputs]
        out = options.pop("out", None)
        result = getattr(ufunc, method)(*arrays, **options)
        return _stored(result, out)

    @staticmethod
    def _by_elements(ufunc: numpy.ufunc, inputs: Any, options: dict[str, Any]) -> Any:
        function = _function(ufunc)
        place, out = options.pop("where", True), options.pop("out", None)
        missing = False

        def apply(*numbers: Any) -> Any:
            nonlocal missing
            if not numbers[-1]:
                return None
            try:
                return function(*numbers[:-1])
            except NoRoot:
                missing = True  # the others still count
                return None

        arrays = [numpy.asarray(x, object).view(numpy.ndarray) for x in (*inputs, place)]
        result = numpy.frompyfunc(apply, len(arrays), 1)(*arrays)
        if missing:
            raise NoRoot
        if place is not True and out is not None:
            numpy.copyto(out[0], result, where=place)
            return out[0]
        if ufunc.__name__ in _TO_BOOL:
            return numpy.asarray(result, bool)
        return _stored(result, out)

    def astype(self, dtype: Any, *args: Any, **options: Any) -> Any:
        """Return a copy: exact numbers stay exact in place of floats of any precision."""
        if numpy.dtype(dtype).kind == "f":
            return self.copy()
        return super().astype(dtype, *args, **options)

    def prod(self, *args: Any, **options: Any) -> Any:
        """Return the product; NumPy's own would look for a larger dtype."""
        return numpy.multiply.reduce(self, *args, **options)

    def erf(self) -> "NumberArray":
        """Return the error function, which NumPy lacks."""
        return each(_method("erf"), self)

    def cumsum(self, axis: Any = None, *_: Any, **__: Any) -> Any:
        """Return running sums, exact in place of floats of any precision."""
        return numpy.add.accumulate(self.ravel() if axis is None else self, axis or 0)

    def cumprod(self, axis: Any = None, *_: Any, **__: Any) -> Any:
        """Return running products."""
        return numpy.multiply.accumulate(self.ravel() if axis is None else self, axis or 0)

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(value, numpy.ndarray) and value.ndim == 0:
            value = value.item()  # else the array itself would become an element
        super().__setitem__(key, value)

    def __float__(self) -> float:
        return float(self.item())

    def __pow__(self, exponent: Any, _: None = None) -> Any:
        return numpy.power(self, exponent)


def _refuse_wrapped(x: Any) -> None:
    """Refuse integers of a fixed size that are larger than a float can count: they may have wrapped around.

    Raises:
        NotExact: for such a number.
    """
    if isinstance(x, numpy.ndarray | numpy.integer) and x.dtype.kind in "iu" and x.size:
        integers = numpy.asarray(x).view(numpy.ndarray)
        largest = max(abs(int(integers.min())), abs(int(integers.max())))
        if largest >= 1 << 53:
            raise NotExact(
                f"a number of {x.dtype} is as large as {largest}: products of such integers overflow, and "
                "NumPy goes on with a wrong number. Compute it with floats"
            )


def _stored(result: Any, out: Any) -> Any:
    """Return a result as the array to write to, or as an array of numbers."""
    if out is not None:
        out[0][...] = result
        return out[0]
    if isinstance(result, numpy.ndarray):
        return result.view(NumberArray) if result.dtype == object else result
    if isinstance(result, bool | numpy.generic):
        return numpy.bool_(result) if isinstance(result, bool) else result
    return numbers(result)  # NumPy makes a number of an array without axes


def as_numbers(result: Any) -> Any:
    """Return plain arrays of objects as arrays of numbers, and everything else as it is."""
    if type(result) is numpy.ndarray and result.dtype == object:
        return result.view(NumberArray)
    if type(result) in (list, tuple):
        return type(result)(map(as_numbers, result))
    return result


def numbers(values: Any) -> NumberArray:
    """Return values as an array of numbers."""
    return numpy.array(values, object).view(NumberArray)


def each(function: Callable[..., Any], *arrays: Any) -> NumberArray:
    """Return an array of `function` of every element."""
    return numbers(
        numpy.frompyfunc(function, len(arrays), 1)(*[numpy.asarray(a).view(numpy.ndarray) for a in arrays])
    )


def _method(name: str) -> Callable[..., Any]:
    """Return the function that calls the method of that name of a number, which not every kind has."""

    def call(first: Any, *others: Any) -> Any:
        method = getattr(first, name, None) or getattr(lifted.get()(first), name, None)
        if method is None:
            raise NotAlgebraic(name)
        return method(*others)

    return call


def _function(ufunc: numpy.ufunc) -> Callable[..., Any]:
    """Return the function of numbers that `ufunc` applies to each."""
    return _ELEMENTWISE.get(ufunc.__name__) or _method(ufunc.__name__)


def _exponent(x: Any) -> int:
    return math.frexp(real(x))[1]


def _sign(x: Any) -> int:
    return 1 if x > 0 else -1 if x < 0 else 0


def _whole(rounded: Callable[[float], float]) -> Callable[[Any], Any]:
    """Return a function that rounds: constant between its steps, and so the integer of the real value."""
    return lambda x: int(rounded(real(x)))


_DECIDE = frozenset(
    """
    less less_equal greater greater_equal maximum minimum fmax fmin sign signbit absolute fabs copysign clip
    floor ceil trunc rint floor_divide remainder fmod
    """.split()  # noqa: SIM905
)
_TO_BOOL = {"isfinite", "isnan", "isinf", "signbit"}
_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "sqrt": lambda x: x**0.5,
    "square": lambda x: x * x,
    "reciprocal": lambda x: 1 / x,
    "power": lambda x, e: x**e,
    "cbrt": lambda x: -((-x) ** Fraction(1, 3)) if x < 0 else x ** Fraction(1, 3),
    "float_power": lambda x, e: x**e,
    "absolute": abs,
    "fabs": abs,
    "sign": _sign,
    "signbit": lambda x: x < 0,
    "copysign": lambda x, y: -abs(x) if real(y) < 0 else abs(x),
    "hypot": lambda x, y: (x * x + y * y) ** 0.5,
    "clip": lambda x, low, high: low if x < low else high if x > high else x,
    "ldexp": lambda x, e: x * 2.0 ** int(e),
    "floor": _whole(math.floor),
    "ceil": _whole(math.ceil),
    "trunc": _whole(math.trunc),
    "rint": _whole(round),
    "floor_divide": lambda x, y: int(real(x) // real(y)),
    "remainder": lambda x, y: x - y * int(real(x) // real(y)),
    "fmod": lambda x, y: x - y * int(real(x) / real(y)),
    "isfinite": lambda x: math.isfinite(real(x)),
    "isnan": lambda x: math.isnan(real(x)),
    "isinf": lambda x: math.isinf(real(x)),
}
