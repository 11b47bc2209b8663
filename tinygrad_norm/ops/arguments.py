"""Arguments that are single values: sizes, reals and flags, checked by name before NumPy sees them."""

import math
from typing import Any

import numpy

from ..autograd.flags import check_flags as check_flags


def as_size(value: Any, name: str, least: int | None = 1) -> int:
    """Return `value` as an int of at least `least` (any int if that is None).

    Raises:
        TypeError: unless it is an integer; a bool is not.
        ValueError: if it is less than `least`.
    """
    if isinstance(value, bool) or not isinstance(value, int | numpy.integer):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if least is not None and value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return int(value)


def as_number(value: Any, name: str) -> float:
    """Return `value` as a Python float, which never changes the dtype of a floating-point array.

    Raises:
        TypeError: unless it is a real number.
        ValueError: if it is an integer too large for float64.
    """
    if type(value) is float:
        return value
    if not isinstance(value, int | float | numpy.integer | numpy.floating):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        return float(value)
    except OverflowError:
        bits = int(value).bit_length()
        raise ValueError(f"{name} must be less than 1.8e308, got an integer of {bits} bits") from None


def as_finite(value: Any, name: str) -> float:
    """Return `value` as a Python float, as `as_number`.

    Raises:
        TypeError: unless it is a real number.
        ValueError: unless it is finite.
    """
    number = as_number(value, name)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {value}")
    return number


def check_numbers(**values: Any) -> None:
    """Raise TypeError unless every value is a real number."""
    for name, value in values.items():
        as_number(value, name)


def as_flag(value: Any, name: str) -> bool:
    """Return `value` as Python's bool: as `keepdims`, NumPy does not take its own.

    Raises:
        TypeError: unless it is a bool.
    """
    check_flags(**{name: value})
    return bool(value)
