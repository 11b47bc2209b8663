"""Residue: a number of the field, with the real number that it stands for.

The residue is exact, and carries the algebra. The real value is an ordinary float, and decides comparisons:
which branch of |x| or max(x, y) is taken, whether a guard acts. So a formula in pieces is proved piece by
piece.

x**2 is a product, of any x. x**2.0 may be, in bodies, the case p = 1/2 of x^(1/p), of which a root is taken
later: `Powers.strict` asks for a square x then, so that (x^(1/p))ᵖ = x and not -x.
"""

import math
from fractions import Fraction
from typing import Any

import numpy

from .decisions import decided
from .errors import NotAlgebraic, NotExact
from .field import P, Powers, inverse, power, require_square, residue
from .written import as_written


class Residue:
    """n modulo p, and its real value v."""

    __slots__ = ("n", "v")

    def __init__(self, n: int, v: float) -> None:
        self.n, self.v = n, v

    def __add__(self, other: Any) -> Any:
        if type(other) is not Residue:
            other = operand(other)
            if type(other) is not Residue:
                return other if other is NotImplemented else self.v + other
        return Residue((self.n + other.n) % P, self.v + other.v)

    def __sub__(self, other: Any) -> Any:
        if type(other) is not Residue:
            other = operand(other)
            if type(other) is not Residue:
                return other if other is NotImplemented else self.v - other
        return Residue((self.n - other.n) % P, self.v - other.v)

    def __rsub__(self, other: Any) -> "Residue":
        return lift(other) - self

    def __mul__(self, other: Any) -> Any:
        if type(other) is not Residue:
            other = operand(other)
            if type(other) is not Residue:
                return other if other is NotImplemented else self.v * other
        return Residue(self.n * other.n % P, self.v * other.v)

    def __truediv__(self, other: Any) -> Any:
        if type(other) is not Residue:
            if hasattr(other, "b"):  # a Dual
                return NotImplemented
            other = lift(other)
        if other.n == 0:
            return self.v / numpy.float64(0)  # ±∞ or NaN, as a body expects where it looks elsewhere
        return Residue(self.n * inverse(other.n) % P, _ratio(self.v, other.v))

    def __rtruediv__(self, other: Any) -> Any:
        return lift(other) / self

    __radd__, __rmul__ = __add__, __mul__

    def __pow__(self, exponent: Any) -> "Residue":
        e = rational(exponent)
        if Powers.strict and isinstance(exponent, float) and e.denominator == 1 and self.v > 0:
            require_square(self.n)
        n = power(self.n, e)
        return Residue(n, self.v ** (int(e) if e.denominator == 1 else float(e)))

    def __neg__(self) -> "Residue":
        return Residue(-self.n % P, -self.v)

    def __pos__(self) -> "Residue":
        return self

    def __abs__(self) -> "Residue":
        decided("abs")
        return -self if self.v < 0 else self

    def __eq__(self, other: object) -> bool:
        if type(other) is Residue:
            return self.n == other.n
        return self.n == other % P if isinstance(other, int) else self.v == other

    def __hash__(self) -> int:
        return hash(self.n)

    def __lt__(self, other: Any) -> bool:
        decided("<")
        return self.v < real(other)

    def __le__(self, other: Any) -> bool:
        decided("<=")
        return self.v <= real(other)

    def __gt__(self, other: Any) -> bool:
        decided(">")
        return self.v > real(other)

    def __ge__(self, other: Any) -> bool:
        decided(">=")
        return self.v >= real(other)

    def __bool__(self) -> bool:
        return self.n != 0

    def __float__(self) -> float:
        raise NotExact("an exact number was made a float, which would round it")

    def __int__(self) -> int:
        raise NotExact("an exact number was made an integer, which would round it")

    __index__ = __trunc__ = __round__ = __floor__ = __ceil__ = __floordiv__ = __mod__ = __int__

    def __repr__(self) -> str:
        return f"{self.n} (mod p, ≈ {self.v:.6g})"

    def sqrt(self) -> "Residue":
        """Return the square root, which NumPy asks for in plain arrays of objects."""
        return self**0.5

    def conjugate(self) -> "Residue":
        """Return self, as a real number does; NumPy's vecdot asks for it."""
        return self


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.copysign(math.inf, a) if a else math.nan


def operand(number: Any) -> Any:
    """Return what a residue meets as a residue; infinity and NaN stay, arrays and duals are NotImplemented.

    NumPy goes through the elements of arrays, and a dual number knows residues.
    """
    if isinstance(number, numpy.ndarray) or hasattr(number, "b"):
        return NotImplemented
    if isinstance(number, float) and not math.isfinite(number):
        return number
    return lift(number)


def lift(number: Any) -> Residue:
    """Return a Python number, or one of NumPy's, as a residue."""
    if type(number) is Residue:
        return number
    if isinstance(number, Fraction):
        return Residue(number.numerator * inverse(number.denominator % P) % P, float(number))
    try:
        value = number.item() if hasattr(number, "item") else number
        return (
            Residue(value % P, float(value)) if type(value) in (int, bool) else Residue(residue(value), value)
        )
    except AttributeError:
        raise NotExact(f"an exact number met a {type(number).__name__}") from None


def real(number: Any) -> float:
    """Return the real value of a number, to compare with."""
    return number.v if hasattr(number, "v") else float(number)


def rational(exponent: Any) -> Fraction:
    """Return an exponent as a fraction.

    Raises:
        NotExact: if it is not rational, or not a constant.
    """
    if not isinstance(exponent, int | float | Fraction) and not hasattr(exponent, "dtype"):
        raise NotAlgebraic("power with a varying exponent")
    written = as_written(exponent.item() if hasattr(exponent, "item") else exponent)
    if written.is_root:
        raise NotExact(f"the power {exponent} is not rational, and so not algebraic")
    return written.sign * written.square
