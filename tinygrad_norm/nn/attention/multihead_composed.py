"""Multi-head attention from primitives, one head after the other, with places for norms."""

import math
from collections.abc import Callable
from typing import Any

from ...autograd.tensor import Tensor
from ...ops import cat, stack, zeros
from ..linear import linear_composed
from .scaleddotproduct import attention_composed

Three = tuple[Tensor, Tensor, Tensor]
Inputs = Callable[[Tensor, Tensor, Tensor], Three]


def multihead_attention_composed(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    key_padding_mask: Tensor | None,
    *parameters: Tensor | None,
    embed_dim: int,
    num_heads: int,
    add_zero_attn: bool = False,
    is_causal: bool = False,
    softcap: float | None = None,
    scale: float | None = None,
    all_heads: Inputs = lambda q, k, v: (q, k, v),
    each_head: Inputs = lambda q, k, v: (q, k, v),
    inner_norm: Callable[[Tensor], Tensor] = lambda y: y,
    **others: Any,
) -> tuple[Tensor, Tensor]:
    """Multi-head attention, batch first or of one sample, from primitives: a loop over the heads.

    `parameters` are the layer's, in its order; `others` are the options that decide which ones it has.
    `all_heads` and `each_head` take queries, keys and values, of all heads together and then of one head, and
    return those that attention gets.
    """
    weights, biases, bias_k, bias_v, out_weight, out_bias = _split_parameters(parameters, **others)
    inputs = zip((query, key, value), weights, biases, strict=True)
    q, k, v = (linear_composed(x, weight, bias) for x, weight, bias in inputs)
    S, added = key.shape[-2], (*key.shape[:-2], 1, embed_dim)
    if bias_k is not None:
        k, v = (cat([x, token.expand(1, *added)[0]], -2) for x, token in ((k, bias_k), (v, bias_v)))
    if add_zero_attn:
        k, v = (cat([x, zeros(added, dtype=x.dtype)], -2) for x in (k, v))
    size, extra = embed_dim // num_heads, k.shape[-2] - S
    q, k, v = all_heads(q, k, v)
    ys, ws = [], []
    for head in range(num_heads):
        part = slice(head * size, (head + 1) * size)
        mask = zeros(query.shape[-2], S + extra, dtype=q.dtype)
        if attn_mask is not None:
            own_mask = attn_mask if attn_mask.ndim == 2 else attn_mask[head::num_heads]
            mask = mask + _float_mask(own_mask, extra, q)
        if key_padding_mask is not None:
            mask = mask + _float_mask(key_padding_mask, extra, q).unsqueeze(-2)
        of_head = each_head(q[..., part], k[..., part], v[..., part])
        y, w = attention_composed(*of_head, mask, scale=scale, softcap=softcap)
        ys.append(y)
        ws.append(w)
    return linear_composed(inner_norm(cat(ys, -1)), out_weight, out_bias), stack(ws).mean(0)


def _split_parameters(
    parameters: tuple[Any, ...],
    bias: bool = True,
    add_bias_kv: bool = False,
    kdim: int | None = None,
    vdim: int | None = None,
    batch_first: bool = True,
) -> tuple[Any, ...]:
    """Return the three weights, their biases, bias_k, bias_v, and the output's weight and bias."""
    rest = iter(parameters)
    weights = next(rest).chunk(3) if kdim is None and vdim is None else (next(rest), next(rest), next(rest))
    biases = next(rest).chunk(3) if bias else (None,) * 3
    tokens = (next(rest), next(rest)) if add_bias_kv else (None, None)
    return weights, biases, *tokens, next(rest), next(rest) if bias else None


def _float_mask(mask: Tensor, extra: int, like: Tensor) -> Tensor:
    """Return a mask as numbers added to the scores, 0 for `extra` more keys at the end."""
    if not mask.is_floating_point():
        mask = zeros(mask.shape, dtype=like.dtype).masked_fill(mask, -math.inf)
    return cat([mask, zeros((*mask.shape[:-1], extra), dtype=like.dtype)], -1)
