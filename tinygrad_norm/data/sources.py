"""Load a dataset by its name, or from the path of a file or folder."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ..suggestions import unknown
from .dataset import Dataset
from .digits import load_digits
from .idx import is_idx_folder, load_idx
from .image_folder import is_image_folder, load_images
from .npz import load_npz
from .table import load_csv
from .toys import TOYS, load_toy

SOURCES = {
    "digits": "scikit-learn's 1797 handwritten digits, 8×8",
    "idx": "MNIST, Fashion-MNIST or another dataset in a folder of IDX files",
    **{name: description for name, (_, description) in TOYS.items()},
}
"""What each name stands for."""

TEXT_SUFFIX = ".txt"
KINDS = {".npz": "npz", ".csv": "table", ".tsv": "table", TEXT_SUFFIX: "text"}
"""The kind of a file, by its suffix."""


def load(
    source: str | Path,
    folder: str | Path | None = None,
    *,
    seed: int = 0,
    label: str | None = None,
    target: str | None = None,
    size: int | None = None,
) -> Dataset:
    """Return the dataset called `source`, or in the file or folder `source`.

    Args:
        source: a name in SOURCES, or the path of a folder of images (`load_images`) or of IDX files
            (`load_idx`), of an .npz file (`load_npz`) or of a table, .csv or .tsv (`load_csv`). A name comes
            before a path: write ./digits for a folder called digits.
        folder: the folder of IDX files, for "idx".
        seed: determines the split.
        label: in a table, the column with the classes.
        target: in a table, the column with the values to predict.
        size: the height and width to which the images of a folder are scaled.

    Inputs are not scaled: scale them with `Dataset.scaled`.

    Raises:
        ValueError: if the name is unknown; if there is no such file or folder, or it does not hold a dataset;
            if an option does not fit the source.
        RuntimeError: if a package is not installed; the message says what to install.
    """
    kind = "name" if str(source) in SOURCES else path_kind(source)
    if (label is not None or target is not None) and kind != "table":
        raise ValueError(f"label and target are columns of a table (.csv), but the dataset is {source}")
    if size is not None and kind != "images":
        raise ValueError(f"size is for folders of images, but the dataset is {source}")
    if folder is not None and source != "idx":
        raise ValueError(f"{source} is not read from a folder: to read {folder}, use 'idx'")
    if kind == "table":
        return load_csv(source, label=label, target=target, seed=seed)
    if kind == "npz":
        return load_npz(source, seed=seed)
    if kind == "images":
        return load_images(source, size=size, seed=seed)
    if kind == "idx":
        return replace(load_idx(source, seed), name=str(source))
    if kind == "text":
        raise ValueError(f"{source} is a text: read it with load_text; the other datasets hold samples")
    if source == "idx":
        if folder is None:
            raise ValueError("the dataset 'idx' is read from a folder of IDX files: pass it as folder=...")
        return load_idx(folder, seed)
    return load_digits(seed) if source == "digits" else load_toy(str(source), seed)


def is_path(source: str | Path) -> bool:
    """Return whether `source` is a path, by its spelling or because it exists; names come first."""
    if str(source) in (*SOURCES, "text", ""):
        return False
    text = str(source)
    spelled = os.sep in text or (os.altsep or os.sep) in text or Path(text).suffix.lower() in KINDS
    return spelled or Path(text).exists()


def path_kind(source: str | Path) -> str:
    """Return what the file or folder is: "idx", "images", "npz", "table" or "text". No data are read.

    Raises:
        ValueError: if there is no such file or folder, or it is none of these; if `source` cannot be a path,
            it is taken for an unknown name.
    """
    if not is_path(source):
        raise ValueError(unknown("dataset", str(source), SOURCES) + ", or the path of a file or folder")
    path = Path(source).expanduser()
    if path.is_dir():
        if is_idx_folder(path):
            return "idx"
        if is_image_folder(path):
            return "images"
        raise ValueError(
            f"{source} is not a dataset: expected a folder of images by class (cat/1.png, dog/1.png, …), or "
            "of IDX files (such as train-images-idx3-ubyte)"
        )
    if not path.exists():
        raise ValueError(f"there is no file or folder {source}")
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(
            f"{source} is not a dataset: expected a file with one of the endings {', '.join(KINDS)}, or a "
            "folder"
        )
    return kind


def locate(source: str | Path, file: str | None = None) -> tuple[str, str | None]:
    """Return the dataset and the text file that a command names by `source`, which may be a path.

    A .txt file is the dataset "text" with this file. The name of a folder gets a slash, so that it is a
    path even where the folder does not exist.

    Raises:
        ValueError: if two text files are named.
    """
    name = str(source)
    if not is_path(name):
        return name, file
    if Path(name).suffix.lower() == TEXT_SUFFIX:
        if file is not None and file != name:
            raise ValueError(f"the dataset is the text {name}, but file is {file}: give one of them")
        return "text", name
    return (f"{name}/" if Path(name).is_dir() and Path(name).name == name else name), file
