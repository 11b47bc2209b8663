"""EmulatorArray: a NumPy array that represents an array on a GPU.

Only its type is different: `@kernel` runs the CUDA twin for it, and kernels accept no other array, as on
a GPU. Views, arithmetic and NumPy's functions keep the type. Memory made by `empty` has a guard zone on
either side, which is checked after every launch.
"""

import functools
from collections.abc import Iterable
from typing import Any

import numpy

ALIGNMENT = 256  # bytes, as cudaMalloc aligns
GUARD = 256  # bytes on either side
_GUARD_BYTE = 0xFB  # a huge number in every format, so that reads out of bounds change results too
_POISON_BYTE = 0xFF  # NaN in every floating-point format


class EmulatorArray(numpy.ndarray):
    """An array in the emulator's memory. As on a GPU, a single element is a 0-d array."""

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return array.view(EmulatorArray)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _adopt(super().__array_function__(func, types, args, kwargs))

    def __getitem__(self, key: Any) -> Any:
        return _adopt(super().__getitem__(key))


def _keep_type(name: str) -> None:
    method = getattr(numpy.ndarray, name)

    @functools.wraps(method)
    def kept(self: EmulatorArray, *args: Any, **options: Any) -> Any:
        return _adopt(method(self, *args, **options))

    setattr(EmulatorArray, name, kept)


def _adopt(result: Any) -> Any:
    if type(result) is numpy.ndarray or isinstance(result, numpy.generic):
        return numpy.asarray(result).view(EmulatorArray)
    if type(result) in (tuple, list):
        return type(result)(_adopt(part) for part in result)
    return result


for _name in ("argmax", "argmin", "dot", "nonzero", "searchsorted", "take", "trace"):
    _keep_type(_name)  # NumPy itself would return its own arrays and scalars


class _Guarded(numpy.ndarray):
    """The bytes of an array and its guard zones."""

    start: int
    size_in_use: int

    def zones(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        end = self.start + self.size_in_use
        return self[self.start - GUARD : self.start], self[end : end + GUARD]


def empty(shape: Any, dtype: Any = float) -> EmulatorArray:
    """Return an array between guard zones, filled with NaN bytes, so that unwritten elements are visible.

    Raises:
        TypeError: if its elements would be Python objects, which are not on a GPU.
    """
    dtype = numpy.dtype(dtype)
    if dtype.hasobject:
        raise TypeError(f"arrays of dtype {dtype} do not exist on a GPU: pass numbers")
    shape = (int(shape),) if isinstance(shape, int | numpy.integer) else tuple(shape)
    size = int(numpy.prod(shape, dtype=numpy.int64)) * dtype.itemsize
    memory = numpy.empty(size + 2 * GUARD + ALIGNMENT, numpy.uint8).view(_Guarded)
    memory.start = GUARD - (memory.ctypes.data + GUARD) % -ALIGNMENT
    memory.size_in_use = size
    for zone in memory.zones():
        zone[...] = _GUARD_BYTE
    memory[memory.start : memory.start + size] = _POISON_BYTE
    return EmulatorArray(shape, dtype, buffer=memory, offset=memory.start)


def zeros(shape: Any, dtype: Any = float) -> EmulatorArray:
    """Return an array of zeros between guard zones."""
    array = empty(shape, dtype)
    array[...] = 0
    return array


def asarray(data: Any, dtype: Any = None) -> EmulatorArray:
    """Return `data` in the emulator's memory: `data` itself if it is already there, otherwise a copy."""
    if isinstance(data, EmulatorArray) and dtype in (None, data.dtype):
        return data
    source = numpy.asarray(data, dtype)
    array = empty(source.shape, source.dtype)
    array[...] = source
    return array


def asnumpy(x: EmulatorArray) -> numpy.ndarray:
    """Return a copy of `x` as a plain NumPy array, as from a GPU."""
    return numpy.array(x, subok=False)


def damaged(arrays: Iterable[numpy.ndarray | None]) -> int | None:
    """Return the index of the first of `arrays` with a changed guard zone, and restore all guard zones."""
    first = None
    for i, array in enumerate(arrays):
        memory: Any = array
        while isinstance(memory, numpy.ndarray) and not isinstance(memory, _Guarded):
            memory = memory.base
        if not isinstance(memory, _Guarded):
            continue
        for zone in memory.zones():
            if zone.tobytes().strip(bytes([_GUARD_BYTE])):
                first = i if first is None else first
                zone[...] = _GUARD_BYTE
    return first
