"""The machine that a CUDA kernel runs on: a GPU, through CuPy, or the emulator."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import backend_of
from .compiler import STANDARD, load


@dataclass(frozen=True, eq=False)
class Machine:
    """What a launch needs to know about the machine.

    Attributes:
        load: returns the compiled kernel of a text, by its name expression.
        address: returns the address of an array's first element.
        multiprocessors: their number; each runs at least one block at a time.
        resident: returns how many blocks of a kernel a multiprocessor runs at a time, from the kernel, its
            threads per block and the bytes of its dynamic shared memory.
        shared_memory: the most shared memory of a block, in bytes.
        array_type: the type of all arrays of a launch; None for that of the first.
    """

    load: Callable[[str, str], Any]
    address: Callable[[Any], int]
    multiprocessors: int
    resident: Callable[[Any, int, int], int]
    shared_memory: int
    array_type: type | None = None


_OTHERS: dict[type, Callable[[], Machine]] = {}


def set_machine(array_type: type, machine: Callable[[], Machine]) -> None:
    """Make `machine_of` return machine() for arrays of a type that is not a backend's."""
    _OTHERS[array_type] = machine


def machine_of(x: Any) -> Machine:
    """Return the machine on which the array `x` lives.

    Raises:
        TypeError: if kernels cannot be launched on this array.
    """
    name = backend_of(x).name
    if name == "cupy":
        return _gpu(x.data.device_id)
    if name == "emulator":
        return _emulator()
    if type(x) in _OTHERS:
        return _OTHERS[type(x)]()
    raise TypeError(
        f"kernels run on CuPy's arrays or the emulator's, got a {type(x).__module__}.{type(x).__name__}"
    )


@functools.cache
def _gpu(device: int) -> Machine:
    import cupy

    attributes = cupy.cuda.Device(device).attributes
    occupancy = cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor
    return Machine(
        functools.partial(load, device),
        lambda x: x.data.ptr,
        attributes["MultiProcessorCount"],
        lambda kernel, threads, shared: occupancy(kernel.kernel.ptr, threads, shared),
        attributes["MaxSharedMemoryPerBlockOptin"],
    )


@functools.cache
def _emulator() -> Machine:
    from ..emulator import RawModule
    from ..emulator.kernel_arguments import MOST_DYNAMIC_SHARED

    def compiled_here(text: str, expression: str) -> Any:
        module = RawModule(code=text, options=(STANDARD,), name_expressions=(expression,))
        return module.get_function(expression)

    # Two multiprocessors, so that persistent blocks go through several rows even in small tests.
    return Machine(
        compiled_here, lambda x: x.ctypes.data, 2, lambda kernel, threads, shared: 8, MOST_DYNAMIC_SHARED
    )
