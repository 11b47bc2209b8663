"""The machine that a CUDA kernel runs on: a GPU through CuPy, or the emulator."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import Array, backend_of


@dataclass(frozen=True)
class Machine:
    """What a launch must know of where it runs.

    `raw_module` compiles (cupy.RawModule or the emulator's), `address` is where an array's first element
    lies, `multiprocessors` how many blocks run at once, one for each, at least, and `shared_memory` the
    most bytes of it that a block can have.
    """

    raw_module: Callable[..., Any]
    address: Callable[[Array], int]
    multiprocessors: int
    shared_memory: int


def machine_of(x: Array) -> Machine:
    """Return the machine on which the array `x` lives.

    Raises:
        TypeError: for an array that no kernel can be launched on.
    """
    name = backend_of(x).name
    if name == "cupy":
        return _gpu(x.device.id)
    if name == "emulator":
        return _emulator()
    raise TypeError(
        f"kernels run on CuPy's arrays or the emulator's, got a {type(x).__module__}.{type(x).__name__}"
    )


@functools.cache
def _gpu(device: int) -> Machine:
    import cupy

    attributes = cupy.cuda.Device(device).attributes
    return Machine(
        cupy.RawModule,
        lambda x: x.data.ptr,
        attributes["MultiProcessorCount"],
        attributes["MaxSharedMemoryPerBlockOptin"],
    )


@functools.cache
def _emulator() -> Machine:
    from ..emulator import RawModule
    from ..emulator.kernel_arguments import MOST_DYNAMIC_SHARED

    # Two of them, so that persistent blocks go through several rows in small tests too.
    return Machine(RawModule, lambda x: x.ctypes.data, 2, MOST_DYNAMIC_SHARED)
