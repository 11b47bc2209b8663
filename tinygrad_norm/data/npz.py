"""A dataset from NumPy's .npz format."""

from __future__ import annotations

from pathlib import Path

import numpy

from .arrays import from_arrays
from .dataset import Dataset

INPUTS, TARGETS = ("inputs", "images"), ("labels", "targets")
OPTIONAL = ("split", "classes")
MAGIC = (b"PK\3\4", b"PK\5\6", numpy.lib.format.MAGIC_PREFIX)
"""How .npz files, empty ones, and .npy files begin."""


def load_npz(path: str | Path, *, seed: int = 0) -> Dataset:
    """Return the dataset in an .npz file, as `numpy.savez(path, inputs=..., labels=...)` writes it.

    inputs or images    features (N, D), or images, as `from_arrays` takes them
    labels              classification: integers or strings (N,)
    targets             regression: numbers (N,) or (N, K), in place of labels
    split               optional: "train", "validation" or "test" for each sample; otherwise `seed` splits
    classes             optional: the names of the classes

    Other arrays are ignored.

    Raises:
        ValueError: if the file is missing or damaged, an array is missing or holds Python objects, or the
            arrays do not fit together; the message names the arrays that the file holds.
    """
    path = Path(path).expanduser()
    arrays = _read(path)
    inputs, targets = (_one_of(path, arrays, names) for names in (INPUTS, TARGETS))
    y = arrays[targets]
    if targets == "targets":
        if y.dtype.kind not in "iuf":
            raise ValueError(
                f"{path}: targets must be numbers, for regression, got {y.dtype}: call classes labels"
            )
        y = y if y.dtype.kind == "f" else y.astype(numpy.float64)
    elif y.dtype.kind == "f":
        raise ValueError(
            f"{path}: labels must be integers or strings, got {y.dtype}: convert them to integers, or call "
            "them targets for regression"
        )
    classes = arrays.get("classes")
    try:
        return from_arrays(
            arrays[inputs],
            y,
            split=arrays.get("split"),
            classes=None if classes is None else [str(c) for c in classes.ravel().tolist()],
            name=str(path),
            seed=seed,
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _read(path: Path) -> dict[str, numpy.ndarray]:
    """Return the arrays of a file by name; arrays that a dataset does not use are not read."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        with path.open("rb") as opened:
            if not opened.read(8).startswith(MAGIC):
                raise ValueError("it is no zip file, as numpy.savez writes it")
            opened.seek(0)
            file = numpy.load(opened, allow_pickle=False)
            if not isinstance(file, numpy.lib.npyio.NpzFile):
                raise ValueError("it holds one array without a name: write it with numpy.savez")
            return {
                name: member(file, name) if name in (*INPUTS, *TARGETS, *OPTIONAL) else numpy.empty(0)
                for name in file.files
            }
    except Exception as error:  # zipfile and NumPy raise whatever a damaged file leads them to
        reason = str(error) or type(error).__name__
        if "allow_pickle" in reason:
            reason = (
                "it holds Python objects, which are not loaded because they can run code: save arrays of "
                "numbers or strings"
            )
        raise ValueError(f"{path} is not a readable .npz file: {reason}") from None


def member(file: numpy.lib.npyio.NpzFile, name: str) -> numpy.ndarray:
    """Return an array of an .npz file.

    Raises:
        ValueError: if it is not an array: NumPy returns the bytes of another member.
    """
    array = file[name]
    if not isinstance(array, numpy.ndarray):
        raise ValueError(f"{name} is not an array")
    return array


def _one_of(path: Path, arrays: dict[str, numpy.ndarray], names: tuple[str, str]) -> str:
    """Return the one of the two names that the file has."""
    found = [name for name in names if name in arrays]
    if len(found) != 1:
        first, second = names
        expected = f"neither {first} nor {second}" if not found else f"both {first} and {second}"
        raise ValueError(
            f"{path} has {expected}: expected inputs or images, and labels (classes) or targets "
            f"(regression). It holds {', '.join(arrays) or 'no arrays'}"
        )
    return found[0]
