"""Dataset: inputs with labels or target values, split into training, validation and test parts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy

from .scaler import Scaler

PARTS = ("train", "validation", "test")
"""The names of the parts of a dataset."""


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """One part of a dataset.

    inputs    images (N, C, H, W) or features (N, D)
    targets   classes (N,), int64; or target values (N,) or (N, K), floating-point, for regression

    `images` and `labels` are other names of the two.

    Raises:
        ValueError: if the numbers of inputs and targets differ.
    """

    inputs: numpy.ndarray
    targets: numpy.ndarray

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise ValueError(
                f"{len(self.inputs)} inputs with {len(self.targets)} targets: the numbers must be equal"
            )

    @property
    def images(self) -> numpy.ndarray:
        """The inputs."""
        return self.inputs

    @property
    def labels(self) -> numpy.ndarray:
        """The targets."""
        return self.targets

    def __len__(self) -> int:
        return len(self.targets)

    def __repr__(self) -> str:
        return f"<Split of {len(self)} {_samples(self.inputs)}, {self.inputs.dtype}>"


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Inputs with classes or target values, split into training, validation and test parts.

    name         the name or path that `load` accepts
    classes      the names of the classes; targets are indices into them. None for regression
    max_value    the largest possible value of an unscaled pixel (16 for digits, 255 for bytes); None if the
                 inputs are not images
    scaler       the scaler that `scaled` has applied
    features     the names of the features, if the dataset is a table

    Raises:
        ValueError: if the parts differ in shape, a part is empty, a target is not an index into `classes`,
            or a value is NaN or infinite.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...] | None
    max_value: float | None = None
    scaler: Scaler | None = None
    features: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        shape, target_shape = self.shape, self.train.targets.shape[1:]
        for name, part in self.parts.items():
            if part.inputs.shape[1:] != shape or part.targets.shape[1:] != target_shape:
                raise ValueError(
                    f"the {name} part of {self.name} has inputs {part.inputs.shape} and targets "
                    f"{part.targets.shape}, the training part {self.train.inputs.shape} and "
                    f"{self.train.targets.shape}: all axes after the first must match"
                )
            if len(part) == 0:
                raise ValueError(f"the {name} part of {self.name} is empty: every part needs samples")
            self._check(name, part)

    def _check(self, name: str, part: Split) -> None:
        for what, array in (("inputs", part.inputs), ("targets", part.targets)):
            if array.dtype.kind == "f" and not (finite := numpy.isfinite(array)).all():
                where = tuple(numpy.argwhere(~finite)[0].tolist())
                raise ValueError(
                    f"the {what} of the {name} part of {self.name} have {array[where]} at index {where}: "
                    "replace or drop such samples first"
                )
        targets = part.targets
        if self.classes is None:
            if targets.dtype.kind != "f":
                raise ValueError(
                    f"a dataset without classes is for regression: its targets must be floating-point "
                    f"numbers, got {targets.dtype}"
                )
        elif targets.dtype.kind not in "iu" or targets.ndim != 1:
            raise ValueError(
                f"labels must be integers of shape (N,), got {targets.dtype} of shape {targets.shape}"
            )
        elif targets.min() < 0 or targets.max() >= len(self.classes):
            raise ValueError(
                f"the labels of the {name} part of {self.name} are {targets.min()} … {targets.max()}, but "
                f"there are {len(self.classes)} classes: labels are 0 … {len(self.classes) - 1}"
            )

    @property
    def parts(self) -> dict[str, Split]:
        """The three parts by name: "train", "validation", "test"."""
        return {name: getattr(self, name) for name in PARTS}

    @property
    def task(self) -> str:
        """What is predicted: "classification" or "regression"."""
        return "regression" if self.classes is None else "classification"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input: (C, H, W) or (D,)."""
        return self.train.inputs.shape[1:]

    @property
    def outputs(self) -> int:
        """The number of outputs a model needs: one per class, or one per target value."""
        return math.prod(self.train.targets.shape[1:]) if self.classes is None else len(self.classes)

    def scaled(self, scaler: Scaler) -> Dataset:
        """Fit `scaler` on the training part only; return the dataset with all three parts scaled.

        Raises:
            ValueError: if the dataset is scaled already, or the scaler does not fit the inputs.
        """
        if self.scaler is not None:
            raise ValueError(
                f"{self.name} is already scaled by a {type(self.scaler).__name__}: scale it once"
            )
        scaler.fit(self.train.inputs)
        train, validation, test = (
            Split(scaler.transform(part.inputs), part.targets) for part in self.parts.values()
        )
        return replace(self, train=train, validation=validation, test=test, scaler=scaler)

    def describe(self) -> str:
        """Return one line: how many samples of which shape, what is predicted, and the other parts."""
        predicted = f"{self.outputs} target values" if self.classes is None else f"{self.outputs} classes"
        return (
            f"{len(self.train)} training {_samples(self.train.inputs)} of {self.name}, "
            f"{predicted.replace('1 target values', '1 target value')} "
            f"({len(self.validation)} validation, {len(self.test)} test)"
        )

    def __repr__(self) -> str:
        return f"<Dataset: {self.describe()}>"


def _samples(inputs: numpy.ndarray) -> str:
    if inputs.ndim == 2:
        return f"samples of {inputs.shape[1]} feature{'s' if inputs.shape[1] > 1 else ''}"
    return f"{'images' if inputs.ndim == 4 else 'samples'} {'×'.join(map(str, inputs.shape[1:]))}"
