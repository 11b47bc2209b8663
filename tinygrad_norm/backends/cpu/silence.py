"""Infinity and NaN are results here, as in IEEE 754 and PyTorch: NumPy's warnings are turned off.

`Function.apply` and the sweep do this once around every forward and backward, so their bodies are plain
arithmetic. Code that runs outside of a Function uses `with silent():`.

`numpy.errstate(all="ignore")` has the same effect, but builds NumPy's settings anew each time, which takes
a microsecond. NumPy keeps those settings in a context variable. Here they are built once, and to set that
variable takes a tenth of the time.
"""

import contextvars
import functools
from collections.abc import Callable
from typing import Any

import numpy

_silent = contextvars.Context()
_silent.run(numpy.seterr, all="ignore")
((_settings, _ignore),) = _silent.items()


enter_silence = functools.partial(_settings.set, _ignore)
"""Turn NumPy's warnings off; pass the result to `leave_silence`, in a `finally`."""

leave_silence = _settings.reset
"""Restore the settings from before the `enter_silence` that returned this token."""


class silent:
    """`with silent():` turns NumPy's warnings off within."""

    __slots__ = ("token",)

    def __enter__(self) -> "silent":
        self.token = enter_silence()
        return self

    def __exit__(self, *_: object) -> None:
        leave_silence(self.token)

    def lifted(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return function(*arguments), called with the settings from outside: for hooks and callbacks."""
        leave_silence(self.token)
        try:
            return function(*arguments)
        finally:
            self.token = enter_silence()


def silent_context() -> contextvars.Context:
    """Return a new context without warnings: its `run(f, x)` is f(x). It cannot be entered while it runs."""
    return _silent.copy()
