"""Loops: plain Python functions over arrays and scalars, compiled by Numba where it is installed.

A loop is written as one would write it in C: one row, one number at a time. As plain Python it can be
stepped through in a debugger; compiled, it reads memory once where NumPy makes a pass for every operation.
"""

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any

from .loop_compiler import NotCompiled, compiled
from .loop_mode import loop_mode
from .silence import silent


class Loop:
    """A plain loop that writes its results into arrays which it is given. Calling it runs it.

    It is compiled at its first call, for the types of its arguments. If that is impossible, one warning
    says why, and `NotCompiled` is raised then and from then on: all bodies run in NumPy.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.parameters = list(inspect.signature(function).parameters)

    @functools.cached_property
    def _compiled(self) -> Callable[..., Any]:
        return compiled(self.function)

    def __call__(self, *args: Any) -> Any:
        if not loop_mode.compiled:
            with silent():
                return self.function(*args)
        try:
            return self._compiled(*args)
        except Exception as error:
            loop_mode.set("off")
            if not isinstance(error, NotCompiled):
                error = NotCompiled(f"Numba could not compile {self.function.__name__}: {error}")
            warnings.warn(f"{error}. The NumPy bodies run instead", RuntimeWarning, stacklevel=2)
            raise error from None
