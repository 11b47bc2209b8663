"""NVRTC from its wheel, by ctypes, without CuPy; functions have the names that cupy.cuda.nvrtc gives them."""

import ctypes
import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path

REMEDY = "pip install 'tinygrad_norm[compile-check]' (Linux only)"


class NVRTCError(Exception):
    """A call to NVRTC failed."""


def getVersion() -> tuple[int, int]:
    """Return the version of NVRTC: major, minor."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return major.value, minor.value


def getSupportedArchs() -> tuple[int, ...]:
    """Return the architectures that NVRTC compiles for, such as 90 for sm_90."""
    count = ctypes.c_int()
    _check(_library().nvrtcGetNumSupportedArchs(ctypes.byref(count)))
    architectures = (ctypes.c_int * count.value)()
    _check(_library().nvrtcGetSupportedArchs(architectures))
    return tuple(architectures)


def createProgram(
    text: str, name: str, headers: Sequence[bytes], include_names: Sequence[bytes]
) -> ctypes.c_void_p:
    """Return a new program for a text of CUDA C++, which messages call `name`."""
    program = ctypes.c_void_p()
    strings = ctypes.c_char_p * len(headers)
    _check(
        _library().nvrtcCreateProgram(
            ctypes.byref(program),
            text.encode(),
            name.encode(),
            len(headers),
            strings(*headers),
            strings(*include_names),
        )
    )
    return program


def destroyProgram(program: ctypes.c_void_p) -> None:
    """Free the memory of a program."""
    _check(_library().nvrtcDestroyProgram(ctypes.byref(program)))


def addNameExpression(program: ctypes.c_void_p, name: str) -> None:
    """Ask for the template instance with this name."""
    _check(_library().nvrtcAddNameExpression(program, name.encode()))


def compileProgram(program: ctypes.c_void_p, options: Sequence[str]) -> None:
    """Compile the program."""
    strings = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    _check(_library().nvrtcCompileProgram(program, len(options), strings))


def getLoweredName(program: ctypes.c_void_p, name: str) -> str:
    """Return the name that an instance has in the machine code."""
    lowered = ctypes.c_char_p()
    _check(_library().nvrtcGetLoweredName(program, name.encode(), ctypes.byref(lowered)))
    return (lowered.value or b"").decode()


def getProgramLog(program: ctypes.c_void_p) -> str:
    """Return what the compiler reported."""
    return _read(program, "ProgramLog").rstrip(b"\0").decode()


def getPTX(program: ctypes.c_void_p) -> str:
    """Return the compiled program as PTX."""
    return _read(program, "PTX").rstrip(b"\0").decode()


def getCUBIN(program: ctypes.c_void_p) -> bytes:
    """Return the machine code."""
    return _read(program, "CUBIN")


@functools.cache
def directory() -> Path:
    """Return the directory of the wheels, which has `lib` and `include`.

    Raises:
        RuntimeError: if the wheels are not installed.
    """
    spec = importlib.util.find_spec("nvidia")
    for place in (spec and spec.submodule_search_locations) or ():
        found = Path(place) / "cu13"
        if (found / "lib" / "libnvrtc.so.13").exists() and (found / "include/cuda_fp16.h").exists():
            return found
    raise RuntimeError(
        "the compile check needs NVRTC and the CUDA headers, the wheels nvidia-cuda-nvrtc and "
        f"nvidia-cuda-runtime 13.0, which are not installed: {REMEDY}"
    )


@functools.cache
def _library() -> ctypes.CDLL:
    libraries = directory() / "lib"
    # NVRTC looks for its builtins among the loaded symbols; without them, no text compiles.
    for builtins in libraries.glob("libnvrtc-builtins.so.13.*"):
        ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(libraries / "libnvrtc.so.13"))
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library


def _check(status: int) -> None:
    if status:
        raise NVRTCError(_library().nvrtcGetErrorString(status).decode())


def _read(program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(_library()[f"nvrtcGet{what}Size"](program, ctypes.byref(size)))
    data = ctypes.create_string_buffer(size.value)
    _check(_library()[f"nvrtcGet{what}"](program, data))
    return data.raw
