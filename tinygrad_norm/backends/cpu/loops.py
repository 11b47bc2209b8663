"""Loops: plain Python functions over arrays and scalars, compiled by Numba where it is installed.

A loop is written as one would write it in C: one row, one number at a time. As plain Python it can be
stepped through in a debugger; compiled, it reads memory once where NumPy makes a pass for every operation.

The compiler may reorder sums, so that several numbers are added at once, but not assume that there is no NaN
or infinity. Only in helpers may it fuse a product with a sum: a - b must be 0 if both are computed alike.
The compiled code is kept on disk.
"""

import functools
import hashlib
import inspect
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .loop_mode import loop_mode
from .silence import silent

OLDEST_NUMBA = (0, 61)
REORDER = {"reassoc", "arcp", "nsz"}
FUSE = {*REORDER, "contract"}

_HELPERS: dict[types.FunctionType, Any] = {}


def helper(function: Any) -> Any:
    """Mark a function of scalars that loops call; it is compiled into them."""
    _HELPERS[function] = None
    return function


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
        return _with_cache(_compile(self.function, REORDER), self.function)

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


class NotCompiled(RuntimeError):
    """Loops cannot be compiled on this machine; the message says why, and what to do."""


@functools.cache
def load_numba() -> Any:
    """Import Numba, and return it.

    Raises:
        NotCompiled: if it is not installed, too old, or cannot be imported.
    """
    try:
        import numba
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "numba"
        what = "Numba is not installed" if missing else f"Numba cannot be imported: {error}"
        raise NotCompiled(f"{what}; pip install --upgrade 'tinygrad_norm[fast]'") from None
    except Exception as error:
        raise NotCompiled(
            f"Numba cannot be imported: {error}; pip install --upgrade numba, or set TINYGRAD_NORM_LOOPS=0"
        ) from None
    if tuple(map(int, numba.__version__.split(".")[:2])) < OLDEST_NUMBA:
        oldest = ".".join(map(str, OLDEST_NUMBA))
        raise NotCompiled(
            f"Numba {numba.__version__} is too old, {oldest} is needed: pip install --upgrade numba"
        )
    return numba


def _compile(function: Any, fastmath: set[str]) -> Any:
    """Return the dispatcher of `function`, in which helpers are replaced by their own."""
    scope = dict(function.__globals__)
    for used in _helpers_of(function):
        _HELPERS[used] = _HELPERS[used] or _compile(used, FUSE)
        scope[used.__name__] = _HELPERS[used]
    copy = types.FunctionType(function.__code__, scope, function.__name__)
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    return load_numba().njit(fastmath=fastmath, error_model="numpy", nogil=True)(copy)


def _helpers_of(function: Any) -> list[Any]:
    used = [function.__globals__.get(name) for name in function.__code__.co_names]
    return [f for f in used if isinstance(f, types.FunctionType) and f in _HELPERS]


def _with_cache(dispatcher: Any, function: Any) -> Any:
    """Return the dispatcher, with its code kept on disk until the file of `function` or of a helper changes.

    Raises:
        NotCompiled: if there is no folder to write to.
    """
    try:
        dispatcher.enable_caching()
        cache = dispatcher._cache
        with _lock(Path(cache.cache_path)):
            pass
    except (RuntimeError, OSError) as error:
        raise NotCompiled(
            f"compiled loops cannot be kept on disk: {error}; set NUMBA_CACHE_DIR to a folder that can be "
            "written to, or TINYGRAD_NORM_LOOPS=0"
        ) from None
    file = cache._cache_file
    file._source_stamp = file._source_stamp, _stamp(function)
    save = file.save

    def save_alone(key: Any, data: Any) -> None:
        with _lock(Path(cache.cache_path)):
            save(key, data)

    file.save = save_alone  # of two processes, both would number their code 1
    return dispatcher


def _stamp(function: Any) -> str:
    """Return a hash of this file and those of the helpers that `function` calls, directly or not."""
    helpers = _helpers_of(function)
    for used in helpers:
        helpers += [other for other in _helpers_of(used) if other not in helpers]
    sources = sorted({__file__, *[inspect.getfile(used) for used in helpers]})
    return hashlib.sha256(b"".join([Path(source).read_bytes() for source in sources])).hexdigest()


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the only lock of `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "tinygrad_norm.lock", "a+b") as file:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file releases it
