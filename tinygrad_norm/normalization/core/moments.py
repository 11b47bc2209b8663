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

from ...backends import Array, namespace
from ...backends.cpu.blocks import Pools, largest, number, pools, run, smallest, spread
from ...backends.cpu.half import downcast, upcast
from ...ops.arguments import as_number
from ...ops.broadcast import unbroadcast

Axes = tuple[int, ...]


def center(
    x: Array, axes: Axes, eps: float, out: Array | None = None
) -> tuple[Array, Array, Array, Array, Array]:
    """Return x - mean (in `out`, if given), a factor, mean, biased variance and rstd = 1/√(variance + eps).

    x̂ is factor·(x - mean). The statistics are as `pools` makes them. The variance takes two passes, so it
    is never negative. The factor is rstd, but where squares overflow or vanish, the pool is divided by
    its largest entry first: finite input gives a finite x̂ and rstd. Where the rounding error of a large
    mean could be taken for variance, the first entry is taken off first: equal entries give exactly 0.
    """
    check_eps(eps)
    xp, pool = namespace(x), pools(x, axes)
    mean = pool.means(x)
    centered = xp.subtract(x, spread(mean, x), out=out)
    var = pool.mean_squares(centered)
    limit, least = _limits(var.dtype)
    # Most pools pass: their means are small, and their squares are exact enough beside eps.
    if x.size and not (eps > least and largest(var) < math.inf and xp.vdot(mean, mean) < eps * limit):
        if not _is_exact(var, eps):
            return _scaled_center(x, pool, eps, centered)
        mean, var = _shifted_moments(x, pool, centered)
    rstd = rsqrt(var, eps)
    return centered, rstd, mean, var, rstd


def mean_square_rsqrt(x: Array, axes: Axes, eps: float) -> Array:
    """Return 1/√(mean(x²) + eps) over `axes`; shaped and guarded as in `center`."""
    check_eps(eps)
    pool = pools(x, axes)
    mean_square = pool.mean_squares(x)
    if not _is_exact(mean_square, eps) and x.size:
        scale = _scale(x, pool, eps)
        return _unscaled(_scaled_rsqrt(pool.mean_squares(x / scale), scale, eps), scale)
    return rsqrt(mean_square, eps)


def rsqrt(var: Array, eps: float) -> Array:
    """Return 1/√(var + eps); with eps = 0 a zero variance gives 0, as its entries are all 0 too."""
    xp = namespace(var)
    std = var + number(eps, var)
    xp.sqrt(std, out=std)
    if eps > 0 or not var.size or smallest(std) > 0:
        return xp.reciprocal(std)
    return xp.where(std > 0, 1 / xp.where(std > 0, std, 1), 0)


def check_eps(eps: float) -> None:
    """Raise TypeError for an eps that is no number, ValueError for a negative one."""
    if not as_number(eps, "eps") >= 0:
        raise ValueError(f"eps must be a number of at least 0, got {eps}")


def is_extreme(rstd: Array) -> bool:
    """Say whether some rstd is so small or large that products of three of them are not right any more."""
    low, high = _limits_of_cubes(rstd.dtype)
    return rstd.size > 0 and not (low < smallest(rstd) and largest(rstd) < high)


@functools.cache
def _limits_of_cubes(dtype: numpy.dtype) -> tuple[float, float]:
    low = float(numpy.finfo(dtype).tiny) ** (1 / 3)
    return low, 1 / low


def _is_exact(mean_square: Array, eps: float) -> bool:
    """Say whether no square overflowed, and none that counts beside eps vanished."""
    _, least = _limits(mean_square.dtype)
    return not mean_square.size or (
        largest(mean_square) < math.inf and (eps > least or smallest(mean_square) > least)
    )


@functools.cache
def _limits(dtype: numpy.dtype) -> tuple[float, float]:
    """Return how many times eps mean² may be, and the least mean square whose terms did not vanish.

    A mean is wrong by some units in the last place, which is 2⁻⁸·√eps and less below the limit.
    """
    info = numpy.finfo(dtype)
    return float((2.0**-8 / info.eps) ** 2), float(info.tiny / info.eps)


def _shifted_moments(x: Array, pool: Pools, out: Array) -> tuple[Array, Array]:
    """Return mean and variance, and in `out` x - mean."""
    first = x[tuple([slice(0, 1) if axis in pool.axes else slice(None) for axis in range(x.ndim)])]
    namespace(x).subtract(x, first, out=out)
    rest = pool.means(out)
    out -= rest
    return first.reshape(pool.shape) + rest, pool.mean_squares(out)


def _scaled_center(x: Array, pool: Pools, eps: float, out: Array) -> tuple[Array, Array, Array, Array, Array]:
    scale = _scale(x, pool, eps)
    centered = namespace(x).divide(x, scale, out=out)
    mean = pool.means(centered)
    centered -= mean
    var = pool.mean_squares(centered)
    factor = _scaled_rsqrt(var, scale, eps)
    return centered, factor, mean * scale, var * scale * scale, _unscaled(factor, scale)


def _scale(x: Array, pool: Pools, eps: float) -> Array:
    """Return what to divide each pool by: its largest entry, or √eps if that is larger; 1 for zeros."""
    xp = namespace(x)
    scale = xp.maximum(xp.abs(x).max(pool.axes).reshape(pool.shape), x.dtype.type(math.sqrt(eps)))
    return xp.where(scale > 0, scale, 1)


def _scaled_rsqrt(var: Array, scale: Array, eps: float) -> Array:
    return rsqrt(var + var.dtype.type(eps) / scale / scale, 0.0)


def _unscaled(rstd: Array, scale: Array) -> Array:
    return namespace(rstd).minimum(rstd / scale, numpy.finfo(rstd.dtype).max)


def pool_norm_forward(
    x: Array, weight: Array | None, bias: Array | None, axes: Axes, eps: float
) -> tuple[Array, Array, Array, Array]:
    """Return y, mean, var and rstd; `axes` is the pool, weight and bias have as many axes as x."""
    y, *statistics = run(_pool_forward, (upcast(x), weight, bias), (axes, eps), axis=_outside(x.ndim, axes))
    return downcast(y, x), *statistics


def _pool_forward(
    x: Array, weight: Array | None, bias: Array | None, axes: Axes, eps: float, out: Array | None
) -> tuple[Array, Array, Array, Array]:
    y, factor, mean, var, rstd = center(x, axes, eps, out)
    y *= spread(factor if weight is None else factor * weight, x)
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
    split = upcast(dy), upcast(x), weight, bias, mean, rstd
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
    if is_extreme(rstd):  # its cube leaves the range of the dtype: normalize first
        x_hat, ones = x * rstd - mean * rstd, xp.ones_like(rstd)
        dx, *affine = _pool_backward(dy, x_hat, weight, bias, 0 * ones, ones, axes, inner, out)
        dx *= rstd
        return dx, *affine
    centered = x - spread(mean, x)
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
    y = upcast(x) - mean
    y *= rstd if weight is None else rstd * weight
    if bias is not None:
        y += bias
    return downcast(y, x)


def fixed_norm_backward(
    dy: Array, x: Array, weight: Array | None, bias: Array | None, mean: Array, rstd: Array
) -> tuple[Array, Array | None, Array | None]:
    """Return dx, dweight and dbias with the statistics held constant: dx = r·g."""
    dy = upcast(dy)
    dbias = None if bias is None else unbroadcast(dy, bias.shape)
    if weight is None:
        return dy * rstd, None, dbias
    x_hat = (upcast(x) - mean) * rstd
    return dy * (weight * rstd), unbroadcast(dy * x_hat, weight.shape), dbias
