"""The one formula behind batch, layer, group and instance normalization.

    m = mean(x)   v = mean((x - m)²)   r = 1/√(v + eps)   x̂ = (x - m)·r   y = w·x̂ + b

They differ only in which entries of x share one m and one v, the pool, and in the axes on which the
affine w, b lives. Every file of the family lays x out so that its pool is whole `axes` and w
broadcasts; the rest is here. With the pool's size D, from dy = dL/dy:

    db = Σ dy      dw = Σ dy·x̂      over the axes that w does not have      g := dL/dx̂ = w·dy

x reaches L along three paths: straight, through m, and through r.

    straight   r·g
    through m  Σg·(-r)·(1/D)                       = -r·mean(g)        (dr/dm = 0: Σ(x - m) = 0)
    through r  Σ(g·(x-m)) · (-r³/2) · (2/D)·(x-m)  = -r·x̂·mean(g·x̂)

    dx = r·(g - mean(g) - x̂·mean(g·x̂))

So dx is r times g without its components along 1 and along x̂: the two directions in which moving
the pool cannot change y. With m and v held constant (BatchNorm in evaluation) only the straight path
is left: dx = r·g.
"""

import math

import numpy

from ..backends import Array, namespace
from ..ops.broadcast import unbroadcast

Axes = tuple[int, ...]
Shape = tuple[int, ...]


def widen(x: Array) -> Array:
    """Return `x` in the dtype that statistics are computed in: float32 for half types, else its own."""
    return x.astype(numpy.float32) if x.dtype.itemsize < 4 else x


def pool_mean(x: Array, axes: Axes) -> Array:
    """Return the mean over `axes`, which stay with size 1."""
    n = math.prod(x.shape[axis] for axis in axes)
    return namespace(x).add.reduce(x, axes, keepdims=True) * x.dtype.type(1 / max(n, 1))


def moments(x: Array, axes: Axes, eps: float) -> tuple[Array, Array, Array]:
    """Return mean, biased variance and 1/√(variance + eps) over `axes`, which stay with size 1.

    The variance takes two passes, so it is never negative. Where a square overflows, the pool is
    scaled by its largest entry first: finite input gives a finite `rstd`.
    """
    with numpy.errstate(over="ignore", invalid="ignore"):
        mean = pool_mean(x, axes)
        centered = x - mean
        var = pool_mean(namespace(x).square(centered, out=centered), axes)
    if var.size and not var.max() < numpy.inf:
        return _scaled_moments(x, axes, eps)
    return mean, var, rsqrt(var, eps)


def mean_square_rsqrt(x: Array, axes: Axes, eps: float) -> Array:
    """Return 1/√(mean(x²) + eps) over `axes`, which stay with size 1; guarded as `moments` is."""
    with numpy.errstate(over="ignore"):
        mean_square = pool_mean(x * x, axes)
    if mean_square.size and not mean_square.max() < numpy.inf:
        scale = _scale(x, axes)
        return _scaled_rsqrt(pool_mean(namespace(x).square(x / scale), axes), scale, eps)
    return rsqrt(mean_square, eps)


def rsqrt(var: Array, eps: float) -> Array:
    """Return 1/√(var + eps); with eps = 0 a zero variance gives 0, as its entries are all 0 too.

    Raises:
        ValueError: for a negative eps.
    """
    if eps < 0:
        raise ValueError(f"eps must not be negative, got {eps}")
    xp = namespace(var)
    std = xp.sqrt(var + var.dtype.type(eps))
    if eps > 0 or not var.size or std.min() > 0:
        return 1 / std
    return xp.where(std > 0, 1 / xp.where(std > 0, std, 1), 0)


def _scaled_moments(x: Array, axes: Axes, eps: float) -> tuple[Array, Array, Array]:
    xp = namespace(x)
    scale = _scale(x, axes)
    scaled = x / scale
    mean = pool_mean(scaled, axes)
    var = pool_mean(xp.square(scaled - mean), axes)
    with numpy.errstate(over="ignore", invalid="ignore"):
        return mean * scale, var * scale * scale, _scaled_rsqrt(var, scale, eps)


def _scale(x: Array, axes: Axes) -> Array:
    xp = namespace(x)
    return xp.maximum(xp.abs(x).max(axes, keepdims=True), 1)


def _scaled_rsqrt(var: Array, scale: Array, eps: float) -> Array:
    with numpy.errstate(under="ignore", invalid="ignore"):
        return rsqrt(var + var.dtype.type(eps) / scale / scale, 0.0) / scale


def pool_norm_forward(
    x: Array, weight: Array | None, bias: Array | None, axes: Axes, eps: float
) -> tuple[Array, Array, Array, Array]:
    """Return y, mean, var and rstd; `axes` is the pool, weight and bias broadcast against x."""
    wide = widen(x)
    mean, var, rstd = moments(wide, axes, eps)
    return fixed_norm_forward(x, weight, bias, mean, rstd), mean, var, rstd


def pool_norm_backward(
    dy: Array, x: Array, weight: Array | None, mean: Array, rstd: Array, axes: Axes, affine: Shape | None
) -> tuple[Array, Array | None, Array | None]:
    """Return dx, dweight and dbias; `affine` is the shape of weight and bias, None without either."""
    dy, x = widen(dy), widen(x)
    x_hat = (x - mean) * rstd
    dy_x_hat = dy * x_hat
    dweight = None if weight is None else unbroadcast(dy_x_hat, weight.shape)
    dbias = None if affine is None else unbroadcast(dy, affine)
    g, g_x_hat = (dy, dy_x_hat) if weight is None else (dy * weight, dy_x_hat * weight)
    x_hat *= pool_mean(g_x_hat, axes)
    dx = g - pool_mean(g, axes)
    dx -= x_hat
    dx *= rstd
    return dx, dweight, dbias


def fixed_norm_forward(x: Array, weight: Array | None, bias: Array | None, mean: Array, rstd: Array) -> Array:
    """Return y = w·(x - mean)·rstd + b with given statistics."""
    y = widen(x) - mean
    y *= rstd
    if weight is not None:
        y *= weight
    if bias is not None:
        y += bias
    return y.astype(x.dtype, copy=False)


def fixed_norm_backward(
    dy: Array, x: Array, weight: Array | None, mean: Array, rstd: Array, affine: Shape | None
) -> tuple[Array, Array | None, Array | None]:
    """Return dx, dweight and dbias with the statistics held constant: dx = r·g."""
    dy = widen(dy)
    dbias = None if affine is None else unbroadcast(dy, affine)
    if weight is None:
        return dy * rstd, None, dbias
    return dy * (weight * rstd), unbroadcast(dy * ((widen(x) - mean) * rstd), weight.shape), dbias
