"""The GRU of gru.py with a plain loop or a kernel for each time step, as in lstm_steps.py."""

from collections.abc import Callable, Sequence
from typing import Any

from ...backends import Array, namespace
from ...backends.cpu.loop_math import sigmoid, tanh
from ...backends.cpu.loops import Loop
from ...backends.cpu.pool_loops import fits_a_loop
from ...backends.cuda.elements import ElementSource
from .unrolled import (
    column_parts,
    freeze,
    input_and_weight_gradients,
    input_product,
    step_bias,
    time_order,
    trajectory,
)

_kernels = ElementSource(__file__)


def gru_step_loop(
    a: Array, q: Array, bias_ih: Array, bias_hh: Array, h: Array, q_n: Array, h_after: Array
) -> None:
    """Turn a = p_t (N, 3, H), without its bias, into the gates r, z, n; write q_n and h_t."""
    N, _, H = a.shape
    for i in range(N):
        for j in range(H):
            a[i, 0, j] = sigmoid(a[i, 0, j] + bias_ih[0, j] + (q[i, 0, j] + bias_hh[0, j]))
        for j in range(H):
            a[i, 1, j] = sigmoid(a[i, 1, j] + bias_ih[1, j] + (q[i, 1, j] + bias_hh[1, j]))
        for j in range(H):
            q_n[i, j] = q[i, 2, j] + bias_hh[2, j]
        for j in range(H):
            a[i, 2, j] = tanh(a[i, 2, j] + bias_ih[2, j] + a[i, 0, j] * q_n[i, j])
        for j in range(H):
            h_after[i, j] = a[i, 2, j] + a[i, 1, j] * (h[i, j] - a[i, 2, j])


def gru_step_backward_loop(dh: Array, gates: Array, q_n: Array, h: Array, d: Array, straight: Array) -> None:
    """Write d (N, 4, H), dh times the four factors n·r, r, z, n, and dh·z, its straight path."""
    (N, _, H), one = gates.shape, dh.dtype.type(1)
    for i in range(N):
        for j in range(H):
            n = gates[i, 2, j]
            d[i, 3, j] = dh[i, j] * (one - gates[i, 1, j]) * (one - n * n)
        for j in range(H):
            d[i, 0, j] = d[i, 3, j] * gates[i, 0, j]
        for j in range(H):
            d[i, 1, j] = d[i, 0, j] * q_n[i, j] * (one - gates[i, 0, j])
        for j in range(H):
            z = gates[i, 1, j]
            d[i, 2, j] = dh[i, j] * (h[i, j] - gates[i, 2, j]) * z * (one - z)
        for j in range(H):
            straight[i, j] = dh[i, j] * gates[i, 1, j]


_step, _step_backward = Loop(gru_step_loop), Loop(gru_step_backward_loop)


def gru_forward_by_steps(x: Array, *args: Any) -> Any:
    """Return what the body of gru_forward returns, or leave it to the body."""
    return _forward(_step, x, *args) if fits_a_loop(x) else NotImplemented


def gru_forward_by_kernels(x: Array, *args: Any) -> tuple[Array, ...]:
    """Return what the body of gru_forward returns, with two launches for each step."""
    return _forward(_kernels.step("gru_step", 4), x, *args)


def gru_backward_by_steps(*args: Any) -> Any:
    """Return what the body of gru_backward returns, or leave it to the body."""
    return _backward(_step_backward, *args) if fits_a_loop(args[2]) else NotImplemented


def gru_backward_by_kernels(*args: Any) -> tuple[Array | None, ...]:
    """Return what the body of gru_backward returns, with four launches for each step."""
    return _backward(_kernels.step("gru_step_backward", 3), *args)


def _forward(
    step: Callable[..., None],
    x: Array,
    h0: Array | None,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None,
    bias_hh: Array | None,
    padding: Array | None,
    reverse: bool,
) -> Any:
    xp, (T, N, _), (K, H) = namespace(x), x.shape, weight_hh.shape
    gates = input_product(x, weight_ih, None).reshape(T, N, 3, H)
    biases = step_bias(3, H, x, bias_ih), step_bias(3, H, x, bias_hh)
    h, h_after = trajectory(h0, H, x, reverse)
    q_n, q = xp.empty_like(h), xp.empty_like(gates[0])
    weight_parts, q_parts = column_parts(xp.ascontiguousarray(weight_hh.T), q.reshape(N, K))
    for t in time_order(T, reverse):
        xp.matmul(h[t], weight_parts, out=q_parts)
        step(gates[t], q, *biases, h[t], q_n[t], h_after[t])
        freeze(h_after, h, padding, t)
    return h, h_after, q_n, gates.reshape(T, N, K)


def _backward(
    step: Callable[..., None],
    dy: Array,
    dh: Array,
    x: Array,
    weight_ih: Array,
    weight_hh: Array,
    padding: Array | None,
    reverse: bool,
    h: Array,
    q_n: Array,
    gates: Array,
    needs: Sequence[bool],
) -> Any:
    xp, (T, N, H) = namespace(x), h.shape
    d, gates = xp.empty((T, N, 4, H), x.dtype), gates.reshape(T, N, 3, H)
    dh, straight = dh.copy(), xp.empty((N, H), x.dtype)
    weight_parts, dh_parts = column_parts(xp.roll(weight_hh, H, 0), dh)
    for t in reversed(time_order(T, reverse)):
        dh += dy[t]
        step(dh, gates[t], q_n[t], h[t], d[t], straight)
        if padding is not None:
            xp.copyto(d[t], 0, where=padding[t, :, None])
            xp.copyto(straight, dh, where=padding[t])
        xp.matmul(d[t].reshape(N, 4 * H)[:, : 3 * H], weight_parts, out=dh_parts)
        dh += straight
    d = d.reshape(T * N, 4 * H)
    dx, dweight_ih, dweight_hh, dbias_ih, dbias_hh = input_and_weight_gradients(
        d[:, H:], d[:, : 3 * H], x, h, weight_ih, (needs[0], *needs[2:])
    )
    dweight_hh, dbias_hh = (None if w is None else xp.roll(w, -H, 0) for w in (dweight_hh, dbias_hh))
    return dx, dh, dweight_ih, dweight_hh, dbias_ih, dbias_hh
