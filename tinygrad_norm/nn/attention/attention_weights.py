"""The weights of attention: p = softmax(cap(scale·q @ kᵀ) + mask), in blocks, for any finite inputs.

A softmax usually subtracts the row's maximum m first, exp(s - m)/Σ exp(s - m), and so has to find every m.
It is faster to compute exp(s) directly and to check that this was safe: no s is large, and no row's sum is
near 0. Only if the check fails is m subtracted.

The plain loops do the same row by row. As S is short, finding every m would take as long as all the rest.

cap is the soft cap c·tanh(s/c), or nothing. It stands before the mask: tanh(-∞) = -1 would let masked
keys in.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy

from ...backends import Array, host_can_read, kernel, namespace
from ...backends.cpu.blocks import slices
from ...backends.cpu.loop_math import exp_of_negative
from ...backends.cpu.loops import Loop
from ...backends.cpu.pool_loops import F8, LONG, fits_a_loop
from ...backends.cuda.launch import CudaSource, contiguous, kept_bytes, packs, teams, wide_empty
from ...backends.cuda.teams import BACKWARD_SHAPES
from ...backends.float_info import finfo

_kernels = CudaSource(__file__, "../../backends/cuda/elements.cuh")

BLOCK = 256 * 1024
"""Elements of p computed at a time: 1 MiB of float32, which a core's cache holds."""

_SAFE = 60.0  # exp(±60) is far from overflow and underflow, in float32 too
_LEAST, _MOST = math.exp(-_SAFE), math.exp(_SAFE)  # sums of rows that are safe
_HIGHEST = 80.0  # what larger scores count as: their rows are not safe, and exp must not overflow
_FEW = 32  # features up to which BLAS takes longer for bᵀ as it is than for a copy of it and the copying


def attention_blocks(p: Array, *others: Array | None) -> Iterator[tuple[Any, ...]]:
    """Yield blocks of the arrays along their first axis. None, and arrays of size 1 there, are not split.

    A GPU gets all at once: blocks would cost launches, and its cache holds none.
    """
    if type(p) is not numpy.ndarray:
        yield p, *others
        return
    size = max(1, BLOCK // max(1, math.prod(p.shape[1:])))
    for part in slices(len(p), size):
        yield tuple([x if x is None or len(x) == 1 else x[part] for x in (p, *others)])


def write_product_with_transposed(a: Array, b: Array, out: Array | None) -> Array:
    """Return a @ bᵀ (..., L, S), written into `out` unless it is None: a (..., L, E), b (..., S, E)."""
    xp, transposed = namespace(a), b.swapaxes(-1, -2)
    if type(a) is numpy.ndarray and a.shape[-1] <= _FEW:
        transposed = numpy.ascontiguousarray(transposed)
    return xp.matmul(a, transposed, out=out)


def _cap(scores: Array, softcap: float) -> None:
    """Replace the scores s by softcap·tanh(s/softcap), in place."""
    scores /= softcap
    namespace(scores).tanh(scores, out=scores)
    scores *= softcap


def _all_finite(scores: Array) -> bool:
    """Return whether no score has overflowed: its cap would be that of another number."""
    return bool(scores.min() > -math.inf and scores.max() < math.inf)


@kernel
def write_attention_weights(
    q: Array, k: Array, mask: Array | None, scale: float, p: Array, softcap: float | None = None
) -> None:
    """Write softmax(cap(scale·q @ kᵀ) + mask) into p, and zeros into rows that are masked completely.

    q (..., L, E), k (..., S, E), p (..., L, S). The mask broadcasts to p: floating-point numbers are added to
    the scores; if it is bool, True means that a key takes part. `softcap` is c of the soft cap, or None.
    """
    if p.size == 0:
        return
    xp = namespace(p)
    if not host_can_read(p):  # the host would have to wait to look whether a shortcut is safe
        _write_weights_of_any_scores(q, k, mask, scale, p, softcap)
        return
    added, allowed = _added_and_allowed(mask)
    write_product_with_transposed(q * scale, k, p)
    safe = True
    if softcap is not None:
        safe = _all_finite(p)
        _cap(p, softcap)
    if added is not None:
        p += added
    safe = safe and p.max() < _SAFE
    if safe:
        xp.exp(p, out=p)
        if allowed is not None:
            p *= allowed
        total = xp.einsum("...s->...", p)[..., None]
        safe = total.min() > math.exp(-_SAFE)
    if not safe:
        _exp_below_maximum(q, k, mask, scale, p, softcap)
        total = xp.einsum("...s->...", p)[..., None]
        total += total == 0
    p /= total


def attention_weights_loop(p: Array, mask: Array, scale: float, zero: float, left: Array) -> None:
    """Turn rows of scores into weights; `left` becomes True if a row needs its maximum subtracted.

    mask (M, S) is added: its row n % M to row n of p (N, S), nothing if it has no rows.
    """
    (N, S), M, real = p.shape, len(mask), p.dtype.type
    least, most, highest = real(_LEAST), real(_MOST), real(_HIGHEST)
    for n in range(N):
        total = zero
        if M > 0:
            for i in range(S):
                score = p[n, i] * scale + mask[n % M, i]
                e = exp_of_negative(highest if score > highest else score)
                p[n, i] = e
                total += e
        else:
            for i in range(S):
                score = p[n, i] * scale
                e = exp_of_negative(highest if score > highest else score)
                p[n, i] = e
                total += e
        left[0] |= not least < total < most
        share = real(1 / total)
        for i in range(S):
            p[n, i] *= share


_weights_loop = Loop(attention_weights_loop)


@write_attention_weights.cpu
def write_attention_weights_by_rows(
    q: Array, k: Array, mask: Array | None, scale: float, p: Array, softcap: float | None = None
) -> Any:
    """Do what the body does, or leave it to the body."""
    if not _is_for_loops(p):
        return NotImplemented
    S, left = p.shape[-1], namespace(p).zeros(1, bool)
    write_product_with_transposed(q, k, p)
    if softcap is not None:
        if not _all_finite(p):
            return NotImplemented
        p *= scale
        _cap(p, softcap)
        scale = 1.0
    _weights_loop(p.reshape(-1, S), _added_rows(mask, p), p.dtype.type(scale), _zero(p), left)
    return NotImplemented if left[0] else None


@write_attention_weights.cuda
def write_attention_weights_cuda(
    q: Array, k: Array, mask: Array | None, scale: float, p: Array, softcap: float | None = None
) -> None:
    """The product of q/a and k/b, then one kernel, which reads and writes p once."""
    if not p.size or not p.flags.c_contiguous:
        write_attention_weights.numpy_version(q, k, mask, scale, p, softcap)
        return
    a, b = _power_on_device(q), _power_on_device(k)
    write_product_with_transposed(q / a, k / b, p)
    S = p.shape[-1]
    N = p.size // S
    mask, sizes, steps = (None, (1, 1), (0, 0, 0, 0)) if mask is None else _mask_steps(mask, p)
    added, allowed = _added_and_allowed(mask)
    shape = teams(S, p)
    shared = kept_bytes(shape, S, p)
    args = p, added, allowed, a, b, N, S, *sizes, *steps, scale, softcap or 0.0, shared > 0
    _kernels.launch("attention_weights", p.dtype, shape.template, shape.blocks(N), shape.block, args, shared)


def _power_on_device(x: Array) -> Array:
    """Return `_power_of_two_above(x)`, () on the device, in two launches."""
    (x,) = contiguous(x)
    power = namespace(x).empty((), x.dtype)
    vector, blocks = packs(x)
    largest = wide_empty(x, min(blocks, 1024))
    _kernels.launch("largest_magnitudes", x.dtype, (vector,), largest.size, 256, (x, largest, x.size))
    highest = 2.0 ** (finfo(x.dtype).maxexp - 1)
    _kernels.launch("power_of_two_above", x.dtype, (), 1, 256, (largest, power, largest.size, highest))
    return power


def _mask_steps(mask: Array, p: Array) -> tuple[Array, tuple[int, int], tuple[int, ...]]:
    """Return the mask, contiguous; L and H of p (batch, H, L, S); the mask's steps along these four axes."""
    xp, (*lead, L, S) = namespace(p), p.shape
    if mask.dtype.kind == "f" and mask.dtype != p.dtype:
        mask = mask.astype(p.dtype)
    shape = (*(1,) * (p.ndim - mask.ndim), *mask.shape)
    if len(lead) > 2 and math.prod(shape[:-2]) > 1:
        return xp.array(xp.broadcast_to(mask, p.shape), order="C"), (p.size // S, 1), (0, 0, S, 1)
    (mask,) = contiguous(mask)
    steps = [math.prod(shape[i + 1 :]) if size > 1 else 0 for i, size in enumerate(shape)]
    batch, head = (0, 0, *steps[:-2])[-2:]
    return mask, (L, lead[-1] if lead else 1), (batch, head, *steps[-2:])


def _is_for_loops(*arrays: Array) -> bool:
    return fits_a_loop(*arrays) and all(x.flags.c_contiguous for x in arrays)


def _zero(p: Array) -> Any:
    return (F8 if p.shape[-1] > LONG else p.dtype).type(0)


def _added_rows(mask: Array | None, p: Array) -> Array:
    """Return what is added to the scores as rows (M, S), which repeat over those of p (..., L, S)."""
    xp = namespace(p)
    if mask is None:
        return xp.empty((0, p.shape[-1]), p.dtype)
    added = mask if mask.dtype.kind == "f" else xp.where(mask, 0, -math.inf)
    shared = math.prod(mask.shape[:-2]) == 1
    shape = (mask.shape[-2] if shared else -1, p.shape[-1])
    target = (*mask.shape[:-1], p.shape[-1]) if shared else p.shape
    return xp.array(xp.broadcast_to(added, target), p.dtype, order="C").reshape(shape)


@kernel
def softmax_gradient(ds: Array, p: Array) -> None:
    """Turn ds = dL/dp (..., S) into dL/ds for p = softmax(s), in place."""
    if host_can_read(p):
        ds -= namespace(p).einsum("...s,...s->...", ds, p)[..., None]
    else:  # CuPy's einsum would call cuBLAS for each row
        ds -= (ds * p).sum(-1, keepdims=True)
    ds *= p


def softmax_gradient_loop(ds: Array, p: Array, zero: float) -> None:
    """One row after the other: once for δ = Σ ds·p, once to write ds."""
    (N, S), real = p.shape, p.dtype.type
    for n in range(N):
        total = zero
        for i in range(S):
            total += ds[n, i] * p[n, i]
        delta = real(total)
        for i in range(S):
            ds[n, i] = p[n, i] * (ds[n, i] - delta)


_gradient_loop = Loop(softmax_gradient_loop)


@softmax_gradient.cpu
def softmax_gradient_by_rows(ds: Array, p: Array) -> Any:
    """Do what the body does, or leave it to the body."""
    if not _is_for_loops(ds, p):
        return NotImplemented
    S = p.shape[-1]
    return _gradient_loop(ds.reshape(-1, S), p.reshape(-1, S), _zero(p))


@softmax_gradient.cuda
def softmax_gradient_cuda(ds: Array, p: Array) -> None:
    """One kernel: ds and p are read once, ds is written once."""
    if not (ds.flags.c_contiguous and p.flags.c_contiguous):
        softmax_gradient.numpy_version(ds, p)
        return
    S = p.shape[-1]
    N, shape = p.size // S, teams(S, p, ds, shapes=BACKWARD_SHAPES)
    args = ds, p, N, S
    _kernels.launch("attention_gradient", p.dtype, shape.template, shape.blocks(N), shape.block, args)


@kernel
def softcap_gradient(ds: Array, q: Array, k: Array, scale: float, softcap: float) -> None:
    """Turn ds = dL/d(capped scores) (..., L, S) into dL/d(scores), in place: ds·(1 - tanh²(s/softcap)).

    The scores s are computed again, in another array of the size of ds.
    """
    if ds.size == 0:
        return
    a, b = (_power_of_two_above(x) if host_can_read(x) else 1.0 for x in (q, k))
    t = write_product_with_transposed(q / a, k / b, None)
    for factor in (scale / softcap, a, b):
        t *= factor
    namespace(t).tanh(t, out=t)
    ds *= 1 - t * t


@softcap_gradient.cuda
def softcap_gradient_cuda(ds: Array, q: Array, k: Array, scale: float, softcap: float) -> None:
    """The product of q/a and k/b, then one kernel: ds and s are read once, ds is written once."""
    if not ds.size or not ds.flags.c_contiguous:
        softcap_gradient.numpy_version(ds, q, k, scale, softcap)
        return
    a, b = _power_on_device(q), _power_on_device(k)
    s = write_product_with_transposed(q / a, k / b, namespace(ds).empty_like(ds))
    vector, blocks = packs(ds, s)
    args = ds, s, a, b, ds.size, scale, softcap
    _kernels.launch("softcap_gradient", ds.dtype, (vector,), blocks, 256, args)


def _added_and_allowed(mask: Array | None) -> tuple[Array | None, Array | None]:
    if mask is None:
        return None, None
    return (None, mask) if mask.dtype.kind == "b" else (mask, None)


def _write_weights_of_any_scores(
    q: Array, k: Array, mask: Array | None, scale: float, p: Array, softcap: float | None
) -> None:
    """Write the weights from scores/2ᵉ, which cannot overflow, without looking at a value."""
    xp = namespace(p)
    added, allowed = _added_and_allowed(mask)
    of_q, of_k = _exponent_above(q), _exponent_above(k)
    e = of_q + of_k
    write_product_with_transposed(xp.ldexp(q, -of_q) * scale, xp.ldexp(k, -of_k), p)
    if softcap is not None:
        xp.ldexp(p, e, out=p)
        _cap(p, softcap)
        e = 0 * e
    if added is not None:
        p += xp.ldexp(added, -e)
    if allowed is not None:
        p += xp.where(allowed, 0.0, -xp.inf).astype(p.dtype)
    m = p.max(-1, keepdims=True)
    p -= xp.where(m == -xp.inf, 0, m)
    xp.ldexp(p, e, out=p)
    xp.exp(p, out=p)
    total = p.sum(-1, keepdims=True)
    p /= total + (total == 0)


def _exponent_above(x: Array) -> Array:
    """Return the integer e () >= 0 with all |x| < 2ᵉ, or 0 if x is not finite."""
    xp = namespace(x)
    if not x.size:
        return xp.zeros((), numpy.int32)
    largest = abs(x).max()
    return xp.maximum(xp.frexp(xp.where(largest < math.inf, largest, 0))[1], 0)


def _exp_below_maximum(
    q: Array, k: Array, mask: Array | None, scale: float, p: Array, softcap: float | None
) -> None:
    """Write exp(s - m) into p, computed from s/(a·b): the products of q/a and k/b cannot overflow."""
    xp = namespace(p)
    added, allowed = _added_and_allowed(mask)
    a, b = _power_of_two_above(q), _power_of_two_above(k)
    xp.matmul(q / a, (k / b).swapaxes(-1, -2), out=p)
    p *= scale
    if softcap is not None:
        p *= a
        p *= b
        _cap(p, softcap)
        a = b = 1.0
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
    """Return 1, or the power of two above all |x|, or the largest there is: dividing by it is exact."""
    highest = finfo(x.dtype).maxexp - 1
    return 2.0 ** min(int(_exponent_above(x)), highest)
