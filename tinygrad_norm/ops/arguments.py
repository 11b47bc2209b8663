"""Arguments that are single numbers: what is none is refused by its name, before NumPy stumbles over it."""

from typing import Any

import numpy


def as_size(value: Any, name: str, least: int | None = 1) -> int:
    """Return `value` as an int, not less than `least` unless that is None; a bool is no size.

    Raises:
        TypeError: for anything but an integer.
        ValueError: for one that is too small.
    """
    if isinstance(value, bool) or not isinstance(value, int | numpy.integer):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if least is not None and value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return int(value)


def as_number(value: Any, name: str) -> float:
    """Return `value` as a Python float, which never widens the dtype of an array that it meets.

    Raises:
        TypeError: for anything but a real number.
        ValueError: for an integer beyond float64.
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
