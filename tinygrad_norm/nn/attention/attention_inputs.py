"""Checks of the inputs of attention: dtypes, sizes, groups of heads and the mask."""

import numpy

from ...autograd.tensor import Tensor
from ...ops.checks import Shape, check_input
from .masks import broadcasts_to, check_mask


def check_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, name: str, grouped: bool = False
) -> tuple[Tensor | None, Shape]:
    """Check the inputs; return the mask, if floating-point in query's dtype, and the weights' (..., L, S)."""
    inputs = query, key, value
    for x in inputs:
        check_input(x, name)
    if not query.dtype == key.dtype == value.dtype:
        raise TypeError(
            f"{name} takes query, key and value of one dtype, got {query.dtype}, {key.dtype} and "
            f"{value.dtype}: convert them, as in key.to(query.dtype)"
        )
    shapes = f"got shapes {query.shape}, {key.shape} and {value.shape}"
    q, k, v = query.shape, key.shape, value.shape
    if min(map(len, (q, k, v))) < 2 or q[-1] != k[-1] or k[-2] != v[-2]:
        raise ValueError(f"{name} takes query (..., L, E), key (..., S, E) and value (..., S, V), {shapes}")
    leads = [x[:-2] for x in (q, k, v)]
    if grouped:
        if min(map(len, leads)) < 1 or k[-3] != v[-3] or not k[-3] or q[-3] % k[-3]:
            raise ValueError(
                f"{name} with enable_gqa takes query (..., G·H, L, E) for key and value of H heads "
                f"(..., H, S, E): the heads of query must be a multiple of theirs, {shapes}"
            )
        leads = [(*lead[:-1], q[-3]) for lead in leads]
    try:
        shape = (*numpy.broadcast_shapes(*leads), q[-2], k[-2])
    except ValueError:
        raise ValueError(
            f"the leading axes of query, key and value must be equal or 1, {shapes}; if key and value have "
            "fewer heads than query, pass enable_gqa=True"
        ) from None
    if mask is None:
        return None, shape
    check_mask(mask, "attn_mask", "takes part")
    if not broadcasts_to(mask.shape, shape):
        raise ValueError(f"attn_mask has shape {mask.shape}, expected one that broadcasts to {shape}")
    return mask.to(query.dtype) if mask.is_floating_point() else mask, shape
