"""The RMS core over any pool: x̂ = x·r, one r per pool, whichever axes of x a pool has.

    r = 1/√(mean(x²) + eps)   x̂ = x·r      dx = r·(g - x̂·mean(g·x̂)) with g := dL/dx̂

derived in rmsnorm.py. PixelNorm has one pool per position, GroupRMSNorm one per group of the last axis.
Pools along the last axes are rows: the bodies, loops and kernels of rmsnorm.py work on them as they are.
Other pools stay where they are on the CPU, as moving their axes takes longer than the norm; on a GPU they
are moved, and rows for its kernels.
"""

import functools
from typing import Any

import numpy

from ...backends import Array
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.sums import mean_products
from ..core.exactness import exact_for_any_scale, exact_near_the_limits
from ..core.pools import pools_as_rows, rows_as_pools
from .rmsnorm import rms_norm_backward, rms_norm_forward


def rms_pools_forward(x: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array]:
    """Return x̂, of x's shape, and r with size 1 along `axes`."""
    if _in_place(x, axes):
        forward, _ = _bodies(x.ndim, axes)
        return forward(x, eps)
    x_hat, rstd = rms_norm_forward(pools_as_rows(x, axes), None, eps)
    return rows_as_pools(x_hat, x.shape, axes), rows_as_pools(rstd, x.shape, axes)


def rms_pools_backward(g: Array, x: Array, rstd: Array, axes: tuple[int, ...]) -> Array:
    """Return dx of x's shape, for g = dL/dx̂ and r as `rms_pools_forward` returned it."""
    if _in_place(x, axes):
        _, backward = _bodies(x.ndim, axes)
        return backward(g, x, rstd)[0]
    rows, columns = (pools_as_rows(a, axes) for a in (g, x)), pools_as_rows(rstd, axes)
    return rows_as_pools(rms_norm_backward(*rows, None, columns)[0], x.shape, axes)


def _in_place(x: Array, axes: tuple[int, ...]) -> bool:
    """Return whether pools are worked on where they are: on the CPU, unless they are rows already."""
    return type(x) is numpy.ndarray and axes != tuple(range(x.ndim - len(axes), x.ndim))


@functools.cache
def _bodies(ndim: int, axes: tuple[int, ...]) -> tuple[Any, Any]:
    others = [axis for axis in range(ndim) if axis not in axes]
    axis = others[0] if others else 0

    @in_blocks("x", axis=axis)
    @exact_for_any_scale(axes, "rstd")
    def forward(x: Array, eps: float) -> tuple[Array, Array]:
        rstd = (mean_products(x, x, axes) + eps) ** -0.5
        return x * rstd, rstd

    @in_blocks("g", "x", "rstd", axis=axis)
    @exact_near_the_limits(axes)
    def backward(g: Array, x: Array, rstd: Array) -> tuple[Array, Array]:
        x_hat = x * rstd
        mean_g_x_hat = mean_products(g, x_hat, axes)
        return rstd * (g - x_hat * mean_g_x_hat), mean_g_x_hat

    return forward, backward
