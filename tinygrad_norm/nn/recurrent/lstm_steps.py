"""The LSTM of lstm.py with a plain loop or a kernel for each time step: the products stay with BLAS.

Between two products a step reads and writes every number once, while it is in the cache. The loops have one
inner loop for each array they write, which the compiler can then vectorize.
"""

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
    mask_padding,
    step_bias,
    time_order,
    trajectory,
)

_kernels = ElementSource(__file__)


def lstm_step_loop(
    a: Array, q: Array, bias: Array, c: Array, c_after: Array, tanh_c: Array, m: Array
) -> None:
    """Turn a = p_t (N, 4, H) into the gates i, f, g, o of p_t + q + bias; write c_t, tanh(c_t) and m_t."""
    N, _, H = a.shape
    for n in range(N):
        for j in range(H):
            a[n, 0, j] = sigmoid(a[n, 0, j] + q[n, 0, j] + bias[0, j])
        for j in range(H):
            a[n, 1, j] = sigmoid(a[n, 1, j] + q[n, 1, j] + bias[1, j])
        for j in range(H):
            a[n, 2, j] = tanh(a[n, 2, j] + q[n, 2, j] + bias[2, j])
        for j in range(H):
            a[n, 3, j] = sigmoid(a[n, 3, j] + q[n, 3, j] + bias[3, j])
        for j in range(H):
            c_after[n, j] = a[n, 1, j] * c[n, j] + a[n, 0, j] * a[n, 2, j]
        for j in range(H):
            tanh_c[n, j] = tanh(c_after[n, j])
        for j in range(H):
            m[n, j] = a[n, 3, j] * tanh_c[n, j]


def lstm_step_backward_loop(dm: Array, gates: Array, c: Array, tanh_c: Array, dc: Array, da: Array) -> None:
    """Turn dc = dL/dc_t, without the path through m_t, into dL/dc_{t-1}; write da (N, 4, H)."""
    (N, _, H), one = gates.shape, dc.dtype.type(1)
    for n in range(N):
        for j in range(H):
            o = gates[n, 3, j]
            da[n, 3, j] = dm[n, j] * tanh_c[n, j] * o * (one - o)
        for j in range(H):
            dc[n, j] += dm[n, j] * gates[n, 3, j] * (one - tanh_c[n, j] * tanh_c[n, j])
        for j in range(H):
            i = gates[n, 0, j]
            da[n, 0, j] = dc[n, j] * gates[n, 2, j] * i * (one - i)
        for j in range(H):
            f = gates[n, 1, j]
            da[n, 1, j] = dc[n, j] * c[n, j] * f * (one - f)
        for j in range(H):
            g = gates[n, 2, j]
            da[n, 2, j] = dc[n, j] * gates[n, 0, j] * (one - g * g)
        for j in range(H):
            dc[n, j] *= gates[n, 1, j]


_step, _step_backward = Loop(lstm_step_loop), Loop(lstm_step_backward_loop)


def lstm_forward_by_steps(x: Array, *args: Any) -> Any:
    """Return what the body of lstm_forward returns, or leave it to the body."""
    return _forward(_step, x, *args) if fits_a_loop(x) else NotImplemented


def lstm_forward_by_kernels(x: Array, *args: Any) -> tuple[Array, ...]:
    """Return what the body of lstm_forward returns, with two launches for each step."""
    return _forward(_kernels.step("lstm_step", 3), x, *args)


def lstm_backward_by_steps(*args: Any) -> Any:
    """Return what the body of lstm_backward returns, or leave it to the body."""
    return _backward(_step_backward, *args) if fits_a_loop(args[3]) else NotImplemented


def lstm_backward_by_kernels(*args: Any) -> tuple[Array | None, ...]:
    """Return what the body of lstm_backward returns, with three launches for each step."""
    return _backward(_kernels.step("lstm_step_backward", 3), *args)


def _forward(
    step: Callable[..., None],
    x: Array,
    h0: Array | None,
    c0: Array | None,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None,
    bias_hh: Array | None,
    weight_hr: Array | None,
    padding: Array | None,
    reverse: bool,
) -> tuple[Array, ...]:
    xp = namespace(x)
    (T, N, _), (K, P) = x.shape, weight_hh.shape
    H = K // 4
    gates = input_product(x, weight_ih, None).reshape(T, N, 4, H)
    weight, bias = xp.ascontiguousarray(weight_hh.T), step_bias(4, H, x, bias_ih, bias_hh)
    h, h_after = trajectory(h0, P, x, reverse)
    c, c_after = trajectory(c0, H, x, reverse)
    tanh_c, q, m = xp.empty_like(c), xp.empty_like(gates[0]), xp.empty_like(c[0])
    weight_parts, q_parts = column_parts(weight, q.reshape(N, K))
    for t in time_order(T, reverse):
        xp.matmul(h[t], weight_parts, out=q_parts)
        step(gates[t], q, bias, c[t], c_after[t], tanh_c[t], h_after[t] if weight_hr is None else m)
        if weight_hr is not None:
            xp.matmul(m, weight_hr.T, out=h_after[t])
        freeze(h_after, h, padding, t)
        freeze(c_after, c, padding, t)
    return h, h_after, c, c_after, tanh_c, gates.reshape(T, N, K)


def _backward(
    step: Callable[..., None],
    dy: Array,
    dh: Array,
    dc: Array,
    x: Array,
    weight_ih: Array,
    weight_hh: Array,
    weight_hr: Array | None,
    padding: Array | None,
    reverse: bool,
    h: Array,
    c: Array,
    tanh_c: Array,
    gates: Array,
    needs: Sequence[bool],
) -> tuple[Array | None, ...]:
    xp = namespace(x)
    T, N, H = c.shape
    da, gates = xp.empty_like(gates), gates.reshape(T, N, 4, H)
    dhs = None if weight_hr is None else xp.empty_like(dy)
    dh, dc = dh.copy(), dc.copy()
    weight_parts, dh_parts = column_parts(weight_hh, dh)
    for t in reversed(time_order(T, reverse)):
        dh += dy[t]
        if dhs is not None:
            dhs[t] = dh
        dm = dh if weight_hr is None else dh @ weight_hr
        ended = None if padding is None else (padding[t], dh * padding[t], dc.copy())
        step(dm, gates[t], c[t], tanh_c[t], dc, da[t].reshape(N, 4, H))
        if ended is not None:
            xp.copyto(da[t], 0, where=ended[0])
            xp.copyto(dc, ended[2], where=ended[0])
        xp.matmul(da[t], weight_parts, out=dh_parts)
        if ended is not None:
            dh += ended[1]
    rows = da.reshape(T * N, 4 * H)
    dweight_hr = None
    if dhs is not None and needs[7]:
        dhs = mask_padding(dhs, padding).reshape(T * N, dhs.shape[2])
        dweight_hr = dhs.T @ (gates[:, :, 3] * tanh_c).reshape(T * N, H)
    dx, *others = input_and_weight_gradients(rows, rows, x, h, weight_ih, (needs[0], *needs[3:7]))
    return dx, dh, dc, *others, dweight_hr
