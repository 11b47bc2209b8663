"""What the numbers of a dtype can be: its largest, its least, its machine epsilon."""

import functools
from typing import Any

import numpy


@functools.cache
def finfo(dtype: Any) -> Any:
    """Return NumPy's finfo; of exact numbers, which are objects, that of the float64 they are compared as."""
    return numpy.finfo(numpy.float64 if numpy.dtype(dtype).kind == "O" else dtype)
