"""Half types are computed in float32 and returned as they came."""

import numpy

from ..backends import Array
from ..normalization.moments import widen

__all__ = ["narrow", "widen"]


def narrow(y: Array, dtype: numpy.dtype) -> Array:
    """Return `y` in `dtype`: what is too large for a half type becomes infinite, as everywhere."""
    if y.dtype == dtype:
        return y
    with numpy.errstate(over="ignore"):
        return y.astype(dtype)
