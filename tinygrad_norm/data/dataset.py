"""Dataset: labelled images, split into training, validation and test parts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy

from .scaler import Scaler


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """One part of a dataset: `images` (N, C, H, W) and `labels` (N,), int64.

    Raises:
        ValueError: if the numbers of images and labels differ.
    """

    images: numpy.ndarray
    labels: numpy.ndarray

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise ValueError(
                f"{len(self.images)} images with {len(self.labels)} labels: the numbers must be equal"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"<Split of {len(self)} images {self.images.shape[1:]}, {self.images.dtype}>"


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images with their classes, split into training, validation and test parts.

    name         the name that `load` accepts
    classes      number of classes; labels are 0 … classes−1
    max_value    the largest possible value of an unscaled pixel (16 for digits, 255 for bytes)
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int
    max_value: float

    def scaled(self, scaler: Scaler) -> Dataset:
        """Fit `scaler` on the training part only; return the dataset with all three parts scaled."""
        scaler.fit(self.train.images)
        parts = (self.train, self.validation, self.test)
        train, validation, test = (Split(scaler.transform(part.images), part.labels) for part in parts)
        return replace(self, train=train, validation=validation, test=test)

    def __repr__(self) -> str:
        parts = f"{len(self.train)} training, {len(self.validation)} validation, {len(self.test)} test"
        return (
            f"<Dataset {self.name}: {parts} images {self.train.images.shape[1:]} of {self.classes} classes>"
        )
