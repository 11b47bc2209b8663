"""The compile check: compiles a kernel with NVIDIA's own compiler, without CuPy and without a GPU.

It needs two wheels, `nvidia-cuda-nvrtc` and `nvidia-cuda-runtime` (for the headers of the 16-bit types).
One run gives machine code, PTX and the assembler's report. From these, a test reads what a kernel must
not do (spill registers) and what it must do (load 16 bytes at a time).
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from . import nvrtc_wheel
from .compiler import OPTIONS, compiled
from .compiler import CompileError as CompileError
from .nvrtc_wheel import REMEDY as REMEDY

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_120")

_ENTRY = re.compile(r"\.(?:entry|func)\b[^\n]*")
_ENTRY_NAME = re.compile(r"\.entry\s+(\w+)")
_ACCESS = re.compile(r"\b(ld|st)((?:\.[\w:]+)+)")
_FLUSHING = re.compile(r"\b[\w.]+\.ftz[\w.]*")
# exp and the division of doubles begin with these, whatever the options, and scale so that nothing is flushed
_LIBRARY = {"ex2.approx.ftz.f32", "rcp.approx.ftz.f64"}


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

    def flushing(self) -> set[str]:
        """Return the instructions that flush subnormals to zero, but for two inside exp and division."""
        return set(_FLUSHING.findall(self.ptx)) - _LIBRARY


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
    options: Sequence[str] = OPTIONS,
) -> Compiled:
    """Compile CUDA C++ as it is compiled for a GPU: by the same function, with the same options.

    On a GPU, the directories of CuPy's own headers are there too; kernels include CUDA's only.

    Raises:
        CompileError: if the code does not compile; the message is NVRTC's log.
        RuntimeError: if the wheels are not installed.
    """
    nvrtc = nvrtc_wheel
    flags = [*options, f"-arch={architecture}", f"-I{nvrtc.directory() / 'include'}", "--ptxas-options=-v"]
    with compiled(nvrtc, code, name_expressions, flags) as (program, symbols):
        log, ptx, cubin = nvrtc.getProgramLog(program), nvrtc.getPTX(program), nvrtc.getCUBIN(program)
    names = {symbol: name for name, symbol in symbols.items()}
    return Compiled(architecture, cubin, ptx, log, _kernels(ptx, log, names))


def available() -> bool:
    """Return whether the wheels that `compile` needs are installed."""
    try:
        nvrtc_wheel.directory()
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
