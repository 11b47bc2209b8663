"""Compiles kernels and the runtime with g++ into a cache directory.

The name of a library is a hash of everything that it is made from, and a library appears in the directory
complete or not at all. So any number of processes may share the directory.
"""

import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from .. import cache

HERE = Path(__file__).parent
INCLUDE = HERE / "include"
SHIM = "cuda_emulator.h"

COMMON = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-g1", "-gdwarf-4", "-w")
RUNTIME = ("-O2", "-pthread")
# nvcc contracts a·b+c into one instruction, and CUDA code casts between pointer types freely.
KERNEL = ("-ffp-contract=fast", "-fno-strict-aliasing")
PLAIN = ("-O2",)
CHECKED = (
    "-O1",
    "-DEMULATOR_CHECKED",
    "-fsanitize=thread",
    "-fsanitize=alignment,bounds,null,shift,integer-divide-by-zero,signed-integer-overflow",
)
# Without these options, instances of one template in two modules would share their variables.
GCC_ONLY = ("-fno-gnu-unique", "-fno-extern-tls-init")
GCC_CHECKED_ONLY = ("--param=tsan-instrument-func-entry-exit=0",)

PASSED_ON = ("-D", "-U", "-std=", "--std=")
IGNORED = ("--device-as-default-execution-space", "-lineinfo", "--generate-line-info", "--use_fast_math")


class CompileError(RuntimeError):
    """The kernel's text does not compile; the message is from the compiler."""


def compile_module(text: str, options: Sequence[str], checked: bool) -> Path:
    """Return the library with the kernels in `text`; compile it if it is not in the cache.

    Raises:
        CompileError: if the text does not compile; the message is from the compiler.
        RuntimeError: if there is no compiler, or the cache directory is not writable.
        ValueError: if the emulator does not know an option.
    """
    runtime = compile_runtime()
    flags = [*COMMON, *KERNEL, *_native(), *(CHECKED if checked else PLAIN)]
    if "__clang__" not in _predefined():
        flags += [*GCC_ONLY, *(GCC_CHECKED_ONLY if checked else ())]
    shim, passed_on = _texts(INCLUDE, "*.h"), _translate(options)
    # Where the headers lie is not hashed: libraries of equal texts serve every checkout and environment.
    parts = [text, *flags, *passed_on, runtime.name, _predefined(), *shim]
    target = cache_directory() / f"kernel-{_digest(parts)}.so"
    if not target.exists():
        include = ["-I", str(_precompiled_header(flags, shim)), "-I", str(INCLUDE)]
        _build(target, ["-x", "c++", "-", *flags, *include, *passed_on], [str(runtime), *_linker()], text)
    return target


@functools.cache
def compile_runtime() -> Path:
    """Return the library with the scheduler and the checks; compile it if it is not in the cache."""
    directory = HERE / "runtime"
    flags = [*COMMON, *RUNTIME]
    parts = [*flags, _predefined(), *_texts(directory, "*"), *_texts(INCLUDE, "*.h")]
    target = cache_directory() / f"runtime-{_digest(parts)}.so"
    if not target.exists():
        unit = "".join(f'#include "{path}"\n' for path in sorted(directory.glob("*.cpp")))
        _build(target, ["-x", "c++", "-", *flags], ["-pthread"], unit)
    return target


def _precompiled_header(flags: Sequence[str], shim: Sequence[str]) -> Path:
    """Return a directory with the precompiled shim, which would take half of each kernel's compile time.

    A compiler that cannot use it, because an option changes the language, reads the shim itself.
    """
    target = cache_directory() / f"header-{_digest([*flags, _predefined(), *shim])}" / f"{SHIM}.gch"
    if not target.exists():
        with _scratch(target.parent) as directory:
            compiled = f"{directory}/{SHIM}.gch"
            _run(["-x", "c++-header", str(INCLUDE / SHIM), *flags, "-o", compiled])
            os.replace(compiled, target)
    return target.parent


def cache_directory() -> Path:
    """Return the directory of kernels compiled for the emulator."""
    return cache.cache_directory("emulator")


@functools.cache
def compiler() -> str:
    """Return the path of g++.

    Raises:
        RuntimeError: if g++ is not installed; the message says how to install it.
    """
    path = shutil.which("g++")
    if path is None:
        command = "xcode-select --install" if sys.platform == "darwin" else "apt install g++"
        raise RuntimeError(f"the emulator compiles kernels with g++, which was not found: {command}")
    return path


def _native() -> tuple[str, ...]:
    return ("-march=native",) if platform.machine() in ("x86_64", "AMD64") else ()


@functools.cache
def _predefined() -> str:
    """Return the compiler's macros, which depend on its version and on this processor's instructions."""
    command = [compiler(), *_native(), "-dM", "-E", "-x", "c++", os.devnull]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout


def _translate(options: Iterable[str]) -> list[str]:
    flags = []
    for option in options:
        if option.startswith(PASSED_ON):
            flags.append(option)
        elif option == "--fmad=false":
            flags.append("-ffp-contract=off")
        elif option not in IGNORED:
            raise ValueError(
                f"unknown compiler option {option!r}: the emulator accepts {', '.join(PASSED_ON)} and "
                f"--fmad=false, and ignores {', '.join(IGNORED)}"
            )
    return flags


def _linker() -> list[str]:
    if sys.platform == "darwin":
        return ["-Wl,-rpath,@loader_path"]
    return ["-Wl,-z,defs", "-Wl,-rpath,$ORIGIN"]


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _texts(directory: Path, pattern: str) -> list[str]:
    return [path.read_text("utf-8") for path in sorted(directory.glob(pattern))]


def _scratch(directory: Path) -> tempfile.TemporaryDirectory[str]:
    """Return a temporary directory in `directory`, from which files can be moved there in one step."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=directory, prefix="building-")
    except OSError as error:
        raise RuntimeError(
            f"the emulator cannot write to its cache directory {directory} ({error.strerror}): "
            "set TINYGRAD_NORM_CACHE to a directory that can be written to"
        ) from error


def _build(target: Path, compiling: Sequence[str], linking: Sequence[str], text: str) -> None:
    """Compile `text` and link it to `target`, which appears complete or not at all.

    These are two steps, because a linker with -fsanitize would add the sanitizers' own runtimes.
    """
    with _scratch(target.parent) as directory:
        object_file, library = f"{directory}/kernel.o", f"{directory}/{target.name}"
        name = (
            f"-Wl,-install_name,@rpath/{target.name}"
            if sys.platform == "darwin"
            else f"-Wl,-soname,{target.name}"
        )
        _run([*compiling, "-c", "-o", object_file], text)
        _run(["-shared", object_file, *linking, name, "-o", library])
        os.replace(library, target)


def _run(arguments: Sequence[str], text: str = "") -> None:
    run = subprocess.run([compiler(), *arguments], input=text, capture_output=True, encoding="utf-8")
    if run.returncode:
        raise CompileError(run.stderr[:4000])
