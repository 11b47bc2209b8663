"""DLPack's protocol: tensors that share memory with arrays of NumPy, PyTorch, CuPy and JAX.

The memory is watched as that of `x.numpy()`: a write by the other library between forward and backward is an
error if backward needs the old values. On a GPU, writes are not detected: call `mark_written()` after one.
"""

from typing import Any

import numpy

from ..backends.dlpack import dlpack_device, export, import_array
from .tensor import Tensor


def dlpack(
    x: Tensor,
    *,
    stream: Any = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[int, int] | None = None,
    copy: bool | None = None,
) -> Any:
    """Return a DLPack capsule that shares the tensor's memory, for `torch.from_dlpack(x)` and the like.

    Args:
        x: a tensor that does not require a gradient.
        stream: the CUDA stream on which the array will be used; None on the CPU.
        max_version: the newest version of DLPack that is understood.
        dl_device: the device that the array must be on: its own, or the CPU, (1, 0).
        copy: True for a copy; False for shared memory or an error.

    Raises:
        BufferError: if the tensor requires a gradient, or its memory cannot be shared in that way.

    Source: the Python array API standard, 2024.12.
    """
    if x.requires_grad:
        raise BufferError("DLPack carries no gradient, and this tensor requires one: use x.detach()")
    return export(x.array if copy else x.data, stream, max_version, dl_device, copy)


def device(x: Tensor) -> tuple[int, int]:
    """Return DLPack's numbers of the tensor's device: (1, 0) is the CPU, (2, i) is the GPU i."""
    return dlpack_device(x.array)


def from_dlpack(ext_tensor: Any, *, device: str | None = None, copy: bool | None = None) -> Tensor:
    """Return a tensor that shares the memory of an array of NumPy, PyTorch, CuPy or JAX.

    Writes by the other library are detected as those to `x.numpy()`. A read-only array, such as JAX's,
    gives a tensor that cannot be changed in place; so does every array with NumPy 2.0, or from a library
    whose DLPack is older than 1.0.

    Args:
        ext_tensor: an object with `__dlpack__` and `__dlpack_device__`, or a DLPack capsule.
        device: "cpu" or "cuda"; None for that of new tensors (`use_backend`): the array must be there.
        copy: True for memory of its own; False for shared memory or an error; None for a copy only if the
            array has to move to `device`.

    Raises:
        TypeError: if it is no such object, or holds numbers that a tensor cannot, such as bfloat16.
        ValueError: if the array is on another device, a copy is not allowed, or a capsule was used before.

    Source: torch.from_dlpack
    """
    array, shared = import_array(ext_tensor, device, copy)
    out = Tensor._wrap(array)
    if shared and type(array) is numpy.ndarray:
        out.array = out._shared_memory().expose(array)  # watched for as long as the tensor lives
    return out
