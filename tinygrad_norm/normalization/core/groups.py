"""Groups of neighbours along the last axis: x (..., D) as (N, G, K) with D = G·K, one statistic each."""

from typing import Any

from ...autograd.tensor import Tensor
from ...backends import Array
from ...backends.cpu.blocks import in_blocks
from ...ops.arguments import as_size
from ...ops.checks import check_rows


def as_group_size(D: int, group_size: int | None, name: str) -> int:
    """Return `group_size`, D for None.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it is not positive, or if groups of that size do not make up D.
    """
    if group_size is None:
        return D
    size = as_size(group_size, "group_size")
    if D % size:
        raise ValueError(
            f"{name} cannot cut {D} entries into groups of {size}: group_size must divide the last size"
        )
    return size


def check_groups(input: Tensor, group_size: int | None, weight: Tensor | None, eps: float, name: str) -> int:
    """Return the size of a group, after checks of input (..., D), weight (D,) or None, and eps."""
    last = tuple(getattr(input, "shape", ())[-1:])
    (D,) = check_rows(input, last, eps, name, weight=weight)
    return as_group_size(D, group_size, name)


def as_groups(group_size: int, *arrays: Array | None) -> list[Any]:
    """Return arrays (..., D) as (N, G, K), and the last, a weight (D,) or None, as (1, G, K)."""
    D = arrays[0].shape[-1] if arrays[0] is not None else 0
    return [None if a is None else a.reshape(-1, D // group_size, group_size) for a in arrays]


@in_blocks("u_hat", weight=1.0)
def scaled_groups(u_hat: Array, weight: Array | None) -> Array:
    """Return weight·u_hat, for u_hat (N, G, K) and weight (1, G, K)."""
    return weight * u_hat
