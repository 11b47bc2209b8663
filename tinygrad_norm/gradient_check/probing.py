"""Probing: the directions in which gradcheck moves an input and measures an output."""

import math
from collections.abc import Iterator

import numpy

Index = tuple[int, ...]
Key = int | str
"""An input: the position of an argument, or the name of a module's parameter."""


class Probes:
    """The directions in which an array is probed: each entry by itself, or one random direction."""

    def __init__(self, shape: Index, units: numpy.ndarray, rng: numpy.random.Generator | None) -> None:
        self.shape = shape
        self.random = None if rng is None or 0 in shape else numpy.asarray(rng.normal(size=shape) * units)

    def __len__(self) -> int:
        return math.prod(self.shape) if self.random is None else 1

    def __iter__(self) -> Iterator[numpy.ndarray]:
        if self.random is not None:
            yield self.random
            return
        for entry in range(math.prod(self.shape)):
            direction = numpy.zeros(self.shape)
            direction.reshape(-1)[entry] = 1.0
            yield direction

    def mixed(self, weights: numpy.ndarray) -> numpy.ndarray:
        """Return the sum of all probes, each times its weight."""
        if self.random is not None:
            return self.random * weights[0]
        return weights.reshape(self.shape)

    def measure(self, array: numpy.ndarray) -> numpy.ndarray:
        """Return the inner product of `array` with every probe."""
        if self.random is None:
            return array.reshape(-1)
        return numpy.vdot(self.random, array).reshape(1)

    def bound(self, array: numpy.ndarray) -> numpy.ndarray:
        """Return a bound of the inner product of `array` with every probe: Σ |probe·array|."""
        finite = numpy.where(numpy.isfinite(array), abs(array), 0.0)
        if self.random is None:
            return finite.reshape(-1)
        return (abs(self.random) * finite).sum().reshape(1)


def label(key: Key) -> str:
    """Return the name of an input in messages: "input 0", "parameter weight"."""
    return f"input {key}" if isinstance(key, int) else f"parameter {key}"
