"""Inputs without targets, for predictions: from images, arrays and tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy

from .image_files import SUFFIXES, load_image
from .npz import member
from .table import read_features


def load_inputs(
    path: str | Path,
    shape: tuple[int, ...],
    *,
    size: int | None = None,
    features: Sequence[str] | None = None,
) -> tuple[list[str], numpy.ndarray]:
    """Return a name for every input in a file or a folder of images, and the inputs (N, *shape).

    Args:
        path: an image; a folder of images; an .npy file, or an .npz file with the array inputs or images; a
            table, .csv or .tsv, of features.
        shape: the shape of one input, (C, H, W) or (D,); images are read with its channels.
        size: the height and width to which images are scaled.
        features: the names of the columns of a table, in the order of the training.

    Raises:
        ValueError: if the file is missing, damaged or of another kind, or the inputs have another shape.
        RuntimeError: if Pillow is needed and not installed.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not files:
            raise ValueError(f"{path} holds no images: expected files {', '.join(SUFFIXES)}")
        images = [_image(file, shape, size) for file in files]
        return [str(file) for file in files], numpy.stack(images)
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return [str(path)], _image(path, shape, size)[None]
    if suffix in (".npy", ".npz"):
        inputs = _array(path)
        if inputs.shape == shape:
            inputs = inputs[None]
        if inputs.ndim == 4 and len(shape) == 3 and inputs.shape[1:] != shape:
            inputs = inputs.transpose(0, 3, 1, 2)  # (N, H, W, C)
        elif inputs.ndim == 3 and len(shape) == 3 and shape[0] == 1:
            inputs = inputs[:, None]
    elif suffix in (".csv", ".tsv"):
        if features is None:
            raise ValueError(
                f"{path} is a table, but the model was not trained on one: pass arrays or images"
            )
        inputs = read_features(path, features)
    else:
        raise ValueError(f"{path} is not a file of inputs: expected an image, .npy, .npz, .csv or .tsv")
    if inputs.shape[1:] != shape:
        expected = ", ".join(map(str, ("N", *shape)))
        raise ValueError(f"{path} holds inputs of shape {inputs.shape}, expected ({expected})")
    return [f"{path}:{i}" for i in range(len(inputs))], inputs


def _image(path: Path, shape: tuple[int, ...], size: int | None) -> numpy.ndarray:
    if len(shape) != 3:
        raise ValueError(f"{path} is an image, but the inputs of this model have shape {shape}")
    image = load_image(path, channels=shape[0], size=size)
    if image.shape != shape:
        raise ValueError(
            f"{path} has {image.shape[2]}×{image.shape[1]} pixels, but the model takes "
            f"{shape[2]}×{shape[1]}: scale the image first"
        )
    return image


def _array(path: Path) -> numpy.ndarray:
    try:
        with path.open("rb") as opened:
            content = numpy.load(opened, allow_pickle=False)
            if isinstance(content, numpy.ndarray):
                return content
            found = [name for name in ("inputs", "images") if name in content.files]
            if len(found) != 1:
                raise ValueError(f"expected an array inputs or images, it holds {', '.join(content.files)}")
            return member(content, found[0])
    except Exception as error:  # zipfile and NumPy raise whatever a damaged file leads them to
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be read: {reason}") from None
