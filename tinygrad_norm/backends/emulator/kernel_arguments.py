"""Checks a launch's arguments against the kernel's parameters, and its shape against a GPU's limits.

CuPy passes the bytes of an argument without checking them, so a wrong argument gives a wrong result. Here
it raises an exception.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from .array import EmulatorArray
from .library import Parameter

GRID_LIMITS = (2**31 - 1, 65535, 65535)
BLOCK_LIMITS = (1024, 1024, 64)
MOST_THREADS = 1024
DEFAULT_DYNAMIC_SHARED = 48 * 1024  # bytes that a kernel may use without opting in to more
MOST_DYNAMIC_SHARED = 227 * 1024

# NumPy itself has no bfloat16: the type of ml_dtypes has that name, and its bits fit in uint16.
_STAND_INS = {"bfloat16": ("bfloat16", "uint16")}


@dataclass(frozen=True)
class Argument:
    """One argument of a launch: `storage` has its bytes; for a pointer, `array` is the array."""

    parameter: Parameter
    storage: Any
    array: EmulatorArray | None = None

    @property
    def address(self) -> int:
        """The address of the array's first element."""
        return self.storage.value or 0

    @property
    def nbytes(self) -> int:
        """The size of the array; 0 if there is none."""
        return 0 if self.array is None else self.array.nbytes


def check_shape(what: str, shape: Any, limits: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return a grid or a block as three sizes.

    Raises:
        TypeError: if `shape` is not a tuple of 1 to 3 integers.
        ValueError: if a size is not between 1 and its limit.
    """
    if not isinstance(shape, tuple) or not 1 <= len(shape) <= 3:
        raise TypeError(f"{what} must be a tuple of 1 to 3 integers, not {shape!r}")
    for axis, (size, limit) in enumerate(zip(shape, limits, strict=False)):
        if not isinstance(size, int | numpy.integer):
            raise TypeError(f"{what} must be a tuple of 1 to 3 integers, not {shape!r}")
        if not 1 <= size <= limit:
            raise ValueError(f"{what}.{'xyz'[axis]} is {size}: it must be between 1 and {limit}")
    x, y, z = (*(int(size) for size in shape), 1, 1)[:3]
    return x, y, z


def check_block(shape: Any) -> tuple[int, int, int]:
    """Return a block as three sizes.

    Raises:
        TypeError, ValueError: as in `check_shape`.
        ValueError: if there are more than 1024 threads.
    """
    x, y, z = check_shape("block", shape, BLOCK_LIMITS)
    if x * y * z > MOST_THREADS:
        raise ValueError(f"a block of {x} × {y} × {z} = {x * y * z} threads: the limit is {MOST_THREADS}")
    return x, y, z


def check_shared_memory(size: int, limit: int) -> int:
    """Return `size` if a block may have that much dynamic shared memory.

    Raises:
        TypeError: if `size` is not an integer.
        ValueError: if it is more than `limit` bytes.
    """
    if not isinstance(size, int | numpy.integer):
        raise TypeError(f"shared_mem must be an integer, a number of bytes, not {size!r}")
    if not 0 <= size <= limit:
        raise ValueError(
            f"shared_mem={size} bytes of dynamic shared memory, expected 0 to {limit}: "
            f"set max_dynamic_shared_size_bytes first (at most {MOST_DYNAMIC_SHARED}), or use less"
        )
    return size


def bind(kernel: str, parameters: Sequence[Parameter], names: Sequence[str], args: Any) -> list[Argument]:
    """Convert Python's arguments to the kernel's.

    Raises:
        TypeError: if the number of arguments is wrong, or the type of an argument.
        ValueError: if an array is not contiguous, aligned or writable, or a parameter cannot hold a Python
            int.
    """
    if len(args) != len(parameters):
        raise TypeError(
            f"{kernel}: received {len(args)} argument{'s' * (len(args) != 1)}, expected {len(parameters)}: "
            f"({', '.join(names)})"
        )
    return [
        _bind_pointer(f"{kernel}: argument {i} ({name})", parameter, value)
        if parameter.pointer
        else _bind_scalar(f"{kernel}: argument {i} ({name})", parameter, value)
        for i, (parameter, name, value) in enumerate(zip(parameters, names, args, strict=True))
    ]


def _bind_pointer(where: str, parameter: Parameter, value: Any) -> Argument:
    if isinstance(value, numpy.uint64) and value == 0:
        return Argument(parameter, ctypes.c_void_p(None))
    expected = f"an array of {parameter.dtype}" if parameter.dtype else "an array"
    if not isinstance(value, EmulatorArray):
        if value is None:
            remedy = ", which CuPy does not pass as a null pointer: pass numpy.uint64(0)"
        elif isinstance(value, numpy.ndarray):
            remedy = ", which is in host memory: move it with emulator.asarray(...)"
        else:
            remedy = f", expected {expected}, or numpy.uint64(0) for none"
        raise TypeError(f"{where}: received {_describe(value)}{remedy}")
    if parameter.dtype and value.dtype.name not in _STAND_INS.get(parameter.dtype, (parameter.dtype,)):
        raise TypeError(
            f"{where}: received an array of {value.dtype}, expected {expected}: "
            "convert it, or launch the kernel compiled for its dtype"
        )
    if not value.flags.c_contiguous:
        raise ValueError(
            f"{where}: received an array of shape {value.shape} with strides {value.strides}, "
            "expected a contiguous array: pass ascontiguousarray(...) of it"
        )
    address = value.ctypes.data
    if value.size and address % parameter.alignment:
        raise ValueError(
            f"{where}: received an array {address % parameter.alignment} bytes past a multiple of "
            f"{parameter.alignment}, which the kernel's pointer type needs: pass a copy of it"
        )
    if not parameter.constant and not value.flags.writeable:
        raise ValueError(f"{where}: received a read-only array, but the kernel may write to it: pass a copy")
    return Argument(parameter, ctypes.c_void_p(address), value)


def _bind_scalar(where: str, parameter: Parameter, value: Any) -> Argument:
    expected = parameter.dtype
    accepted = _STAND_INS.get(expected, (expected,))
    if isinstance(value, numpy.generic) and value.dtype.name in accepted:
        return Argument(parameter, ctypes.create_string_buffer(value.tobytes(), parameter.size))
    kinds = {bool: ("bool",), float: ("float64",)}
    if type(value) in kinds and expected in kinds[type(value)]:
        return Argument(parameter, ctypes.create_string_buffer(numpy.dtype(expected).type(value).tobytes()))
    if type(value) is int and expected.lstrip("u").startswith("int"):
        limits = numpy.iinfo(expected)
        if not limits.min <= value <= limits.max:
            raise ValueError(f"{where}: received {value}, which {expected} cannot hold")
        return Argument(parameter, ctypes.create_string_buffer(numpy.array(value, expected).tobytes()))
    remedy = f"pass numpy.{expected}(...)" if hasattr(numpy, expected) else "pass its bits as numpy.uint16"
    raise TypeError(f"{where}: received {_describe(value)}, expected {expected}: {remedy}")


def _describe(value: Any) -> str:
    if isinstance(value, numpy.ndarray):
        return f"a {type(value).__module__}.{type(value).__name__} of {value.dtype}"
    if isinstance(value, numpy.generic):
        return f"numpy.{type(value).__name__}({value})"
    if value is None:
        return "None"
    passed = {float: "float64", int: "int64"}.get(type(value))
    return f"the Python {type(value).__name__} {value!r}" + (f", passed as {passed}" if passed else "")
