"""Training on scikit-learn's digits: whole epochs with shuffling, the last batch smaller than the others."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy

from ..data.digits import load_digits
from ..data.shuffle import permutation
from .networks import Program, programs

BATCH = 64


@dataclass(frozen=True)
class Run:
    """A program's best epoch in seconds of processor time, and the mean loss of each epoch."""

    program: str
    seconds: float
    losses: tuple[float, ...]


def train(epochs: int) -> list[Run]:
    """Train all programs for some epochs, in turn, on the same batches.

    Raises:
        RuntimeError: where scikit-learn is not installed.
    """
    split = load_digits().train
    images, labels = split.images.reshape(len(split), 64) / numpy.float32(split.images.max()), split.labels
    contestants = programs()
    best = dict.fromkeys(contestants, float("inf"))
    losses: dict[str, list[float]] = {name: [] for name in contestants}
    for epoch in range(epochs):
        order = permutation(len(labels), epoch)
        for name, program in contestants.items():
            began = time.process_time()
            losses[name].append(_epoch(program, images, labels, order))
            best[name] = min(best[name], time.process_time() - began)
    return [Run(name, best[name], tuple(losses[name])) for name in contestants]


def _epoch(program: Program, images: numpy.ndarray, labels: numpy.ndarray, order: numpy.ndarray) -> float:
    total = 0.0
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        loss = program.step(program.tensor(images[batch]), program.tensor(labels[batch]))
        total += loss * len(batch)
    return total / len(order)
