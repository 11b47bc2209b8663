"""Whether the loops of kernels run, and how: compiled, as plain Python, or not at all.

TINYGRAD_NORM_LOOPS=0 switches them off, =python runs them uncompiled. Without it they run compiled if Numba
is installed (the extra `fast`), which is looked for here but not imported.
"""

import importlib.util
import os
from collections.abc import Mapping
from types import TracebackType

MODES = ("off", "python", "compiled")
_BY_VARIABLE = {"0": "off", "1": "compiled", **{mode: mode for mode in MODES}}


def _chosen(environment: Mapping[str, str]) -> str:
    text = environment.get("TINYGRAD_NORM_LOOPS")
    if not text:
        return "compiled" if importlib.util.find_spec("numba") else "off"
    if text not in _BY_VARIABLE:
        choices = ", ".join(_BY_VARIABLE)
        raise ValueError(f"TINYGRAD_NORM_LOOPS must be one of {choices}, got {text!r}")
    return _BY_VARIABLE[text]


class LoopMode:
    """The mode, one of `MODES`, for the whole process; `on` is read at every call of a kernel."""

    def __init__(self, mode: str) -> None:
        self.set(mode)

    def set(self, mode: str) -> None:
        """Choose one of `MODES`."""
        self.mode, self.on, self.compiled = mode, mode != "off", mode == "compiled"


loop_mode = LoopMode(_chosen(os.environ))


class use_loops:
    """Choose how kernels with loops run on the CPU: `"compiled"` by Numba, as `"python"`, or `"off"`.

    "off" runs the NumPy bodies. "python" runs the loops uncompiled, for a debugger and for tests: it is
    slow. "compiled" is the default if Numba is installed (`pip install 'tinygrad_norm[fast]'`).

    The choice holds for the whole process and takes effect at once. Used as a context manager, it is undone
    at the end of the block::

        with tn.use_loops("off"):
            ...

    Raises:
        ValueError: if the mode is unknown.
        RuntimeError: if Numba cannot be used; the message says what to install or to change.
    """

    def __init__(self, mode: str) -> None:
        if mode not in MODES:
            raise ValueError(f"unknown mode {mode!r} of loops: choose one of {', '.join(MODES)}")
        if mode == "compiled":
            from .loop_compiler import load_numba

            load_numba()
        self.previous = loop_mode.mode
        loop_mode.set(mode)

    def __enter__(self) -> "use_loops":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop_mode.set(self.previous)
