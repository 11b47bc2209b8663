"""The derivative of a black box, and how far to trust it.

Six values of f around 0 give a derivative of sixth order in the step h:

    d_k = f(k·h) - f(-k·h)
    f'  = (45·d₁ - 9·d₂ + d₃) / 60h  + O(h⁶)
        = ( 8·d₁ -   d₂     ) / 12h  + O(h⁴)

The fourth-order formula needs no further value, and the distance between the two bounds what the
sixth order leaves out. Roundoff adds about machine epsilon · |f| / h. So a large step truncates and a
small one rounds: the step starts large and shrinks until roundoff is the larger error, or neither
matters, and every entry of the result keeps the value whose estimated error was smallest (after
Ridders 1982). Near a kink, or the border of f's domain, that is a step that stays clear of it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy

SHRINK = 4.0
LEVELS = 10
ACCURACY = 1e-10


class Derivative(NamedTuple):
    """f'(0), entry by entry: its value, an estimate of its error, and the step that gave it.

    Where f is finite at no step, the error is infinite and the value means nothing.
    """

    value: numpy.ndarray
    error: numpy.ndarray
    step: numpy.ndarray


def derivative(f: Callable[[float], numpy.ndarray], step: float) -> Derivative:
    """Return the derivative at 0 of `f`, a function from a number to a float64 array.

    Args:
        f: the function; outside its domain it may return NaN or infinity.
        step: the first step, in units of f's argument; at most nine smaller ones follow, each a
            quarter of the one before.
    """
    tried = []
    with numpy.errstate(all="ignore"):
        for level in range(LEVELS):
            h = step / SHRINK**level
            value, truncation, roundoff = _central(f, h)
            known = numpy.isfinite(value)
            error = numpy.where(known, truncation + roundoff, numpy.inf)
            tried.append(Derivative(value, error, numpy.full_like(error, h)))
            if numpy.all(known & (truncation <= numpy.maximum(ACCURACY * abs(value), roundoff))):
                break
    values, errors, steps = (numpy.stack(parts) for parts in zip(*tried, strict=True))
    best = errors.argmin(0)[None]
    return Derivative(*(numpy.take_along_axis(part, best, 0)[0] for part in (values, errors, steps)))


def _central(
    f: Callable[[float], numpy.ndarray], h: float
) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Return the sixth-order derivative, its distance from the fourth-order one, and its roundoff."""
    pairs = [(f(k * h), f(-k * h)) for k in (1, 2, 3)]
    # Equal infinities, as a mask of -inf makes them, have no difference.
    d1, d2, d3 = (numpy.where(right == left, 0.0, right - left) for right, left in pairs)
    sixth = (45 * d1 - 9 * d2 + d3) / (60 * h)
    fourth = (8 * d1 - d2) / (12 * h)
    sizes = [numpy.where(numpy.isfinite(y), abs(y), 0.0) for pair in pairs for y in pair]
    roundoff = numpy.maximum.reduce(sizes) * (numpy.finfo(numpy.float64).eps / h)
    return sixth, abs(sixth - fourth), roundoff
