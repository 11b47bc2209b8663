"""The code of a system on its page: composed form, bodies of the closed form, loops, and links to kernels."""

import functools
import inspect
from collections.abc import Callable
from os.path import relpath
from pathlib import Path
from typing import Any

from tinygrad_norm.backends import KERNELS, Kernel
from tinygrad_norm.learn.ladder import kernels_of
from tinygrad_norm.registry import Op

from . import markdown

_LONGEST = 70
"""Lines of a function that is shown; a longer one is only linked."""


def code_section(op: Op, folder: Path) -> str:
    """Return the section, for a page in `folder`."""
    kernels = _own_kernels(op)
    parts = []
    if op.composed is not None:
        parts.append(("Composed form: from primitives, autograd finds the gradient", [op.composed]))
    bodies = [kernel.numpy_version for kernel in kernels] or [op.function]
    parts.append(("Closed form: the NumPy body of forward and backward", bodies))
    loops = [loop for kernel in kernels if (loop := _loop(kernel))]
    parts.append(("Loops for the CPU, compiled by Numba", loops))
    shown = [_part(title, functions, folder) for title, functions in parts if functions]
    files = list(dict.fromkeys(map(_file, [op.function, *bodies])))
    files += [cuda for file in files if (cuda := file.with_suffix(".cu")).exists() and _runs_on_gpu(kernels)]
    links = ", ".join(_link(file, folder) for file in files)
    return "\n\n".join([f"Whole files: {links}.", *shown])


def _own_kernels(op: Op) -> list[Kernel]:
    """Return the kernels in the file of the op; if it has none, those that it calls first."""
    called = [KERNELS[name] for name in kernels_of(op.name)]
    own = [kernel for kernel in called if _file(kernel.numpy_version) == _file(op.function)]
    of_op = [kernel for kernel in own if kernel.numpy_version.__name__.startswith(op.name)]
    return of_op or own or called[:2]


def _runs_on_gpu(kernels: list[Kernel]) -> bool:
    return any("cuda" in kernel.versions for kernel in kernels)


def _loop(kernel: Kernel) -> Callable[..., Any] | None:
    version = kernel.cpu_version
    return getattr(version, "loop", version)


def _part(title: str, functions: list[Callable[..., Any]], folder: Path) -> str:
    shown = []
    for function in functions:
        source = inspect.getsource(_plain(function))
        if source.count("\n") > _LONGEST:
            shown.append(f"`{function.__name__}` is in {_link(_file(function), folder)}.")
        else:
            shown.append(markdown.code(inspect.cleandoc(source), "python"))
    return markdown.folded(title, "\n\n".join(shown))


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function without decorators, fixed arguments and compilers."""
    while isinstance(inspect.unwrap(function), functools.partial):
        function = inspect.unwrap(function).func
    function = inspect.unwrap(function)
    return getattr(function, "py_func", function)


def _file(function: Callable[..., Any]) -> Path:
    return Path(inspect.getsourcefile(_plain(function)) or "")


def _link(file: Path, folder: Path) -> str:
    return f"[{file.name}]({relpath(file, folder)})"
