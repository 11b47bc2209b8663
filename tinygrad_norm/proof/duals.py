"""Dual: a + b·ε with ε² = 0, a number and its derivative along one direction.

A formula evaluated on x + v·ε gives f(x) + (J·v)·ε: the derivative follows from the rules for +, ·, / and
powers alone, without a graph. a and b are exact numbers of any kind.
"""

from typing import Any

from .residues import rational, real


class Dual:
    """The value a, and the derivative b; b = 0 for a constant."""

    __slots__ = ("a", "b")

    def __init__(self, a: Any, b: Any = 0) -> None:
        self.a, self.b = a, b

    @property
    def v(self) -> float:
        """The real value."""
        return real(self.a)

    def __add__(self, other: Any) -> "Dual":
        if type(other) is not Dual:
            return Dual(self.a + other, self.b)
        return Dual(self.a + other.a, self.b + other.b)

    def __sub__(self, other: Any) -> "Dual":
        if type(other) is not Dual:
            return Dual(self.a - other, self.b)
        return Dual(self.a - other.a, self.b - other.b)

    def __rsub__(self, other: Any) -> "Dual":
        return Dual(other - self.a, -self.b)

    def __mul__(self, other: Any) -> "Dual":
        if type(other) is not Dual:
            return Dual(self.a * other, self.b * other)
        return Dual(self.a * other.a, self.a * other.b + self.b * other.a)

    def __truediv__(self, other: Any) -> "Dual":
        if type(other) is not Dual:
            return Dual(self.a / other, self.b / other)
        y = self.a / other.a
        return Dual(y, (self.b - y * other.b) / other.a)

    def __rtruediv__(self, other: Any) -> "Dual":
        y = other / self.a
        return Dual(y, -(y * self.b) / self.a)

    __radd__, __rmul__ = __add__, __mul__

    def __pow__(self, exponent: Any) -> "Dual":
        e = rational(exponent)
        if e == 0:
            return Dual(self.a**0)
        return Dual(self.a**exponent, self.a ** (e - 1) * e * self.b)

    def __neg__(self) -> "Dual":
        return Dual(-self.a, -self.b)

    def __pos__(self) -> "Dual":
        return self

    def __abs__(self) -> "Dual":
        return -self if self.a < 0 else self

    def __eq__(self, other: object) -> bool:
        return bool(self.a == value(other))

    def __hash__(self) -> int:
        return hash(self.a)

    def __lt__(self, other: Any) -> bool:
        return bool(self.a < value(other))

    def __le__(self, other: Any) -> bool:
        return bool(self.a <= value(other))

    def __gt__(self, other: Any) -> bool:
        return bool(self.a > value(other))

    def __ge__(self, other: Any) -> bool:
        return bool(self.a >= value(other))

    def __bool__(self) -> bool:
        return bool(self.a)

    def __float__(self) -> float:
        return float(self.a)  # which raises, and says why

    def __int__(self) -> int:
        return int(self.a)

    __index__ = __trunc__ = __round__ = __floor__ = __ceil__ = __floordiv__ = __mod__ = __int__

    def sqrt(self) -> "Dual":
        """Return the square root, which NumPy asks for in plain arrays of objects."""
        return self**0.5

    def conjugate(self) -> "Dual":
        """Return self."""
        return self


def value(number: Any) -> Any:
    """Return the value of a dual number, and any other number as it is."""
    return number.a if type(number) is Dual else number


def derivative(number: Any) -> Any:
    """Return the derivative in a dual number, and 0 for any other."""
    return number.b if type(number) is Dual else 0
