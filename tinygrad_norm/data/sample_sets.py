"""Sets of samples, by index: tensors row by row, parts of a set, and sets one after the other.

Anything with `__getitem__` and `__len__` is a set of samples; a DataLoader takes it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import numpy

from ..autograd.tensor import Tensor
from ..ops.arguments import as_number, as_size
from .shuffle import permutation

SALT = 17  # makes the order differ from that of a DataLoader with the same seed


class TensorDataset:
    """Samples (a[i], b[i], …) of tensors or arrays of equal length.

    Raises:
        TypeError: if there are none, or one is not a tensor or an array.
        ValueError: if their lengths differ.
    """

    def __init__(self, *tensors: Any) -> None:
        if not tensors or not all(isinstance(t, Tensor | numpy.ndarray) for t in tensors):
            names = ", ".join(type(tensor).__name__ for tensor in tensors) or "nothing"
            raise TypeError(f"TensorDataset takes tensors or arrays, got {names}")
        shapes = [tuple(tensor.shape) for tensor in tensors]
        if any(not shape for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
            raise ValueError(
                f"the tensors must have the same number of samples (axis 0), got shapes {shapes}"
            )
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])


class Subset:
    """The samples of `dataset` at `indices`.

    Raises:
        TypeError: if an index is not an int.
        IndexError: if there is no such sample.
    """

    def __init__(self, dataset: Any, indices: Iterable[int]) -> None:
        n = len(dataset)
        self.dataset, self.indices = dataset, [operator.index(i) for i in indices]
        for i in self.indices:
            if not -n <= i < n:
                raise IndexError(f"index {i} is out of range for {n} samples")

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset:
    """The samples of several sets, one set after the other.

    Raises:
        ValueError: if there are no sets.
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset needs at least one set of samples")
        self.cumulative_sizes = list(accumulate(len(dataset) for dataset in self.datasets))

    def __getitem__(self, index: int) -> Any:
        n, position = len(self), operator.index(index)
        if not -n <= position < n:
            raise IndexError(f"index {index} is out of range for {n} samples")
        position %= n
        which = int(numpy.searchsorted(self.cumulative_sizes, position, side="right"))
        return self.datasets[which][position - (self.cumulative_sizes[which - 1] if which else 0)]

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]


def random_split(dataset: Any, lengths: Sequence[float], seed: int = 0) -> list[Subset]:
    """Split a set of samples at random into parts that do not overlap.

    Args:
        dataset: anything with `__getitem__` and `__len__`.
        lengths: the numbers of samples, which add up to those of the set; or fractions that add up to 1, of
            which the first parts get the samples that are left after rounding down.
        seed: determines the split, where PyTorch has a generator.

    Raises:
        TypeError, ValueError: if lengths are negative, or do not add up.
    """
    n = len(dataset)
    given = [as_number(length, "a length") for length in lengths]
    if any(not 0 <= length < math.inf for length in given):
        raise ValueError(f"lengths must be finite and not negative, got {list(lengths)}")
    if math.isclose(sum(given), 1):
        sizes = [math.floor(n * length) for length in given]
        for i in range(n - sum(sizes)):
            sizes[i % len(sizes)] += 1
    elif sum(given) == n and not any(length % 1 for length in given):
        sizes = [int(length) for length in given]
    else:
        raise ValueError(f"lengths must add up to the {n} samples, or as fractions to 1, got {list(lengths)}")
    order = permutation(n, as_size(seed, "seed", 0), SALT).tolist()
    return [
        Subset(dataset, order[stop - size : stop])
        for size, stop in zip(sizes, accumulate(sizes), strict=True)
    ]
