"""Split samples into training, validation and test parts: by names, or by a seed.

A part that is not given is cut from the training part, 15 % of it. Of every class it takes 15 %, rounded,
and at least one sample.
"""

from collections.abc import Sequence
from typing import Any

import numpy

from .shuffle import permutation, stratified_permutation

SHARE = 0.15
SALT = 15
"""Makes the random numbers differ from those of `numpy.random.default_rng(seed)`, which may have made the
data: samples ordered by their own random numbers would not be shuffled.
"""
NAMES = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
"""The part that each name stands for."""


def split_indices(
    labels: numpy.ndarray | None, split: numpy.ndarray, seed: int, classes: Sequence[str] = ()
) -> dict[str, numpy.ndarray]:
    """Return the indices of each part, given the part (N,) of each sample as `read_split` returns it.

    `labels` (N,) are indices into `classes`, or None for regression. The cut depends only on `seed`.

    Raises:
        ValueError: if the training part, or a class in it, has too few samples to cut the other parts.
    """
    found = {name: numpy.flatnonzero(split == name) for name in ("train", "validation", "test")}
    to_cut = [name for name in ("test", "validation") if len(found[name]) == 0]
    pool = found["train"]
    if labels is None:
        _check_enough("the training part", len(pool), to_cut)
        order, groups = pool[permutation(len(pool), seed, SALT)], numpy.zeros(len(pool), int)
    else:
        for label, count in enumerate(numpy.bincount(labels[pool], minlength=len(classes)).tolist()):
            name = f"class {classes[label]!r}" + ("" if to_cut else ", in the training part,")
            _check_enough(name, count, to_cut)
        order = pool[stratified_permutation(labels[pool], seed, SALT)]
        groups = labels[order]
    rest = numpy.ones(len(order), bool)
    shares = {}
    for group in numpy.unique(groups):
        shares[group] = max(1, int(SHARE * (groups == group).sum() + 0.5))
    for name in to_cut:
        taken = numpy.zeros(len(order), bool)
        for group, share in shares.items():
            taken[numpy.flatnonzero((groups == group) & rest)[:share]] = True
        found[name] = order[taken]
        rest &= ~taken
    return found | {"train": order[rest]}


def read_split(split: Any, n: int) -> numpy.ndarray:
    """Return the part of each of `n` samples: "train", "validation" or "test"; all "train" if None is given.

    Raises:
        ValueError: if the number of names differs from n, a name is unknown, or no sample is for training.
    """
    if split is None:
        return numpy.full(n, "train")
    names = numpy.asarray(split)
    if names.dtype.kind == "S":
        names = numpy.char.decode(names, "utf-8", "replace")
    if names.shape != (n,):
        raise ValueError(
            f"split has shape {names.shape} for {n} samples: expected one of 'train', 'validation', 'test' "
            "for each sample"
        )
    parts = names.astype(str)
    for name in numpy.unique(parts).tolist():
        if name not in NAMES:
            where = int(numpy.flatnonzero(parts == name)[0])
            raise ValueError(f"split has {name!r} at index {where}: expected 'train', 'validation' or 'test'")
    if not (parts == "train").any():
        raise ValueError("split has no 'train': the training part would be empty")
    return numpy.where(parts == "val", "validation", parts)


def _check_enough(what: str, count: int, to_cut: list[str]) -> None:
    needed = 1 + len(to_cut)
    if count < needed:
        parts = " and ".join(["training", *sorted(to_cut, reverse=True)])
        raise ValueError(
            f"{what} has {count or 'no'} {'sample' if count == 1 else 'samples'}: at least {needed} "
            f"{'is' if needed == 1 else 'are'} required, for {parts}"
            + ("" if count == 0 or not to_cut else ". Add samples, or leave the class out")
        )
