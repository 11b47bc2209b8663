"""The field of the proofs: the integers modulo a prime p, in which positive fractions have roots.

    p = 4·(2·3·5·7·11·13·17·19·23·29·31·37·41·43·47) - 1

A number a has a square root modulo p if a^((p-1)/2) = 1: half of all numbers have one. In this field all the
primes up to 47 do, because p ≡ -1 modulo 8 and modulo each of them, and so do all products and quotients of
them; -1 does not. So "is a square" is to the field what "is positive" is to the real numbers: products and
quotients of squares are squares, and of a and -a exactly one is. The root that is itself a square stands for
the positive one, and √(a·b) = √a·√b holds, as for positive real numbers.

The squares are a group of (p-1)/2 elements, and none of the primes up to 47 divides that number. Every power
a^(m/n) of a square a, with such an n, is therefore one number too, a^(m·n⁻¹): cube roots as well as a^0.75.
"""

import math
from fractions import Fraction
from functools import lru_cache
from typing import ClassVar

from .errors import NoRoot, NotExact, place
from .written import Written, as_written

SMALL_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)
P = 4 * math.prod(SMALL_PRIMES) - 1
"""The prime, 2459559130353965639."""

SQUARES = (P - 1) // 2
"""How many squares there are, without 0."""


MOST_KEPT = 1 << 16
"""Floats whose residues are kept."""


class Powers:
    """How powers are taken.

    Attributes:
        roots: counts roots, which shows which of two points has more of them.
        strict: whether exponents such as 2.0 are only for positive numbers.
        looked_at: None, or a list to which each number under a root is added; then none lacks one.
    """

    roots = 0
    strict = False
    looked_at: list[int] | None = None


def inverse(a: int) -> int:
    """Return 1/a in the field.

    Raises:
        ZeroDivisionError: for 0.
    """
    if a == 0:
        raise ZeroDivisionError("division by a number that is 0 at this point")
    return pow(a, -1, P)


def is_square(a: int) -> bool:
    """Return whether `a` stands for a positive number, or is 0."""
    return a == 0 or pow(a, SQUARES, P) == 1


def require_square(a: int) -> None:
    """Raise NoRoot unless `a` stands for a positive number, or is 0."""
    if Powers.looked_at is not None:
        return
    if not is_square(a):
        raise NoRoot
    Powers.roots += 1


def power(a: int, exponent: Fraction) -> int:
    """Return a^exponent in the field.

    Raises:
        NoRoot: if the exponent is not an integer, and `a` is not a square.
        NotExact: if its denominator has a prime factor above 47.
    """
    m, n = exponent.numerator, exponent.denominator
    if n == 1:
        return pow(a, m, P) if m >= 0 else pow(inverse(a), -m, P)
    if math.gcd(n, SQUARES) != 1 or n > 1 << 20:
        raise NotExact(f"the power {exponent} has no exact meaning in the field")
    if Powers.looked_at is not None:
        Powers.looked_at.append(a)
        return a + len(Powers.looked_at)  # of whatever size
    require_square(a)
    if a == 0 and m < 0:
        raise ZeroDivisionError("division by a number that is 0 at this point")
    return _root(a, exponent)


def _root(a: int, exponent: Fraction) -> int:
    return pow(a, exponent.numerator * pow(exponent.denominator, -1, SQUARES) % SQUARES, P)


class Given:
    """Floats that are not read as a decimal, a fraction or a root: each is taken as its exact value."""

    used: ClassVar[dict[float, str]] = {}
    """Those since the last comparison began, each with its file and line."""


_RESIDUES: dict[float, int] = {}
_GIVEN: dict[float, int] = {}


def residue(value: float) -> int:
    """Return the number of the field that a Python number stands for, as `as_written` reads it.

    Any other float is the binary fraction that it is, and is noted in `Given.used`.

    Raises:
        NotExact: for infinity and NaN.
    """
    found = _RESIDUES.get(value)
    if found is not None:
        return found
    if value not in _GIVEN:
        if len(_RESIDUES) + len(_GIVEN) > MOST_KEPT:
            _RESIDUES.clear()
            _GIVEN.clear()
        try:
            _RESIDUES[value] = in_field(as_written(value))
            return _RESIDUES[value]
        except NotExact:
            if not math.isfinite(value):
                raise
            numerator, denominator = value.as_integer_ratio()
            _GIVEN[value] = numerator * inverse(denominator) % P
    if value not in Given.used:
        Given.used[value] = place()
    return _GIVEN[value]


def in_field(number: Written) -> int:
    """Return a fraction, or the root of one, in the field."""
    a = number.square.numerator * inverse(number.square.denominator % P) % P
    return number.sign * (_root_of_constant(a) if number.is_root else a) % P


SMALL = 1 << 20


@lru_cache(maxsize=1024)
def root_of_constant(a: int) -> int | None:
    """Return √a, None if there is none; that of another point would be the same, so it is not counted."""
    return _root(a, Fraction(1, 2)) if is_square(a) else None


def _root_of_constant(a: int) -> int:
    root = root_of_constant(a)
    if root is None:
        raise NoRoot
    return root
