"""Decisions: where a body compares or rounds, so that its proof is one of the branches that were taken.

Comparisons go by the real value of an exact number (`residues`). The algebra on each side of them is compared
exactly, but only on the side that the numbers of a case took.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy

_BETWEEN = str(Path(__file__).parent), str(Path(numpy.__file__).parent), "<"
"""How the files begin that run what the body called."""
_found: ContextVar[dict[str, str] | None] = ContextVar("found", default=None)


@contextmanager
def recorded_decisions() -> Iterator[dict[str, str]]:
    """Record within which lines decide; a dictionary of the function that does, by "file.py:line"."""
    found: dict[str, str] = {}
    token = _found.set(found)
    try:
        yield found
    finally:
        _found.reset(token)


def decided(function: str) -> None:
    """Note that the body calls `function`, whose result depends on the real value of an exact number."""
    found = _found.get()
    if found is None:
        return
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_BETWEEN):
        frame = frame.f_back  # type: ignore[assignment]
    if frame is not None:
        found.setdefault(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}", function)
