"""What a float stands for: 0.1 for 1/10, 0.3333333333333333 for 1/3, 0.7071067811865476 for √(1/2).

A body is full of such numbers: an eps, a momentum, 1/n of a mean. An exact number cannot be multiplied by
the rounded one without becoming another number than the formula says, so each float is read as what was
written: a short decimal, a fraction with a small denominator, or the square root of one. All other floats are
given numbers, such as exp(-1/2), or results of rounding on the way: the forms can agree only on the former.
"""

import math
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from .errors import NotExact

DIGITS = 8
"""A decimal of so many digits is short, also if rounding left the float a few `ULPS` beside it."""

MOST_DIGITS = 14
"""Digits of a decimal that was written in full: of 200 floats that rounding made, one looks like that."""

DENOMINATOR = 1 << 12
"""The largest denominator of a fraction."""

HEIGHT = 1 << 26
"""The largest numerator times denominator: about so many fractions lie between a number and its double.

So of 10⁷ floats that stand for no fraction one is `ULPS` beside one by chance, be they small or large.
"""

ULPS = 4
"""Units in the last place by which a float may differ from what it stands for, after a few operations."""

ULPS_OF_ENTRIES = 32
"""Those by which an entry of an array may differ."""


UNREADABLE = (
    "A float should be a short decimal, a fraction with a small denominator, or the square root of one: "
    "compute with the numbers of the arrays, such as x / n for x * (1 / n)"
)
"""What to do about a float that came in on the way."""


class Written(NamedTuple):
    """A number as written: sign·square, or sign·√square for a root; `square` is not negative."""

    sign: int
    square: Fraction
    is_root: bool = False


@lru_cache(maxsize=4096)
def as_written(value: float) -> Written:
    """Return what a float or an integer stands for.

    Raises:
        NotExact: for NaN, infinity, and floats that are neither a short decimal, nor a fraction with a small
            denominator, nor the square root of one.
    """
    if not math.isfinite(value):
        raise NotExact(f"exact numbers have no {value}: the formula must be finite at these inputs")
    sign, size = (-1, -value) if value < 0 else (1, value)
    found = _fraction(size, ULPS)
    if found is not None:
        return Written(sign, found)
    square = _fraction_of(Fraction(size) ** 2, 2 * ULPS)
    if square is not None:
        return Written(sign, square, is_root=True)
    raise NotExact(came_in(value))


def came_in(value: float) -> str:
    """Return the message for a float that cannot be read."""
    return f"the float {value!r} came in on the way"


def as_fraction(value: float) -> Fraction | None:
    """Return the fraction with a small denominator that an entry of an array, such as a weight, stands for.

    It may have been computed by a difference of numbers of about 1, as the weights of an interpolation are.
    """
    exact = Fraction(value)
    found = exact.limit_denominator(DENOMINATOR)
    near = abs(found - exact) <= abs(exact) * Fraction(ULPS_OF_ENTRIES, 1 << 52)
    return found if 0 < abs(found) <= 1 and near else None


def is_short(value: float) -> bool:
    """Return whether a float is written with so few digits that they were not left by rounding."""
    return len(repr(abs(float(value))).partition("e")[0].replace(".", "").strip("0")) <= MOST_DIGITS


def _fraction(size: float, ulps: int) -> Fraction | None:
    if size == int(size) if size < 1 << 53 else True:
        return Fraction(int(size))
    if is_short(size):
        return Fraction(repr(float(size)))
    exact = Fraction(size)
    if exact.numerator < 1 << 20:  # such as 2⁻⁴⁰
        return exact
    return _fraction_of(exact, ulps)


def _fraction_of(exact: Fraction, ulps: int) -> Fraction | None:
    """Return the short decimal, or the fraction with a small denominator, that is next to `exact`."""
    allowed = exact * Fraction(ulps, 1 << 52)
    exponent = math.floor(math.log10(exact))
    scale = Fraction(10) ** exponent
    mantissa = exact / scale
    decimal = Fraction(round(mantissa * 10 ** (DIGITS - 1)), 10 ** (DIGITS - 1))
    for candidate in (_simplest(exact), decimal * scale, _simplest(mantissa) * scale):
        if candidate and abs(candidate - exact) <= allowed:
            return candidate
    return None


def _simplest(exact: Fraction) -> Fraction:
    """Return the fraction next to `exact` whose denominator and height are small; 0 if there is none."""
    largest = min(DENOMINATOR, math.isqrt(int(HEIGHT / exact)))
    return exact.limit_denominator(largest) if largest else Fraction(0)
