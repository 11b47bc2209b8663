"""An LSTM whose gates and memory cell are normalized; batchnormlstm.py and layernormlstm.py say how.

    p = x @ w_ihᵀ   q_t = h_{t-1} @ w_hhᵀ
    a_t = norm(p_t; γ_ih) + norm(q_t; γ_hh) + b       a (T, N, 4H), four gates concatenated

    i = σ(a_i)   f = σ(a_f)   g = tanh(a_g)   o = σ(a_o)    input gate, forget gate, new value, output gate

    c_t = f·c_{t-1} + i·g      ĉ = norm(c_t; γ_c, β_c)      h_t = o·tanh(ĉ)      y_t = h_t

What step t passes to step t + 1 is c_t, not ĉ. norm(p) and norm(q) have no shift: b is one for both.

Backward, for one step, from dh_t (unrolled.py derives how it adds up) and dc_t, the gradient from step t + 1.
It is the one of lstm.py, with the backward of a normalization on three of its paths; these are derived in
batchnorm.py and layernorm.py:

    through h to o   da_o = dh·tanh(ĉ)·o·(1 - o)
    through h to ĉ   dĉ = dh·o·(1 - tanh²(ĉ))
    through ĉ to c   dc += backward of norm(c)(dĉ), and dγ_c, dβ_c       dc is complete now
    through c to a   da_i = dc·g·i·(1 - i)   da_f = dc·c_{t-1}·f·(1 - f)   da_g = dc·i·(1 - g²)
    through c to c   dc_{t-1} = dc·f
    through a to q   dq = backward of norm(q)(da), and dγ_hh
    through q to h   dh_{t-1} = dq @ w_hh + dy_{t-1}

and for all steps at once dp = backward of norm(p)(da), dγ_ih, db = Σ da, dx = dp @ w_ih and the gradients of
the weights.

Insight: norm(c) stands beside the memory's path, not on it: dc_{t-1} = dc·f is as straight as in an LSTM.
"""

import abc
from collections.abc import Sequence
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.sums import column_sums
from ...module import Parameter
from ...ops.arguments import as_number, check_flags
from ...ops.checks import check_eps
from .. import init
from .lstm import State, as_pair
from .recurrent_module import Recurrent
from .unrolled import (
    Lengths,
    check_layer,
    check_tensors,
    freeze,
    gate_scale,
    input_and_weight_gradients,
    input_product,
    last_state,
    mask_padding,
    time_order,
    trajectory,
)

NAMES = ("ih", "hh", "c")
"""What is normalized: the product with x, the product with h, and the memory cell."""


class StepNorm(abc.ABC):
    """A normalization of rows (N, K) at step t, or of all steps (T·N, K) for t = None."""

    @abc.abstractmethod
    def forward(
        self, name: str, t: int | None, x: Array, gamma: Array, beta: Array | None
    ) -> tuple[Array, Any]:
        """Return gamma·x̂ + beta, and what `backward` needs; `name` is one of NAMES."""

    @abc.abstractmethod
    def backward(self, dy: Array, saved: Any) -> tuple[Array, Array, Array]:
        """Return dx, dgamma and dbeta."""


@kernel
def normalized_lstm_forward(
    x: Array,
    h0: Array | None,
    c0: Array | None,
    weight_ih: Array,
    weight_hh: Array,
    gamma_ih: Array,
    gamma_hh: Array,
    gamma_c: Array,
    beta_c: Array | None,
    bias: Array | None,
    norm: StepNorm,
    padding: Array | None,
    reverse: bool,
) -> tuple[Any, ...]:
    """Return h and c before and after every step, tanh(ĉ), the gates i, f, g, o, and what the norms saved.

    x (T, N, D) is 0 where padding (T, N, 1) is True; h, c and tanh(ĉ) are (T, N, H), the gates (T, N, 4H).
    """
    xp, (T, N, _), H = namespace(x), x.shape, weight_hh.shape[1]
    scale = gate_scale((0.5, 0.5, 1, 0.5), H, x)  # σ as a tanh
    p = input_product(x, weight_ih, None).reshape(T * N, 4 * H)
    p_hat, of_p = norm.forward("ih", None, p, gamma_ih, None)
    gates = (p_hat if bias is None else p_hat + bias).reshape(T, N, 4 * H)
    h, h_after = trajectory(h0, H, x, reverse)
    c, c_after = trajectory(c0, H, x, reverse)
    tanh_c, of_q, of_c = xp.empty_like(c), [None] * T, [None] * T
    for t in time_order(T, reverse):
        q_hat, of_q[t] = norm.forward("hh", t, h[t] @ weight_hh.T, gamma_hh, None)
        gates[t] = xp.tanh((gates[t] + q_hat) * scale) * scale + (1 - scale)
        i, f, g, o = (gates[t, :, k * H : (k + 1) * H] for k in range(4))
        c_after[t] = f * c[t] + i * g
        freeze(c_after, c, padding, t)
        c_hat, of_c[t] = norm.forward("c", t, c_after[t], gamma_c, beta_c)
        tanh_c[t] = xp.tanh(c_hat)
        h_after[t] = o * tanh_c[t]
        freeze(h_after, h, padding, t)
    return h, h_after, c, c_after, tanh_c, gates, (of_p, of_q, of_c)


@kernel
def normalized_lstm_backward(
    dy: Array,
    dh: Array,
    dc: Array,
    x: Array,
    weight_ih: Array,
    weight_hh: Array,
    norm: StepNorm,
    padding: Array | None,
    reverse: bool,
    h: Array,
    c: Array,
    tanh_c: Array,
    gates: Array,
    saved: tuple[Any, list[Any], list[Any]],
    needs: Sequence[bool],
) -> tuple[Array | None, ...]:
    """Return the gradients of x, h0, c0, both weights, the gammas, beta_c and the bias.

    dy (T, N, H) is 0 in the padding; dh and dc (N, H) are the gradients of the last states; h and c are the
    states before every step. The gradients of x and the weights are None where `needs` is False.
    """
    xp, (T, N, H), (of_p, of_q, of_c) = namespace(x), c.shape, saved
    gates = gates.reshape(T, N, 4, H)
    i, f, g, o = (gates[:, :, k] for k in range(4))
    da = gates * (1 - gates)  # times dc or dh: the gradients of a
    da[:, :, 0] *= g
    da[:, :, 1] *= c
    da[:, :, 2] = i * (1 - g * g)
    da[:, :, 3] *= tanh_c
    h_to_c_hat = o * (1 - tanh_c * tanh_c)
    if padding is not None:
        da *= ~padding[..., None]
        h_to_c_hat *= ~padding
        f = xp.where(padding, 1, f)
    dq = xp.empty((T, N, 4 * H), x.dtype)
    dgamma_hh: Any = 0
    dgamma_c: Any = 0
    dbeta_c: Any = 0
    for t in reversed(time_order(T, reverse)):
        dh = dh + dy[t]
        from_c_hat, dgamma, dbeta = norm.backward(dh * h_to_c_hat[t], of_c[t])
        dgamma_c, dbeta_c = dgamma_c + dgamma, dbeta_c + dbeta
        dc = dc + from_c_hat
        da[t, :, :3] *= dc[:, None]
        da[t, :, 3] *= dh
        dc = dc * f[t]
        dq[t], dgamma, _ = norm.backward(da[t].reshape(N, 4 * H), of_q[t])
        dgamma_hh = dgamma_hh + dgamma
        kept = 0 if padding is None else dh * padding[t]
        dh = dq[t] @ weight_hh + kept
    rows = da.reshape(T * N, 4 * H)
    dp, dgamma_ih, _ = norm.backward(rows, of_p)
    dx, dweight_ih, dweight_hh, *_ = input_and_weight_gradients(
        dp, dq.reshape(T * N, 4 * H), x, h, weight_ih, (needs[0], *needs[3:5], False, False)
    )
    gammas = dgamma_ih, dgamma_hh, dgamma_c, dbeta_c
    return dx, dh, dc, dweight_ih, dweight_hh, *gammas, column_sums(rows)


class NormalizedLSTMFunction(Function):
    """c_t = f·c_{t-1} + i·g, h_t = o·tanh(norm(c_t)) · dc_{t-1} = dc·f, dh_{t-1} = dq @ w_hh + dy_{t-1}"""

    def forward(
        self,
        x: Array,
        *states_and_weights: Array | None,
        norm: StepNorm,
        padding: Array | None,
        reverse: bool,
    ) -> tuple[Array, ...]:
        arrays = [None if array is None else upcast(array) for array in states_and_weights]
        rows = namespace(x).ascontiguousarray(mask_padding(upcast(x), padding))
        h, h_after, c, c_after, tanh_c, gates, found = normalized_lstm_forward(
            rows, *arrays, norm, padding, reverse
        )
        weight_ih, weight_hh, *gammas, _, _ = arrays[2:]
        steps = h, c, tanh_c, gates, found
        # h_after is y, which shares memory with h; the gammas are in `found`. They are saved so that an
        # in-place change of them is detected.
        self.saved = rows, weight_ih, weight_hh, norm, padding, reverse, *steps, h_after, *gammas
        ys = mask_padding(h_after, padding), last_state(h_after, reverse), last_state(c_after, reverse)
        return tuple([downcast(y, x) for y in ys])

    def backward(self, dy: Array, dh: Array, dc: Array) -> Gradients:
        saved = self.saved[:11]
        dy, dh, dc = (upcast(d) for d in (dy, dh, dc))
        return normalized_lstm_backward(mask_padding(dy, saved[4]), dh, dc, *saved, self.needs)


def check_normalized_layer(
    name: str,
    input: Tensor,
    hx: State | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    gamma_ih: Tensor,
    gamma_hh: Tensor,
    gamma_c: Tensor,
    beta_c: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> tuple[Tensor | None, Tensor | None]:
    """Return h0 and c0; raise an error unless the shapes and dtypes fit, and eps is not negative."""
    N, H = check_layer(name, input, weight_ih, 4)
    h0, c0 = as_pair(hx) or (None, None)
    check_tensors(
        input,
        h0=(h0, (N, H)),
        c0=(c0, (N, H)),
        weight_hh=(weight_hh, (4 * H, H)),
        gamma_ih=(gamma_ih, (4 * H,)),
        gamma_hh=(gamma_hh, (4 * H,)),
        gamma_c=(gamma_c, (H,)),
        beta_c=(beta_c, (H,)),
        bias=(bias, (4 * H,)),
    )
    check_eps(eps)
    return h0, c0


class NormalizedLSTM(Recurrent):
    """Base of BatchNormLSTM and LayerNormLSTM: their parameters, beside the weights of an LSTM."""

    gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        eps: float,
        gamma: float,
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, False, batch_first, dropout, bidirectional)
        check_flags(bias=bias)
        check_eps(eps)
        self.bias, self.eps, self.start = bias, eps, as_number(gamma, "gamma")
        H = hidden_size
        sizes = {"gamma_ih": 4 * H, "gamma_hh": 4 * H, "gamma_c": H, "beta_c": H}
        if bias:
            sizes["bias"] = 4 * H
        for suffix, _ in self._suffixes:
            for name, size in sizes.items():
                self.register_parameter(name + suffix, Parameter(numpy.zeros(size, numpy.float32)))
        self._reset_norms()

    def reset_parameters(self) -> None:
        """Initialize all weights, biases and scales again."""
        super().reset_parameters()
        self._reset_norms()

    def _reset_norms(self) -> None:
        for name, parameter in self.named_parameters():
            if name.startswith("gamma"):
                init.constant_(parameter, self.start)
            elif name.startswith(("beta", "bias")):
                init.zeros_(parameter)

    def _weights(self, suffix: str) -> dict[str, Tensor]:
        names = ("weight_ih", "weight_hh", "gamma_ih", "gamma_hh", "gamma_c", "beta_c", "bias")
        return {name: getattr(self, name + suffix) for name in names if hasattr(self, name + suffix)}

    def forward(
        self, input: Tensor, hx: State | None = None, lengths: Lengths | None = None
    ) -> tuple[Tensor, State]:
        y, (h, c) = self.run(input, as_pair(hx), lengths)
        return y, (h, c)
