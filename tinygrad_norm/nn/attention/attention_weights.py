"""The weights of attention: p = softmax(scale·q @ kᵀ + mask), in blocks, for any finite inputs.

A softmax usually subtracts the row's maximum m first, exp(s - m)/Σ exp(s - m), and so has to find every m.
It is faster to compute exp(s) directly and to check that this was safe: no s is large, and no row's sum is
near 0. Only if the check fails is m subtracted.
"""

import math
from collections.abc import Iterator
from typing import Any

from ...backends import Array, namespace
from ...backends.cpu.blocks import slices

BLOCK = 256 * 1024
"""Elements of p computed at a time: 1 MiB of float32, which a core's cache holds."""

_SAFE = 60.0  # exp(±60) is far from overflow and underflow, in float32 too


def attention_blocks(p: Array, *others: Array | None) -> Iterator[tuple[Any, ...]]:
    """Yield blocks of the arrays along their first axis. None, and arrays of size 1 there, are not split."""
    size = max(1, BLOCK // max(1, math.prod(p.shape[1:])))
    for part in slices(len(p), size):
        yield tuple([x if x is None or len(x) == 1 else x[part] for x in (p, *others)])


def write_attention_weights(q: Array, k: Array, mask: Array | None, scale: float, p: Array) -> None:
    """Write softmax(scale·q @ kᵀ + mask) into p, and zeros into rows that are masked completely.

    q (..., L, E), k (..., S, E), p (..., L, S). The mask broadcasts to p: floating-point numbers are added to
    the scores; if it is bool, True means that a key takes part.
    """
    if p.size == 0:
        return
    xp = namespace(p)
    added, allowed = _added_and_allowed(mask)
    xp.matmul(q * scale, k.swapaxes(-1, -2), out=p)
    if added is not None:
        p += added
    safe = p.max() < _SAFE
    if safe:
        xp.exp(p, out=p)
        if allowed is not None:
            p *= allowed
        total = xp.einsum("...s->...", p)[..., None]
        safe = total.min() > math.exp(-_SAFE)
    if not safe:
        _exp_below_maximum(q, k, mask, scale, p)
        total = xp.einsum("...s->...", p)[..., None]
        total += total == 0
    p /= total


def _added_and_allowed(mask: Array | None) -> tuple[Array | None, Array | None]:
    if mask is None:
        return None, None
    return (mask, None) if mask.dtype.kind == "f" else (None, mask)


def _exp_below_maximum(q: Array, k: Array, mask: Array | None, scale: float, p: Array) -> None:
    """Write exp(s - m) into p, computed from s/(a·b): the products of q/a and k/b cannot overflow."""
    xp = namespace(p)
    added, allowed = _added_and_allowed(mask)
    a, b = _power_of_two_above(q), _power_of_two_above(k)
    xp.matmul(q / a, (k / b).swapaxes(-1, -2), out=p)
    p *= scale
    if added is not None:
        p += added / a / b
    if allowed is not None:
        p += xp.where(allowed, 0.0, -xp.inf).astype(p.dtype)
    m = p.max(-1, keepdims=True)
    p -= xp.where(m == -xp.inf, 0, m)
    p *= a
    p *= b
    xp.exp(p, out=p)


def _power_of_two_above(x: Array) -> float:
    """Return 1, or the power of two above all |x|: dividing by it is exact."""
    return 2.0 ** max(0, math.frexp(float(abs(x).max()))[1]) if x.size else 1.0
