"""One launch: what the runtime receives, and what it reports (the structs of include/abi.h)."""

import ctypes
import functools
from collections.abc import Sequence

from .build import compile_runtime
from .interleaving import Schedule
from .kernel_arguments import Argument
from .library import Library

KINDS = (
    "none",
    "race",
    "out of bounds",
    "misaligned",
    "read only",
    "undefined",
    "divergent barrier",
    "divergent warp",
    "deadlock",
    "exited lane",
    "caller not in mask",
    "source not in mask",
    "width",
    "fault",
    "stack overflow",
    "timeout",
    "trap",
)
SPACES = ("nowhere", "global", "static shared", "dynamic shared")

_Dim3 = ctypes.c_uint32 * 3


class _Range(ctypes.Structure):
    _fields_ = (
        ("begin", ctypes.c_size_t),
        ("end", ctypes.c_size_t),
        ("argument", ctypes.c_int32),
        ("read_only", ctypes.c_int32),
    )


class _Variable(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_int64), ("size", ctypes.c_int64))


class _Config(ctypes.Structure):
    _fields_ = (
        ("entry", ctypes.c_void_p),
        ("arguments", ctypes.POINTER(ctypes.c_void_p)),
        ("marker", ctypes.c_void_p),
        ("ranges", ctypes.POINTER(_Range)),
        ("variables", ctypes.POINTER(_Variable)),
        ("traffic", ctypes.POINTER(ctypes.c_uint64)),
        ("image_begin", ctypes.c_size_t),
        ("image_end", ctypes.c_size_t),
        ("dynamic_bytes", ctypes.c_uint64),
        ("seed", ctypes.c_uint64),
        ("timeout", ctypes.c_double),
        ("grid", _Dim3),
        ("block", _Dim3),
        ("range_count", ctypes.c_uint32),
        ("variable_count", ctypes.c_uint32),
        ("checked", ctypes.c_int32),
        ("flush_to_zero", ctypes.c_int32),
    )


class Place(ctypes.Structure):
    """A CUDA thread and its place in the source."""

    _fields_ = (
        ("block", _Dim3),
        ("thread", _Dim3),
        ("file", ctypes.c_char_p),
        ("what", ctypes.c_char_p),
        ("pc", ctypes.c_uint64),
        ("line", ctypes.c_int32),
        ("writes", ctypes.c_int32),
        ("mask", ctypes.c_uint32),
        ("known", ctypes.c_int32),
    )


class Report(ctypes.Structure):
    """How a launch ended; `kind` 0 means without an error."""

    _fields_ = (
        ("here", Place),
        ("other", Place),
        ("text", ctypes.c_char_p),
        ("offset", ctypes.c_int64),
        ("size", ctypes.c_int64),
        ("extent", ctypes.c_int64),
        ("address", ctypes.c_uint64),
        ("last_access", ctypes.c_uint64),
        ("kind", ctypes.c_int32),
        ("space", ctypes.c_int32),
        ("index", ctypes.c_int32),
        ("lane", ctypes.c_int32),
    )


_FLUSHED = ("float32", "float16", "bfloat16")  # kernels that compute in float: -ftz=true concerns no double


@functools.cache
def _runtime() -> ctypes.CDLL:
    runtime = ctypes.CDLL(str(compile_runtime()))
    runtime.emulator_abi.restype = ctypes.c_uint64
    here = ctypes.sizeof(_Config) << 32 | ctypes.sizeof(Report) << 16 | ctypes.sizeof(_Range)
    there = runtime.emulator_abi()
    if here != there:
        raise RuntimeError(f"runner.py and include/abi.h disagree: {here:#x} and {there:#x}")
    return runtime


def launch(
    library: Library,
    entry: int,
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    arguments: Sequence[Argument],
    shared_mem: int,
    schedule: Schedule,
) -> tuple[Report, dict[int, tuple[int, int]]]:
    """Run a kernel over its grid; return the report and, in checked mode, the bytes moved per argument.

    Raises:
        MemoryError: if there is not enough memory for stacks, or for the records of checked mode.
    """
    values = (ctypes.c_void_p * (len(arguments) + 1))(*(ctypes.addressof(a.storage) for a in arguments))
    arrays = [(i, a) for i, a in enumerate(arguments) if a.nbytes]
    ranges = (_Range * (len(arrays) + 1))(
        *(_Range(a.address, a.address + a.nbytes, i, a.parameter.constant) for i, a in arrays)
    )
    variables = (_Variable * (len(library.shared_variables) + 1))(
        *(_Variable(v.offset, v.size) for v in library.shared_variables)
    )
    traffic = (ctypes.c_uint64 * (2 * len(arguments) + 1))()
    config = _Config(
        entry=entry,
        arguments=values,
        marker=library.marker,
        ranges=ranges,
        variables=variables,
        traffic=traffic,
        image_begin=library.begin,
        image_end=library.end,
        dynamic_bytes=shared_mem,
        seed=schedule.seed,
        timeout=schedule.timeout,
        grid=_Dim3(*grid),
        block=_Dim3(*block),
        range_count=len(arrays),
        variable_count=len(library.shared_variables),
        checked=library.checked,
        flush_to_zero=schedule.flush_to_zero and any(a.parameter.dtype in _FLUSHED for _, a in arrays),
    )
    report = Report()
    if not _runtime().emulator_launch(ctypes.byref(config), ctypes.byref(report)):
        raise MemoryError(
            "not enough memory for this launch on the emulator: use smaller arrays or plain mode"
        )
    if not library.checked:
        return report, {}
    return report, {i: (traffic[2 * i], traffic[2 * i + 1]) for i, _ in arrays}
