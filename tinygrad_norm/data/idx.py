"""IDX: the file format of MNIST and Fashion-MNIST.

    byte 0, 1    0
    byte 2       element type: 08 uint8, 09 int8, 0B int16, 0C int32, 0D float32, 0E float64
    byte 3       number of axes d
    4·d bytes    the size of each axis, 32-bit big-endian
    the rest     the elements, big-endian, last axis fastest

Format: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits". Files may be
compressed with gzip.
"""

import gzip
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

import numpy

from .dataset import Dataset, Split
from .shuffle import stratified_permutation

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
VALIDATION_SHARE = 0.1
BEST_RATIO = 1032
"""How many times larger than its gzip file a file can be: the best that deflate reaches."""


def read_idx(path: str | Path) -> numpy.ndarray:
    """Return the array in an IDX file, in the file's element type; gzip is recognized by its content.

    Of a compressed file, no more is unpacked than its header says.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is not an IDX file, or its size differs from what its header says.
    """
    path = Path(path)
    try:
        with _opened(path) as (file, most):
            return _read(path, file, most)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is a truncated or damaged gzip file ({error}): download it again"
        ) from error
    except MemoryError:
        raise ValueError(f"{path} does not fit into the memory") from None


def load_idx(folder: str | Path, seed: int = 0) -> Dataset:
    """Return the dataset in `folder`: MNIST, Fashion-MNIST or any dataset stored in the same four files.

    The files are train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
    t10k-labels-idx1-ubyte. Names with .idx in place of -idx, and with .gz at the end, are found too.
    A stratified tenth of the training part becomes the validation part; it depends only on `seed`.
    The files of images may be (N, H, W), or (N, H, W, 3) for RGB; their names can say idx4 then.
    Images are (N, 1, H, W) or (N, 3, H, W), uint8; labels are (N,), int64.

    Raises:
        ValueError: if the folder or a file is missing, or a file is damaged or does not match the others.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: pass the folder that holds {FILES[0]} and the others")
    found = {name: _find(folder, name) for name in FILES}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise ValueError(
            f"{folder} has no {', no '.join(missing)} (nor the same names with '.idx' in place of '-idx' or "
            "with .gz): put the files there, or pass another folder"
        )
    paths = [path for path in found.values() if path is not None]
    train, test = _read_part(*paths[:2]), _read_part(*paths[2:])
    if train.images.shape[1:] != test.images.shape[1:]:
        raise ValueError(
            f"{folder} has training images of {_size(train)} but test images of "
            f"{_size(test)}: do these files belong to one dataset?"
        )
    if len(train) < 2 or len(test) == 0:
        raise ValueError(
            f"{folder} has {len(train)} training and {len(test)} test images: at least 2 and 1 are required"
        )
    order = stratified_permutation(train.labels, seed)
    validation, rest = numpy.split(order, [max(1, round(VALIDATION_SHARE * len(train)))])
    return Dataset(
        name="idx",
        train=Split(train.images[rest], train.labels[rest]),
        validation=Split(train.images[validation], train.labels[validation]),
        test=test,
        classes=tuple(map(str, range(int(max(train.labels.max(), test.labels.max())) + 1))),
        max_value=255,
    )


def is_idx_folder(folder: Path) -> bool:
    """Return whether `folder` holds at least one of the four files."""
    return any(_find(folder, name) is not None for name in FILES)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BufferedIOBase, int]]:
    """Yield the uncompressed file, and the most bytes that it can have."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not compressed:
            yield file, size
            return
        with gzip.open(file) as uncompressed:
            yield uncompressed, size * BEST_RATIO


def _read(path: Path, file: BufferedIOBase, most: int) -> numpy.ndarray:
    """Return the array of an IDX file, of which no more is read than its header says."""
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in DTYPES or start[3] == 0:
        raise ValueError(
            f"{path} is not an IDX file: it starts with {start.hex(' ') or 'nothing'}, expected 00 00, "
            f"a type code ({', '.join(f'{code:02x}' for code in DTYPES)}) and a number of axes of at least 1"
        )
    dtype, ndim = numpy.dtype(DTYPES[start[2]]), start[3]
    sizes = file.read(4 * ndim)
    header = 4 + 4 * ndim
    if len(sizes) < 4 * ndim:
        raise ValueError(f"{path} is truncated: it has {4 + len(sizes)} bytes, but its header needs {header}")
    shape = numpy.frombuffer(sizes, ">u4").tolist()
    needed = math.prod(shape) * dtype.itemsize
    array = numpy.empty(needed if needed <= most else 0, numpy.uint8)
    got = file.readinto(array.data) if array.size else 0
    problem = "truncated" if got < needed else "damaged" if file.read(1) else ""
    if problem:
        has = f"{header + got}" if got < needed <= most else f"at most {most}" if got < needed else "more"
        raise ValueError(
            f"{path} is {problem}: its header says shape {tuple(shape)} of {dtype.name}, which takes "
            f"{header + needed} bytes, but it has {has}: download the file again"
        )
    return array.view(dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _find(folder: Path, name: str) -> Path | None:
    names = dict.fromkeys((name, name.replace("idx3", "idx4")))
    spellings = [spelling for n in names for spelling in (n, n.replace("-idx", ".idx"))]
    candidates = (folder / f"{spelling}{suffix}" for spelling in spellings for suffix in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def _read_part(images_path: Path, labels_path: Path) -> Split:
    images, labels = read_idx(images_path), read_idx(labels_path)
    for path, array, fits, meaning in (
        (images_path, images, _holds_images(images), "images (N, H, W), or (N, H, W, 3) for RGB"),
        (labels_path, labels, labels.ndim == 1, "labels (N,)"),
    ):
        if not fits or array.dtype != numpy.uint8:
            raise ValueError(f"{path} holds {array.dtype} of shape {array.shape}, expected uint8 {meaning}")
    if len(images) != len(labels):
        raise ValueError(
            f"{images_path} holds {len(images)} images but {labels_path} holds {len(labels)} labels: "
            "do these files belong to one dataset?"
        )
    images = images[..., None] if images.ndim == 3 else images
    return Split(numpy.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels.astype(numpy.int64))


def _size(part: Split) -> str:
    channels, height, width = part.images.shape[1:]
    return f"({height}, {width}) pixels and {channels} channel{'s' if channels > 1 else ''}"


def _holds_images(array: numpy.ndarray) -> bool:
    return array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3))
