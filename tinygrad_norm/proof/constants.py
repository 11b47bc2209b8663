"""What a float of a formula with π, a logarithm or e stands for, to any precision.

`written` reads fractions and their roots. Here are products of a short fraction or decimal and one of these
constants, such as 2/√π, √(2/π), log 2, log(10000) or log(2π)/2, and cube roots of short fractions.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

from .errors import NotExact
from .mpmath_package import mpmath
from .written import as_written

mp = mpmath.mp

DENOMINATOR = 1 << 10
"""The largest denominator of a short fraction, and the largest numerator."""

DIGITS = 6
"""The digits of a short decimal."""

ULPS = 4
"""Units in the last place by which the float may differ from the product."""

_CONSTANTS: dict[str, Callable[[], Any]] = {
    "π": lambda: +mp.pi,
    "√π": lambda: mp.sqrt(mp.pi),
    "√(2π)": lambda: mp.sqrt(2 * mp.pi),
    "1/π": lambda: 1 / mp.pi,
    "1/√π": lambda: 1 / mp.sqrt(mp.pi),
    "1/√(2π)": lambda: 1 / mp.sqrt(2 * mp.pi),
    "π²": lambda: mp.pi**2,
    "log 2": lambda: +mp.ln2,
    "log 3": lambda: mp.log(3),
    "log 10": lambda: +mp.ln10,
    "log 2π": lambda: mp.log(2 * mp.pi),
    "1/log 2": lambda: 1 / mp.ln2,
    "1/log 10": lambda: 1 / mp.ln10,
    "e": lambda: +mp.e,
    "Euler's": lambda: +mp.euler,
    "α of selu": lambda: _selu()[1],
    "λ of selu": lambda: _selu()[0],
    "λα of selu": lambda: math.prod(_selu()),
}


def _selu() -> tuple[Any, Any]:
    """Return λ and α with which selu keeps mean 0 and variance 1 of normal numbers."""
    tail = mp.exp(0.5) * mp.erfc(mp.sqrt(0.5))
    alpha = mp.sqrt(2 / mp.pi) / (1 - tail)
    second = mp.exp(2) * mp.erfc(mp.sqrt(2)) - 2 * tail + 1
    return mp.sqrt(2 / (1 + alpha**2 * second)), alpha


@lru_cache(maxsize=4096)
def constant(value: float, precision: int) -> Any:
    """Return what a float stands for, in bits of `precision`; None if it cannot be read.

    NaN and infinity are themselves.
    """
    if mp.isnan(value) or mp.isinf(value):
        return mp.mpf(value)
    with mp.workprec(precision):
        try:
            sign, square, is_root = as_written(value)
        except NotExact:
            return _product(value)
        size = mp.mpf(square.numerator) / square.denominator
        return sign * (mp.sqrt(size) if is_root else size)


def _product(value: float) -> Any:
    """Return the product, or the cube root of a fraction, that is next to `value`; None without one."""
    for number in _CONSTANTS.values():
        factor = _short(mp.mpf(value) / number(), ULPS)
        if factor is not None:
            return factor * number()
    cube = _short(mp.mpf(abs(value)) ** 3, 3 * ULPS)
    return None if cube is None else mp.sign(value) * mp.cbrt(cube)


def _short(number: Any, ulps: int) -> Any:
    """Return the short fraction or decimal next to a number; None if there is none."""
    near = float(number)
    candidates = [Fraction(near).limit_denominator(DENOMINATOR), Fraction(f"{near:.{DIGITS}g}")]
    if abs(candidates[0].numerator) > DENOMINATOR:
        del candidates[0]
    for fraction in candidates:
        size = mp.mpf(fraction.numerator) / fraction.denominator
        if fraction and abs(size - number) <= ulps * abs(size) * mp.mpf(2) ** -52:
            return size
    return None
