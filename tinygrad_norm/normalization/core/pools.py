"""Pools along any axes of x, as the rows (P, n) of the bodies and kernels that work on rows.

The axes of a pool are moved behind the others. If they are the last ones already, the rows are a view of x;
otherwise they are a copy, which is the price of one statistic across channels or across samples.
"""

import math
from collections.abc import Sequence

from ...backends import Array
from ...ops.dims import Shape


def pools_as_rows(x: Array, axes: Sequence[int]) -> Array:
    """Return x as (P, n): one row for each pool, whose n entries differ in their place along `axes`."""
    shape = x.shape
    order = [axis for axis in range(len(shape)) if axis not in axes]
    pools = math.prod([shape[axis] for axis in order])
    return x.transpose(*order, *axes).reshape(pools, math.prod([shape[axis] for axis in axes]))


def rows_as_pools(rows: Array, shape: Shape, axes: Sequence[int]) -> Array:
    """Return rows (P, n) in the `shape` of the x that they were; columns (P, 1) with size 1 along `axes`."""
    others = [axis for axis in range(len(shape)) if axis not in axes]
    sizes = [shape[axis] for axis in axes]
    of_pool = sizes if rows.shape[1] == math.prod(sizes) else [1] * len(axes)
    order = [*others, *axes]
    back = [order.index(axis) for axis in range(len(shape))]
    return rows.reshape(*(shape[axis] for axis in others), *of_pool).transpose(*back)
