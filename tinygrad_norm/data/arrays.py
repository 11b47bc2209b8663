"""A dataset from two arrays: inputs, and classes or target values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from ..autograd.tensor import Tensor
from ..ops.arguments import as_number
from .dataset import Dataset, Split
from .scaler import real_numbers
from .splitting import read_split, split_indices

CHANNELS = (1, 3, 4)
"""The numbers of channels by which a channel axis at the end is recognized: grey, RGB, RGB with alpha."""


def from_arrays(
    inputs: Any,
    targets: Any,
    *,
    split: Any = None,
    classes: Sequence[str] | None = None,
    max_value: float | None = None,
    name: str = "arrays",
    seed: int = 0,
) -> Dataset:
    """Return the dataset of `inputs` and `targets`, split into training, validation and test parts.

    Args:
        inputs: features (N, D), or images (N, H, W), (N, C, H, W) or (N, H, W, C). Images become
            (N, C, H, W); a last axis of 1, 3 or 4 is taken for the channels unless the second one is, too.
        targets: integers, bools or strings (N,) for classification; floating-point numbers, (N,) or
            (N, K), for regression. Integers are indices of classes, 0 … K−1, and each must occur.
        split: for each sample "train", "validation" (or "val") or "test". A part that is not in it is cut
            from the training part by `seed`: 15 %, of every class if there are classes. By default both
            the validation and the test part are cut.
        classes: the names of the classes. By default the sorted strings, or the integers themselves.
        max_value: of images, the value of a white pixel, at least 1. By default 255 for images of uint8, and
            1 for floating-point images in [0, 1].
        name: the name of the dataset.
        seed: determines the split.

    Raises:
        TypeError: if inputs or targets do not hold numbers (targets: or strings).
        ValueError: if the sizes differ, a value is NaN, infinite or masked, there is only one class, a class
            or a part has too few samples, labels have gaps, or `split`, `classes` or `max_value` do not fit.
    """
    x, y = _numbers("inputs", inputs), _targets(targets)
    if len(x) != len(y):
        raise ValueError(f"{len(x)} inputs with {len(y)} targets: the numbers must be equal")
    if max_value is not None and (x.ndim == 2 or not 1 <= as_number(max_value, "max_value") < numpy.inf):
        raise ValueError(
            "max_value is the value of a white pixel in images, at least 1 (255 for bytes), got "
            f"{max_value} for inputs of shape {x.shape}"
        )
    x, max_value = _images(x, max_value) if x.ndim > 2 else (x, max_value)
    labels, names = None, None
    if y.dtype.kind != "f":
        labels, names = _labels(y, classes)
        y = labels
    elif classes is not None:
        raise ValueError(
            f"classes are for classification, but the targets are {y.dtype}, for regression: convert labels "
            "to integers, or leave out classes"
        )
    parts = split_indices(labels, read_split(split, len(x)), seed, names or ())
    train, validation, test = (Split(x[parts[p]], y[parts[p]]) for p in ("train", "validation", "test"))
    return Dataset(name, train, validation, test, names, max_value)


def _numbers(what: str, values: Any) -> numpy.ndarray:
    """Return `values` as an array of finite numbers with samples and features."""
    _check_unmasked(what, values)
    try:
        x = real_numbers(values)
    except ValueError as error:
        if "inhomogeneous" in str(error):
            raise ValueError(f"{what} differ in length: all samples must have one shape") from None
        raise ValueError(f"{what}: {error}") from None
    except TypeError as error:
        raise TypeError(f"{what}: {error}") from None
    if x.ndim < 2 or x.ndim > 4 or x.size == 0:
        raise ValueError(
            f"{what} must be features (N, D) or images (N, C, H, W), (N, H, W, C) or (N, H, W), not empty, "
            "got "
            f"shape {x.shape}" + (": for a single feature, pass x.reshape(-1, 1)" if x.ndim == 1 else "")
        )
    return x


def _targets(targets: Any) -> numpy.ndarray:
    _check_unmasked("targets", targets)
    try:
        y = numpy.asarray(targets.detach().numpy() if isinstance(targets, Tensor) else targets)
    except ValueError:
        raise ValueError("targets differ in length: each sample has one class, or K target values") from None
    if y.dtype.kind in "OT":
        types = sorted({type(value).__name__ for value in y.flat})
        if len(types) > 1 or types == ["NoneType"]:
            raise TypeError(f"targets must all be of one type, got {' and '.join(types)}")
        y = numpy.array(y.tolist())
    if y.dtype.kind == "S":
        y = numpy.char.decode(y, "utf-8", "replace")
    if y.dtype.kind not in "biufU":
        raise TypeError(
            "targets must be integers or strings (classes) or floating-point numbers (regression), got "
            f"{y.dtype}"
        )
    if y.ndim == 2 and y.shape[1] == 1 and y.dtype.kind != "f":
        y = y[:, 0]
    if y.ndim != 1 and (y.dtype.kind != "f" or y.ndim != 2 or y.size == 0):
        raise ValueError(
            f"targets must have shape (N,), or (N, K) for regression, got {y.dtype} of shape {y.shape}: of "
            "one-hot rows, pass targets.argmax(1)"
        )
    if y.dtype.kind == "f" and not (finite := numpy.isfinite(y)).all():
        where = tuple(numpy.argwhere(~finite)[0].tolist())
        raise ValueError(f"targets have {y[where]} at index {where}: replace or drop such samples first")
    return y


def _labels(y: numpy.ndarray, classes: Sequence[str] | None) -> tuple[numpy.ndarray, tuple[str, ...]]:
    """Return the indices of the classes (N,), int64, and the names of the classes."""
    if isinstance(classes, str):
        raise ValueError(f"classes must be a list of names, got the string {classes!r}")
    names = None if classes is None else tuple(str(c) for c in classes)
    if names is not None and len(set(names)) < len(names):
        raise ValueError(f"classes must differ from each other, got {', '.join(names)}")
    if names is not None and len(names) < 2:
        raise ValueError(f"at least two classes are needed, got {', '.join(names) or 'none'}")
    if y.dtype.kind == "U":
        found = numpy.unique(y).tolist()
        names = tuple(found) if names is None else names
        for label in found:
            if label not in names:
                raise ValueError(f"targets have the class {label!r}, which is not in {', '.join(names)}")
        if len(names) < 2:
            raise ValueError(f"all samples have the class {names[0]!r}: at least two classes are needed")
        place = numpy.array([names.index(label) for label in found], numpy.int64)
        return place[numpy.searchsorted(found, y)], names
    if y.dtype.kind == "b":
        names = ("False", "True") if names is None else names
    low, high = int(y.min()), int(y.max())
    k = high + 1 if names is None else len(names)
    if low < 0 or high >= k:
        raise ValueError(
            f"labels are indices of classes, 0 … {'K−1' if names is None else k - 1}, got {low} … {high}"
        )
    if k > len(y):
        raise ValueError(
            f"labels up to {high} name {k} classes, more than there are samples ({len(y)}): number the "
            "classes 0 … K−1, or pass floating-point targets for regression"
        )
    y = y.astype(numpy.int64)
    if k == 1:
        raise ValueError("all samples have the label 0: at least two classes are needed")
    missing = numpy.flatnonzero(numpy.bincount(y, minlength=k) == 0).tolist()
    if missing:
        some = ", ".join(str(m) if names is None else f"{m} ({names[m]})" for m in missing[:5])
        hint = " Subtract 1 if they start at 1." if missing == [0] else ""
        raise ValueError(
            f"no sample has the label {some}{', …' if len(missing) > 5 else ''}: labels are indices of "
            "classes, "
            f"0 … {k - 1}, and each class needs samples.{hint} Or pass strings, which are numbered for you"
        )
    return y, tuple(map(str, range(k))) if names is None else names


def _check_unmasked(what: str, values: Any) -> None:
    if numpy.ma.is_masked(values):
        raise ValueError(f"{what} have masked values: replace or drop such samples first")


def _images(x: numpy.ndarray, max_value: float | None) -> tuple[numpy.ndarray, float | None]:
    """Return images as (N, C, H, W), and the value of a white pixel if it is known."""
    if x.ndim == 3:
        x = x[:, None]
    elif x.shape[3] in CHANNELS and x.shape[1] not in CHANNELS:
        x = numpy.ascontiguousarray(x.transpose(0, 3, 1, 2))
    if max_value is None:
        if x.dtype == numpy.uint8:
            max_value = 255
        elif x.dtype.kind == "f" and x.min() >= 0 and 0 < x.max() <= 1:
            max_value = 1
    return x, max_value
