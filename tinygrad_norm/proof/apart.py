"""Inputs whose floats differ from those of other inputs and of constants, so that each float names one entry.

A replay knows data by their floats: a float of an input is the number of that input. So a weight of ones must
not look like a table of ones, nor one input like another. Entries that stand for numbers of the field, and
are written short or occur twice, are moved by less than 1e-9: of the numbers, only the real values
change, and these only decide comparisons.
"""

import random

import numpy

from ..registry import Case
from .written import is_short

MOVED = 1e-9
"""The largest part of itself by which an entry is moved."""


def told_apart(case: Case) -> list[tuple[numpy.ndarray, bool] | None]:
    """Return `case.draw()` with floats that are no other's; 0 and whole data stay."""
    rng, taken = random.Random(0), set[float]()

    def own(x: float) -> float:
        if not 1e-300 < abs(x) < 1e300:  # 0, NaN, infinity, and what cannot be moved by so little
            return x
        found = x
        while is_short(found) or found in taken:
            found = x * (1 + rng.uniform(-MOVED, MOVED))
        taken.add(found)
        return found

    drawn = case.draw()
    for i, one in enumerate(drawn):
        if one is None or one[0].dtype.kind != "f" or (is_whole(one[0]) and not one[1]):
            continue
        values = numpy.reshape([own(x) for x in one[0].ravel().tolist()], one[0].shape)
        drawn[i] = values.astype(one[0].dtype), one[1]
    return drawn


def is_whole(values: numpy.ndarray) -> bool:
    """Return whether data are whole numbers only, such as a mask of 0 and 1."""
    return bool((values == numpy.rint(values)).all())
