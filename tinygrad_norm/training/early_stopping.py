"""Early stopping: end a run whose validation cost no longer improves, and keep its best weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from ..backends import to_numpy
from ..module import Module


class EarlyStopping:
    """Stop after `patience` epochs without a lower `column` of the history; None never stops.

    `best` holds the weights of the best epoch. They are only kept with a patience.
    """

    def __init__(self, patience: int | None, column: str) -> None:
        self.patience, self.column = patience, column
        self.best: dict[str, Any] = {}

    def best_epoch(self, history: Sequence[Mapping[str, float]]) -> int:
        """Return the index of the epoch whose weights a finished run has: without a patience, the last."""
        if self.patience is None:
            return len(history) - 1
        costs = numpy.array([row[self.column] for row in history])
        return int(numpy.argmin(numpy.where(numpy.isnan(costs), numpy.inf, costs)))  # the first of equals

    def stops(self, history: Sequence[Mapping[str, float]]) -> bool:
        """Return whether the last `patience` epochs brought nothing."""
        if self.patience is None or not history:
            return False
        return len(history) - 1 - self.best_epoch(history) >= self.patience

    def keep(self, model: Module, history: Sequence[Mapping[str, float]]) -> None:
        """Copy the weights of `model` if the last epoch is the best."""
        if self.patience is not None and self.best_epoch(history) == len(history) - 1:
            self.best = {name: to_numpy(value.array).copy() for name, value in model.state_dict().items()}

    def restore(self, model: Module) -> None:
        """Give `model` the best weights, if they are kept."""
        if self.best:
            model.load_state_dict(self.best)
