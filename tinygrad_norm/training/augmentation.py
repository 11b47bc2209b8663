"""Augmentation: random changes of the training inputs that keep their targets.

    shift    move an image by up to 1/8 of its height and width; pixels at the edge are repeated
    flip     mirror an image left to right, with probability 1/2
    noise    add Gaussian noise with 1/10 of the standard deviation of the batch, per channel or feature

What a batch gets depends only on the seed, the epoch and the number of the batch, so that a resumed run sees
the same inputs as a run that was not interrupted.
"""

from collections.abc import Iterator, Sequence

import numpy

from ..autograd.tensor import Tensor
from ..backends import to_numpy
from .task import Batch, Loader

NOISE = 0.1
SHIFT = 8


class AugmentedLoader:
    """The batches of `loader`, with their inputs (N, C, H, W) or (N, D) changed by `augment`."""

    def __init__(self, loader: Loader, augment: Sequence[str], seed: int) -> None:
        self.loader, self.augment, self.seed, self.epoch = loader, tuple(augment), seed, 0

    def __len__(self) -> int:
        return len(self.loader)

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration epoch `epoch`, counted from 0."""
        self.epoch = epoch
        self.loader.set_epoch(epoch)

    def __iter__(self) -> Iterator[Batch]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        for step, (inputs, *targets) in enumerate(self.loader):
            rng = numpy.random.default_rng(numpy.random.SeedSequence(self.seed, spawn_key=(epoch, step)))
            yield Tensor(augmented(to_numpy(inputs.array), self.augment, rng)), *targets


def augmented(x: numpy.ndarray, augment: Sequence[str], rng: numpy.random.Generator) -> numpy.ndarray:
    """Return a changed copy of the images (N, C, H, W) or features (N, D)."""
    if "shift" in augment or "flip" in augment:
        x = _moved(x, "shift" in augment, "flip" in augment, rng)
    if "noise" in augment:
        axes = (0, *range(2, x.ndim))
        std = x.std(axes, keepdims=True)
        x = x + (NOISE * std * rng.standard_normal(x.shape, numpy.float32)).astype(x.dtype)
    return x


def check_augmentation(augment: Sequence[str], shape: tuple[int, ...]) -> None:
    """Check that inputs of `shape` can be augmented.

    Raises:
        ValueError: if a change is for images only, and the inputs are not images (C, H, W).
    """
    for name in ("shift", "flip"):
        if name in augment and len(shape) != 3:
            raise ValueError(
                f"augment: {name} is for images (C, H, W), but the inputs have shape {shape}: use only noise"
            )


def _moved(x: numpy.ndarray, shift: bool, flip: bool, rng: numpy.random.Generator) -> numpy.ndarray:
    N, C, H, W = x.shape
    rows, columns = numpy.tile(numpy.arange(H), (N, 1)), numpy.tile(numpy.arange(W), (N, 1))
    if flip:
        mirrored = rng.random(N) < 0.5
        columns[mirrored] = columns[mirrored, ::-1]
    if shift:
        for places, size in ((rows, H), (columns, W)):
            places += rng.integers(-(size // SHIFT), size // SHIFT, (N, 1), endpoint=True)
            places.clip(0, size - 1, out=places)
    samples, channels = numpy.arange(N)[:, None, None, None], numpy.arange(C)[:, None, None]
    return x[samples, channels, rows[:, None, :, None], columns[:, None, None, :]]
