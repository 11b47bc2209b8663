"""A user's bodies on exact numbers: an error says in words what a body must not do, and in which line.

An ordinary body may do anything: round, call a library, compute sizes in integers that wrap around. On exact
numbers these raise an exception somewhere in NumPy, or go wrong without one. `guarded` runs a body and turns
either into a `NotExact` whose traceback leads to the line of the body.
"""

import linecache
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

from .errors import NoRoot, NotAlgebraic, NotExact

_HINTS = (
    ("float64(", "leave the conversion out"),
    ("float32(", "leave the conversion out"),
    ("float(", "leave the conversion out"),
    ("int(", "leave the conversion out"),
    (".item()", "leave .item() out"),
    ("math.", "call the function of numpy, such as numpy.sqrt"),
    ("zeros(", "make it with numpy.zeros_like(x), of the numbers of x"),
    ("empty(", "make it with numpy.zeros_like(x), of the numbers of x"),
    ("ones(", "make it with numpy.ones_like(x), of the numbers of x"),
    ("dtype", "leave the dtype out"),
    ("] =", "an array to write to must be of the numbers of x, as numpy.zeros_like(x) is"),
    ("] +=", "an array to write to must be of the numbers of x, as numpy.zeros_like(x) is"),
    ("] -=", "an array to write to must be of the numbers of x, as numpy.zeros_like(x) is"),
)
"""What the line that rounds has in it, and what to do about it."""


def guarded(body: Callable[..., Any], *arrays: Any, **options: Any) -> Any:
    """Return body(*arrays, **options), on exact numbers.

    Raises:
        NotExact: if the body raises anything: that it rounds, divides by zero, or calls what cannot take
            such numbers; or if integers of a fixed size overflow.
        NoRoot: if a number has no root at this point.
    """
    try:
        with numpy.errstate(all="ignore", over="raise"):
            return body(*map(watched, arrays), **options)
    except (NoRoot, NotAlgebraic):
        raise
    except NotExact as error:
        raise _at(error, f"{error}{_hint(error)}") from None
    except ZeroDivisionError as error:
        raise _at(error, "division by a number that is 0") from None
    except (FloatingPointError, OverflowError) as error:
        raise _at(error, f"a number overflows ({error}): NumPy's numbers have a fixed size") from None
    except Exception as error:
        kind = type(error).__name__
        lacking = re.search(r"of type (?:Residue|Dual) which has no callable (\w+) method", str(error))
        if lacking:
            raise NotAlgebraic(lacking[1]).with_traceback(error.__traceback__) from None
        raise _at(error, f"a step that arrays of exact numbers cannot take raised {kind}: {error}") from error


def _at(error: BaseException, words: str) -> NotExact:
    """Return the error to raise, where `error` was raised."""
    return NotExact(words).with_traceback(error.__traceback__)


def _hint(error: BaseException) -> str:
    """Return what the line says that made a number a float, and what to write instead."""
    if "which would round it" not in str(error):
        return ""
    here = Path(__file__).parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename).parent != here and "site-packages" not in frame.filename:
            line = linecache.getline(frame.filename, frame.lineno or 0).strip()
            hint = next((hint for sign, hint in _HINTS if sign in line), "")
            return f"{f', in “{line}”' if line else ''}{f': {hint}' if hint else ''}"
    return ""


class WatchedIntegers(numpy.ndarray):
    """An array of integers of a fixed size, which raises an exception where their results wrap around."""

    def __array_ufunc__(self, ufunc: numpy.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [_plain(x) for x in inputs]
        written = options.get("out")
        if written is not None:
            options["out"] = tuple(map(_plain, written))
        result = getattr(ufunc, method)(*plain, **options)
        if ufunc.__name__ in _MAY_WRAP and written is None and _is_integer(result):
            given = {name: options[name] for name in ("axis", "keepdims") if name in options}
            exact = getattr(ufunc, method)(*[_unbounded(x) for x in plain], **given)
            if (numpy.asarray(exact, object) != numpy.asarray(result, object)).any():
                raise NotExact(
                    f"numpy.{ufunc.__name__} of {numpy.asarray(result).dtype} overflows, and NumPy goes on "
                    "with a wrong number: compute it with floats"
                )
        if written is not None:
            return written[0]
        return watched(result)


_MAY_WRAP = {"add", "subtract", "multiply", "power", "square", "negative", "matmul", "left_shift", "vecdot"}


def watched(x: Any) -> Any:
    """Return an array of integers as one that watches for overflow, and everything else as it is."""
    if type(x) is numpy.ndarray and x.dtype.kind in "iu":
        return x.view(WatchedIntegers)
    return x


def _plain(x: Any) -> Any:
    return x.view(numpy.ndarray) if isinstance(x, WatchedIntegers) else x


def _is_integer(x: Any) -> bool:
    return isinstance(x, numpy.ndarray | numpy.generic) and x.dtype.kind in "iu"


def _unbounded(x: Any) -> Any:
    """Return integers as Python's, which have no largest."""
    return x.astype(object) if isinstance(x, numpy.ndarray | numpy.generic) else x
