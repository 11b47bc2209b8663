"""Trust ratios: how long a parameter is beside its update, which sets the length of the step."""

from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..normalization.gradient.clipping import get_total_norm


def length(x: Array) -> Array:
    """Return the root of the sum of squares, an array of shape (); no square overflows."""
    return get_total_norm(Tensor._wrap(x)).array.astype(x.dtype, copy=False)


def ratio_or_one(numerator: Array, denominator: Array, w: Array, u: Array) -> Array:
    """Return numerator/denominator, but 1 if the length of the parameter (w) or of the update (u) is 0."""
    xp = namespace(w)
    return xp.where((w > 0) & (u > 0), numerator / denominator, xp.ones_like(w))
