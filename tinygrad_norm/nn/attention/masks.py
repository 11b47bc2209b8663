"""Masks of attention: which query may look at which key.

Two conventions meet here, both PyTorch's. For `scaled_dot_product_attention` True means that a key takes
part; for MultiheadAttention and the transformers True means that it is left out. Floating-point masks
are added to the scores in both: 0 lets a key take part, -∞ leaves it out.
"""

import functools
import math
from typing import Any

import numpy

from ...autograd.tensor import Tensor
from ...backends import asarray
from ...ops import add, bitwise_or, cat, full, zeros
from ...ops.checks import Shape


def causal_mask(L: int, S: int) -> Tensor:
    """Return the bool mask (L, S) under which query l sees the keys 0 to l: True takes part."""
    return Tensor._wrap(asarray(numpy.tri(L, S, dtype=bool)))


def check_mask(mask: Any, name: str, true_means: str) -> None:
    """Refuse a mask that holds neither bools, of which `true_means` says what True does, nor real numbers."""
    if not isinstance(mask, Tensor) or mask.dtype.kind not in "bf":
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(
            f"{name} holds bools (True {true_means}) or floating-point numbers (added to the scores), "
            f"got {kind}"
        )


def broadcasts_to(shape: Shape, target: Shape) -> bool:
    """Return whether an array of `shape` broadcasts to exactly `target`."""
    sizes = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(n in (1, m) for n, m in sizes)


def joined_mask(
    attn_mask: Tensor | None,
    key_padding_mask: Tensor | None,
    shape: Shape,
    dtype: Any,
    *,
    batched: bool,
    unmasked: int,
) -> Tensor | None:
    """Return MultiheadAttention's two masks as one for `scaled_dot_product_attention`.

    Args:
        attn_mask: (L, S) or (N·H, L, S), True or -∞ where a key is left out.
        key_padding_mask: (N, S), or (S,) where the input is not batched, the same.
        shape: N, H, L, S.
        dtype: of the scores, and of the mask where one of the two has numbers.
        batched: whether the input has a batch axis.
        unmasked: how many more keys follow, which every query sees.

    Raises:
        TypeError: for masks of integers.
        ValueError: for masks of other shapes.
    """
    N, H, L, S = shape
    masks = [
        _viewed(attn_mask, "attn_mask", {(L, S): (1, 1, L, S), (N * H, L, S): (N, H, L, S)}),
        _viewed(key_padding_mask, "key_padding_mask", {(N, S) if batched else (S,): (N, 1, 1, S)}),
    ]
    given = [mask for mask in masks if mask is not None]
    if not given:
        return None
    if all(mask.dtype.kind == "b" for mask in given):
        mask = functools.reduce(bitwise_or, given).logical_not()
    else:
        mask = functools.reduce(add, (_added(mask, dtype) for mask in given))
    if not unmasked:
        return mask
    seen = full((*mask.shape[:-1], unmasked), mask.dtype.kind == "b", dtype=mask.dtype)
    return cat([mask, seen], -1)


def _viewed(mask: Tensor | None, name: str, views: dict[Shape, Shape]) -> Tensor | None:
    if mask is None:
        return None
    check_mask(mask, name, "leaves a key out")
    if mask.shape not in views:
        raise ValueError(f"{name} has shape {mask.shape}, expected {' or '.join(map(str, views))}")
    return mask.reshape(views[mask.shape])


def _added(mask: Tensor, dtype: Any) -> Tensor:
    if mask.dtype.kind == "f":
        return mask.to(dtype)
    return zeros(mask.shape, dtype=dtype).masked_fill(mask, -math.inf)
