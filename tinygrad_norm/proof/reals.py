"""Real: a real number of as many digits as wanted, with the functions that are not algebraic.

It is a number of mpmath, with methods named as NumPy's functions, so that a `NumberArray` of such numbers
runs a body as it is. Functions that a body approximates to the precision of a float, such as erf, are the
true ones here. A float on the way is what it is written as (`constants`); one that cannot be read is taken as
it is, and noted: then no more than 16 digits agree.

Needs mpmath, the extra `exact`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import numpy

from .constants import constant
from .errors import NotExact
from .mpmath_package import mpmath
from .numberarray import lifted

mp = mpmath.mp


def _operator(operation: Callable[[Any, Any], Any]) -> Callable[["Real", Any], Any]:
    """Return the method of a number for an operation with another; one with an array is left to NumPy."""

    def method(self: "Real", other: Any) -> Any:
        return NotImplemented if isinstance(other, numpy.ndarray) else Real(operation(self.x, _raw(other)))

    return method


def _comparison(holds: Callable[[Any, Any], Any]) -> Callable[["Real", Any], Any]:
    """Return the method of a number for a comparison with another; one with an array is left to NumPy."""

    def method(self: "Real", other: Any) -> Any:
        return NotImplemented if isinstance(other, numpy.ndarray) else bool(holds(self.x, _raw(other)))

    return method


class Real:
    """The number x of mpmath."""

    __slots__ = ("x",)

    unread: list[float] = []  # noqa: RUF012
    """Floats that came in on the way and could not be read, since `precise` was entered."""

    def __init__(self, x: Any) -> None:
        self.x = x

    @property
    def v(self) -> float:
        """The nearest float."""
        return float(self.x)

    __add__ = _operator(lambda x, y: x + y)
    __sub__ = _operator(lambda x, y: x - y)
    __rsub__ = _operator(lambda x, y: y - x)
    __mul__ = _operator(lambda x, y: x * y)
    __truediv__ = _operator(lambda x, y: _quotient(x, y))
    __rtruediv__ = _operator(lambda x, y: _quotient(y, x))
    __pow__ = _operator(lambda x, y: _power(x, y))
    __rpow__ = _operator(lambda x, y: _power(y, x))
    __mod__ = _operator(lambda x, y: x % y)
    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> "Real":
        return Real(-self.x)

    def __pos__(self) -> "Real":
        return self

    def __abs__(self) -> "Real":
        return Real(abs(self.x))

    __lt__ = _comparison(lambda x, y: x < y)
    __le__ = _comparison(lambda x, y: x <= y)
    __gt__ = _comparison(lambda x, y: x > y)
    __ge__ = _comparison(lambda x, y: x >= y)

    def __eq__(self, other: object) -> Any:
        return NotImplemented if isinstance(other, numpy.ndarray) else bool(self.x == _raw(other))

    def __hash__(self) -> int:
        return hash(self.x)

    def __bool__(self) -> bool:
        return bool(self.x)

    def __float__(self) -> float:
        raise NotExact("a number of many digits was made a float, which would round it")

    def __int__(self) -> int:
        raise NotExact("a number of many digits was made an integer, which would round it")

    __index__ = __trunc__ = __round__ = __floor__ = __ceil__ = __int__

    def __repr__(self) -> str:
        return mp.nstr(self.x, 20)

    def conjugate(self) -> "Real":
        """Return self, as a real number does; NumPy's vecdot asks for it."""
        return self

    def logaddexp(self, other: Any) -> "Real":
        """Return log(eˣ + eʸ)."""
        a, b = sorted((self.x, _raw(other)))
        return Real(b if mp.isinf(b) else b + mp.log1p(mp.exp(a - b)))

    @staticmethod
    def eigh(matrices: Any) -> tuple[Any, Any]:
        """Return the eigenvalues (..., d) of symmetric matrices (..., d, d), and eigenvectors as columns."""
        values = numpy.empty(matrices.shape[:-1], object)
        vectors = numpy.empty(matrices.shape, object)
        for at in numpy.ndindex(matrices.shape[:-2]):
            E, Q = mp.eigsy(mp.matrix([[_raw(x) for x in row] for row in matrices[at]]))
            values[at] = [Real(x) for x in E]
            vectors[at] = [[Real(x) for x in row] for row in Q.tolist()]
        return values, vectors

    def arctan2(self, other: Any) -> "Real":
        """Return the angle of the point (other, self)."""
        return Real(mp.atan2(self.x, _raw(other)))


def _apply(function: Callable[[Any], Any]) -> Callable[[Real], Real]:
    """Return a method that is `function`; where it is not real, NaN."""

    def method(self: Real) -> Real:
        try:
            y = function(self.x)
        except ValueError:  # a pole
            return Real(mp.nan)
        return Real(y if isinstance(y, mp.mpf) else mp.nan)

    return method


_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "exp": mp.exp,
    "exp2": lambda x: mp.mpf(2) ** x,
    "expm1": mp.expm1,
    "log": mp.log,
    "log2": lambda x: mp.log(x) / mp.ln2,
    "log10": mp.log10,
    "log1p": mp.log1p,
    "sqrt": mp.sqrt,
    "cbrt": lambda x: mp.cbrt(x) if x >= 0 else -mp.cbrt(-x),
    "sin": mp.sin,
    "cos": mp.cos,
    "tan": mp.tan,
    "arcsin": mp.asin,
    "arccos": mp.acos,
    "arctan": mp.atan,
    "sinh": mp.sinh,
    "cosh": mp.cosh,
    "tanh": mp.tanh,
    "arcsinh": mp.asinh,
    "arccosh": mp.acosh,
    "arctanh": mp.atanh,
    "erf": mp.erf,
}
for _name, _function in _FUNCTIONS.items():
    setattr(Real, _name, _apply(_function))


@contextmanager
def precise(digits: int) -> Iterator[None]:
    """Compute with so many digits inside."""
    Real.unread = []
    token = lifted.set(written)
    try:
        with mp.workdps(digits):
            yield
    finally:
        lifted.reset(token)


def exact(x: Any) -> Real:
    """Return a float as the number that it is."""
    return Real(mp.mpf(float(x)))


def written(x: Any) -> Real:
    """Return a float of a constant as the number that it is written as."""
    return Real(_raw(x))


def _raw(number: Any) -> Any:
    """Return the number of mpmath that a number stands for."""
    if type(number) is Real:
        return number.x
    number = number.item() if hasattr(number, "item") else number
    if type(number) is Real:
        return number.x
    if isinstance(number, int):
        return mp.mpf(number)
    if isinstance(number, float):
        found = constant(number, mp.prec)
        if found is None:
            Real.unread.append(number)
            return mp.mpf(number)
        return found
    if isinstance(number, Fraction):
        return mp.mpf(number.numerator) / number.denominator
    raise NotExact(f"a number of many digits met a {type(number).__name__}")


def _quotient(a: Any, b: Any) -> Any:
    if b == 0:
        return mp.nan if a == 0 or mp.isnan(a) else mp.inf * mp.sign(a)
    return a / b


def _power(base: Any, exponent: Any) -> Any:
    if base == 0 and exponent < 0:
        return mp.inf
    y = base**exponent
    return y if isinstance(y, mp.mpf) else mp.nan
