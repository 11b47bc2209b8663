"""RawModule and its kernels: called like CuPy's, but run on the CPU."""

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from .array import damaged
from .build import compile_module
from .interleaving import Launch, current, note
from .kernel_arguments import (
    DEFAULT_DYNAMIC_SHARED,
    GRID_LIMITS,
    MOST_DYNAMIC_SHARED,
    bind,
    check_block,
    check_shape,
    check_shared_memory,
)
from .library import Library, Parameter
from .report import Explanation, KernelError
from .runner import KINDS, launch

DYNAMIC_SHARED_NAME = "shared_memory"

_COMMENT = re.compile(r'//[^\n]*|/\*.*?\*/|("(?:\\.|[^"\\\n])*")', re.DOTALL)
_LAUNCH_BOUNDS = r"(?:__launch_bounds__\s*\([^()]*\)\s*)?"
_EXTERN_C = re.compile(rf'extern\s+"C"\s+__global__\s+{_LAUNCH_BOUNDS}void\s+{_LAUNCH_BOUNDS}(\w+)\s*\(')
_DYNAMIC_SHARED = re.compile(r"extern\s+__shared__\s[^;]*?(\w+)\s*\[\s*\]\s*;")


class RawModule:
    """The kernels of a CUDA C++ text, compiled for the CPU; called like `cupy.RawModule`.

    `name_expressions` lists the template instances to compile, such as "layer_norm<float, 4>". Kernels
    declared `extern "C" __global__` need not be listed. `options` are NVRTC's; only macros, the language
    standard and --fmad=false have an effect. With `checked`, or under `schedule(checked=True)`, launches
    run the build that reports races and invalid accesses.

    Raises:
        ValueError: if an option is unknown, or dynamic shared memory is not called `shared_memory`.
        RuntimeError: by `get_function`, if g++ is missing or cannot compile the text.
    """

    def __init__(
        self,
        *,
        code: str,
        options: Sequence[str] = (),
        name_expressions: Sequence[str] | None = None,
        checked: bool = False,
    ) -> None:
        self.code, self.options, self.checked = code, tuple(options), checked
        bare = _COMMENT.sub(lambda found: found[1] or " ", code)
        for name in _DYNAMIC_SHARED.findall(bare):
            if name != DYNAMIC_SHARED_NAME:
                raise ValueError(
                    f"dynamic shared memory is called {name!r}, expected {DYNAMIC_SHARED_NAME!r}: "
                    f"declare it as `extern __shared__ unsigned char {DYNAMIC_SHARED_NAME}[];`"
                )
        self._bare = bare
        self._names = tuple(dict.fromkeys([*(name_expressions or ()), *_EXTERN_C.findall(bare)]))
        self._libraries: dict[bool, Library] = {}
        self._entries: dict[tuple[str, bool], Entry] = {}

    def get_function(self, name: str) -> "Kernel":
        """Return the kernel called `name`, a name expression or an `extern "C"` name.

        Raises:
            ValueError: if the module has no kernel of this name.
            CompileError: if the text does not compile.
        """
        if name not in self._names:
            raise ValueError(
                f"the module has no kernel {name!r}: list it in name_expressions, or declare it "
                f'extern "C" __global__; it has {", ".join(self._names) or "none"}'
            )
        self.library(self.checked or current().checked)
        return Kernel(self, name)

    def library(self, checked: bool) -> Library:
        """Return the compiled module, plain or checked."""
        if checked and sys.platform != "linux":
            raise RuntimeError("the emulator's checked mode needs Linux: run plain, or in a container")
        if checked not in self._libraries:
            path = compile_module(self._source(), self.options, checked)
            self._libraries[checked] = Library(path, checked)
        return self._libraries[checked]

    def entry(self, name: str, checked: bool) -> "Entry":
        """Return the kernel's address and parameters, in the plain or the checked library."""
        if (name, checked) not in self._entries:
            library = self.library(checked)
            address, parameters = library.entry(_symbol(self._names.index(name)))
            names = self._parameter_names(name, len(parameters))
            self._entries[name, checked] = Entry(library, address, parameters, names)
        return self._entries[name, checked]

    def _parameter_names(self, name: str, count: int) -> tuple[str, ...]:
        """Return the names of a kernel's parameters, read from its text; numbers if that fails."""
        base = re.escape(re.split(r"[<(]", name)[0].split("::")[-1].strip())
        found = re.search(rf"__global__[^;{{}}]*?\b{base}\s*\(([^()]*)\)", self._bare)
        names = [re.search(r"(\w+)\s*$", part) for part in found[1].split(",")] if found else []
        if len(names) != count or None in names:
            return tuple(str(i) for i in range(count))
        return tuple(match[1] for match in names if match)

    def _source(self) -> str:
        exports = [f"EMULATOR_EXPORT_KERNEL({_symbol(i)}, {name})" for i, name in enumerate(self._names)]
        head = '#include "cuda_emulator.h"\n#line 1 "kernel.cu"\n'
        return head + self.code + '\n#line 1 "exports"\n' + "\n".join([*exports, "EMULATOR_EXPORT_MODULE\n"])


@dataclass(frozen=True)
class Entry:
    """A kernel in a compiled library: its address, its parameters and their names."""

    library: Library
    address: int
    parameters: tuple[Parameter, ...]
    names: tuple[str, ...]


class Kernel:
    """One kernel of a module. Call it as `kernel(grid, block, args, shared_mem=0)`.

    Raises:
        TypeError, ValueError: if a GPU could not run the launch, or would misread an argument: a wrong
            number of arguments, dtype or size, a strided array, a Python float for a float.
        KernelError: if the kernel itself has an error; the emulator can be used afterwards.
    """

    def __init__(self, module: RawModule, name: str) -> None:
        self.module, self.name = module, name
        self._most_shared = DEFAULT_DYNAMIC_SHARED

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        """The most dynamic shared memory of a launch, in bytes; set it to use more than 48 KiB."""
        return self._most_shared

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        if not isinstance(size, int | numpy.integer) or not 0 <= size <= MOST_DYNAMIC_SHARED:
            raise ValueError(
                f"max_dynamic_shared_size_bytes={size}: a block can have 0 to {MOST_DYNAMIC_SHARED} bytes"
            )
        self._most_shared = size

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: Sequence[Any], *, shared_mem: int = 0
    ) -> None:
        schedule = current()
        entry = self.module.entry(self.name, self.module.checked or schedule.checked)
        grid3, block3 = check_shape("grid", grid, GRID_LIMITS), check_block(block)
        check_shared_memory(shared_mem, self._most_shared)
        arguments = bind(self.name, entry.parameters, entry.names, args)
        start = time.perf_counter()
        report, traffic = launch(entry.library, entry.address, grid3, block3, arguments, shared_mem, schedule)
        seconds = time.perf_counter() - start
        sizes = {i: argument.nbytes for i, argument in enumerate(arguments) if argument.nbytes}
        note(Launch(self.name, grid3, block3, shared_mem, seconds, traffic, sizes))
        hit = damaged(argument.array for argument in arguments)
        if KINDS[report.kind] != "none":
            what = Explanation(report, entry.library, entry.names, block3, schedule.timeout)
            raise KernelError(f"{self.name}: {what}")
        if hit is not None:
            raise KernelError(
                f"{self.name}: wrote outside argument {hit} ({entry.names[hit]}), into its guard zones: "
                "launch it under schedule(checked=True) to see where"
            )


def _symbol(index: int) -> str:
    return f"emulator_kernel_{index}"
