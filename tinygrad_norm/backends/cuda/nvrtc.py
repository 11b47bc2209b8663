"""The compile check: compiles a kernel with NVIDIA's own compiler, without CuPy and without a GPU.

It needs two wheels, `nvidia-cuda-nvrtc` and `nvidia-cuda-runtime` (for the headers of the 16-bit types).
One run gives machine code, PTX and the assembler's report. From these, a test reads what a kernel must
not do (spill registers) and what it must do (load 16 bytes at a time).
"""

import ctypes
import functools
import importlib.util
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_120")
REMEDY = "pip install 'tinygrad_norm[compile-check]' (Linux only)"

_ENTRY = re.compile(r"\.(?:entry|func)\b[^\n]*")
_ENTRY_NAME = re.compile(r"\.entry\s+(\w+)")
_ACCESS = re.compile(r"\b(ld|st)((?:\.[\w:]+)+)")


class CompileError(RuntimeError):
    """NVRTC cannot compile the text; the message is its log."""


@dataclass(frozen=True)
class CompiledKernel:
    """One kernel compiled for one architecture, with the assembler's report.

    `name` is the name expression (or the `extern "C"` name), `symbol` the name in the machine code.
    """

    name: str
    symbol: str
    registers: int
    spill_bytes: int
    stack_bytes: int
    shared_bytes: int
    ptx: str

    def accesses(self, operation: str, space: str = "global") -> Counter[int]:
        """Count the instructions that read ("ld") or write ("st") a memory space, by size in bytes.

        `kernel.accesses("ld")[16]` is the number of 16-byte loads from global memory.
        """
        counts: Counter[int] = Counter()
        for found in _ACCESS.finditer(self.ptx):
            parts = found[2].strip(".").split(".")
            if found[1] == operation and space in parts:
                lanes = next((int(part[1:]) for part in parts if re.fullmatch(r"v\d", part)), 1)
                counts[lanes * int(parts[-1].lstrip("bfsu")) // 8] += 1
        return counts


@dataclass(frozen=True)
class Compiled:
    """A text compiled for one architecture; `kernels` maps names to kernels."""

    architecture: str
    cubin: bytes
    ptx: str
    log: str
    kernels: dict[str, CompiledKernel]


def compile(
    code: str,
    name_expressions: Sequence[str] = (),
    *,
    architecture: str = "sm_80",
    options: Sequence[str] = ("-std=c++17",),
) -> Compiled:
    """Compile CUDA C++ with the options that CuPy uses.

    Raises:
        CompileError: if the code does not compile; the message is NVRTC's log.
        RuntimeError: if the wheels are not installed.
    """
    nvrtc = _load()
    flags = [
        *options,
        f"-arch={architecture}",
        "--device-as-default-execution-space",
        "--ptxas-options=-v",
        f"-I{_wheel_directory() / 'include'}",
    ]
    with _program(nvrtc, code) as program:
        for name in name_expressions:
            _check(nvrtc.nvrtcAddNameExpression(program, name.encode()))
        failed = nvrtc.nvrtcCompileProgram(program, len(flags), _strings(flags))
        log = _read(program, "ProgramLog").decode()
        if failed:
            raise CompileError(log or nvrtc.nvrtcGetErrorString(failed).decode())
        symbols = {_lowered_name(program, name): name for name in name_expressions}
        ptx = _read(program, "PTX").decode()
        cubin = _read(program, "CUBIN")
    return Compiled(architecture, cubin, ptx, log, _kernels(ptx, log, symbols))


def available() -> bool:
    """Return whether the wheels that `compile` needs are installed."""
    try:
        _wheel_directory()
    except RuntimeError:
        return False
    return True


def _kernels(ptx: str, log: str, names: dict[str, str]) -> dict[str, CompiledKernel]:
    reports = {
        found[1]: found[2]
        for found in re.finditer(
            r"Compiling entry function '(\w+)'(.*?)(?=Compiling entry|\Z)", log, re.DOTALL
        )
    }
    starts = [(found.start(), _ENTRY_NAME.search(found[0])) for found in _ENTRY.finditer(ptx)]
    ends = [start for start, _ in starts[1:]] + [len(ptx)]
    kernels = {}
    for (start, entry), end in zip(starts, ends, strict=True):
        if entry is None:
            continue
        symbol, report = entry[1], reports[entry[1]]
        name = names.get(symbol, symbol)
        spills = [int(count) for count in re.findall(r"(\d+) bytes spill", report)]
        stacks = [int(count) for count in re.findall(r"(\d+) bytes stack frame", report)]
        kernels[name] = CompiledKernel(
            name,
            symbol,
            _number(r"Used (\d+) registers", report),
            sum(spills),
            sum(stacks),
            _number(r"(\d+) bytes smem", report),
            ptx[start:end],
        )
    return kernels


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


# -- the library


@functools.cache
def _wheel_directory() -> Path:
    spec = importlib.util.find_spec("nvidia")
    for place in (spec and spec.submodule_search_locations) or ():
        directory = Path(place) / "cu13"
        if (directory / "lib" / "libnvrtc.so.13").exists() and (directory / "include/cuda_fp16.h").exists():
            return directory
    raise RuntimeError(
        "the compile check needs NVRTC and the CUDA headers, the wheels nvidia-cuda-nvrtc and "
        f"nvidia-cuda-runtime 13.0, which are not installed: {REMEDY}"
    )


@functools.cache
def _load() -> ctypes.CDLL:
    libraries = _wheel_directory() / "lib"
    # NVRTC looks for its builtins among the loaded symbols; without them, no text compiles.
    for builtins in libraries.glob("libnvrtc-builtins.so.13.*"):
        ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
    nvrtc = ctypes.CDLL(str(libraries / "libnvrtc.so.13"))
    nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
    return nvrtc


def _check(status: int) -> None:
    if status:
        raise CompileError(_load().nvrtcGetErrorString(status).decode())


def _strings(texts: Sequence[str]) -> Any:
    return (ctypes.c_char_p * len(texts))(*(text.encode() for text in texts))


@contextmanager
def _program(nvrtc: ctypes.CDLL, code: str) -> Iterator[ctypes.c_void_p]:
    program = ctypes.c_void_p()
    _check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernel.cu", 0, None, None))
    try:
        yield program
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _read(program: ctypes.c_void_p, what: str) -> bytes:
    nvrtc = _load()
    size = ctypes.c_size_t()
    _check(nvrtc[f"nvrtcGet{what}Size"](program, ctypes.byref(size)))
    data = ctypes.create_string_buffer(size.value)
    _check(nvrtc[f"nvrtcGet{what}"](program, data))
    return data.raw if what == "CUBIN" else data.value


def _lowered_name(program: ctypes.c_void_p, name: str) -> str:
    lowered = ctypes.c_char_p()
    _check(_load().nvrtcGetLoweredName(program, name.encode(), ctypes.byref(lowered)))
    return (lowered.value or b"").decode()
