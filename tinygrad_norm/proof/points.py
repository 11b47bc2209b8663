"""Points: where formulas are compared, at random numbers of the field on the branches of a registered case.

The real values of a point are those of the case, so that formulas in pieces take their branches as usual.
The residues are random: ±s² with a random s, of the sign of the real value. So |x| is a square, as positive
numbers are, and any power of it exists. If other numbers lack a root, single entries are drawn again until
all have one. So it is with data, which have no gradient (running statistics, class weights, noise), unless
all of an input are whole numbers (masks, labels): these stand for themselves.
"""

import itertools
import math
import random
from collections.abc import Callable
from typing import Any, TypeVar

import numpy

from .errors import NoRoot
from .field import P, Powers
from .numberarray import NumberArray, numbers
from .residues import Residue

LEAST_TRIES, WORK = 200, 40_000
"""Points without more roots than ever before after which the search ends: that many, or, if it is more, as
make up so many entries."""

FEW_ROOTS = 20
"""Roots below which it is cheaper to begin again than to go on."""

PATIENCE = 3
"""Points without an additional root, for each entry, after which all entries are drawn again."""

Result = TypeVar("Result")


def anywhere(rng: random.Random, x: float) -> Residue:
    """Draw a number of the field for the real value x; 0 is itself."""
    return instead_of_zero(rng, x) if x else Residue(0, 0.0)


def instead_of_zero(rng: random.Random, x: float) -> Residue:
    """Draw a number of the field for the real value x, also for 0: of an input that has nothing else."""
    square = pow(rng.randrange(1, P), 2, P)
    return Residue(-square % P if x < 0 else square, float(x))


def of_any_size(rng: random.Random, x: Residue) -> Residue:
    """Draw any number of the field in the place of x, with its real value."""
    return Residue(rng.randrange(1, P), x.v) if x.v else x


def as_given(_: random.Random, x: float) -> Any:
    """Return the real value x, a whole number or infinity, as itself."""
    return Residue(int(x) % P, float(x)) if math.isfinite(x) else float(x)


class Point:
    """Arrays of numbers for those of a case, of which single entries can be drawn again.

    Attributes:
        arrays: by the name of the input; of floats.
    """

    def __init__(self, rng: random.Random, floats: dict[Any, numpy.ndarray], draw: dict[Any, Any]) -> None:
        self.rng, self.floats, self.draw = rng, floats, draw
        self.arrays: dict[Any, Any] = {
            key: numbers([draw[key](rng, x) for x in values.ravel()]).reshape(values.shape)
            for key, values in floats.items()
        }
        self.entries = [
            (key, index)
            for key, values in floats.items()
            for index in numpy.ndindex(values.shape)
            if draw[key] in (anywhere, instead_of_zero)
        ]
        self.of_input: dict[Any, list[Any]] = {}
        for entry in self.entries:
            self.of_input.setdefault(entry[0], []).append(entry)

    def with_roots(self, run: Callable[[dict[Any, NumberArray]], Result]) -> Result:
        """Return run(arrays) at a point at which all roots exist.

        One entry at a time is drawn again, and kept unless fewer roots exist then.

        Raises:
            NoRoot: if none is found.
        """
        best, since, most, last = -1, 0, -1, 0
        for tried in itertools.count():
            if best >= 0 and self.entries:
                key, index = self.rng.choice(self.of_input[self.rng.choice(list(self.of_input))])
                before = self.arrays[key][index]
                self.arrays[key][index] = self.draw[key](self.rng, self.floats[key][index])
            Powers.roots = 0
            try:
                return run(self.arrays)
            except NoRoot:
                if not self.entries:
                    raise
                if Powers.roots > most:
                    most, last = Powers.roots, tried
                elif tried - last > max(LEAST_TRIES, WORK // len(self.entries)):
                    break
                since = 0 if Powers.roots > best else since + 1
                if Powers.roots >= best:
                    best = Powers.roots
                else:
                    self.arrays[key][index] = before
                if since > PATIENCE * len(self.entries) and most < FEW_ROOTS:
                    best, since = -1, 0
                    for key, index in self.entries:
                        self.arrays[key][index] = self.draw[key](self.rng, self.floats[key][index])
        raise NoRoot(f"none of {tried} points has all roots")
