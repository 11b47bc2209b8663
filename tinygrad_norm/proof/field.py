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

from .errors import NoRoot, NotExact
from .written import Written, as_written

SMALL_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)
P = 4 * math.prod(SMALL_PRIMES) - 1
"""The prime, 2459559130353965639."""

SQUARES = (P - 1) // 2
"""How many squares there are, without 0."""


class Powers:
    """How powers are taken: `roots` counts roots, which shows which of two points has more of them."""

    roots = 0
    strict = False  # whether floats that are whole numbers are exponents of positive numbers only


def inverse(a: int) -> int:
    """Return 1/a in the field.

    Raises:
        ZeroDivisionError: for 0.
    """
    if a == 0:
        raise ZeroDivisionError("division by a number that is 0 at this point")
    return pow(a, -1, P)


def require_square(a: int) -> None:
    """Raise NoRoot unless `a` stands for a positive number, or is 0."""
    if a and pow(a, SQUARES, P) != 1:
        raise NoRoot


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
    require_square(a)
    if a == 0 and m < 0:
        raise ZeroDivisionError("division by a number that is 0 at this point")
    Powers.roots += 1
    return pow(a, m * pow(n, -1, SQUARES) % SQUARES, P)


@lru_cache(maxsize=4096)
def residue(value: float) -> int:
    """Return the number of the field that a Python number stands for, as `as_written` reads it.

    Raises:
        NotExact: if it is a rounded number, of which nobody can say what it stands for.
    """
    return in_field(as_written(value))


def in_field(number: Written) -> int:
    """Return a fraction, or the root of one, in the field."""
    a = number.square.numerator * inverse(number.square.denominator % P) % P
    return number.sign * (power(a, Fraction(1, 2)) if number.is_root else a) % P
