"""Toy sets: small made-up datasets that show one thing each, and need no files.

    spirals    two spirals wound around each other: no line, and no few lines, separate them
    moons      two half circles, each around an end of the other
    blobs      three Gaussian clouds; one feature has the scale 1, the other 1000
    sine       y = sin(x) + noise, for regression

The points depend only on the seed. They are made from the raw numbers of the bit generator, which NumPy keeps
the same in all versions, and rounded to 4 decimals, so that the last bits of sin and log do not matter.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy

from ..ops.arguments import as_size
from .arrays import from_arrays
from .dataset import Dataset

SAMPLES = 1000

Points = tuple[numpy.ndarray, numpy.ndarray]


class _Noise:
    """Uniform and normal numbers from raw bits."""

    def __init__(self, seed: int) -> None:
        self.bits = numpy.random.PCG64(seed)

    def uniform(self, *shape: int) -> numpy.ndarray:
        """Return numbers in (0, 1)."""
        return ((self.bits.random_raw(shape) >> 11) + 0.5) * 2.0**-53

    def normal(self, *shape: int) -> numpy.ndarray:
        """Return standard normal numbers (G. Box, M. Muller 1958)."""
        radius = numpy.sqrt(-2 * numpy.log(self.uniform(*shape)))
        return radius * numpy.cos(2 * numpy.pi * self.uniform(*shape))


def _spirals(noise: _Noise) -> Points:
    classes = numpy.arange(SAMPLES) % 2
    t = numpy.sqrt(noise.uniform(SAMPLES))  # even along the arm
    angle = 3 * numpy.pi * t + numpy.pi * classes
    points = t * numpy.stack([numpy.cos(angle), numpy.sin(angle)])
    return points.T + 0.02 * noise.normal(SAMPLES, 2), classes


def _moons(noise: _Noise) -> Points:
    classes = numpy.arange(SAMPLES) % 2
    angle = numpy.pi * (noise.uniform(SAMPLES) + classes)
    points = numpy.stack([numpy.cos(angle) + classes, numpy.sin(angle) + 0.5 * classes])
    return points.T + 0.1 * noise.normal(SAMPLES, 2), classes


def _blobs(noise: _Noise) -> Points:
    classes = numpy.arange(SAMPLES) % 3
    centers = numpy.array([(-1.0, -1.0), (1.0, -1.0), (0.0, 1.0)])
    return (centers[classes] + 0.4 * noise.normal(SAMPLES, 2)) * (1.0, 1000.0), classes


def _sine(noise: _Noise) -> Points:
    x = numpy.pi * (2 * noise.uniform(SAMPLES, 1) - 1)
    return x, numpy.sin(x[:, 0]) + 0.1 * noise.normal(SAMPLES)


TOYS: dict[str, tuple[Callable[[_Noise], Points], str]] = {
    "spirals": (_spirals, "two spirals wound around each other, 2 features"),
    "moons": (_moons, "two half circles around each other's ends, 2 features"),
    "blobs": (_blobs, "three Gaussian clouds, 2 features of scale 1 and 1000"),
    "sine": (_sine, "a noisy sine to regress, 1 feature"),
}
"""The maker of each toy set, and what it is in a few words."""


def load_toy(name: str, seed: int = 0) -> Dataset:
    """Return the toy set "spirals", "moons", "blobs" or "sine": 1000 points, float32, split by `seed`.

    Raises:
        KeyError: if there is no toy set of this name.
        TypeError, ValueError: if the seed is not an int, or is negative.
    """
    make, _ = TOYS[name]
    x, y = make(_Noise(as_size(seed, "seed", 0)))
    x, y = (numpy.round(a, 4).astype(numpy.float32) if a.dtype.kind == "f" else a for a in (x, y))
    return from_arrays(x, y, name=name, seed=seed)
