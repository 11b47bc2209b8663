"""Seeded shuffles that come out the same on every machine and with every NumPy.

NumPy promises the raw output of a bit generator for good, but not what `Generator.permutation` makes
of it. So a permutation here is the sorted order of raw 64-bit numbers: a split, or a run resumed
years later, keeps its samples.
"""

import numpy

from ..ops.arguments import as_size


def permutation(n: int, *seed: int) -> numpy.ndarray:
    """Return a shuffle of 0 … n−1 that depends on the integers `seed` alone.

    Raises:
        TypeError: for an n or a seed that is no int.
        ValueError: for a negative one.
    """
    numbers = [as_size(s, "seed", 0) for s in seed]
    return numpy.argsort(numpy.random.PCG64(numbers).random_raw(as_size(n, "n", 0)))


def stratified_permutation(labels: numpy.ndarray, seed: int) -> numpy.ndarray:
    """Return a shuffle of the positions of `labels` (N,) in which the classes alternate evenly.

    Every run of it, so every part cut from it, holds each class in the share it has of the whole,
    to within about one sample.
    """
    order = permutation(len(labels), seed)
    shuffled = labels[order]
    place = numpy.empty(len(labels))
    for label in numpy.unique(labels):
        members = numpy.flatnonzero(shuffled == label)
        place[members] = (numpy.arange(len(members)) + 0.5) / len(members)
    return order[numpy.argsort(place, kind="stable")]
