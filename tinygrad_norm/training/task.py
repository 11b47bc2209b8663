"""Task: the data, the model and the reported figures of a run.

Every task is a classification: of an image, or of the next character. All share the loss, cross entropy;
they differ in their batches and in the unit in which the loss is reported.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

from ..autograd.grad_mode import no_grad
from ..autograd.tensor import Tensor
from ..module import Module
from ..nn import functional as F

Batch = tuple[Tensor, ...]
"""Inputs, and target classes; negative targets are ignored."""

Figures = dict[str, float]


class Loader(Protocol):
    """The training batches, in an order that depends only on a seed and the epoch."""

    def __len__(self) -> int: ...
    def set_epoch(self, epoch: int) -> None: ...
    def __iter__(self) -> Iterator[Batch]: ...


class Cost(NamedTuple):
    """How cross entropy is reported: the name of its column, the label of its axis, units per nat."""

    name: str
    label: str
    per_nat: float


@dataclass
class Sums:
    """Sums over batches: cross entropy in nats, correct predictions, and targets seen."""

    loss: float = 0.0
    correct: int = 0
    seen: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.loss + other.loss, self.correct + other.correct, self.seen + other.seen)


class Task(ABC):
    """Data and a model for it.

    cost      how the loss is reported
    parts     the parts of the data for which figures are reported; the last one is the final result
    model     maps inputs to logits (..., classes)
    loader    the training batches
    """

    cost: ClassVar[Cost]
    parts: ClassVar[tuple[str, ...]]
    model: Module
    loader: Loader

    @abstractmethod
    def batches(self, part: str) -> Iterable[Batch]:
        """Return the batches on which a part other than the training part is evaluated."""

    @abstractmethod
    def fingerprint(self) -> int:
        """Return a checksum of the data, to detect that they changed."""

    def metadata(self) -> dict[str, str]:
        """Return what is needed to use the weights, such as the alphabet; saved with them."""
        return {}

    @abstractmethod
    def describe(self) -> str:
        """Return a short description of the data."""

    @abstractmethod
    def conclude(self, figures: Mapping[str, Figures]) -> str:
        """Return the final message about the trained model, given the figures of every part."""

    def score(self, batch: Batch) -> tuple[Tensor, Sums]:
        """Return the mean loss of a batch, with its graph, and the batch's sums."""
        inputs, targets = batch
        logits, classes = self.model(inputs), targets.reshape(-1)
        logits = logits.reshape(-1, logits.shape[-1])
        loss = F.cross_entropy(logits, classes)
        seen = int((classes.array >= 0).sum())
        correct = int((logits.array.argmax(1) == classes.array).sum())
        return loss, Sums(float(loss.item()) * seen, correct, seen)

    @property
    def figure_names(self) -> tuple[str, str]:
        """The names of the two figures: cost and accuracy."""
        return self.cost.name, "accuracy"

    def figures(self, sums: Sums) -> Figures:
        """Return the two figures, by name."""
        values = sums.loss / sums.seen * self.cost.per_nat, sums.correct / sums.seen
        return dict(zip(self.figure_names, values, strict=True))

    @no_grad()
    def evaluate(self, part: str) -> Figures:
        """Return the figures of the model on a part, in evaluation mode."""
        self.model.eval()
        return self.figures(sum((self.score(batch)[1] for batch in self.batches(part)), Sums()))
