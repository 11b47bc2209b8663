"""The module `cupy` of the stand-in, and how it takes CuPy's place."""

import contextlib
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
from fake_cublas import FakeCublas

from tinygrad_norm import backends
from tinygrad_norm.backends.cuda import cublas, deferred, machine
from tinygrad_norm.backends.cuda.compiler import STANDARD

from . import cuda, functions
from .array import ndarray
from .device import change
from .signatures import recorded


class _CuPy(ModuleType):
    """CuPy's namespace: attributes that it does not have are errors that say so."""

    def __getattr__(self, name):
        found = functions.find(name)
        if found is None:
            known = name in recorded().lines["function"] or name in recorded().lines["ufunc"]
            what = "the stand-in for CuPy has not, but CuPy has," if known else "CuPy has no"
            raise AttributeError(f"module 'cupy': {what} {name!r}", name=name, obj=self)
        return found


CUPY = _CuPy("cupy")
CUPY.__version__ = recorded().version
CUPY.ndarray, CUPY.cuda, CUPY.RawModule = ndarray, cuda, cuda.RawModule
CUPY.lib = SimpleNamespace(stride_tricks=SimpleNamespace(as_strided=functions.as_strided))
CUPY.get_default_memory_pool = CUPY.get_default_pinned_memory_pool = cuda.MemoryPool
for _name in ("bool_", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32"):
    setattr(CUPY, _name, getattr(np, _name))
for _name in ("e", "inf", "nan", "newaxis", "pi"):
    setattr(CUPY, _name, getattr(np, _name))


CUPY._core = ModuleType("cupy._core")
CUPY._core.get_compute_type = lambda dtype: 0  # the default
CUPY._core.core = ModuleType("cupy._core.core")
CUPY._core.core.assemble_cupy_compiler_options = lambda options: options
_MODULES = {"cupy": CUPY, "cupy._core": CUPY._core, "cupy._core.core": CUPY._core.core}


def load_kernel(device, text, expression):
    """Return a kernel of the emulator: the stand-in for NVRTC, and for a GPU that runs what it compiles."""
    module = CUPY.RawModule(code=text, options=(STANDARD,), name_expressions=(expression,))
    return module.get_function(expression)


@contextlib.contextmanager
def standing_in():
    """Put the stand-in in CuPy's place: `import cupy` finds it, and the backend "cupy" is made of it.

    Below CuPy, the emulator compiles and runs kernels, and matrix products of captured steps are NumPy's.
    """
    with (
        _replaced(sys.modules, _MODULES),
        _replaced(backends._LOADED, {"cupy": None}),
        _replaced(vars(machine), {"load": load_kernel}),
        _replaced(vars(cublas), {"load_library": FakeCublas(change).library, "WORKSPACE": 4096}),
        _replaced(vars(deferred), {"_largest": {}, "_unread": set()}),
    ):
        machine._gpu.cache_clear()
        yield CUPY


@contextlib.contextmanager
def _replaced(names, others):
    """Within the block, `names` has the values `others`; None for a name that it has not."""
    missing = object()
    before = {name: names.get(name, missing) for name in others}
    names.update(others)
    for name in [name for name, value in others.items() if value is None]:
        del names[name]
    try:
        yield
    finally:
        names.update(before)
        for name in [name for name, value in before.items() if value is missing]:
            del names[name]
