"""Seeded shuffles that are the same on every machine and with every NumPy version.

NumPy guarantees the raw output of a bit generator across versions, but not that of
`Generator.permutation`. So a permutation here is the argsort of raw 64-bit numbers: a split stays the
same, even for a run resumed years later.
"""

import numpy

from ..ops.arguments import as_size


def permutation(n: int, *seed: int) -> numpy.ndarray:
    """Return a permutation of 0 … n−1 that depends only on the integers `seed`.

    Raises:
        TypeError: if n or a seed is not an int.
        ValueError: if n or a seed is negative.
    """
    numbers = [as_size(s, "seed", 0) for s in seed]
    return numpy.argsort(numpy.random.PCG64(numbers).random_raw(as_size(n, "n", 0)))


def stratified_permutation(labels: numpy.ndarray, *seed: int) -> numpy.ndarray:
    """Return a permutation of the indices of `labels` (N,) in which the classes are evenly spaced.

    Every contiguous part of it therefore holds each class in the same proportion as the whole, to within
    about one sample.
    """
    order = permutation(len(labels), *seed)
    shuffled = labels[order]
    place = numpy.empty(len(labels))
    for label in numpy.unique(labels):
        members = numpy.flatnonzero(shuffled == label)
        place[members] = (numpy.arange(len(members)) + 0.5) / len(members)
    return order[numpy.argsort(place, kind="stable")]
