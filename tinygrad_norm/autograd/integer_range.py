"""Numbers of Python that an integer dtype cannot hold: an error, where NumPy wraps or changes the dtype."""

from typing import Any

import numpy


def check_range(values: Any, dtype: Any) -> None:
    """Raise OverflowError if `dtype` is an integer dtype and one of `values`, truncated, is out of its range.

    Args:
        values: a number, or a NumPy array.
        dtype: any dtype; only integer dtypes have a range to check.
    """
    dtype = numpy.dtype(dtype)
    if dtype.kind not in "iu":
        return
    values, info = numpy.asarray(values), numpy.iinfo(dtype)
    whole = numpy.trunc(values) if values.dtype.kind == "f" else values
    outside = ~numpy.asarray((whole >= info.min) & (whole < info.max + 1), bool)
    if outside.any():
        raise OverflowError(
            f"{values[outside][0]} does not fit {dtype}, which holds {info.min} to {info.max}: "
            "use a floating-point dtype"
        )


def from_python(data: Any, dtype: Any = None) -> numpy.ndarray:
    """Return numbers, or nested sequences of them, as an array: ints as int64, floats as float64.

    Raises:
        OverflowError: if an int fits neither int64 nor a floating-point `dtype` that is asked for.
    """
    array = numpy.asarray(data)
    wide = array.dtype.kind == "O" or (array.dtype in (numpy.uint64, numpy.float64) and _has_wide(array))
    if not wide:
        return array
    numbers = list(numpy.asarray(data, object).flat)
    if not all(isinstance(number, int | float | numpy.number) for number in numbers):
        return array
    as_float = any(isinstance(number, float | numpy.floating) for number in numbers)
    if not as_float and any(type(number) is int for number in numbers):
        if dtype is None or numpy.dtype(dtype).kind != "f":
            check_range(numpy.asarray(data, object), numpy.int64 if dtype is None else dtype)
        elif array.dtype.kind == "O":
            as_float = True
    return array.astype(numpy.float64) if as_float else array


def _has_wide(array: numpy.ndarray) -> bool:
    return bool((abs(array) >= 2.0**63).any()) if array.size else False
