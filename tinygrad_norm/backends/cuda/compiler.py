"""Compiles kernels with NVRTC for a GPU, and keeps the machine code on disk.

CuPy's RawModule compiles with `-ftz=true`, whatever its options say, so that every float32 result below
1.2e-38 becomes 0. Kernels must keep these subnormal numbers: 1/√var of a row near 1e38 is one. Therefore
this module calls NVRTC itself, and CuPy only loads the result. The compile check (nvrtc.py) uses the same
function and options.
"""

import functools
import hashlib
import json
import os
import struct
import tempfile
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..cache import cache_directory

STANDARD = "-std=c++17"
OPTIONS = (STANDARD, "-ftz=false", "--device-as-default-execution-space")
"""The options of every kernel: CuPy's, except `-ftz`. The architecture and directories of headers follow."""


class CompileError(RuntimeError):
    """NVRTC cannot compile the text; the message is its log."""


def load(device: int, text: str, expression: str) -> Any:
    """Return the kernel with the name `expression`, compiled for the GPU with the index `device`.

    Returns:
        A cupy.RawKernel.

    Raises:
        CompileError: if the text does not compile; the message is NVRTC's log.
        RuntimeError: if NVRTC no longer compiles for this GPU.
    """
    import cupy

    gpu, nvrtc = cupy.cuda.Device(device), cupy.cuda.nvrtc
    target = architecture(gpu.compute_capability, nvrtc)
    options = *OPTIONS, f"-arch={target}", *header_options()
    path, name = machine_code(nvrtc, text, expression, options)
    with gpu:
        return cupy.RawModule(path=str(path)).get_function(name)


def header_options() -> tuple[str, ...]:
    """Return the options with the directories of headers that CuPy found: its own, and CUDA's.

    Raises:
        RuntimeError: if CuPy does not find the headers of CUDA.
    """
    from cupy._core.core import assemble_cupy_compiler_options

    return tuple(option for option in assemble_cupy_compiler_options(OPTIONS) if option.startswith("-I"))


def architecture(capability: str, nvrtc: Any) -> str:
    """Return the architecture to compile for, from a GPU's compute capability, such as "90".

    For a GPU that is newer than NVRTC, it is a virtual one: the driver compiles that further.

    Raises:
        RuntimeError: if the GPU is older than what NVRTC compiles for.
    """
    known: Collection[int] = nvrtc.getSupportedArchs()
    if int(capability) in known:
        return f"sm_{capability}"
    older = [arch for arch in known if arch < int(capability)]
    if not older:
        version = ".".join(map(str, nvrtc.getVersion()))
        raise RuntimeError(
            f"this GPU has compute capability {_dotted(int(capability))}, but NVRTC {version} compiles for "
            f"{_dotted(min(known))} and newer: install CuPy for an older CUDA, "
            "pip install 'tinygrad_norm[cuda12]'"
        )
    return f"compute_{max(older)}"


def _dotted(capability: int) -> str:
    return f"{capability // 10}.{capability % 10}"


@contextmanager
def compiled(
    nvrtc: Any, text: str, names: Sequence[str], options: Sequence[str]
) -> Iterator[tuple[Any, dict[str, str]]]:
    """Compile a text; give NVRTC's program and the name in the machine code of each name expression.

    Args:
        nvrtc: cupy.cuda.nvrtc, or a module with the same functions.
        text: CUDA C++.
        names: expressions that name the template instances to compile.
        options: NVRTC's.

    Raises:
        CompileError: if the text does not compile; the message is NVRTC's log.
    """
    program = nvrtc.createProgram(text, "kernel.cu", (), ())
    try:
        try:
            for name in names:
                nvrtc.addNameExpression(program, name)
            nvrtc.compileProgram(program, tuple(options))
            symbols = {name: nvrtc.getLoweredName(program, name) for name in names}
        except nvrtc.NVRTCError as error:
            raise CompileError(nvrtc.getProgramLog(program) or str(error)) from error
        yield program, symbols
    finally:
        nvrtc.destroyProgram(program)


# -- the files


def machine_code(nvrtc: Any, text: str, expression: str, options: Sequence[str]) -> tuple[Path, str]:
    """Return the file with the machine code of one kernel, and the kernel's name in it.

    The name of the file is a hash of everything that the code is made from. A file appears complete or not at
    all, so any number of processes may share the directory. If it cannot be written, the file is temporary.
    """
    parts = "\0".join([text, expression, *options, str(nvrtc.getVersion())])
    stem = f"kernel-{hashlib.sha256(parts.encode()).hexdigest()[:24]}"
    try:
        directory = cache_directory("cuda")
    except RuntimeError:  # this user has no home
        directory = _temporary()
    found = _read(directory, stem)
    if found:
        return found
    with compiled(nvrtc, text, (expression,), options) as (program, symbols):
        virtual = any(option.startswith("-arch=compute_") for option in options)
        code = nvrtc.getPTX(program).encode() if virtual else _whole(nvrtc.getCUBIN(program))
    try:
        return _write(directory, stem, symbols[expression], code)
    except OSError as error:
        _warn_once(directory, error.strerror or str(error))
        return _write(_temporary(), stem, symbols[expression], code)


def _whole(cubin: bytes) -> bytes:
    """Return the machine code with its last byte, a zero that CuPy's getCUBIN takes for a string's.

    The table of program headers ends the file; a driver that reads a file could miss the byte.
    """
    start, size, count = struct.unpack_from("<Q14xHH", cubin, 32)  # of the ELF header
    return cubin.ljust(start + size * count, b"\0")


def _read(directory: Path, stem: str) -> tuple[Path, str] | None:
    """Return the file and the kernel's name in it, if both are there and whole."""
    path = directory / f"{stem}.cubin"
    try:
        label = json.loads((directory / f"{stem}.json").read_text("utf-8"))
        if label["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest():
            return path, label["name"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _write(directory: Path, stem: str, name: str, code: bytes) -> tuple[Path, str]:
    label = json.dumps({"name": name, "sha256": hashlib.sha256(code).hexdigest()})
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix="building-") as scratch:
        for suffix, content in ((".json", label.encode()), (".cubin", code)):
            (Path(scratch) / f"{stem}{suffix}").write_bytes(content)
            os.replace(Path(scratch) / f"{stem}{suffix}", directory / f"{stem}{suffix}")
    return directory / f"{stem}.cubin", name


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="tinygrad_norm-")  # deleted when Python ends


def _temporary() -> Path:
    return Path(_scratch().name)


@functools.cache
def _warn_once(directory: Path, reason: str) -> None:
    warnings.warn(
        f"compiled kernels cannot be kept in {directory} ({reason}), so every process compiles them again: "
        "set TINYGRAD_NORM_CACHE to a directory that can be written to",
        RuntimeWarning,
        stacklevel=2,
    )
