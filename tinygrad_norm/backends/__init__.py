"""Where arrays live, and what runs on them: the one switch between NumPy, CuPy and the emulator.

`namespace(x)` returns the library that owns the array `x`, and array functions call its functions. For a
recorded array (ops/recorded), it has the same names, and what they compute is recorded.
`@kernel` marks an array function written once for every backend; `.cuda` attaches its handwritten CUDA
twin, which runs if the arrays are on a GPU. Nothing above this package asks which backend it runs on.
"""

import functools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Any

import numpy

from .array_types import Array, Channels, Column, PerChannel, Rows, Vector
from .cpu.loop_compiler import NotCompiled
from .cpu.loop_mode import loop_mode, use_loops
from .foreign import check_numbers, check_precision, check_unmasked, is_array_like, read


@dataclass(frozen=True)
class Backend:
    """One place where arrays can live.

    Attributes:
        name: the argument of `use_backend`.
        device: the value of `Tensor.device`.
        namespace: the library with NumPy's functions.
        array_type: the type of its arrays.
        from_numpy: copies an array there.
        to_numpy: copies an array back.
        kernels: the version of a `@kernel` that runs there, "numpy" or "cuda".
    """

    name: str
    device: str
    namespace: ModuleType
    array_type: type
    from_numpy: Callable[[numpy.ndarray], Array]
    to_numpy: Callable[[Any], numpy.ndarray]
    kernels: str


def _numpy_backend() -> Backend:
    return Backend("numpy", "cpu", numpy, numpy.ndarray, numpy.asarray, numpy.asanyarray, "numpy")


def _cupy_backend() -> Backend:
    from .cuda.availability import load_cupy
    from .cuda.capture import outside_of_capture
    from .cuda.deferred import raises_found

    cupy = load_cupy()
    from_numpy, to_numpy = map(outside_of_capture, (cupy.asarray, cupy.asnumpy))
    to_numpy = raises_found(to_numpy)
    return Backend("cupy", "cuda", cupy, cupy.ndarray, from_numpy, to_numpy, "cuda")


def _emulator_backend() -> Backend:
    from . import emulator
    from .cuda.deferred import raises_found
    from .emulator.build import compiler

    compiler()
    return Backend(
        "emulator",
        "emulator",
        emulator.namespace,
        emulator.EmulatorArray,
        emulator.asarray,
        raises_found(emulator.asnumpy),
        "cuda",
    )


_LOADERS: dict[str, Callable[[], Backend]] = {
    "numpy": _numpy_backend,
    "cupy": _cupy_backend,
    "emulator": _emulator_backend,
}
_NUMPY = _numpy_backend()
_LOADED: dict[str, Backend] = {"numpy": _NUMPY}
_BY_TYPE: dict[type, Backend] = {numpy.ndarray: _NUMPY}
HOST_TYPES: set[type] = {numpy.ndarray}
"""The types of arrays in the memory of the host."""

_NAMESPACES: dict[type, Any] = {}  # without NumPy, which is the default: every function looks it up
_current: Backend | None = None  # None until the first array is made; then the environment decides


class _Own(threading.local):
    """The choice of a thread; None follows the main thread's."""

    backend: Backend | None = None


_own = _Own()


def _load(name: str) -> Backend:
    if name not in _LOADERS:
        raise ValueError(f"unknown backend {name!r}: choose one of {', '.join(_LOADERS)}")
    if name not in _LOADED:
        backend = _LOADERS[name]()
        _LOADED[name] = _BY_TYPE[backend.array_type] = backend
        set_namespace(backend.array_type, backend.namespace)
    return _LOADED[name]


def current_backend() -> Backend:
    """Return the backend that makes new arrays.

    The first call reads the environment variable TINYGRAD_NORM_BACKEND (default: numpy).
    """
    global _current
    if _own.backend is not None:
        return _own.backend
    if _current is None:
        _current = _load(os.environ.get("TINYGRAD_NORM_BACKEND", "numpy"))
    return _current


class use_backend:
    """Choose where new tensors live: `"numpy"` (the CPU), `"cupy"` (a CUDA GPU) or `"emulator"`.

    The emulator runs the CUDA kernels on the CPU. It is slow, and meant for testing and learning.

    The choice takes effect at once. Used as a context manager, it is undone at the end of the block::

        tn.use_backend("cupy")
        with tn.use_backend("numpy"):
            ...

    It is the choice of the thread that makes it. Threads that have made none follow the main thread.

    Raises:
        ValueError: if the name is unknown.
        RuntimeError: if the backend cannot be used; the message says what to install or to change.
    """

    def __init__(self, name: str) -> None:
        # The default is not loaded here: it must be possible to switch away from one that cannot be used.
        self.previous, self.backend = (_own.backend, _current), _load(name)
        self._choose(self.backend, self.backend)

    def __enter__(self) -> Backend:
        return self.backend

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._choose(*self.previous)

    @staticmethod
    def _choose(own: Backend | None, of_process: Backend | None) -> None:
        global _current
        _own.backend = own
        if threading.current_thread() is threading.main_thread():
            _current = of_process


def backend_of(x: Array) -> Backend:
    """Return the backend that owns the array `x` (NumPy if `x` is not an array)."""
    return _BY_TYPE.get(type(x), _NUMPY)


def host_can_read(x: Array) -> bool:
    """Return whether the host can read the array or tensor `x` without waiting for a GPU."""
    return type(x) in HOST_TYPES or type(getattr(x, "array", None)) in HOST_TYPES


def namespace(x: Array) -> Any:
    """Return the library that owns the array `x`: `numpy`, `cupy`, or the emulator's."""
    return _NAMESPACES.get(type(x), numpy)


def set_namespace(array_type: type, functions: Any) -> None:
    """Make `namespace` return `functions` for arrays of `array_type`."""
    _NAMESPACES[array_type] = functions


def asarray(data: Any, dtype: Any = None) -> Array:
    """Return `data` as an array of the current backend, copied only if necessary.

    Raises:
        TypeError: for floating-point numbers of more than 64 bits.
        ValueError: for a masked array with masked values.
    """
    backend = current_backend()
    array: Any = data if type(data) is backend.array_type else _read(data, dtype, backend)
    if array.dtype.itemsize > 8:
        check_precision(array.dtype)
    return array if dtype is None or array.dtype == dtype else array.astype(dtype)


def _read(data: Any, dtype: Any, backend: Backend) -> Array:
    """Return what is not an array of `backend` as one."""
    try:
        return backend.from_numpy(read(to_numpy(data) if type(data) in _BY_TYPE else data, dtype))
    except TypeError:
        from .dlpack import import_array, on_gpu

        if backend.device == "cuda" and on_gpu(data):  # a tensor of PyTorch on the GPU
            return import_array(data, None, None)[0]
        raise


def to_numpy(x: Array) -> numpy.ndarray:
    """Return the array `x` as a NumPy array: `x` itself on the CPU, a copy from a GPU."""
    return backend_of(x).to_numpy(x)


DEVICES = {"cpu": "numpy", "cuda": "cupy", "emulator": "emulator"}
"""The backend of each device."""


def to_device(x: Array, device: str) -> Array:
    """Return the array `x` on `device` ("cpu", "cuda" or "emulator"): `x` itself if it is already there.

    Raises:
        ValueError: if the device is unknown.
        RuntimeError: if the device cannot be used; the message says what to install or to change.
    """
    if device not in DEVICES:
        raise ValueError(f"unknown device {device!r}: choose one of {', '.join(DEVICES)}")
    target = _load(DEVICES[device])
    return x if backend_of(x) is target else target.from_numpy(to_numpy(x))


KERNELS: dict[str, "Kernel"] = {}
"""Every `@kernel` by name."""


class Kernel:
    """An array function with one version per backend, chosen by the type of its first argument."""

    def __init__(self, numpy_version: Callable[..., Any]) -> None:
        functools.update_wrapper(self, numpy_version)
        self.versions = {"numpy": numpy_version}
        self.numpy_version = numpy_version
        self.cpu_version: Callable[..., Any] | None = None

    def __call__(self, x: Array, *args: Any, **options: Any) -> Any:
        if type(x) is numpy.ndarray:
            if self.cpu_version is not None and loop_mode.on:
                try:
                    results = self.cpu_version(x, *args, **options) if options else self.cpu_version(x, *args)
                except NotCompiled:
                    results = NotImplemented
                if results is not NotImplemented:
                    return results
            return self.numpy_version(x, *args, **options)
        version = self.versions.get(backend_of(x).kernels, self.numpy_version)
        return (version if x.size else self.numpy_version)(x, *args, **options)

    def cuda(self, cuda_version: Callable[..., Any]) -> Callable[..., Any]:
        """Attach the CUDA twin: same arguments and results, computed by a handwritten kernel.

        Its first argument is never empty: for empty arrays, the body runs.
        """
        self.versions["cuda"] = cuda_version
        return cuda_version

    def cpu(self, cpu_version: Callable[..., Any]) -> Callable[..., Any]:
        """Attach the twin for the CPU: same arguments and results, computed by plain loops.

        It returns NotImplemented for arguments that it leaves to the body.
        """
        self.versions["loops"] = self.cpu_version = cpu_version
        return cpu_version

    def loops(
        self,
        blocks: Callable[..., Any] | None = None,
        /,
        **shapes: Callable[[tuple[int, ...]], tuple[int, ...]],
    ) -> Callable[..., Any]:
        """Attach a plain loop as the twin for the CPU, to a body that is decorated with `in_blocks`.

        If the body is not, because it calls other bodies that are, `blocks` is `in_blocks(...)`.

        The loop takes the arguments of the body, then arrays for its results: see cpu/pool_loops.py. Its
        first result has the shape of its first argument; `shapes` are those of its other results, and of
        the arguments that may be missing, by name.
        """
        from .cpu.pool_loops import PoolLoop

        def attach(function: Callable[..., Any]) -> Callable[..., Any]:
            body: Any = self.numpy_version
            self.cpu(PoolLoop(body, function, shapes, blocks and blocks(body)))
            return function

        return attach


def kernel(numpy_version: Callable[..., Any]) -> Kernel:
    """Mark an array function written with `namespace(x)`, so that it runs on every backend.

    Without a CUDA twin, attached with `.cuda`, the function itself also runs on CuPy's arrays.
    """
    made = KERNELS[numpy_version.__name__] = Kernel(numpy_version)
    return made


def __getattr__(name: str) -> Any:
    """Find `backends.graph`, the former place of cuda/capture.py."""
    if name == "graph":
        from .cuda import capture

        return capture
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
