"""DataLoader: batches of tensors, shuffled anew in every epoch.

The order of epoch k depends on (seed, k) alone. So a run that stops after epoch k and is taken up
with `set_epoch(k)` sees the batches it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy

from ..autograd.tensor import Tensor
from ..ops.arguments import as_size
from .dataset import Split
from .shuffle import permutation


class DataLoader:
    """Iterate over batches of a `Split`, or of a tuple of arrays of one length, as tuples of tensors.

    Args:
        dataset: a `Split` gives (images, labels); arrays (a, b, …) give (a's rows, b's rows, …).
        batch_size: samples in a batch; the last one may be smaller.
        shuffle: draw a new order in every epoch.
        drop_last: leave out a smaller last batch.
        seed: what the orders depend on; there is always one, so that a run can be repeated.

    Tensors are copies on the backend current when the batch is made. Each iteration is one epoch:
    `epoch` counts them from 0.

    Raises:
        TypeError: where the dataset is neither a `Split` nor a tuple of arrays (a list of samples is not),
            and for a batch size or seed that is no int.
        ValueError: for arrays of different lengths, a batch size below 1, a negative seed, or
            where no batch would come out.
    """

    def __init__(
        self,
        dataset: Split | tuple[Any, ...] | list[Any],
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        if isinstance(dataset, Split):
            dataset = dataset.images, dataset.labels
        if not isinstance(dataset, tuple | list) or not dataset:
            raise TypeError(
                "a DataLoader takes a Split or a tuple of arrays such as (images, labels), got "
                f"{type(dataset).__name__}"
            )
        self.arrays = tuple(_as_array(part) for part in dataset)
        if any(array.ndim == 0 for array in self.arrays) or len({len(array) for array in self.arrays}) > 1:
            shapes = ", ".join(str(array.shape) for array in self.arrays)
            raise ValueError(f"the arrays must have one first axis, the samples; got shapes {shapes}")
        self.batch_size, self.shuffle, self.drop_last = as_size(batch_size, "batch_size"), shuffle, drop_last
        self.seed, self.epoch = as_size(seed, "seed", 0), 0
        if len(self) == 0:
            raise ValueError(
                f"{len(self.arrays[0])} samples make no batch of {batch_size}"
                f"{' with drop_last: use a smaller batch_size' if len(self.arrays[0]) else ''}"
            )

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        n = len(self.arrays[0])
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of epoch `epoch`, counted from 0."""
        self.epoch = as_size(epoch, "epoch", 0)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        n = len(self.arrays[0])
        order = permutation(n, self.seed, self.epoch) if self.shuffle else numpy.arange(n)
        self.epoch += 1
        return self._batches(order)

    def _batches(self, order: numpy.ndarray) -> Iterator[tuple[Tensor, ...]]:
        for i in range(len(self)):
            rows = order[i * self.batch_size : (i + 1) * self.batch_size]
            yield tuple(Tensor(array.take(rows, axis=0)) for array in self.arrays)


def _as_array(part: Any) -> numpy.ndarray:
    if not isinstance(part, tuple):  # a sample (x, y), not all of the x
        try:
            array = numpy.asarray(part)
        except ValueError:  # of unequal lengths
            pass
        else:
            if array.dtype.kind in "biuf":
                return array
    raise TypeError(
        "a DataLoader takes a Split or a tuple of arrays of numbers such as (images, labels), got a "
        f"{type(part).__name__} in the place of an array: from a list of samples (x, y), make an array of "
        "all x and one of all y"
    )
