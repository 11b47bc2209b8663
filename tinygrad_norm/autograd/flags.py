"""Flags: arguments that are True or False."""

from typing import Any

import numpy


def check_flags(**values: Any) -> None:
    """Raise TypeError unless every value is a bool: the text "False" would count as true."""
    for name, value in values.items():
        if not isinstance(value, bool | numpy.bool_):
            raise TypeError(f"{name} must be True or False, got {value!r}")
