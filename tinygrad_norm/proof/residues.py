"""Residue: a number of the field, with the real number that it stands for.

The residue is exact, and carries the algebra. The real value is an ordinary float, and decides comparisons:
which branch of |x| or max(x, y) is taken, whether a guard acts. So a formula in pieces is proved piece by
piece.

A root of y² is |y|, whatever the residue of y: for that, squares remember y. Else it would be the one of ±y
that is a square of the field, which need not be the one that is positive.

x**2 is a product, of any x. x**2.0 may be, in bodies, the case p = 1/2 of x^(1/p), of which a root is taken
later: `Powers.strict` asks for a square x then, so that (x^(1/p))ᵖ = x and not -x.
"""

import math
import operator
from fractions import Fraction
from typing import Any

import numpy

from .decisions import decided
from .errors import NotAlgebraic, NotExact
from .field import SMALL, P, Powers, inverse, power, require_square, residue, root_of_constant
from .written import as_written


class Residue:
    """n modulo p, and its real value v; `root` is |y| if it was computed as y², or from such squares."""

    __slots__ = ("n", "root", "v")

    def __init__(self, n: int, v: float, root: Any = None) -> None:
        self.n, self.v, self.root = n, v, root

    def __add__(self, other: Any) -> Any:
        if type(other) is not Residue:
            other = operand(other)
            if type(other) is not Residue:
                return other if other is NotImplemented else self.v + other
        if other.n == 0:
            return self
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
        product = Residue(self.n * other.n % P, self.v * other.v)
        if self.n == other.n:
            product.root = self._size()
        elif self.root is not None or other.root is not None:
            product.root = _combined(self, other, operator.mul)
        return product

    def __truediv__(self, other: Any) -> Any:
        if type(other) is not Residue:
            if hasattr(other, "b"):  # a Dual
                return NotImplemented
            other = lift(other)
        if other.n == 0:
            return self.v / numpy.float64(0)  # ±∞ or NaN, as a body expects where it looks elsewhere
        quotient = Residue(self.n * inverse(other.n) % P, _ratio(self.v, other.v))
        if self.root is not None or other.root is not None:
            quotient.root = _combined(self, other, operator.truediv)
        return quotient

    def __rtruediv__(self, other: Any) -> Any:
        return lift(other) / self

    __radd__, __rmul__ = __add__, __mul__

    def __pow__(self, exponent: Any) -> "Residue":
        e = rational(exponent)
        if Powers.strict and isinstance(exponent, float) and e.denominator == 1 and self.v > 0:
            require_square(self.n)
        if self.root is not None and e.denominator % 2 == 0:
            return self.root ** (2 * e)
        result = Residue(power(self.n, e), self.v ** (int(e) if e.denominator == 1 else float(e)))
        if e > 0 and e.denominator == 1 and e.numerator % 2 == 0:
            result.root = self._size() if e == 2 else self._size() ** (e / 2)
        return result

    def __neg__(self) -> "Residue":
        return Residue(-self.n % P, -self.v)

    def __pos__(self) -> "Residue":
        return self

    def __abs__(self) -> "Residue":
        decided("abs")
        return self._size()

    def _size(self) -> "Residue":
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


def _combined(a: Residue, b: Residue, how: Any) -> Any:
    """Return √ of a·b or a/b from the roots of both; None if one has none that is known."""
    roots = [_known_root(a), _known_root(b)]
    return None if None in roots else how(*roots)


def _known_root(a: Residue) -> Any:
    if a.root is not None:
        return a.root
    if a.n < SMALL and a.v == a.n and (root := root_of_constant(a.n)) is not None:  # a small integer
        return Residue(root, math.sqrt(a.v))
    return None


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
