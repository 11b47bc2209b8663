"""Samples put together as a batch: arrays are stacked, tuples and dicts keep their form."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from ..autograd.tensor import Tensor
from ..ops import from_numpy, stack


def collate(samples: Sequence[Any]) -> Any:
    """Return a list of samples as one batch, as PyTorch's `default_collate`.

    Tensors and arrays are stacked along a new axis 0, numbers become a tensor, text a list. Samples that are
    tuples or lists give a tuple, dicts a dict, each entry collated by itself.

    Raises:
        TypeError: if samples are of another type, or not all of one form.
        ValueError: if their shapes or lengths differ.
    """
    first = samples[0]
    if isinstance(first, tuple | list | Mapping):
        if not all(isinstance(s, tuple | list | Mapping) and len(s) == len(first) for s in samples):
            raise ValueError("the samples of a batch must have the same number of entries: pass a collate_fn")
        if isinstance(first, Mapping):
            return {key: collate([sample[key] for sample in samples]) for key in first}
        return tuple(collate(entries) for entries in zip(*samples, strict=True))
    if isinstance(first, Tensor):
        return stack(list(samples))
    if isinstance(first, str):
        return list(samples)
    if not isinstance(first, numpy.ndarray | numpy.generic | bool | int | float):
        raise TypeError(f"a batch cannot be made of samples of {type(first).__name__}: pass a collate_fn")
    try:
        return from_numpy(numpy.array(samples))
    except ValueError:
        raise ValueError(
            "the samples of a batch have different shapes: pad them in a collate_fn, or use batch_size=1"
        ) from None


def are_samples(dataset: Any) -> bool:
    """Return whether `dataset` is a list of samples, or an object that gives samples by index."""
    if isinstance(dataset, list):
        return bool(dataset) and all(isinstance(sample, tuple | Mapping) for sample in dataset)
    known = isinstance(dataset, tuple | str | bytes | Mapping | numpy.ndarray | Tensor)
    return not known and hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
