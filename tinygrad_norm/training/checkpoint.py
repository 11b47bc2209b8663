"""Checkpoints: nested state in one safetensors file; everything but the arrays is JSON in its metadata."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..autograd.tensor import Tensor
from ..backends import to_numpy
from ..files import replacing


def save_arrays(path: Path, arrays: Mapping[str, Any], metadata: dict[str, str] | None = None) -> None:
    """Write named tensors or arrays, and `metadata`, to a safetensors file."""
    plain = {name: numpy.array(_array(value), order="C") for name, value in arrays.items()}
    with replacing(path) as temporary:
        save_file(plain, temporary, metadata)


def save_tree(path: Path, tree: dict[str, Any]) -> None:
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
    save_arrays(path, arrays, {"structure": structure})


def load_tree(path: Path) -> Any:
    """Return what `save_tree` wrote, with NumPy arrays.

    Raises:
        ValueError: if the file does not exist, cannot be read, or is not a checkpoint.
    """
    if not path.is_file():
        raise ValueError(f"there is no {path.name} in {path.parent}: nothing to resume")
    try:
        path.open("rb").close()  # safetensors reports an unreadable file as missing
        with safe_open(path, "np") as file:
            structure = json.loads((file.metadata() or {})["structure"])
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged or not a checkpoint of a run: {error}") from error

    def unpack(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        ((kind, content),) = node.items()
        if kind == "array":
            return arrays[content]
        if kind == "dict":
            return {unpack(key): unpack(value) for key, value in content}
        return (list if kind == "list" else tuple)(unpack(value) for value in content)

    return unpack(structure)


def _array(value: Any) -> numpy.ndarray:
    return to_numpy(value.array if isinstance(value, Tensor) else value)
