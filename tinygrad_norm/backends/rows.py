"""The CPU machine: sums over rows, columns and pools at the speed of BLAS.

NumPy's own reductions walk an array element by element; a product with a vector of ones is the same
sum, two to four times faster. These names say what is computed and leave the how to this file. On
other backends they are plain sums.
"""

import functools
import math

import numpy

from . import Array

Axes = tuple[int, ...]


def row_sums(x: Array) -> Array:
    """Return Σ x over each row of x (N, D), as (N, 1)."""
    if type(x) is not numpy.ndarray:
        return x.sum(1, keepdims=True)
    return numpy.dot(x, _ones(x.shape[1], x.dtype))[:, None]


def row_dots(x: Array, y: Array) -> Array:
    """Return Σ x·y over each row of x (N, D), as (N, 1); y is (N, D), or (D,) for all rows."""
    if type(x) is not numpy.ndarray:
        return (x * y).sum(1, keepdims=True)
    return (numpy.dot(x, y) if y.ndim == 1 else numpy.vecdot(x, y))[:, None]


def column_sums(x: Array) -> Array:
    """Return Σ x over the rows of x (N, D), as (D,)."""
    if type(x) is not numpy.ndarray:
        return x.sum(0)
    return numpy.dot(_ones(x.shape[0], x.dtype), x)


def sums(x: Array, axes: Axes) -> Array:
    """Return Σ x over `axes`, which stay with size 1.

    Axes at the end are summed as rows, then axes at the beginning as columns.
    """
    for axis in axes:
        if x.shape[axis] != 1:
            break
    else:
        return x
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    if type(x) is not numpy.ndarray or not x.flags.c_contiguous or not (x.size and kept) or kept[-1] - kept[0] >= len(kept):
        return x.sum(axes, keepdims=True)
    shape = x.shape
    before, after = math.prod(shape[: kept[0]]), math.prod(shape[kept[-1] + 1 :])
    if after != 1:
        x = numpy.dot(x.reshape(-1, after), _ones(after, x.dtype))
    if before != 1:
        x = column_sums(x.reshape(before, -1))
    return x.reshape([1 if axis in axes else n for axis, n in enumerate(shape)])


@functools.lru_cache(maxsize=64)
def _ones(n: int, dtype: numpy.dtype) -> numpy.ndarray:
    ones = numpy.ones(n, dtype)
    ones.flags.writeable = False
    return ones
