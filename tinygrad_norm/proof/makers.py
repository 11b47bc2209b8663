"""NumPy's functions for arrays of exact numbers: new arrays of objects are arrays of numbers, too."""

from typing import Any

import numpy

from ..backends import HOST_TYPES, set_namespace
from .numberarray import NumberArray, as_numbers

_MAKERS = ("empty", "zeros", "ones", "full", "array", "asarray", "ascontiguousarray", "eye", "arange")


class _Functions:
    """`numpy`, with makers of arrays that know exact numbers."""

    def __getattr__(self, name: str) -> Any:
        function = getattr(numpy, name)
        if name not in _MAKERS:
            return function
        return lambda *args, **options: as_numbers(function(*args, **options))


set_namespace(NumberArray, _Functions())
HOST_TYPES.add(NumberArray)
