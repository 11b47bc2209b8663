"""The verdict on FILE.py:NAME as text and exit status, without an exception whatever the file does."""

from collections.abc import Iterable

from ...backends import use_backend
from ..loading import load_all
from .diagnosis import diagnose
from .targets import find

RIGHT, WRONG, FAILED = 0, 1, 2
"""The exit status: the backward is right, it is wrong, or it cannot be checked."""


def verdict_on(
    target: str, like: str | None = None, backend: str = "numpy", loaded: Iterable[str] = ()
) -> tuple[int, str]:
    """Return the exit status and the verdict; or, with FAILED, what kept it from being checked.

    `loaded` are files whose ops are registered first.
    """
    try:
        load_all(loaded)
        use_backend(backend)
        found = diagnose(*find(target), like=like)
    except (ValueError, TypeError, RuntimeError, OSError, MemoryError) as error:
        return FAILED, str(error) or type(error).__name__
    except SystemExit:
        return FAILED, f"{target} ends the program: leave out exit()"
    except BaseException as error:  # in a process of its own Ctrl-C raises nothing: the file did
        return FAILED, f"{target} cannot be checked: it raised {type(error).__name__}: {error}"
    return RIGHT if found.passed else FAILED if found.failed else WRONG, str(found)
