"""A small VGG for the digits, with or without a normalization before each ReLU, and its batches."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import data, nn
from ...autograd import Tensor
from ...nn import functional as F
from ...ops import tensor

WIDTHS = (8, 8), (16, 16), (32, 32)
"""Channels of the convolutions; after each pair, a maximum over 2×2 pixels halves the image: 8, 4, 2, 1."""
MEAN, STD = 0.305, 0.376

Batch = tuple[Tensor, Tensor]


def make_vgg(make_norm: Callable[[int], Any] | None) -> nn.Sequential:
    """Return six convolutions of 3×3 and a linear layer: He et al.'s initialization, biases of 0.

    `make_norm` takes the number of channels.
    """
    layers: list[Any] = []
    channels = 1
    for pair in WIDTHS:
        for width in pair:
            layers += [nn.Conv2d(channels, width, 3, padding=1)]
            layers += [*([make_norm(width)] if make_norm else []), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels, 10))
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return model


def load_digits() -> data.Dataset:
    """Return the digits, scaled to mean 0 and standard deviation 1."""
    return data.load("digits").scaled(data.ImageScaler(mean=[MEAN], std=[STD], max_value=16))


def batches(split: data.Split, rng: np.random.Generator, size: int = 64) -> Iterator[Batch]:
    """Yield batches without end, each drawn anew."""
    while True:
        chosen = rng.integers(len(split), size=size)
        yield tensor(split.images[chosen]), tensor(split.labels[chosen])


def loss_of(model: Any, batch: Batch) -> Tensor:
    """Return the cross-entropy of a batch, in nats."""
    images, labels = batch
    return F.cross_entropy(model(images), labels)


def last_tenth(losses: list[float] | NDArray[np.float64]) -> float:
    """Return the mean loss of the last tenth of a training; ∞ if it is not finite."""
    mean = float(np.mean(losses[-max(1, len(losses) // 10) :]))
    return mean if np.isfinite(mean) else float("inf")
