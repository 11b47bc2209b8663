"""DLPack: capsules of arrays on the device, which no library takes for arrays in the host's memory.

They are NumPy's, with another device written into them.
"""

import ctypes

import numpy as np

from .device import wait
from .memory import wrap

CUDA, CPU = 2, 1
DEVICE_OFFSET = {b"dltensor": 8, b"dltensor_versioned": 40}
VERSIONED = np.lib.NumpyVersion(np.__version__) >= "2.1.0"

_name = ctypes.pythonapi.PyCapsule_GetName
_name.argtypes, _name.restype = [ctypes.py_object], ctypes.c_char_p
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.argtypes, _pointer.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p


def capsule(array, stream, max_version, dl_device, copy):
    """Return what CuPy's `__dlpack__` returns: a capsule on the GPU, or on the CPU if `dl_device` is that."""
    if dl_device is not None and tuple(dl_device) == (CPU, 0):
        if copy is False:
            raise ValueError("GPU memory cannot be exported to CPU without copy.")
        wait("__dlpack__()")
        return array._values.copy().__dlpack__()
    if dl_device is not None and tuple(dl_device) != (CUDA, 0):
        raise BufferError("unsupported dl_device")
    values = array._values.copy() if copy else array._values
    versioned = VERSIONED and max_version is not None and tuple(max_version) >= (1, 0)
    made = values.__dlpack__(max_version=max_version) if versioned else values.__dlpack__()
    _device(made).value = CUDA
    return made


def from_dlpack(array, *, device=None, copy=None):
    """CuPy's: no array of the CPU, a capsule only once."""
    if device is not None:
        raise NotImplementedError("from_dlpack() does not support device yet.")
    if hasattr(array, "__dlpack_device__"):
        number = int(array.__dlpack_device__()[0])
        if number == CPU:
            raise TypeError("CPU arrays cannot be directly imported to CuPy.")
        if number != CUDA:
            raise TypeError(f"Unsupported array type: {number}")
        version = {"max_version": (1, 2)} if VERSIONED else {}
        array = array.__dlpack__(stream=1, copy=copy, **version)
    if _name(array) not in DEVICE_OFFSET:
        raise ValueError(f"A DLPack tensor object cannot be consumed multiple times. Got: {array!r}")
    if _device(array).value != CUDA:
        raise RuntimeError("CuPy is built against CUDA, different from the backend of the DLPack tensor")
    _device(array).value = CPU
    return wrap(np.asarray(_Writable(np.from_dlpack(_Holder(array)))))


def _device(given):
    name = _name(given)
    return ctypes.c_int32.from_address(_pointer(given, name) + DEVICE_OFFSET[name])


class _Holder:
    def __init__(self, given):
        self.given = given

    def __dlpack__(self, **options):
        return self.given

    def __dlpack_device__(self):
        return CPU, 0


class _Writable:
    """The memory of a NumPy array, also where NumPy made it read-only: CuPy has no such arrays."""

    def __init__(self, values):
        start, _ = values.__array_interface__["data"]
        self.values, self.__array_interface__ = values, values.__array_interface__ | {"data": (start, False)}
