"""Masks of attention: which query attends to which key.

PyTorch has two conventions. In `scaled_dot_product_attention` True means that a key takes part; in
MultiheadAttention and the transformers True means that it is left out. Floating-point masks are added to
the scores in both: 0 lets a key take part, -∞ leaves it out.
"""

import functools
import math
from typing import Any

from ...autograd.tensor import Tensor
from ...backends import current_backend
from ...ops import add, bitwise_or, cat, full, zeros
from ...ops.checks import Shape


def causal_mask(L: int, S: int) -> Tensor:
    """Return the bool mask (L, S) with which query l attends to the keys 0 to l: True takes part."""
    xp = current_backend().namespace
    return Tensor._wrap(xp.arange(L)[:, None] >= xp.arange(S))


def check_mask(mask: Any, name: str, true_means: str) -> None:
    """Raise TypeError unless a mask holds bools (`true_means` says what True does) or real numbers."""
    if not isinstance(mask, Tensor) or mask.dtype.kind not in "bf":
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(
            f"{name} must hold bools (True {true_means}) or floating-point numbers (added to the scores), "
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
        key_padding_mask: (N, S), or (S,) if the input is not batched, with the same values.
        shape: N, H, L, S.
        dtype: of the scores, and of the result if one of the masks is floating-point.
        batched: whether the input has a batch axis.
        unmasked: the number of additional keys at the end, which every query attends to.

    Raises:
        TypeError: if a mask holds integers.
        ValueError: if a mask has another shape.
    """
    N, H, L, S = shape
    masks = [
        _reshaped(attn_mask, "attn_mask", {(L, S): (1, 1, L, S), (N * H, L, S): (N, H, L, S)}),
        _reshaped(key_padding_mask, "key_padding_mask", {(N, S) if batched else (S,): (N, 1, 1, S)}),
    ]
    given = [mask for mask in masks if mask is not None]
    if not given:
        return None
    if all(mask.dtype.kind == "b" for mask in given):
        mask = functools.reduce(bitwise_or, given).logical_not()
    else:
        mask = functools.reduce(add, (_as_float_mask(mask, dtype) for mask in given))
    if not unmasked:
        return mask
    allowed = full((*mask.shape[:-1], unmasked), mask.dtype.kind == "b", dtype=mask.dtype)
    return cat([mask, allowed], -1)


def _reshaped(mask: Tensor | None, name: str, shapes: dict[Shape, Shape]) -> Tensor | None:
    if mask is None:
        return None
    check_mask(mask, name, "leaves a key out")
    if mask.shape not in shapes:
        raise ValueError(f"{name} has shape {mask.shape}, expected {' or '.join(map(str, shapes))}")
    return mask.reshape(shapes[mask.shape])


def _as_float_mask(mask: Tensor, dtype: Any) -> Tensor:
    if mask.dtype.kind == "f":
        return mask.to(dtype)
    return zeros(mask.shape, dtype=dtype).masked_fill(mask, -math.inf)
