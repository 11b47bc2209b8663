"""Errors of the CUDA kernels in a learner's file, with the line numbers of that file."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ...backends.emulator import CompileError, KernelError


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
        return f"the kernel does not compile:\n{text.replace('kernel.cu', path.name).strip()}"
    return f"the kernel has an error: {text}"


def _lines_before(text: str, module: ModuleType) -> int:
    """Return how many lines of a file are before the text of its kernels."""
    for value in vars(module).values():
        if isinstance(value, str) and "__global__" in value and value in text:
            return text[: text.index(value)].count("\n")
    return 0
