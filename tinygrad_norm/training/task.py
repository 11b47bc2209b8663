"""Task: the data, the model and the reported figures of a run.

Every task has a loss, which is the first of its figures, and further figures such as the accuracy. A figure
is computed from sums over batches, so that it is exact for a part of any size.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy

from ..autograd.grad_mode import no_grad
from ..autograd.tensor import Tensor
from ..backends import asarray, to_numpy
from ..data import Scaler
from ..module import Module
from ..nn import functional as F

Batch = tuple[Tensor, ...]
"""Inputs and targets."""

Figures = dict[str, float]
"""Figures by name; the first is the cost."""


class Loader(Protocol):
    """The training batches, in an order that depends only on a seed and the epoch."""

    def __len__(self) -> int: ...
    def set_epoch(self, epoch: int) -> None: ...
    def __iter__(self) -> Iterator[Batch]: ...


class Cost(NamedTuple):
    """How the loss is reported: the name of its column, the label of its axis, units per unit of loss."""

    name: str
    label: str
    per_unit: float = 1.0


@dataclass
class Sums:
    """Sums over batches: the loss times its targets, correct predictions, targets seen, others by name.

    Those of a score are arrays (), so that a training step on a GPU waits for none of them. `read` waits.
    """

    loss: Any = 0.0
    correct: Any = 0
    seen: Any = 0
    others: dict[str, Any] = field(default_factory=dict)

    def __add__(self, other: Sums) -> Sums:
        names = self.others.keys() | other.others.keys()
        others = {name: self.others.get(name, 0.0) + other.others.get(name, 0.0) for name in sorted(names)}
        return Sums(self.loss + other.loss, self.correct + other.correct, self.seen + other.seen, others)

    def __sub__(self, other: Sums) -> Sums:
        """Return the sums over the batches that `other` does not have yet; both were read."""
        others = {name: value - other.others.get(name, 0.0) for name, value in self.others.items()}
        return Sums(self.loss - other.loss, self.correct - other.correct, self.seen - other.seen, others)

    def read(self) -> Sums:
        """Return the sums as Python numbers, and others as NumPy's."""
        others = {name: to_numpy(value) for name, value in self.others.items()}
        loss, correct, seen = (to_numpy(value) for value in (self.loss, self.correct, self.seen))
        return Sums(float(loss), int(correct), int(seen), others)

    def to_device(self) -> Sums:
        """Return sums that were read as new ones can be added to them: others as arrays of the backend."""
        return replace(self, others={name: asarray(value) for name, value in self.others.items()})


class Task(ABC):
    """Data and a model for it.

    cost          how the loss is reported
    figure_names  the names of the figures, the cost first
    parts         the parts of the data for which figures are reported; the last one is the final result
    model         maps inputs to outputs
    loader        the training batches
    """

    cost: Cost
    figure_names: tuple[str, ...]
    parts: ClassVar[tuple[str, ...]]
    model: Module
    loader: Loader

    @abstractmethod
    def batches(self, part: str) -> Iterable[Batch]:
        """Return the batches on which a part is evaluated."""

    @abstractmethod
    def fingerprint(self) -> int:
        """Return a checksum of the training part, to detect that the data changed."""

    @abstractmethod
    def checksums(self) -> dict[str, int]:
        """Return a checksum of each part of the data, by its name, to compare those of several processes."""

    @abstractmethod
    def metadata(self) -> dict[str, Any]:
        """Return what is needed to rebuild the model and to use it, as JSON values."""

    def scalers(self) -> dict[str, Scaler | None]:
        """Return the scalers of the inputs and targets, by name."""
        return {}

    def curves(self) -> dict[str, str]:
        """Return the figures to draw over the epochs: the label of the axis, by name."""
        labels = {self.cost.name: self.cost.label, "r2": "R²"}
        return {name: labels.get(name, name) for name in self.figure_names}

    @abstractmethod
    def describe(self) -> str:
        """Return a short description of the data."""

    @abstractmethod
    def conclude(self, figures: Mapping[str, Figures]) -> str:
        """Return the final message about the trained model, given the figures of every part."""

    @abstractmethod
    def score(self, batch: Batch) -> tuple[Tensor, Sums]:
        """Return the mean loss of a batch, with its graph, and the batch's sums, which are yet to be read."""

    @abstractmethod
    def figures(self, sums: Sums) -> Figures:
        """Return the figures of sums that were read, by name."""

    def evaluate(self, part: str) -> Figures:
        """Return the figures of the model on a part, in evaluation mode."""
        return self.figures(self.sums_of(part))

    @no_grad()
    def sums_of(self, part: str, start: int = 0, step: int = 1) -> Sums:
        """Return the sums over a part, in evaluation mode; or over each `step`-th batch, from `start` on."""
        self.model.eval()
        batches = itertools.islice(self.batches(part), start, None, step)
        return sum((self.score(batch)[1] for batch in batches), Sums()).read()


def classification_score(logits: Tensor, classes: Tensor) -> tuple[Tensor, Sums]:
    """Return the cross entropy of `logits` (..., C), and its sums; negative `classes` (...) are ignored."""
    classes = classes.reshape(-1)
    logits = logits.reshape(-1, logits.shape[-1])
    loss = F.cross_entropy(logits, classes)
    seen = (classes.array >= 0).sum()
    correct = (logits.array.argmax(1) == classes.array).sum()
    return loss, Sums(loss.array.astype(numpy.float64) * seen, correct, seen)


def format_figure(name: str, value: float, digits: int = 2) -> str:
    """Return a figure as text: an accuracy as a percentage with `digits` decimals, others with four."""
    if name == "accuracy":
        return f"{value:.{digits}%}"
    return f"{value:.4f}" if abs(value) < 1e4 else f"{value:.4g}"
