"""Degree: how often a wrong formula can be right by chance, found by running the formula on degrees.

A polynomial of degree d that is not 0 everywhere is 0 at a random point of the field with a probability of
at most d/p (Schwartz 1980, Zippel 1979). A quotient is 0 where its numerator is. With a root r, rᵏ = a, a
formula takes k values, one for each choice of r; their product is a quotient without r of k times the degree,
and 0 where the formula is. Points without a root are drawn again, which at most doubles the probability. So,
with roots of the indices k₁, k₂, …,

    probability ≤ 2·k₁·2·k₂·…·degree/p

Let one entry of the point vary, and hold all others fixed. The formula is then a polynomial in that entry and
the roots that it stands under, and its coefficients have the other roots. Where the formula is 0, either all
coefficients are, or the polynomial is: the probabilities of the two add up. So one entry after the other is
chosen, the one under the fewest roots that are left, and only the roots that it stands under are multiplied.
"""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from .duals import Dual
from .field import P
from .residues import rational, real

Roots = frozenset[tuple[str, int, int]]
"""The roots in a formula: each as the real value under it, its index k, and the entries under it."""

NO_ROOTS: Roots = frozenset()


class Degree:
    """The degree of a quotient of polynomials in the entries of a point.

    Attributes:
        v: the real value, which decides comparisons.
        top: the degree of the numerator; of a root of index k, that of a divided by k.
        bottom: the degree of the denominator.
        roots: those in the formula.
        variables: the entries of the point that it depends on, as the bits of an integer.
        is_square: whether it is an entry x = ±s² of a point (points.py), so that s is a root of |x|.
    """

    __slots__ = ("bottom", "is_square", "roots", "top", "v", "variables")

    def __init__(
        self,
        v: float,
        top: float,
        bottom: float,
        roots: Roots = NO_ROOTS,
        variables: int = 0,
        is_square: bool = False,
    ) -> None:
        self.v, self.top, self.bottom = v, top, bottom
        self.roots, self.variables, self.is_square = roots, variables, is_square

    def __add__(self, other: Any) -> "Degree":
        return self._sum(other, self.v + real(other))

    def __sub__(self, other: Any) -> "Degree":
        return self._sum(other, self.v - real(other))

    def __rsub__(self, other: Any) -> "Degree":
        return self._sum(other, real(other) - self.v)

    def _sum(self, other: Any, v: float) -> "Degree":
        if type(other) is not Degree:
            return self._like(v, max(self.top, self.bottom), self.bottom)
        top = max(self.top + other.bottom, other.top + self.bottom)
        return self._with(other, v, top, self.bottom + other.bottom)

    def __mul__(self, other: Any) -> "Degree":
        v = self.v * real(other)
        if type(other) is not Degree:
            return self._like(v, self.top, self.bottom)
        return self._with(other, v, self.top + other.top, self.bottom + other.bottom)

    def __truediv__(self, other: Any) -> Any:
        v = self.v / real(other) if real(other) else math.copysign(math.inf, self.v)
        if type(other) is not Degree:
            return self._like(v, self.top, self.bottom)
        return self._with(other, v, self.top + other.bottom, self.bottom + other.top)

    def __rtruediv__(self, other: Any) -> "Degree":
        v = real(other) / self.v if self.v else math.copysign(math.inf, real(other))
        return self._like(v, self.bottom, self.top)

    def _like(self, v: float, top: float, bottom: float) -> "Degree":
        return Degree(v, top, bottom, self.roots, self.variables)

    def _with(self, other: "Degree", v: float, top: float, bottom: float) -> "Degree":
        return Degree(v, top, bottom, self.roots | other.roots, self.variables | other.variables)

    __radd__, __rmul__ = __add__, __mul__

    def __pow__(self, exponent: Any) -> "Degree":
        e: Fraction = rational(exponent)
        m, k = abs(e.numerator), e.denominator
        top, bottom = self.top, self.bottom
        v = self.v ** (int(e) if k == 1 else float(e)) if self.v or e > 0 else math.inf
        result = self._like(v, 0, 0)
        if self.is_square and k % 2 == 0:
            top, k = top / 2, k // 2
        if k > 1:  # (t/b)^(1/k) = (t·b^(k-1))^(1/k)/b
            top = (top + (k - 1) * bottom) / k
            result.roots = self.roots | {(f"{self.v:.12g}", k, self.variables)}
        result.top, result.bottom = (m * top, m * bottom) if e > 0 else (m * bottom, m * top)
        return result

    def __neg__(self) -> "Degree":
        return Degree(-self.v, self.top, self.bottom, self.roots, self.variables, self.is_square)

    def __pos__(self) -> "Degree":
        return self

    def __abs__(self) -> "Degree":
        return -self if self.v < 0 else self

    def __eq__(self, other: object) -> bool:
        return self.v == real(other)

    def __hash__(self) -> int:
        return hash(self.v)

    def __lt__(self, other: Any) -> bool:
        return self.v < real(other)

    def __le__(self, other: Any) -> bool:
        return self.v <= real(other)

    def __gt__(self, other: Any) -> bool:
        return self.v > real(other)

    def __ge__(self, other: Any) -> bool:
        return self.v >= real(other)

    def __bool__(self) -> bool:
        return self.v != 0

    def sqrt(self) -> "Degree":
        """Return the square root, which NumPy asks for in plain arrays of objects."""
        return self**0.5

    def conjugate(self) -> "Degree":
        """Return self."""
        return self


def branches(roots: Roots) -> int:
    """Return by how much roots multiply the probability."""
    left, added = set(roots), 0
    while left:
        over: dict[int, list[tuple[str, int, int]]] = {}
        for root in left:
            for entry in _bits(root[2]):
                over.setdefault(entry, []).append(root)
        fewest = min(over.values(), key=len, default=list(left))
        added += math.prod(2 * k for _, k, _ in fewest)
        left.difference_update(fewest)
    return max(added, 1)


def _bits(number: int) -> Iterator[int]:
    """Yield the places of the ones in an integer."""
    while number:
        lowest = number & -number
        yield lowest.bit_length()
        number ^= lowest


def bound(gradient: Any, outputs: Iterable[Any], variable: int) -> float:
    """Return a bound of the probability with which a wrong entry of dx is right at one point.

    Args:
        gradient: the entry, as a degree.
        outputs: y of the reference, as dual numbers of degrees.
        variable: the bit of the entry of x.

    The entry is wrong by E = dx_i - Σ_j dy_j·∂y_j/∂x_i, over the outputs y_j that depend on x_i.
    """
    error = gradient if type(gradient) is Degree else Degree(0.0, 0, 0)
    for y in outputs:
        for part in (y.a, y.b) if type(y) is Dual else (y,):
            if type(part) is Degree and part.variables & variable:
                error = error + part
    return min(1.0, (branches(error.roots) * (error.top + 1) + 2) / P)
