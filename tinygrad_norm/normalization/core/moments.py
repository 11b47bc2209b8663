"""The one formula behind batch, group, instance and layer normalization.

    m = mean(x)   v = mean((x - m)²)   r = 1/√(v + eps)   x̂ = (x - m)·r   y = w·x̂ + b

They differ only in which entries of x share one m and one v, the pool, and in the axes on which the affine
parameters w and b live.

In the code: m mean, v var, r rstd, x̂ x_hat, w weight, b bias.

Backward, from dy = dL/dy, with a pool of n values. The affine part is elementwise, and its parameters are
shared by all entries that they scale and shift:

    db = Σ dy      dw = Σ dy·x̂      over the axes that w does not have      g := dL/dx̂ = w·dy

Every x_i moves every x̂_j of its pool, so by the chain rule dL/dx_i = Σ_j g_j·∂x̂_j/∂x_i. With x̂_j = (x_j -
m)·r there are three paths from x_i to x̂_j, and their contributions add up:

    straight     ∂x_j/∂x_i = 1 if i = j                     r·g_i
    through m    ∂m/∂x_i = 1/n, ∂x̂_j/∂m = -r                -r·mean(g)
    through r    ∂v/∂x_i = (2/n)·(x_i - m), ∂r/∂v = -r³/2    -r·x̂_i·mean(g·x̂)

    (m also enters v, but Σ_j (x_j - m) = 0, so r does not move with m.)

    dx = r·(g - mean(g) - x̂·mean(g·x̂))

If m and v are held constant (BatchNorm in evaluation), only the straight path is left: dx = r·g.

Insight: dx is r times g without its components along 1 and along x̂: the two directions in which moving the
pool cannot change y.
"""

import numpy

from ...autograd.tensor import Tensor
from ...backends import Array, namespace
from ...ops.dims import Shape


def standardized(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    """Return x̂ over the pools that `axes` make, from primitives."""
    mean = x.mean(axes, keepdim=True)
    centered = x - mean
    var = (centered * centered).mean(axes, keepdim=True)
    rstd = (var + eps) ** -0.5
    return centered * rstd


def affine(x_hat: Tensor, weight: Tensor | None, bias: Tensor | None, shape: Shape | None = None) -> Tensor:
    """Return weight·x_hat + bias from primitives, with both, if not None, reshaped to `shape`."""
    if weight is not None:
        x_hat = x_hat * (weight if shape is None else weight.reshape(shape))
    if bias is not None:
        x_hat = x_hat + (bias if shape is None else bias.reshape(shape))
    return x_hat


def rsqrt(v: Array) -> Array:
    """Return 1/√v, and 0 for v = 0: a pool without variance, and without eps, is all zeros."""
    if type(v) is not numpy.ndarray:
        return namespace(v).where(v == 0, 0, 1 / namespace(v).where(v == 0, 1, v) ** 0.5)
    std = numpy.sqrt(v)
    return numpy.divide(1, std, out=numpy.zeros_like(std), where=std != 0)


def std_of(rstd: Array) -> Array:
    """Return √(v + eps) = 1/rstd, and 0 for rstd = 0, which is `rsqrt` of 0."""
    xp = namespace(rstd)
    return xp.where(rstd == 0, 0, 1 / xp.where(rstd == 0, 1, rstd))


def var_of(rstd: Array, eps: float) -> Array:
    """Return v, given 1/√(v + eps): v + eps, which is what evaluation needs of it, has all digits."""
    return namespace(rstd).maximum(std_of(rstd) ** 2 - eps, 0)
