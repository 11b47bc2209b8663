"""The one formula behind batch, group, instance and layer normalization.

    m = mean(x)   v = mean((x - m)²)   r = 1/√(v + eps)   x̂ = (x - m)·r   y = w·x̂ + b

They differ only in which entries of x share one m and one v, the pool, and in the axes on which the
affine w, b lives. From dy = dL/dy, with a pool of n values:

    db = Σ dy      dw = Σ dy·x̂      over the axes that w does not have      g := dL/dx̂ = w·dy

x reaches L along three paths: straight, through m, and through r.

    straight   r·g
    through m  Σg·(-r)·(1/n)                       = -r·mean(g)        (dr/dm = 0: Σ(x - m) = 0)
    through r  Σ(g·(x-m)) · (-r³/2) · (2/n)·(x-m)  = -r·x̂·mean(g·x̂)

    dx = r·(g - mean(g) - x̂·mean(g·x̂))

So dx is r times g without its components along 1 and along x̂: the two directions in which moving
the pool cannot change y. With m and v held constant (BatchNorm in evaluation) only the straight path
is left: dx = r·g.

Here stands what the files share: the statistics, guarded; and the formula for a w that is constant
along whole axes of the pool, `inner` (all but LayerNorm, where every entry of a pool has its own w).
There, Σ dy and Σ dy·x̂ = r·Σ dy·(x-m) over `inner` are small, and everything else follows from them:

    mean(g) = Σ w·(Σ dy)/n      mean(g·x̂) = Σ w·(Σ dy·x̂)/n      dx = (r·w)·dy - k·(x-m) - c
    with k = r²·mean(g·x̂) and c = r·mean(g): x is read twice, dy twice, and no x̂ is made.
"""

import functools
import math

import numpy

from ..backends import Array, namespace
from ..backends.rows import largest, number, pools, run, smallest, spread
from ..ops.broadcast import unbroadcast
from ..ops.half import narrow, widen

Axes = tuple[int, ...]


def center(x: Array, axes: Axes, eps: float, out: Array | None = None) -> tuple[Array, Array, Array, Array]:
    """Return x - mean (in `out`, if given), mean, biased variance and 1/√(variance + eps) over `axes`.

    The statistics are as `pools` makes them. The variance takes two passes, so it is never negative.
    Where a square overflows, the pool is scaled by its largest entry first: finite input gives a
    finite rstd.
    """
    pool = pools(x, axes)
    mean = pool.means(x)
    centered = namespace(x).subtract(x, spread(mean, x), out=out)
    var = pool.mean_squares(centered)
    if var.size and not largest(var) < math.inf:
        mean, var, rstd = _scaled_moments(x, axes, eps)
        return namespace(x).subtract(x, mean, out=centered), mean, var, rstd
    return centered, mean, var, rsqrt(var, eps)


def mean_square_rsqrt(x: Array, axes: Axes, eps: float) -> Array:
    """Return 1/√(mean(x²) + eps) over `axes`; shaped and guarded as in `center`."""
    mean_square = pools(x, axes).mean_squares(x)
    if mean_square.size and not largest(mean_square) < math.inf:
        scale = _scale(x, axes)
        return _scaled_rsqrt(namespace(x).square(x / scale).mean(axes, keepdims=True), scale, eps)
    return rsqrt(mean_square, eps)


def rsqrt(var: Array, eps: float) -> Array:
    """Return 1/√(var + eps); with eps = 0 a zero variance gives 0, as its entries are all 0 too.

    Raises:
        ValueError: for a negative eps.
    """
    check_eps(eps)
    xp = namespace(var)
    std = var + number(eps, var)
    xp.sqrt(std, out=std)
    if eps > 0 or not var.size or smallest(std) > 0:
        return xp.reciprocal(std)
    return xp.where(std > 0, 1 / xp.where(std > 0, std, 1), 0)


def check_eps(eps: float) -> None:
    """Raise ValueError for a negative eps."""
    if not eps >= 0:
        raise ValueError(f"eps must be a number of at least 0, got {eps}")


def is_extreme(rstd: Array) -> bool:
    """Say whether some rstd is so small or large that products of three of them are not right any more."""
    low, high = _limits_of_cubes(rstd.dtype)
    return rstd.size > 0 and not (low < smallest(rstd) and largest(rstd) < high)


@functools.cache
def _limits_of_cubes(dtype: numpy.dtype) -> tuple[float, float]:
    low = float(numpy.finfo(dtype).tiny) ** (1 / 3)
    return low, 1 / low


def _scaled_moments(x: Array, axes: Axes, eps: float) -> tuple[Array, Array, Array]:
    xp = namespace(x)
    scale = _scale(x, axes)
    scaled = x / scale
    mean = scaled.mean(axes, keepdims=True)
    var = xp.square(scaled - mean).mean(axes, keepdims=True)
    return mean * scale, var * scale * scale, _scaled_rsqrt(var, scale, eps)


def _scale(x: Array, axes: Axes) -> Array:
    xp = namespace(x)
    return xp.maximum(xp.abs(x).max(axes, keepdims=True), 1)


def _scaled_rsqrt(var: Array, scale: Array, eps: float) -> Array:
    return rsqrt(var + var.dtype.type(eps) / scale / scale, 0.0) / scale


def pool_norm_forward(
    x: Array, weight: Array | None, bias: Array | None, axes: Axes, eps: float
) -> tuple[Array, Array, Array, Array]:
    """Return y, mean, var and rstd; `axes` is the pool, weight and bias have as many axes as x."""
    y, *statistics = run(_pool_forward, (widen(x), weight, bias), (axes, eps), axis=_outside(x.ndim, axes))
    return narrow(y, x), *statistics


def _pool_forward(
    x: Array, weight: Array | None, bias: Array | None, axes: Axes, eps: float, out: Array | None
) -> tuple[Array, Array, Array, Array]:
    y, mean, var, rstd = center(x, axes, eps, out)
    y *= spread(rstd if weight is None else rstd * weight, x)
    if bias is not None:
        y += spread(bias, x)
    return y, mean, var, rstd


def pool_norm_backward(
    dy: Array,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    rstd: Array,
    axes: Axes,
    inner: Axes,
) -> tuple[Array, Array | None, Array | None]:
    """Return dx, dweight and dbias, None where there is no weight or bias.

    `axes` is the pool, `inner` those of its axes along which weight is constant.
    """
    split = widen(dy), widen(x), weight, bias, mean, rstd
    # Blocks of channels have a weight each; blocks of samples share it, and their gradients add up.
    return run(_pool_backward, split, (axes, inner), axis=_outside(x.ndim, axes), add=0 not in axes)


def _pool_backward(
    dy: Array,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    rstd: Array,
    axes: Axes,
    inner: Axes,
    out: Array | None,
) -> tuple[Array, Array | None, Array | None]:
    xp = namespace(x)
    centered = x - spread(mean, x)
    if is_extreme(rstd):  # its cube leaves the range of the dtype: normalize first
        centered *= rstd
        ones = xp.ones_like(rstd)
        dx, *affine = _pool_backward(dy, centered, weight, bias, 0 * ones, ones, axes, inner, out)
        dx *= rstd
        return dx, *affine
    dx = xp.empty_like(x) if out is None else out
    part = pools(x, inner)
    sum_dy, sum_dy_x_hat = part.sums(dy), part.dots(dy, centered, dx) * rstd
    dweight = None if weight is None else unbroadcast(sum_dy_x_hat, weight.shape)
    dbias = None if bias is None else unbroadcast(sum_dy, bias.shape)
    scale, sum_g, sum_g_x_hat = rstd, sum_dy, sum_dy_x_hat
    if weight is not None:
        scale, sum_g, sum_g_x_hat = rstd * weight, weight * sum_dy, weight * sum_dy_x_hat
    if inner != axes:
        sum_g, sum_g_x_hat = pools(sum_g, axes).sums(sum_g), pools(sum_g, axes).sums(sum_g_x_hat)
    r_over_n = rstd * pools(x, axes).each
    xp.multiply(dy, spread(scale, x), out=dx)
    centered *= spread(r_over_n * sum_g_x_hat * rstd, x)
    dx -= centered
    dx -= spread(r_over_n * sum_g, x)
    return dx, dweight, dbias


@functools.cache
def _outside(ndim: int, axes: Axes) -> int:
    """Return the first axis that is not in the pool: 0, or, where samples are, that of channels, negative."""
    return 0 if 0 not in axes else next(axis for axis in range(-ndim, 1) if axis + ndim not in axes)


def fixed_norm_forward(x: Array, weight: Array | None, bias: Array | None, mean: Array, rstd: Array) -> Array:
    """Return y = (r·w)·(x - mean) + b with given statistics."""
    y = widen(x) - mean
    y *= rstd if weight is None else rstd * weight
    if bias is not None:
        y += bias
    return narrow(y, x)


def fixed_norm_backward(
    dy: Array, x: Array, weight: Array | None, bias: Array | None, mean: Array, rstd: Array
) -> tuple[Array, Array | None, Array | None]:
    """Return dx, dweight and dbias with the statistics held constant: dx = r·g."""
    dy = widen(dy)
    dbias = None if bias is None else unbroadcast(dy, bias.shape)
    if weight is None:
        return dy * rstd, None, dbias
    x_hat = (widen(x) - mean) * rstd
    return dy * (weight * rstd), unbroadcast(dy * x_hat, weight.shape), dbias
