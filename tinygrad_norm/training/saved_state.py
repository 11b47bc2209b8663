"""tn.save and tn.load: state dicts and whatever holds them, in one safetensors file.

A flat dict of tensors becomes a plain safetensors file with its names, which PyTorch's `safetensors.torch`
reads. Of anything nested, the tensors are stored under the path of their keys ("model.0.weight"), and the
rest as JSON in the metadata. Nothing is pickled: loading a file runs no code.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

from ..autograd.tensor import Tensor
from ..module import Module
from ..ops import from_numpy
from ..ops.arguments import check_flags
from .checkpoint import load_arrays, save_arrays

STRUCTURE = "tinygrad_norm.structure"
"""The name in the metadata of what is not a tensor."""


def save(obj: Any, f: str | Path) -> None:
    """Write tensors, or nested dicts, lists and tuples of tensors, numbers and text, to the file `f`.

    Args:
        obj: such as `model.state_dict()`, or `{"model": model.state_dict(), "epoch": 3}`.
        f: the path of the file, by custom with the suffix ".safetensors".

    Raises:
        TypeError: if something is neither a tensor, a number, text, None, a dict, a list nor a tuple, or `f`
            is not a path.
        OSError: if the file cannot be written; the old one stays.
    """
    arrays: dict[str, Any] = {}
    structure = _pack(obj, "", arrays)
    flat = isinstance(obj, Mapping) and all(
        isinstance(value, Tensor | numpy.ndarray) for value in obj.values()
    )
    plain = flat and all(isinstance(key, str) for key in obj)
    save_arrays(_path(f), arrays, None if plain else {STRUCTURE: json.dumps(structure)})


def _pack(node: Any, path: str, arrays: dict[str, Any]) -> Any:
    """Return `node` as JSON, with its tensors put into `arrays`."""
    if isinstance(node, Mapping):
        if not all(isinstance(key, str | int) for key in node):
            raise TypeError(f"the keys of {path or 'a saved dict'} must be text or ints, got {list(node)}")
        return {"dict": [[key, _pack(node[key], _join(path, key), arrays)] for key in node]}
    if isinstance(node, list | tuple):
        return {"list" if isinstance(node, list) else "tuple": _pack_all(node, path, arrays)}
    if isinstance(node, Tensor | numpy.ndarray):
        name = path or "tensor"
        while name in arrays:
            name += "_"
        arrays[name] = node
        return {"tensor": name}
    if isinstance(node, numpy.generic):
        node = node.item()
    if node is None or isinstance(node, bool | int | float | str):
        return node
    hint = ": save its state_dict()" if isinstance(node, Module) or hasattr(node, "state_dict") else ""
    raise TypeError(f"{path or 'save'} holds a {type(node).__name__}, which has no place in a file{hint}")


def _pack_all(nodes: Any, path: str, arrays: dict[str, Any]) -> list[Any]:
    return [_pack(node, _join(path, i), arrays) for i, node in enumerate(nodes)]


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def load(f: str | Path, map_location: str | None = None, *, weights_only: bool = True) -> Any:
    """Return what `save` wrote to the file `f`; of any other safetensors file, a dict of tensors.

    Args:
        f: the path of the file.
        map_location: the device of the tensors, such as "cpu" or "cuda"; None for the CPU.
        weights_only: has no effect: loading never runs code.

    Raises:
        TypeError: if `f` is not a path.
        ValueError: if the file cannot be read, is damaged, or is a pickle, as `torch.save` writes it.
    """
    check_flags(weights_only=weights_only)
    path = _path(f)
    _check_not_pickled(path)
    arrays, metadata = load_arrays(path)
    tensors = {name: from_numpy(array) for name, array in arrays.items()}
    if map_location is not None:
        tensors = {name: tensor.to(map_location) for name, tensor in tensors.items()}
    if STRUCTURE not in metadata:
        return tensors
    try:
        return _unpack(json.loads(metadata[STRUCTURE]), tensors)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: its structure does not fit its tensors ({error})") from error


def _unpack(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(node, dict):
        return node
    ((kind, content),) = node.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _unpack(value, tensors) for key, value in content}
    return (list if kind == "list" else tuple)(_unpack(value, tensors) for value in content)


def _path(f: Any) -> Path:
    if not isinstance(f, str | os.PathLike):
        raise TypeError(f"save and load take the path of a file, got {type(f).__name__}")
    return Path(f)


def _check_not_pickled(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    if start[4:] == b"\0\0\0\0{":
        return  # safetensors: the length of the header in eight bytes, which may be any, and its brace
    if start[:4] == b"PK\x03\x04" or (
        start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    ):
        raise ValueError(
            f"{path} is a pickle, as torch.save writes it: loading one can run any code, so tn.load reads "
            "only safetensors files. Convert it where PyTorch is installed: "
            "safetensors.torch.save_file(torch.load(path, weights_only=True), new_path)"
        )
