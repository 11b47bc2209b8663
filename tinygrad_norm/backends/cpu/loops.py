"""Loops: plain Python functions over arrays and scalars, compiled by Numba where it is installed.

A loop is written as one would write it in C: one row, one number at a time. As plain Python it can be
stepped through in a debugger; compiled, it reads memory once where NumPy makes a pass for every operation.
"""

import functools
import inspect
import sys
import warnings
from collections.abc import Callable
from typing import Any

from .loop_compiler import NotCompiled, compiled, is_of_numba, load_numba
from .loop_mode import loop_mode
from .silence import silent

_PACKAGE = __name__.partition(".")[0] + "."


class Loop:
    """A plain loop that writes its results into arrays which it is given. Calling it runs it.

    It is compiled at its first call, for the types of its arguments. If that is impossible, one warning
    says why, and `NotCompiled` is raised then and from then on: the body runs in its place.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.parameters = list(inspect.signature(function).parameters)
        self.failed = False

    @functools.cached_property
    def _compiled(self) -> Any:
        return compiled(self.function)

    def __call__(self, *args: Any) -> Any:
        if not loop_mode.compiled:
            with silent():
                return self.function(*args)
        if self.failed:
            raise NotCompiled(self.function.__name__)
        try:
            return self._compiled(*args)
        except NotCompiled as error:
            switch_off(error)
            raise
        except Exception as error:
            if "_compiled" in self.__dict__ and self._compiled.signatures and not is_of_numba(error):
                raise  # compiled, and raised by the loop itself
            self.failed = True
            warn(f"Numba could not compile {self.function.__name__}: {error}")
            raise NotCompiled(self.function.__name__) from error


def version_on_cpu() -> str:
    """Return in words which version of kernels runs on the CPU, after a look whether Numba can be used."""
    if loop_mode.compiled:
        try:
            load_numba()
        except NotCompiled as error:
            switch_off(error)
    return {"off": "NumPy bodies", "python": "loops as plain Python", "compiled": "compiled loops"}[
        loop_mode.mode
    ]


def switch_off(error: NotCompiled) -> None:
    """Let the bodies run from now on."""
    loop_mode.set("off")
    warn(str(error))


def warn(reason: str) -> None:
    """Warn that a body runs in place of its loop, and point at the code that called this package."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(f"{reason}. The NumPy bodies run instead", RuntimeWarning, stacklevel=level)
