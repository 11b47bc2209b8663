"""What experiments with small trainings share: a few digits, a small network, its training and its test."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from .. import data, nn, optim
from ..autograd import no_grad
from ..data import Split
from ..module import Module
from ..nn import functional as F
from ..ops import tensor

Batch = tuple[NDArray[np.float32], NDArray[np.int64]]
Step = list[Batch]
"""The batches of one step: each passes the network on its own, and their gradients are averaged."""


def few_digits(seed: int, train: int, noise: float = 0.0) -> tuple[Split, Split, Split]:
    """Return `train` digits for training, 270 for validation and all others for testing.

    The pixels have mean 0 and variance 1. Those of the last two parts get normal `noise`; the training draws
    its own in each step (`shuffled`). With many digits for testing, an error is known well.
    """
    digits, rng = data.load_digits(seed), np.random.default_rng(seed + 1_000_000)
    mean, std = digits.train.images[:train].mean(), digits.train.images[:train].std()
    parts = [((one.images - mean) / std, one.labels) for one in digits.parts.values()]
    (images, labels), validation, (others, their_labels) = parts
    test = np.concatenate([images[train:], others]), np.concatenate([labels[train:], their_labels])
    judged = [with_noise(Split(*one), noise, rng) for one in (validation, test)]
    return Split(images[:train], labels[:train]), judged[0], judged[1]


def with_noise(split: Split, noise: float, rng: np.random.Generator) -> Split:
    """Return the split with normal noise on its images."""
    return Split(split.images + _normal(rng, split.images.shape, noise), split.targets)


def _normal(rng: np.random.Generator, shape: tuple[int, ...], noise: float) -> NDArray[np.float32]:
    return np.float32(noise) * rng.standard_normal(shape, dtype=np.float32)


def shuffled(rng: np.random.Generator, split: Split, size: int, noise: float = 0.0) -> Iterator[Step]:
    """Yield steps of one batch without end; each epoch has a new order and new noise, and no smaller batch.

    Raises:
        ValueError: if there are fewer samples than a batch has.
    """
    if size > len(split):
        raise ValueError(f"a batch of {size} needs as many samples, got {len(split)}")
    while True:
        order = rng.permutation(len(split))
        for chosen in order[: len(split) - len(split) % size].reshape(-1, size):
            images = split.images[chosen]
            yield [(images + _normal(rng, images.shape, noise) if noise else images, split.labels[chosen])]


def convolutions(norm: Callable[[int], Module], layers: tuple[tuple[int, int], ...]) -> nn.Sequential:
    """Return 3×3 convolutions of (channels, stride), each with norm and ReLU, then a mean and a Linear."""
    parts: list[Module] = []
    before = 1
    for channels, stride in layers:
        convolution = nn.Conv2d(before, channels, 3, stride=stride, padding=1, bias=False)
        parts += [convolution, norm(channels), nn.ReLU()]
        before = channels
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))


def fit(model: Module, drawn: Iterator[Step], steps: int, lr: float) -> NDArray[np.float64]:
    """Train by SGD with momentum 0.9; lr falls to 0 as half a cosine. Return the losses.

    It stops at a loss that is not finite; those after it are NaN.
    """
    optimizer = optim.SGD(model.parameters(), lr, momentum=0.9)
    losses = np.full(steps, np.nan)
    model.train()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
        batches = next(drawn)
        optimizer.zero_grad()
        losses[step] = 0.0
        for images, labels in batches:
            loss = F.cross_entropy(model(tensor(images)), tensor(labels)) / len(batches)
            loss.backward()
            losses[step] += loss.item()
        if not math.isfinite(losses[step]):
            break
        optimizer.step()
    return losses


def evaluate(model: Module, split: Split) -> tuple[float, float]:
    """Return the mean cross-entropy and the share of wrong answers, in evaluation mode."""
    model.eval()
    with no_grad():
        logits = model(tensor(split.images))
        loss = F.cross_entropy(logits, tensor(split.labels)).item()
    return loss, float((logits.numpy().argmax(1) != split.labels).mean())
