"""Half precision: numbers are stored in 16 bits, but summed up in 32."""

from typing import Any

import numpy

from .. import Array


def is_half(x: Array) -> bool:
    """Return whether `x` holds floating-point numbers of 16 bits."""
    return x.dtype.itemsize == 2 and x.dtype.kind == "f"


def upcast(x: Array) -> Array:
    """Return `x` in the precision in which it is accumulated: float32 for half types, else its own."""
    return x.astype(numpy.float32) if x.dtype.itemsize == 2 and is_half(x) else x


def downcast(y: Any, like: Array) -> Any:
    """Return `y`, accumulated from `upcast(like)`, in the dtype of `like`; what is too large becomes ∞."""
    if like.dtype.itemsize != 2 or not is_half(like):
        return y
    with numpy.errstate(over="ignore"):
        return y.astype(like.dtype)
