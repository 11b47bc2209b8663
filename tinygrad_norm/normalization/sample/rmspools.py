"""The RMS core over any pool: x̂ = x·r, one r per pool, whichever axes of x a pool has.

    r = 1/√(mean(x²) + eps)   x̂ = x·r      dx = r·(g - x̂·mean(g·x̂)) with g := dL/dx̂

derived in rmsnorm.py, whose bodies, guards, loops and kernels these are: a pool is a row. PixelNorm has one
pool per position, GroupRMSNorm one per group of the last axis.
"""

from collections.abc import Sequence

from ...backends import Array
from ..core.pools import pools_as_rows, rows_as_pools
from .rmsnorm import rms_norm_backward, rms_norm_forward


def rms_pools_forward(x: Array, axes: Sequence[int], eps: float) -> tuple[Array, Array]:
    """Return x̂, of x's shape, and r with size 1 along `axes`."""
    x_hat, rstd = rms_norm_forward(pools_as_rows(x, axes), None, eps)
    return rows_as_pools(x_hat, x.shape, axes), rows_as_pools(rstd, x.shape, axes)


def rms_pools_backward(g: Array, x: Array, rstd: Array, axes: Sequence[int]) -> Array:
    """Return dx of x's shape, for g = dL/dx̂ and r as `rms_pools_forward` returned it."""
    rows, columns = (pools_as_rows(a, axes) for a in (g, x)), pools_as_rows(rstd, axes)
    return rows_as_pools(rms_norm_backward(*rows, None, columns)[0], x.shape, axes)
