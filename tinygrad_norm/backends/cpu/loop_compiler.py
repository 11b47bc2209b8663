"""The compiler of loops: Numba, which options it gets, and where its code is kept.

It may reorder sums, so that several numbers are added at once, but not assume that there is no NaN or
infinity. It may not fuse a product with a sum, except in helpers: a - b must be 0 if both are computed alike.
"""

import ast
import functools
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import loop_helpers
from .loop_helpers import REORDER, compiled_helpers, helpers_of, in_precision

OLDEST_NUMBA = (0, 61)


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


def is_of_numba(error: Exception) -> bool:
    """Return whether Numba raised `error` because it could not compile a function, or keep its code."""
    from numba.core.errors import NumbaError

    return isinstance(error, NumbaError | OSError)


def compiled(function: Any) -> Any:
    """Return `function` as Numba compiles it, for the types of its arguments, at its first call.

    Raises:
        NotCompiled: if there is no Numba that can be used, or no folder for the compiled code.
    """
    jit = load_numba().njit(fastmath=set(REORDER), error_model="numpy", nogil=True)
    wide = _with_wide_registers(function)
    return _kept_on_disk(jit(in_precision(wide, compiled_helpers(wide), float)), function)


def _with_wide_registers(function: Any) -> Any:
    """Return `function` with a first statement that asks for registers of 512 bits.

    LLVM uses only half of them on many processors that have them, which costs up to a quarter of the time.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except OSError:  # there is no source, as for a function typed at a prompt
        return function
    definition: Any = tree.body[0]
    definition.decorator_list = []
    definition.body[:0] = ast.parse("ask_for_wide_registers()").body
    ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)
    scope = function.__globals__ | {"ask_for_wide_registers": _ask_for_wide_registers()}
    exec(compile(tree, inspect.getfile(function), "exec"), scope)
    wide: Any = scope[definition.name]
    wide.__name__, wide.__qualname__ = function.__name__, function.__qualname__
    return wide


@functools.cache
def _ask_for_wide_registers() -> Any:
    from numba import void
    from numba.extending import intrinsic

    def write(context: Any, builder: Any, *_: Any) -> Any:
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')  # llvmlite's own add refuses it
        return context.get_dummy_value()

    @intrinsic
    def ask(typing: Any) -> Any:
        return void(), write

    return ask


def _kept_on_disk(dispatcher: Any, function: Any) -> Any:
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
    """Return a hash of the compiler's files and those of all helpers that `function` calls."""
    functions = [function]
    for caller in functions:
        for used in helpers_of(caller).values():
            functions += [version for version in (used.double, used.float32) if version not in functions]
    sources = sorted({__file__, loop_helpers.__file__, *[inspect.getfile(used) for used in functions[1:]]})
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
