"""The plain loops of crossentropy.py: for x (N, C) row by row, for x (N, C, S) a sample's S columns at once.

Logits, probabilities and masses of a row are read once each, while NumPy makes seven passes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from ...backends import Array, namespace
from ...backends.cpu.blocks import slices, threads_for
from ...backends.cpu.loop_math import exp_of_negative, larger, log
from ...backends.cpu.loops import Loop
from ...backends.cpu.pool_loops import BLOCK, F8, LONG, dtype_of, fits_a_loop, plain
from ..activation.softmax import log_softmax_forward
from ..activation.softmax_axis import log_share


def cross_entropy_forward_loop(
    x: Array, index: Array, losses: Array, p: Array, start: int, zero: float
) -> None:
    """loss = log Σe - (x_t - m), p = e/Σe, e = exp(x - m); `start` is the number of the first row."""
    (N, C), real = x.shape, x.dtype.type
    for n in range(N):
        m = x[n, 0]
        for c in range(C):
            m = larger(m, x[n, c])
        s = zero
        for c in range(C):
            e = exp_of_negative(x[n, c] - m)
            p[n, c] = e
            s += e
        t = index[n] - (start + n) * C
        losses[n] = -log_share(x[n, t], m, log(real(s)))
        share = real(1 / s)
        for c in range(C):
            p[n, c] *= share


def cross_entropy_forward_columns_loop(
    x: Array, index: Array, losses: Array, p: Array, start: int, zero: float
) -> None:
    """The same for x and p (N, C, S), index and losses (N, S)."""
    (N, C, S), real = x.shape, x.dtype.type
    m, s = numpy.empty(S, x.dtype), numpy.empty(S)
    for n in range(N):
        m[:], s[:] = x[n, 0], 0
        for c in range(1, C):
            for j in range(S):
                m[j] = larger(m[j], x[n, c, j])
        for c in range(C):
            for j in range(S):
                e = exp_of_negative(x[n, c, j] - m[j])
                p[n, c, j] = e
                s[j] += e
        for j in range(S):
            t = index[n, j] // S - (start + n) * C
            losses[n, j] = -log_share(x[n, t, j], m[j], log(real(s[j])))
            m[j] = real(1 / s[j])
        for c in range(C):
            for j in range(S):
                p[n, c, j] *= m[j]


def cross_entropy_backward_loop(dlosses: Array, p: Array, index: Array, dx: Array, start: int) -> None:
    """dx = dloss·(p - onehot(t)); there is one dloss for each row, or one for all."""
    N, C = p.shape
    for n in range(N):
        d = dlosses[n % len(dlosses)]
        for c in range(C):
            dx[n, c] = d * p[n, c]
        dx[n, index[n] - (start + n) * C] -= d


def cross_entropy_backward_columns_loop(
    dlosses: Array, p: Array, index: Array, dx: Array, start: int
) -> None:
    """The same for p and dx (N, C, S), index (N, S), dlosses (N, S) or (1, 1)."""
    N, C, S = p.shape
    rows, columns = dlosses.shape
    d = numpy.empty(S, p.dtype)
    for n in range(N):
        for j in range(S):
            d[j] = dlosses[n % rows, j % columns]
        for c in range(C):
            for j in range(S):
                dx[n, c, j] = d[j] * p[n, c, j]
        for j in range(S):
            dx[n, index[n, j] // S - (start + n) * C, j] -= d[j]


def soft_cross_entropy_losses_loop(log_p: Array, q: Array, losses: Array, zero: float) -> None:
    """loss = -Σ q·log p, where 0 times infinity is 0."""
    (N, C), real = q.shape, q.dtype.type
    nothing = real(0)
    for n in range(N):
        s = zero
        for c in range(C):
            s += q[n, c] * log_p[n, c] if q[n, c] != nothing else nothing
        losses[n] = -real(s)


def soft_cross_entropy_backward_loop(dlosses: Array, log_p: Array, q: Array, dx: Array, zero: float) -> None:
    """dx = dloss·(p·Σq - q); there is one dloss for each row, or one for all."""
    (N, C), real = q.shape, q.dtype.type
    for n in range(N):
        s = zero
        for c in range(C):
            s += q[n, c]
        d, sum_q = dlosses[n % len(dlosses)], real(s)
        for c in range(C):
            dx[n, c] = d * (exp_of_negative(log_p[n, c]) * sum_q - q[n, c])


_forward, _forward_columns = Loop(cross_entropy_forward_loop), Loop(cross_entropy_forward_columns_loop)
_backward, _backward_columns = Loop(cross_entropy_backward_loop), Loop(cross_entropy_backward_columns_loop)
_soft_losses, _soft_backward = Loop(soft_cross_entropy_losses_loop), Loop(soft_cross_entropy_backward_loop)


def cross_entropy_forward_by_rows(x: Array, index: Array) -> Any:
    """Return what the body of cross_entropy_forward returns."""
    if not _is_for_loops(x):
        return NotImplemented
    index, losses, p = plain(index), numpy.empty(index.shape, x.dtype), numpy.empty(x.shape, x.dtype)
    loop, zero = (_forward if x.ndim == 2 else _forward_columns), _zero(x)
    if x.size <= BLOCK:
        loop(x, index, losses, p, 0, zero)
        return losses, p
    _run(x, lambda part: loop(x[part], index[part], losses[part], p[part], part.start, zero))
    return losses, p


def cross_entropy_backward_by_rows(dlosses: Array, p: Array, index: Array) -> Any:
    """Return what the body of cross_entropy_backward returns."""
    if not _is_for_loops(p) or dtype_of(dlosses) is not dtype_of(p):
        return NotImplemented
    index, dx, loop = plain(index), numpy.empty(p.shape, p.dtype), _backward
    dlosses = plain(dlosses)
    if not dlosses.ndim:
        dlosses = dlosses.reshape((1,) * index.ndim)
    if p.ndim == 3:
        loop = _backward_columns
    if p.size <= BLOCK:
        loop(dlosses, p, index, dx, 0)
        return dx
    shared = len(dlosses) == 1
    _run(
        p,
        lambda part: loop(dlosses if shared else dlosses[part], p[part], index[part], dx[part], part.start),
    )
    return dx


def soft_cross_entropy_forward_by_rows(x: Array, q: Array) -> Any:
    """Return what the body of soft_cross_entropy_forward returns, for x (N, C)."""
    if not _is_for_loops(x, q):
        return NotImplemented
    log_p, losses, zero = log_softmax_forward(x), namespace(x).empty(len(x), x.dtype), _zero(x)
    _run(x, lambda part: _soft_losses(log_p[part], q[part], losses[part], zero))
    return losses, log_p


def soft_cross_entropy_backward_by_rows(dlosses: Array, log_p: Array, q: Array, needs: Sequence[bool]) -> Any:
    """Return what the body of soft_cross_entropy_backward returns, for q (N, C)."""
    if not _is_for_loops(log_p, q) or dtype_of(dlosses) is not dtype_of(q) or not needs[0]:
        return NotImplemented
    dx, zero, d = namespace(q).empty_like(q), _zero(q), plain(dlosses).reshape(-1)
    shared = len(d) == 1
    _run(q, lambda part: _soft_backward(d if shared else d[part], log_p[part], q[part], dx[part], zero))
    return dx, -(dlosses[:, None] if dlosses.ndim else dlosses) * log_p if needs[1] else None


def _is_for_loops(x: Array, *rows: Array) -> bool:
    """Return whether loops can work on x, not empty, and on `rows`, of two axes and its dtype."""
    return fits_a_loop(x, *rows) and all(a.flags.carray for a in (x, *rows)) and (not rows or x.ndim == 2)


def _zero(x: Array) -> Any:
    return (F8 if x.shape[1] > LONG else x.dtype).type(0)


def _run(x: Array, run_block: Callable[[slice], None]) -> None:
    """Run a loop over blocks of the first axis of x, on several threads if x is large."""
    N = len(x)
    if x.size <= BLOCK:
        run_block(slice(0, N))
        return
    list(threads_for(x.size)(run_block, slices(N, max(1, BLOCK * N // x.size))))
