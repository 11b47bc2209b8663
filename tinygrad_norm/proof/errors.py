"""What ends a proof without a verdict: no root at this point, or a step that no exact number can take."""

import traceback
from pathlib import Path

_HERE = Path(__file__).parent


class NoRoot(ArithmeticError):
    """A number at this point has no root in the field: another point must be drawn."""


class WrongShape(RuntimeError):
    """A gradient that is not an array of its input's shape."""


class NotExact(TypeError):
    """A step that exact numbers cannot take; the message says which, and `where` gives the line.

    `place` is the line, if the error is found later.
    """

    def __init__(self, message: str, place: str = "") -> None:
        super().__init__(message)
        self.place = place


class NoGradient(NotExact):
    """Nothing of a call has a gradient."""


class RootOfSquare(NotExact):
    """The number under a root is a square at every point: its root is y or -y, and nothing shows which."""


class NotAlgebraic(NotExact):
    """A function that is not algebraic, such as exp; `function` is its name."""

    def __init__(self, function: str) -> None:
        super().__init__(f"{function} is not algebraic")
        self.function = function


def told(error: BaseException) -> str:
    """Return what an error says, and where it was raised, if that is known."""
    line = where(error)
    return f"{error}, at {line}" if line else str(error)


def where(error: BaseException) -> str:
    """Return the file and line at which `error` was raised, outside of this package: "gelu.py:33"."""
    return getattr(error, "place", "") or _last(traceback.extract_tb(error.__traceback__))


def place() -> str:
    """Return the file and line that led here, outside of this package."""
    return _last(traceback.extract_stack())


def _last(stack: traceback.StackSummary) -> str:
    frames = [
        frame
        for frame in stack
        if Path(frame.filename).parent != _HERE and not frame.filename.startswith("<")
    ]
    ours = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
