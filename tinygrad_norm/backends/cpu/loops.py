"""Loops: plain Python functions over arrays and scalars, compiled by Numba where it is installed.

A loop is written as one would write it in C: one row, one number at a time. As plain Python it can be
stepped through in a debugger; compiled, it reads memory once where NumPy makes a pass for every operation.

The compiler may reorder sums, so that several numbers are added at once, but not assume that there is no NaN
or infinity. In helpers it keeps the order, but may fuse a product with a sum; in loops it may not: a - b must
be 0 if both are computed alike.
The compiled code is kept on disk.
"""

import dis
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

import numpy

from .loop_mode import loop_mode
from .silence import silent

OLDEST_NUMBA = (0, 61)
REORDER = {"reassoc", "arcp", "nsz"}
_INLINED: Any = {"error_model": "numpy", "forceinline": True}


class helper:
    """A function of scalars that loops call; it is compiled into them.

    If its first argument is float32, so are the floats written in it, as in NumPy. `single` attaches another
    version for that case.
    """

    fastmath = frozenset({"contract"})

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.double = self.float32 = function

    def single(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Attach the version for float32."""
        self.float32 = function
        return function

    def __call__(self, *args: Any) -> Any:
        return (self._plain_single if type(args[0]) is numpy.float32 else self.double)(*args)

    @functools.cached_property
    def _plain_single(self) -> Any:
        return _copy(self.float32, {}, numpy.float32)

    @functools.cached_property
    def compiled(self) -> Any:
        """A function that Numba replaces by the version for its arguments."""
        from numba import float32
        from numba.extending import overload

        double = _copy(self.double, _compiled_helpers(self.double), float)
        single = _copy(self.float32, _compiled_helpers(self.float32), numpy.float32)

        def chosen(*args: Any) -> Any:
            raise NotImplementedError

        options: Any = {"fastmath": set(self.fastmath), **_INLINED}

        @overload(chosen, jit_options=options, strict=False)
        def choose(*types: Any) -> Any:
            return single if types[0] == float32 else double

        return chosen


class sum_helper(helper):
    """A helper whose sums may be reordered, too."""

    fastmath = frozenset({"contract", *REORDER})


def instruction(name: str) -> Callable[[Callable[..., Any]], helper]:
    """Make a function of numbers of one type a helper that is one instruction, called `name` in LLVM."""
    return lambda function: _Instruction(function, name)


class _Instruction(helper):
    def __init__(self, function: Callable[..., Any], name: str) -> None:
        super().__init__(function)
        self.instruction = name

    @functools.cached_property
    def compiled(self) -> Any:
        load_numba()
        from llvmlite import ir
        from numba.extending import intrinsic

        def write(context: Any, builder: Any, types: Any, args: Any) -> Any:
            number = args[0].type
            of_numbers = ir.FunctionType(number, [number] * len(args))
            return builder.call(
                builder.module.declare_intrinsic(self.instruction, [number], of_numbers), args
            )

        @intrinsic
        def chosen(typing: Any, a: Any, b: Any) -> Any:
            return a(a, b), write

        return chosen


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
        return _with_cache(_compile(self.function), self.function)

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


def _compile(function: Any) -> Any:
    """Return the dispatcher of `function`."""
    jit = load_numba().njit(fastmath=REORDER, error_model="numpy", nogil=True)
    return jit(_copy(function, _compiled_helpers(function), float))


def _copy(function: Any, scope: dict[str, Any], real: type) -> Any:
    """Return a copy of `function` with other globals, and all its floats in the precision `real`."""

    def convert(value: Any) -> Any:
        if type(value) is tuple:
            return tuple(map(convert, value))
        return real(value) if type(value) is float else value

    used = {name: convert(function.__globals__[name]) for name in _globals_of(function)}
    scope = function.__globals__ | used | scope
    code = function.__code__.replace(co_consts=convert(function.__code__.co_consts))
    copy = types.FunctionType(code, scope, function.__name__)
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    return copy


def _compiled_helpers(function: Any) -> dict[str, Any]:
    return {name: value.compiled for name, value in _helpers_of(function).items()}


def _helpers_of(function: Any) -> dict[str, helper]:
    used = {name: function.__globals__[name] for name in _globals_of(function)}
    return {name: value for name, value in used.items() if isinstance(value, helper)}


def _globals_of(function: Any) -> list[str]:
    names = [step.argval for step in dis.get_instructions(function) if step.opname == "LOAD_GLOBAL"]
    return [name for name in names if name in function.__globals__]


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
    functions = [function]
    for caller in functions:
        for used in _helpers_of(caller).values():
            functions += [version for version in (used.double, used.float32) if version not in functions]
    sources = sorted({__file__, *[inspect.getfile(used) for used in functions[1:]]})
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
