"""Layout: what is normalized over its last axes, as the rows that the array functions know."""

import math

from ...backends import Array
from ...ops.checks import Shape


def as_rows(x: Array, normalized_shape: Shape) -> Array:
    """Return x (..., *normalized_shape) as (N, D)."""
    if x.ndim == 2 and len(normalized_shape) == 1:
        return x
    D = math.prod(normalized_shape)
    return x.reshape(x.size // D, D)


def as_vector(weight: Array | None) -> Array | None:
    """Return a weight or bias of normalized_shape as (D,)."""
    return weight if weight is None or weight.ndim == 1 else weight.reshape(-1)
