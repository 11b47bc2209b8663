"""DLPack: arrays that other libraries have in the same memory.

A library exports an array with two methods: `__dlpack_device__` says where it is, `__dlpack__` returns a
capsule, from which another library makes an array of its own. Source: the Python array API standard, 2024.12,
and https://dmlc.github.io/dlpack
"""

import ctypes
from typing import Any

import numpy

from . import Array, _load, backend_of, current_backend, to_device, to_numpy
from .foreign import check_numbers

_CPU = (1, 0)
_DEVICES = {1: "cpu", 2: "cuda", 3: "cpu", 13: "cuda"}
"""Our names of DLPack's devices: the CPU's memory, a CUDA GPU's, pinned memory, managed memory."""

_DEVICE_OFFSET = {b"dltensor": 8, b"dltensor_versioned": 40}
"""The offset of the device in a capsule's structure: after one pointer, or after 40 bytes of fields."""

_VERSIONED = numpy.lib.NumpyVersion(numpy.__version__) >= "2.1.0"
"""Whether NumPy knows the arguments other than `stream`, and arrays that are read-only."""


# -- out


def dlpack_device(array: Array) -> tuple[int, int]:
    """Return DLPack's numbers of the device that has the array.

    Raises:
        BufferError: if it is the emulator's, which stands for a GPU's.
    """
    _check_not_emulated(array)
    device, number = array.__dlpack_device__()  # type: ignore[attr-defined]
    return int(device), int(number)


def export(array: Array, stream: Any, max_version: Any, dl_device: Any, copy: bool | None) -> Any:
    """Return a DLPack capsule of the array, with the arguments of `__dlpack__`.

    Raises:
        BufferError: if its memory cannot be shared in that way, and `copy` is not True.
    """
    own = dlpack_device(array)
    wanted = own if dl_device is None else tuple(map(int, dl_device))
    if wanted not in (own, _CPU):
        raise BufferError(f"a tensor on DLPack device {own} cannot be exported to {wanted}: use x.to(device)")
    if wanted != own:
        if copy is False:
            raise BufferError("a tensor on a GPU is exported to the CPU only as a copy: use x.cpu()")
        array, stream, copy = to_numpy(array), None, None
    if type(array) is not numpy.ndarray:
        return array.__dlpack__(  # type: ignore[attr-defined]
            stream=stream, max_version=max_version, dl_device=dl_device, copy=copy
        )
    if copy:
        array = array.copy()
    _check_exportable(array, _VERSIONED and max_version is not None and tuple(max_version) >= (1, 0))
    if not _VERSIONED:
        return array.__dlpack__(stream=stream)
    return array.__dlpack__(stream=stream, max_version=max_version, copy=None if copy else copy)


def _check_not_emulated(array: Array) -> None:
    if backend_of(array).name == "emulator":
        raise BufferError(
            "a tensor of the emulator stands for one on a GPU, and is not exported by DLPack: use x.cpu()"
        )


def _check_exportable(array: numpy.ndarray, with_flags: bool) -> None:
    if min(array.strides, default=0) < 0:
        raise BufferError("PyTorch crashes on arrays with negative strides, such as x[::-1]: use x.clone()")
    if not array.flags.writeable and not with_flags:
        raise BufferError(
            "this tensor's memory is read-only, as that of an expanded tensor, and the other library or this "
            "NumPy has a DLPack that is too old to know it: use x.clone()"
        )


# -- in


def on_gpu(source: Any) -> bool:
    """Return whether DLPack finds the memory of `source` on a CUDA GPU."""
    ask = getattr(source, "__dlpack_device__", None)
    return ask is not None and _DEVICES.get(int(ask()[0])) == "cuda"


def import_array(source: Any, device: str | None, copy: bool | None) -> tuple[Array, bool]:
    """Return the array of `source`, and whether it shares the memory: see `tn.from_dlpack`."""
    if type(source).__name__ == "PyCapsule":
        source = _Capsule(source)
    home = _home(source)
    target = current_backend().device if device is None else device
    if home != target:
        if device is None:
            raise ValueError(
                f"from_dlpack got an array on {home!r}, but new tensors are on {target!r}: pass "
                f"device={target!r} for a copy there, or device={home!r} to keep it where it is"
            )
        if copy is False:
            raise ValueError(f"an array on {home!r} becomes one on {target!r} only as a copy: allow it")
    array = to_device(_in_its_library(source, home), target)
    check_numbers(array.dtype, source)
    return (array.copy() if copy and home == target else array), home == target and not copy


def _in_its_library(source: Any, home: str) -> Array:
    """Return an array of NumPy or CuPy in the memory of `source`."""
    try:
        array = _load("numpy" if home == "cpu" else "cupy").namespace.from_dlpack(source)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        if (dtype := getattr(source, "dtype", None)) is None:
            raise
        raise TypeError(
            f"from_dlpack cannot take this array of {dtype} ({error}): convert it first, to float32 say"
        ) from error
    repeats = any(step == 0 and size > 1 for size, step in zip(array.shape, array.strides, strict=True))
    if repeats and array.size and type(array) is numpy.ndarray:
        array.flags.writeable = False  # as what `expand` returns: elements share memory
    return array


def _home(source: Any) -> str:
    if not hasattr(source, "__dlpack__") or not hasattr(source, "__dlpack_device__"):
        raise TypeError(
            "from_dlpack takes a DLPack capsule, or an array with __dlpack__ and __dlpack_device__, such as "
            f"PyTorch's, got {type(source).__name__}: use tn.tensor(...)"
        )
    number = tuple(map(int, source.__dlpack_device__()))
    if number[0] not in _DEVICES:
        raise ValueError(f"an array on DLPack device {number} is not on the CPU or a CUDA GPU: copy it there")
    return _DEVICES[number[0]]


class _Capsule:
    """A capsule as an object with the two methods."""

    def __init__(self, capsule: Any) -> None:
        functions = ctypes.pythonapi
        functions.PyCapsule_GetName.argtypes = [ctypes.py_object]
        functions.PyCapsule_GetName.restype = ctypes.c_char_p
        functions.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
        functions.PyCapsule_GetPointer.restype = ctypes.c_void_p
        name = functions.PyCapsule_GetName(capsule)
        if name not in _DEVICE_OFFSET:
            used = name is not None and name.startswith(b"used_dltensor")
            raise ValueError(
                "this DLPack capsule was used before: each makes one array, call __dlpack__() again"
                if used
                else f"from_dlpack takes a DLPack capsule, got one named {name and name.decode()!r}"
            )
        at = functions.PyCapsule_GetPointer(capsule, name) + _DEVICE_OFFSET[name]
        self.capsule, self.device = capsule, tuple((ctypes.c_int32 * 2).from_address(at))

    def __dlpack__(self, **options: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, ...]:
        return self.device
