"""A dataset from folders of image files, one folder per class.

pets/cat/1.png, pets/cat/2.png, …, pets/dog/1.png, …           split by a seed
pets/train/cat/1.png, …, pets/val/cat/…, pets/test/cat/…       split by folders
"""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import numpy

from ..ops.arguments import as_size
from .arrays import from_arrays
from .dataset import Dataset
from .image_files import SUFFIXES, load_image
from .splitting import NAMES

NOT_READ = (".tif", ".tiff", ".heic", ".heif", ".avif", ".ppm", ".pgm", ".svg")
"""Endings of images that are not read; other files are taken for no images."""


def load_images(folder: str | Path, *, size: int | None = None, seed: int = 0) -> Dataset:
    """Return the dataset of the images in `folder`, which has one folder per class, or train/, val/ and test/
    with one folder per class in each.

    Images are .png, .jpg, .jpeg, .bmp, .gif or .webp files, also in deeper folders; other files, and those
    whose name starts with a dot, are ignored, images in other formats with a warning. val/ may be called
    validation/; if it or test/ is missing, it is cut from the training part. Files are taken in the order of
    their names, so the split depends only on `seed`. Images are (N, 1, H, W) if all are grey, else (N, 3, H,
    W), uint8. Transparent pixels are laid on white, and the orientation that a camera notes is applied.

    With `size`, images are scaled to size × size, and what does not fit a square is cut off on both sides.
    Without it, all must have one size.

    Raises:
        ValueError: if there is no such folder, or it has no images in folders; if a class has no image, or
            too few; if a file is damaged, or images differ in size.
        TypeError: if size or seed is not an int.
        RuntimeError: if Pillow is not installed.

    Warns:
        UserWarning: if the folders of classes hold images in formats that are not read, such as .tif.
    """
    path = Path(folder).expanduser()
    if size is not None:
        as_size(size, "size")
    not_read: Counter[str] = Counter()
    files, labels, split, classes = _find(path, not_read)
    if not_read:
        warnings.warn(
            f"{folder} has images that are not read: {not_read.total()} ({', '.join(sorted(not_read))}). "
            f"Convert them to one of {', '.join(SUFFIXES)}",
            stacklevel=2,
        )
    first = load_image(files[0], size=size)
    images = numpy.empty((len(files), 3, *first.shape[1:]), numpy.uint8)
    grey = True
    for place, file in enumerate(files):
        image = load_image(file, size=size)
        if image.shape[1:] != first.shape[1:]:
            raise ValueError(
                f"the images have different sizes: {files[0]} has {_size(first)} pixels, {file} has "
                f"{_size(image)}. To scale all to one size, pass it as size=... (--size)"
            )
        images[place] = image  # grey is broadcast to three equal channels
        grey = grey and len(image) == 1
    if grey:
        images = images[:, :1]
    try:
        return from_arrays(
            images, labels, split=split, classes=classes, max_value=255, name=str(folder), seed=seed
        )
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None


def is_image_folder(folder: Path) -> bool:
    """Return whether `folder` holds folders or images."""
    return bool(_folders(folder)) or any(_is_image(path) for path in folder.iterdir())


def _find(folder: Path, not_read: Counter[str]) -> tuple[list[Path], list[int], list[str] | None, list[str]]:
    """Return the files, the label of each, the part of each if folders split them, and the classes.

    Counts in `not_read` the images in other formats, by ending.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    inner = _folders(folder)
    if not inner:
        raise ValueError(
            f"{folder} has no folders: put the images of each class in a folder with the name of the class"
        )
    names = {path.name.lower() for path in inner}
    if "train" not in names or not names <= set(NAMES):
        files, labels, classes = _classes(folder, None, not_read)
        return files, labels, None, classes
    inner.sort(key=lambda path: path.name.lower() != "train")
    all_files: list[Path] = []
    all_labels: list[int] = []
    split: list[str] = []
    known: list[str] | None = None
    for path in inner:
        files, labels, known = _classes(path, known, not_read)
        all_files += files
        all_labels += labels
        split += [path.name.lower()] * len(files)
    return all_files, all_labels, split, known or []


def _classes(
    folder: Path, known: list[str] | None, not_read: Counter[str]
) -> tuple[list[Path], list[int], list[str]]:
    """Return the files in the class folders of `folder`, the label of each, and the classes."""
    inner = _folders(folder)
    if not inner:
        raise ValueError(f"{folder} has no folders: it must have one for each class")
    classes = [path.name for path in inner] if known is None else known
    files: list[Path] = []
    labels: list[int] = []
    for path in inner:
        if path.name not in classes:
            raise ValueError(f"{path} is a class without a folder in train/: there are {', '.join(classes)}")
        inside = list(path.rglob("*"))
        found = sorted((p for p in inside if _is_image(p)), key=lambda p: p.relative_to(path).parts)
        not_read.update(p.suffix.lower() for p in inside if _is_image(p, NOT_READ))
        if not found:
            raise ValueError(f"the class {path} has no images: expected files {', '.join(SUFFIXES)}")
        files += found
        labels += [classes.index(path.name)] * len(found)
    return files, labels, classes


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _is_image(path: Path, suffixes: tuple[str, ...] = SUFFIXES) -> bool:
    return path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()


def _size(image: numpy.ndarray) -> str:
    return f"{image.shape[2]}×{image.shape[1]}"
