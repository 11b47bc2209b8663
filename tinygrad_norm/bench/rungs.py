"""The two rungs of the ladder that run on a CPU: loops and NumPy bodies."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy

from ..backends import use_loops
from ..backends.cpu.loop_compiler import NotCompiled
from ..backends.cpu.loop_mode import loop_mode
from ..backends.cpu.loops import Loop

LOOPS, NUMPY = "loops", "NumPy"


def rungs() -> tuple[str, ...]:
    """Return the rungs that run here, the default first.

    If loops are on but cannot be compiled, a warning says why.
    """
    if not loop_mode.on:
        return (NUMPY,)
    try:
        Loop(_nothing)(numpy.zeros(1))
    except NotCompiled:
        return (NUMPY,)
    return LOOPS, NUMPY


def on_rung(rung: str) -> AbstractContextManager[Any]:
    """Return the context in which kernels run on the rung; on `LOOPS`, those without a loop run in NumPy."""
    return use_loops("off") if rung == NUMPY else nullcontext()


def runs_a_loop(function: Callable[[], Any]) -> bool:
    """Call the function, and return whether it runs a loop."""
    ran: list[Loop] = []
    call = Loop.__call__

    def recorded(loop: Loop, *args: Any) -> Any:
        results = call(loop, *args)
        ran.append(loop)
        return results

    Loop.__call__ = recorded  # type: ignore[assignment, method-assign]
    try:
        function()
    finally:
        Loop.__call__ = call  # type: ignore[method-assign]
    return bool(ran)


def loop_facts() -> dict[str, str]:
    """Return the version of Numba, and how loops run: compiled, as plain Python, or not at all."""
    try:
        numba = version("numba")
    except PackageNotFoundError:
        numba = "not installed"
    return {"numba": numba, "loops": loop_mode.mode}


def _nothing(x: numpy.ndarray) -> None:
    x[0] = 0
