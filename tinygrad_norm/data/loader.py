"""DataLoader: batches of tensors, reshuffled in every epoch.

The order of epoch k depends only on (seed, k). A run that stops after k epochs and resumes with
`set_epoch(k)` therefore sees the same batches as a run that was not interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy

from ..autograd.tensor import Tensor
from ..backends import check_unmasked
from ..ops.arguments import as_size, check_flags
from .collating import are_samples, collate
from .dataset import Split
from .sample_sets import TensorDataset
from .shuffle import permutation


class DataLoader:
    """Iterate over batches of a `Split`, of a tuple of arrays of equal length, or of samples.

    Args:
        dataset: a `Split` gives (inputs, targets); arrays (a, b, …), or a `TensorDataset` of them, give (rows
            of a, rows of b, …). A list of tuples or dicts, or an object with `__getitem__` and `__len__`, has
            samples, which `collate_fn` puts together; with a collate_fn, any list is one of samples.
        batch_size: samples per batch; the last batch may be smaller.
        shuffle: draw a new order in every epoch.
        drop_last: leave out the last batch if it is smaller.
        seed: determines the orders; it has a fixed default, so that runs are reproducible.
        collate_fn: makes a batch of a list of samples; by default arrays are stacked, entry by entry.

    Tensors are copies on the backend that is current when the batch is made. Each iteration is one
    epoch; `epoch` counts from 0.

    Raises:
        TypeError: if the dataset is none of these, the batch size or seed is not an int, a flag is not a
            bool, or collate_fn cannot be called or has no samples to put together.
        ValueError: if the arrays differ in length, the batch size is below 1, the seed is negative, or
            there would be no batch.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        *,
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        if isinstance(dataset, Split):
            dataset = dataset.inputs, dataset.targets
        elif isinstance(dataset, TensorDataset) and collate_fn is None:
            dataset = dataset.tensors
        self.collate_fn = collate_fn
        self.samples: Any = None
        if collate_fn is not None and not callable(collate_fn):
            raise TypeError(f"collate_fn must be a function of a list of samples, got {collate_fn!r}")
        if are_samples(dataset) or (collate_fn is not None and isinstance(dataset, list)):
            self.samples, dataset = dataset, (numpy.arange(len(dataset)),)
        elif collate_fn is not None:
            raise TypeError(
                f"collate_fn puts samples together, but the dataset is a {type(dataset).__name__}: pass a "
                "list of samples, or an object with __getitem__ and __len__"
            )
        if not isinstance(dataset, tuple | list) or not dataset:
            raise TypeError(
                "a DataLoader takes a Split or a tuple of arrays such as (images, labels), got "
                f"{type(dataset).__name__}"
            )
        self.arrays = tuple(_as_array(part) for part in dataset)
        if any(array.ndim == 0 for array in self.arrays) or len({len(array) for array in self.arrays}) > 1:
            shapes = ", ".join(str(array.shape) for array in self.arrays)
            raise ValueError(f"the arrays must have the same number of samples (axis 0), got shapes {shapes}")
        check_flags(shuffle=shuffle, drop_last=drop_last)
        self.batch_size, self.shuffle, self.drop_last = as_size(batch_size, "batch_size"), shuffle, drop_last
        self.seed, self.epoch = as_size(seed, "seed", 0), 0
        if len(self) == 0:
            raise ValueError(
                f"{len(self.arrays[0])} samples are too few for a batch of {batch_size}"
                f"{' with drop_last: use a smaller batch_size' if len(self.arrays[0]) else ''}"
            )

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        n = len(self.arrays[0])
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration epoch `epoch`, counted from 0."""
        self.epoch = as_size(epoch, "epoch", 0)

    def __iter__(self) -> Iterator[Any]:
        n = len(self.arrays[0])
        order = permutation(n, self.seed, self.epoch) if self.shuffle else numpy.arange(n)
        self.epoch += 1
        return self._batches(order)

    def _batches(self, order: numpy.ndarray) -> Iterator[Any]:
        for i in range(len(self)):
            rows = order[i * self.batch_size : (i + 1) * self.batch_size]
            if self.samples is not None:
                yield (self.collate_fn or collate)([self.samples[int(row)] for row in rows])
                continue
            yield tuple(Tensor(array.take(rows, axis=0)) for array in self.arrays)


def _as_array(part: Any) -> numpy.ndarray:
    check_unmasked(part, "an array of the DataLoader")
    if not isinstance(part, tuple):  # a tuple here is a sample (x, y), not an array of all x
        try:
            array = numpy.asarray(part)
        except ValueError:  # of unequal lengths
            pass
        else:
            if array.dtype.kind in "biuf":
                return array
    raise TypeError(
        "a DataLoader takes a Split or a tuple of arrays of numbers such as (images, labels), got a "
        f"{type(part).__name__} in place of an array: samples are a list of tuples (x, y)"
    )
