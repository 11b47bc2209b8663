"""A task: what a run learns, from the data and the model to the figures that are reported.

Every task here is to name the right class: of an image, or of the next character. So all of them share
the loss, cross entropy, and differ in what a batch is, and in the unit that the loss is told in.
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
"""Inputs, and the classes to be named; a negative class does not count."""

Figures = dict[str, float]


class Loader(Protocol):
    """The batches of training, in an order that depends on a seed and the epoch alone."""

    def __len__(self) -> int: ...
    def set_epoch(self, epoch: int) -> None: ...
    def __iter__(self) -> Iterator[Batch]: ...


class Cost(NamedTuple):
    """How cross entropy is told: the name of its column, what to write on an axis, units per nat."""

    name: str
    label: str
    per_nat: float


@dataclass
class Sums:
    """What adds up from batch to batch: cross entropy in nats, and how many classes were named right."""

    loss: float = 0.0
    correct: int = 0
    seen: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.loss + other.loss, self.correct + other.correct, self.seen + other.seen)


class Task(ABC):
    """Data and a model for it.

    cost      the unit of the loss
    parts     the parts of the data that figures are reported for; the last one is what counts in the end
    model     maps inputs to logits (..., classes)
    loader    the batches of training
    """

    cost: ClassVar[Cost]
    parts: ClassVar[tuple[str, ...]]
    model: Module
    loader: Loader

    @abstractmethod
    def batches(self, part: str) -> Iterable[Batch]:
        """Return the batches by which a part other than the training part is judged."""

    @abstractmethod
    def fingerprint(self) -> int:
        """Return a number that is another one for other data."""

    def metadata(self) -> dict[str, str]:
        """Return what the weights are no use without."""
        return {}

    @abstractmethod
    def describe(self) -> str:
        """Return a phrase about the data."""

    @abstractmethod
    def conclude(self, figures: Mapping[str, Figures]) -> str:
        """Return what there is to say of the trained model, given the figures of every part."""

    def score(self, batch: Batch) -> tuple[Tensor, Sums]:
        """Return the mean loss of a batch, to be differentiated, and its sums."""
        inputs, targets = batch
        logits, classes = self.model(inputs), targets.reshape(-1)
        logits = logits.reshape(-1, logits.shape[-1])
        loss = F.cross_entropy(logits, classes)
        seen = int((classes.array >= 0).sum())
        correct = int((logits.array.argmax(1) == classes.array).sum())
        return loss, Sums(float(loss.item()) * seen, correct, seen)

    @property
    def figure_names(self) -> tuple[str, str]:
        """The names of the two figures, cost and accuracy."""
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
