"""Errors of the CUDA kernels in a learner's file, with the line numbers of that file."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ...backends.emulator import CompileError, KernelError

NO_ATOMICS = "The emulator has no atomics: exchange values by shuffles and __shared__ memory."
_DECLARED = re.compile(r"\b(?:float|double|real|int|unsigned)\s+(\w+)\s*(?:,\s*\w+\s*)*;")


def unset(path: Path, module: ModuleType) -> str:
    """Return which variable of a kernel is added to before it has a value, or "".

    On a GPU it holds what its register held before; on the emulator that is often 0, so it would not show.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    for kernels in _kernels(text, module):
        code = re.sub(r"//[^\n]*", "", kernels)
        for found in _DECLARED.finditer(code):
            for name in re.findall(r"\w+", found[0])[1:]:
                use = re.search(rf"\b{name}\b\s*(.?=[^;]*)?", code[found.end() :])
                if use and re.match(rf"[-+*]=|=[^=;][^;]*\b{name}\b", use[1] or ""):
                    line = _lines_before(text, module) + code[: found.start()].count("\n") + 1
                    return (
                        f"{path.name}, line {line}: {name} has no value when it is first added to: set it "
                        "where it is declared, as in float sum = 0"
                    )
    return ""


def kernel_error(function: Callable[..., Any], arguments: Sequence[Any]) -> KernelError | CompileError | None:
    """Return the error of a kernel that `function` runs, if there is one."""
    try:
        function(*arguments)
    except (KernelError, CompileError) as error:
        return error
    except Exception:
        return None  # an error of the Python around it: the check tells it
    return None


def in_words(error: KernelError | CompileError, path: Path, module: ModuleType) -> str:
    """Return what is wrong with a kernel; `kernel.cu:7` becomes the line of the file that it is in."""
    before = _lines_before(path.read_text(encoding="utf-8", errors="replace"), module)
    text = re.sub(r"kernel\.cu:(\d+)(?::\d+)?", lambda at: f"{path.name}:{int(at[1]) + before}", str(error))
    if isinstance(error, CompileError):
        if "atomic" in text:
            text += f"\n{NO_ATOMICS}"
        return f"the kernel does not compile:\n{text.replace('kernel.cu', path.name).strip()}"
    return f"the kernel has an error: {text}"


def _lines_before(text: str, module: ModuleType) -> int:
    """Return how many lines of a file are before the text of its kernels."""
    return next((text[: text.index(code)].count("\n") for code in _kernels(text, module)), 0)


def _kernels(text: str, module: ModuleType) -> Iterator[str]:
    """Yield the texts of a file's kernels."""
    for value in vars(module).values():
        if isinstance(value, str) and "__global__" in value and value in text:
            yield value
