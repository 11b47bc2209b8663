"""Finds CuPy, or says why it cannot be used and what to do."""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from .compiler import header_options

_COMPONENTS: dict[str, Callable[[Any], Any]] = {
    "its run-time compiler NVRTC": lambda cupy: cupy.cuda.nvrtc.getVersion(),
    "the CUDA headers": lambda cupy: header_options(),
    "cuBLAS": lambda cupy: cupy.cuda.cublas,
}


def load_cupy() -> ModuleType:
    """Return CuPy, ready to use.

    The checks run in this order, and each failure has its own advice: the package and its version, the
    driver, the driver's version compared with the package's CUDA runtime, a visible device, and what a driver
    does not bring: the run-time compiler, its headers, and the library of matrix products.
    No call that needs a device is made before the device is checked.

    Raises:
        RuntimeError: if something is missing; the message says what, and what to do.
    """
    try:
        cupy: Any = importlib.import_module("cupy")
    except Exception as error:  # a wheel for another Python, CUDA or NumPy raises many kinds of errors
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            raise RuntimeError(
                "the cupy backend needs CuPy, which is not installed: "
                "pip install 'tinygrad_norm[cuda13]' (or [cuda12] for an older driver)"
            ) from error
        reason = error.__cause__ or error  # CuPy wraps the cause in a long message
        raise RuntimeError(
            f"CuPy is installed, but cannot be imported ({type(reason).__name__}: {reason}): pip uninstall "
            "every package that `pip list` shows as cupy…, then pip install 'tinygrad_norm[cuda13]' (or "
            "[cuda12] for an older driver)"
        ) from error
    if int(cupy.__version__.split(".")[0]) < 14:
        raise RuntimeError(
            f"CuPy {cupy.__version__} is too old, expected 14 or newer: pip install -U "
            "'tinygrad_norm[cuda13]' (or [cuda12] for an older driver)"
        )
    runtime = cupy.cuda.runtime
    driver, built_for = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    if driver == 0:
        raise RuntimeError(
            "the cupy backend needs an NVIDIA driver, and none is loaded: install a driver, "
            "or stay on the CPU with --backend numpy"
        )
    if driver // 1000 < built_for // 1000:
        raise RuntimeError(
            f"the NVIDIA driver supports CUDA {_version(driver)}, but this CuPy was built for CUDA "
            f"{_version(built_for)}: pip install 'tinygrad_norm[cuda12]', or update the driver"
        )
    try:
        devices = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise RuntimeError(f"the NVIDIA driver answers, but CUDA cannot start: {error}") from error
    if devices == 0:
        raise RuntimeError(
            "no CUDA device is visible: check `nvidia-smi` and the variable CUDA_VISIBLE_DEVICES, "
            "or stay on the CPU with --backend numpy"
        )
    for component, find in _COMPONENTS.items():
        try:
            find(cupy)
        except Exception as error:
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            raise RuntimeError(
                f"CuPy found a device, but not {component} ({said}): pip install "
                f"'cupy-cuda{built_for // 1000}x[ctk]', which is what "
                f"'tinygrad_norm[cuda{built_for // 1000}]' brings, or install the CUDA toolkit"
            ) from error
    return cupy


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
