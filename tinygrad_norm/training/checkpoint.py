"""Checkpoints: nested state in one safetensors file; everything but the arrays is JSON in its metadata."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..autograd.tensor import Tensor
from ..backends import to_numpy
from ..files import replacing


class Damaged(ValueError):
    """A file of a run that is missing, damaged or another file."""


CHECKSUM = "sha256"
"""The name of the checksum in the metadata."""


def save_arrays(
    path: Path, arrays: Mapping[str, Any], metadata: Mapping[str, str] | None = None, *, durable: bool = False
) -> None:
    """Write named tensors or arrays, and `metadata`, to a safetensors file, with a checksum of them all.

    Raises:
        OSError: if the file cannot be written; the old one stays.
    """
    plain = {name: numpy.array(_array(value), order="C") for name, value in arrays.items()}
    metadata = dict(metadata or {})
    content = _in_order(save(plain, metadata | {CHECKSUM: _checksum(plain, metadata)}))
    with replacing(path, durable=durable) as temporary:
        temporary.write_bytes(content)


def load_arrays(path: Path) -> tuple[dict[str, numpy.ndarray], dict[str, str]]:
    """Return the arrays and the metadata of a safetensors file, without the checksum, which is compared.

    Files of other programs and older versions have no checksum, and are taken as they are.

    Raises:
        Damaged: if the file cannot be read, is not a safetensors file, or differs from its checksum.
    """
    try:
        path.open("rb").close()  # safetensors reports an unreadable file as missing
        with safe_open(path, "np") as file:
            metadata = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except OSError as error:
        raise Damaged(f"{path} cannot be read: {error.strerror or error}") from error
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise Damaged(f"{path} is damaged or not a safetensors file: {error}") from error
    checksum = metadata.pop(CHECKSUM, None)
    if checksum is not None and checksum != _checksum(arrays, metadata):
        raise Damaged(f"{path} is damaged: its content differs from its checksum")
    return arrays, metadata


def save_tree(path: Path, tree: dict[str, Any], *, durable: bool = False) -> None:
    """Write nested dicts and lists of tensors, arrays, numbers and text; `load_tree` reads them back."""
    arrays: dict[str, Any] = {}

    def pack(node: Any) -> Any:
        if isinstance(node, Mapping):
            return {"dict": [[pack(key), pack(value)] for key, value in node.items()]}
        if isinstance(node, list | tuple):
            return {type(node).__name__: [pack(value) for value in node]}
        if isinstance(node, Tensor) or hasattr(node, "shape"):
            arrays[str(len(arrays))] = node
            return {"array": str(len(arrays) - 1)}
        return node

    structure = json.dumps(pack(tree))
    save_arrays(path, arrays, {"structure": structure}, durable=durable)


def load_tree(path: Path) -> Any:
    """Return what `save_tree` wrote, with NumPy arrays.

    Raises:
        Damaged: if the file does not exist, cannot be read, or was not written by `save_tree`.
    """
    if not path.is_file():
        raise Damaged(f"there is no file {path}")
    arrays, metadata = load_arrays(path)

    def unpack(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        ((kind, content),) = node.items()
        if kind == "array":
            return arrays[content]
        if kind == "dict":
            return {unpack(key): unpack(value) for key, value in content}
        return (list if kind == "list" else tuple)(unpack(value) for value in content)

    with naming(path):
        return unpack(json.loads(metadata["structure"]))


def _in_order(content: bytes) -> bytes:
    """Return a safetensors file with its metadata sorted: safetensors writes them in a random order."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[start:]


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let errors of the body, which uses what the file `path` holds, name the file.

    Raises:
        Damaged: if the content does not fit.
    """
    try:
        yield
    except (
        AttributeError,
        IndexError,
        KeyError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        if str(path) in str(error):
            raise
        raise Damaged(f"{path} is damaged, or of another version: {error}") from error


def _checksum(arrays: Mapping[str, numpy.ndarray], metadata: Mapping[str, str]) -> str:
    """Return the SHA-256 of names, dtypes, shapes, values and metadata, in an order of its own."""
    sha = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        sha.update(f"{name}\0{array.dtype.name}\0{array.shape}\0".encode())
        sha.update(numpy.ascontiguousarray(array).view(numpy.uint8).data)
    sha.update(json.dumps(sorted(metadata.items())).encode())
    return sha.hexdigest()


def _array(value: Any) -> numpy.ndarray:
    return to_numpy(value.array if isinstance(value, Tensor) else value)
