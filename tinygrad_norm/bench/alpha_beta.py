"""The α-β model: a message of m bytes from one rank to another takes α + m·β seconds.

α is the latency of a message, β the seconds per byte. On N ranks, for buffers of m bytes:

    all-reduce   2·⌈log₂ N⌉·α + 2·(N-1)/N·m·β
    all-gather     ⌈log₂ N⌉·α +   (N-1)·m·β       each rank contributes m

The all-reduce is a reduce-scatter by recursive halving, then an all-gather by recursive doubling (Thakur,
Rabenseifner, Gropp 2005, "Optimization of Collective Communication Operations in MPICH"). In round k of the
first, each rank sends half of what it is still responsible for, m/2, m/4, ..., to a partner, and adds up what
it receives; after log₂ N rounds it holds the sum of its own N-th. The bytes are m·(1/2 + 1/4 + ...) =
(N-1)/N·m. The all-gather takes the same way back. In an all-gather of N parts of m bytes, every rank must
receive the (N-1)·m bytes of the others; doubling needs log₂ N rounds for it.

What is approximate: ⌈ ⌉, if N is not a power of 2; the time of the additions, which the fitted β includes and
a line rate does not; and one algorithm for all sizes. Libraries add up short messages in log₂ N rounds, each
with all m bytes: there this model has up to twice the latency. Ranks are taken to be equally fast, and links
to be independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy


@dataclass(frozen=True)
class Network:
    """A network between the ranks: α `latency` in seconds, β `per_byte` in seconds per byte."""

    name: str
    latency: float
    per_byte: float

    def all_reduce(self, nbytes: float, ranks: int) -> float:
        """Return the seconds of an all-reduce of `nbytes`."""
        return float(numpy.dot(_coefficients(ranks, nbytes), (self.latency, self.per_byte)))

    def all_gather(self, nbytes: float, ranks: int) -> float:
        """Return the seconds of an all-gather, to which each rank contributes `nbytes`."""
        return math.ceil(math.log2(ranks)) * self.latency + (ranks - 1) * nbytes * self.per_byte


def line(gigabits: float, microseconds: float) -> Network:
    """Return a network of a rate in Gbit/s, all of it used, and a latency in µs."""
    return Network(f"{gigabits:g} Gbit/s, α {microseconds:g} µs", microseconds * 1e-6, 8e-9 / gigabits)


@dataclass(frozen=True)
class Fit:
    """A network fitted to measured all-reduces.

    r_squared     of the logarithms of the times, so that short and long messages count alike
    worst_factor  by which the model is too fast or too slow at most: the largest of model/measured and
                  measured/model
    """

    network: Network
    r_squared: float
    worst_factor: float


def fit(measured: Sequence[tuple[int, int, float]]) -> Fit:
    """Return the network that fits all-reduces (ranks, bytes, seconds) best, by relative least squares.

    It minimizes Σ (model/measured - 1)²: with plain least squares, only the longest messages would count. α
    and β are at least 0.
    """
    ranks, nbytes, seconds = (numpy.array(column) for column in zip(*measured, strict=True))
    terms = numpy.array([_coefficients(R, m) for R, m in zip(ranks, nbytes, strict=True)]) / seconds[:, None]
    best = numpy.linalg.lstsq(terms, numpy.ones(len(seconds)), rcond=None)[0]
    if best.min() < 0:  # the better of the fits with one term
        alone = [numpy.eye(2)[i] * terms[:, i].sum() / (terms[:, i] ** 2).sum() for i in range(2)]
        best = min(alone, key=lambda one: float(((terms @ one - 1) ** 2).sum()))
    ratio = terms @ best
    spread = numpy.log(seconds) - numpy.log(seconds).mean()
    r_squared = 1 - float((numpy.log(ratio) ** 2).sum() / (spread**2).sum())
    worst = float(numpy.maximum(ratio, 1 / ratio).max())
    return Fit(Network("this machine", float(best[0]), float(best[1])), r_squared, worst)


def _coefficients(ranks: int, nbytes: float) -> tuple[float, float]:
    """Return the factors of α and β in the time of an all-reduce."""
    return 2.0 * math.ceil(math.log2(ranks)), 2 * (ranks - 1) / ranks * nbytes
