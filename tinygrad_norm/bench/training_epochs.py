"""Time training on scikit-learn's digits: whole epochs with shuffling and a smaller last batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy

from ..data.digits import load_digits
from ..data.shuffle import permutation
from .benchmark_network import Program
from .network_baselines import programs, to_eager
from .rungs import on_rung
from .timing import clock_of_calls

BATCH = 64


@dataclass(frozen=True)
class Run:
    """A program's best epoch in seconds, its ratio to PyTorch eager, and the mean loss of each epoch."""

    program: str
    seconds: float
    to_eager: float | None
    losses: tuple[float, ...]


def train(epochs: int) -> list[Run]:
    """Train all programs for `epochs` epochs, taking turns, on the same batches.

    Raises:
        RuntimeError: if scikit-learn is not installed.
    """
    split = load_digits().train
    images, labels = split.images.reshape(len(split), 64) / numpy.float32(split.images.max()), split.labels
    contestants = programs()
    clock = clock_of_calls()
    best = dict.fromkeys(contestants, float("inf"))
    losses: dict[str, list[float]] = {name: [] for name in contestants}
    for epoch in range(epochs):
        order = permutation(len(labels), epoch)
        for name, program in contestants.items():
            with on_rung(program.rung):
                began = clock()
                losses[name].append(_epoch(program, images, labels, order))
                best[name] = min(best[name], clock() - began)
    ratios = to_eager(best)
    return [Run(name, best[name], ratios.get(name), tuple(losses[name])) for name in contestants]


def _epoch(program: Program, images: numpy.ndarray, labels: numpy.ndarray, order: numpy.ndarray) -> float:
    total = 0.0
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        loss = program.step(program.tensor(images[batch]), program.tensor(labels[batch]))
        total += loss * len(batch)
    return total / len(order)
