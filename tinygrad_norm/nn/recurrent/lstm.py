"""LSTM: a recurrent network with a memory cell that gates read, write and clear.

    a_t = x_t @ w_ihᵀ + b_ih + h_{t-1} @ w_hhᵀ + b_hh      a (T, N, 4H), four gates concatenated

    i = σ(a_i)   f = σ(a_f)   g = tanh(a_g)   o = σ(a_o)    input gate, forget gate, new value, output gate

    c_t = f·c_{t-1} + i·g      m_t = o·tanh(c_t)      h_t = m_t      y_t = h_t

With a projection (P < H) weight_hr (P, H), h_t = m_t @ w_hrᵀ, and h and y have P features.

Hochreiter, Schmidhuber 1997; forget gate: Gers, Schmidhuber, Cummins 2000; projection: Sak, Senior,
Beaufays 2014, arXiv:1402.1128.

Backward, for one step, from dh_t (unrolled.py derives how it adds up) and dc_t, the gradient from step t + 1.
c_t reaches the loss through m_t and through c_{t+1}; by the chain rule both contributions add up:

    through w_hr     dm = dh @ w_hr   dw_hr = Σt dhᵀ @ m     (dm = dh without a projection)
    through m to o   da_o = dm·tanh(c)·o·(1 - o)
    through m to c   dc += dm·o·(1 - tanh²(c))               dc is complete now
    through c to i   da_i = dc·g·i·(1 - i)
    through c to f   da_f = dc·c_{t-1}·f·(1 - f)
    through c to g   da_g = dc·i·(1 - g²)
    through c to c   dc_{t-1} = dc·f
    through a to h   dh_{t-1} = da @ w_hh + dy_{t-1}

and dp = dq = da. The factors of dm and dc are known from the forward pass. They are computed for all steps at
once, so that the loop needs only a few multiplications, sums and one product.

Insight: dc_{t-1} = dc·f passes no weight and no squashing function. If f stays near 1, a gradient
lives as long as the memory does; in a plain recurrent network it is multiplied by w_hh every step.
"""

from collections.abc import Callable, Sequence
from typing import Any

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.half import downcast, upcast
from ...ops import ones, sigmoid, tanh
from ...ops.checks import Shape
from ...registry import Case, ErrorCase, register
from ..linear import linear_composed
from .lstm_steps import (
    lstm_backward_by_kernels,
    lstm_backward_by_steps,
    lstm_forward_by_kernels,
    lstm_forward_by_steps,
)
from .recurrent_module import Recurrent, RecurrentCell, States
from .unrolled import (
    Lengths,
    check_layer,
    check_step,
    check_tensors,
    composed_layer,
    freeze,
    gate_scale,
    input_and_weight_gradients,
    input_product,
    last_state,
    mask_padding,
    padding_mask,
    recurrent_weights,
    scale_rows,
    sum_biases,
    time_order,
    torch_layer,
    trajectory,
    zeros_for_none,
)

State = tuple[Tensor, Tensor]
"""The hidden state h and the memory cell c."""


def lstm_cell_composed(
    input: Tensor,
    hx: State | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    weight_hr: Tensor | None = None,
) -> State:
    """One step of an LSTM from primitives: autograd finds the gradient."""
    P, H = weight_hh.shape[1], weight_hh.shape[0] // 4
    h, c = zeros_for_none(hx or (None, None), (P, H), input)
    a = linear_composed(input, weight_ih, bias_ih) + linear_composed(h, weight_hh, bias_hh)
    i, f, g, o = a.chunk(4, -1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    m = sigmoid(o) * tanh(c)
    return m if weight_hr is None else m @ weight_hr.T, c


def lstm_layer_composed(
    input: Tensor,
    hx: State | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    weight_hr: Tensor | None = None,
    lengths: Lengths | None = None,
    reverse: bool = False,
) -> tuple[Tensor, ...]:
    """LSTM over a sequence from primitives, step by step: autograd finds the gradient."""

    def step(x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c = states
        return lstm_cell_composed(x, (h, c), weight_ih, weight_hh, bias_ih, bias_hh, weight_hr)

    sizes = weight_hh.shape[1], weight_hh.shape[0] // 4
    return composed_layer(step, input, zeros_for_none(hx or (None, None), sizes, input), lengths, reverse)


@kernel
def lstm_forward(
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
    """Return h and c before and after every step, tanh(c), and the gates i, f, g, o concatenated.

    x (T, N, D) is 0 where padding (T, N, 1) is True; h (T, N, P), c and tanh(c) (T, N, H), gates (T, N, 4H).
    """
    xp = namespace(x)
    H, P = weight_hh.shape[0] // 4, weight_hh.shape[1]
    scale = gate_scale((0.5, 0.5, 1, 0.5), H, x)
    shift = 1 - scale
    gates = input_product(x, scale_rows(weight_ih, scale), sum_biases(bias_ih, bias_hh, scale=scale))
    weight = xp.ascontiguousarray(scale_rows(weight_hh, scale).T)
    h, h_after = trajectory(h0, P, x, reverse)
    c, c_after = trajectory(c0, H, x, reverse)
    tanh_c = xp.empty_like(c)
    q, written = xp.empty_like(gates[0]), xp.empty_like(c[0])
    for t in time_order(len(x), reverse):
        a, c_t = gates[t], c_after[t]
        a += xp.matmul(h[t], weight, out=q)
        xp.tanh(a, out=a)
        a *= scale
        a += shift
        xp.multiply(a[:, H : 2 * H], c[t], out=c_t)
        c_t += xp.multiply(a[:, :H], a[:, 2 * H : 3 * H], out=written)
        xp.tanh(c_t, out=tanh_c[t])
        if weight_hr is None:
            xp.multiply(a[:, 3 * H :], tanh_c[t], out=h_after[t])
        else:
            xp.matmul(a[:, 3 * H :] * tanh_c[t], weight_hr.T, out=h_after[t])
        freeze(h_after, h, padding, t)
        freeze(c_after, c, padding, t)
    return h, h_after, c, c_after, tanh_c, gates


lstm_forward.cpu(lstm_forward_by_steps)
lstm_forward.cuda(lstm_forward_by_kernels)


@kernel
def lstm_backward(
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
    """Return the gradients of x, h0, c0, both weights, both biases and weight_hr.

    dy (T, N, P) is 0 in the padding; dh (N, P) and dc (N, H) are the gradients of the last states; h and c
    are the states before every step. The gradients of x, the weights and the biases are None where
    `needs` is False.
    """
    xp = namespace(x)
    T, N, H = c.shape
    gates = gates.reshape(T, N, 4, H)
    i, f, g, o = (gates[:, :, gate] for gate in range(4))
    da = gates * gates
    xp.subtract(gates, da, out=da)
    da[:, :, 0] *= g
    da[:, :, 1] *= c
    da[:, :, 2] = i * (1 - g * g)
    da[:, :, 3] *= tanh_c
    m_to_c = o * (1 - tanh_c * tanh_c)
    if padding is not None:
        da *= ~padding[..., None]
        m_to_c *= ~padding
        f = xp.where(padding, 1, f)
    dhs = None if weight_hr is None else xp.empty_like(dy)
    dh, dc, dc_from_m = dh.copy(), dc.copy(), xp.empty_like(dc)
    for t in reversed(time_order(T, reverse)):
        dh += dy[t]
        if dhs is not None:
            dhs[t] = dh
        dm = dh if weight_hr is None else dh @ weight_hr
        dc += xp.multiply(dm, m_to_c[t], out=dc_from_m)
        da[t, :, :3] *= dc[:, None]
        da[t, :, 3] *= dm
        dc *= f[t]
        frozen = None if padding is None else dh * padding[t]
        xp.matmul(da[t].reshape(N, 4 * H), weight_hh, out=dh)
        if frozen is not None:
            dh += frozen
    rows = da.reshape(T * N, 4 * H)
    dweight_hr = None
    if dhs is not None and needs[7]:
        dhs = mask_padding(dhs, padding).reshape(T * N, dhs.shape[2])
        dweight_hr = dhs.T @ (o * tanh_c).reshape(T * N, H)
    dx, *others = input_and_weight_gradients(rows, rows, x, h, weight_ih, (needs[0], *needs[3:7]))
    return dx, dh, dc, *others, dweight_hr


lstm_backward.cpu(lstm_backward_by_steps)
lstm_backward.cuda(lstm_backward_by_kernels)


class LSTMFunction(Function):
    """c_t = f·c_{t-1} + i·g, h_t = o·tanh(c_t) · dc_{t-1} = dc·f, dh_{t-1} = da @ w_hh + dy_{t-1}"""

    def forward(
        self, x: Array, *states_and_weights: Array | None, padding: Array | None, reverse: bool
    ) -> tuple[Array, ...]:
        arrays = [None if array is None else upcast(array) for array in states_and_weights]
        rows = namespace(x).ascontiguousarray(mask_padding(upcast(x), padding))
        h, h_after, c, c_after, tanh_c, gates = lstm_forward(rows, *arrays, padding, reverse)
        _, _, weight_ih, weight_hh, _, _, weight_hr = arrays
        # h_after is y, which shares memory with h. It is saved so that an in-place change of y is detected.
        self.saved = rows, weight_ih, weight_hh, weight_hr, padding, reverse, h, c, tanh_c, gates, h_after
        ys = mask_padding(h_after, padding), last_state(h_after, reverse), last_state(c_after, reverse)
        return tuple([downcast(y, x) for y in ys])

    def backward(self, dy: Array, dh: Array, dc: Array) -> Gradients:
        *saved, _ = self.saved
        dy, dh, dc = (upcast(d) for d in (dy, dh, dc))
        return lstm_backward(mask_padding(dy, saved[4]), dh, dc, *saved, self.needs)


def lstm_layer(
    input: Tensor,
    hx: State | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    weight_hr: Tensor | None = None,
    lengths: Lengths | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer of an LSTM over a sequence, in one direction.

    Args:
        input: (T, N, D), T >= 1.
        hx: the initial h (N, P) and c (N, H), or None for zeros. P is H without weight_hr.
        weight_ih: (4H, D), gates in the order i, f, g, o.
        weight_hh: (4H, P).
        bias_ih: (4H,), or None.
        bias_hh: (4H,), or None.
        weight_hr: (P, H), which projects h, or None.
        lengths: (N,) integers in [0, T]; after its end, a sequence has outputs 0 and keeps its states.
        reverse: whether to run backwards, from the end of each sequence.

    Returns:
        y (T, N, P), and the last h (N, P) and c (N, H).

    Raises:
        TypeError: if the input is not a floating-point tensor, the dtypes differ, or hx is not a pair.
        ValueError: if the shapes do not fit, T is 0, or a length is outside [0, T].

    Source: Hochreiter, Schmidhuber 1997; Gers, Schmidhuber, Cummins 2000.
    """
    N, H = check_layer("lstm_layer", input, weight_ih, 4)
    P = H if weight_hr is None else weight_hr.shape[0]
    h0, c0 = as_pair(hx) or (None, None)
    check_tensors(
        input,
        h0=(h0, (N, P)),
        c0=(c0, (N, H)),
        weight_hh=(weight_hh, (4 * H, P)),
        bias_ih=(bias_ih, (4 * H,)),
        bias_hh=(bias_hh, (4 * H,)),
        weight_hr=(weight_hr, (P, H)),
    )
    return LSTMFunction.apply(
        input,
        h0,
        c0,
        weight_ih,
        weight_hh,
        bias_ih,
        bias_hh,
        weight_hr,
        padding=padding_mask(lengths, input),
        reverse=reverse,
    )


def as_pair(hx: States | None) -> State | None:
    """Return h and c, or None for None. Raises TypeError unless hx is a pair."""
    if hx is None:
        return None
    if not isinstance(hx, tuple | list) or len(hx) != 2:
        raise TypeError(f"the state of an LSTM must be a pair (h, c), got {type(hx).__name__}")
    h, c = hx
    return h, c


def lstm_cell(
    input: Tensor,
    hx: State | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
) -> State:
    """Return h and c after one step of an LSTM: lstm_layer of one time step, for input (N, D)."""
    check_step(input, "lstm_cell")
    _, h, c = lstm_layer(input.unsqueeze(0), hx, weight_ih, weight_hh, bias_ih, bias_hh)
    return h, c


class LSTM(Recurrent):
    """LSTM over a sequence: stacked layers, each in one direction or in both.

    Takes x (T, N, input_size), with batch_first (N, T, input_size), or (T, input_size) for one sequence;
    hx, the initial (h, c), or None for zeros; and lengths (N,), the number of steps of each sequence
    (in any order; 0 is allowed). Returns y, of x's shape with directions·P features, and the last (h, c):
    h (layers·directions, N, P) and c (layers·directions, N, hidden_size). P is proj_size, or hidden_size
    if that is 0. In the padding y and the gradients of x are 0, and the values of x are ignored.

    Parameters of layer k: weight_ih_lk (4·hidden_size, features of its input), weight_hh_lk
    (4·hidden_size, P), bias_ih_lk and bias_hh_lk (4·hidden_size,), weight_hr_lk (P, hidden_size) with a
    projection; those of the reverse direction end in _reverse. Source: Hochreiter, Schmidhuber 1997.
    """

    gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size
        )

    def run_layer(
        self,
        x: Tensor,
        states: States | None,
        weights: dict[str, Tensor],
        lengths: Lengths | None,
        reverse: bool,
    ) -> States:
        return lstm_layer(x, as_pair(states), **weights, lengths=lengths, reverse=reverse)

    def forward(
        self, input: Tensor, hx: State | None = None, lengths: Lengths | None = None
    ) -> tuple[Tensor, State]:
        y, (h, c) = self.run(input, as_pair(hx), lengths)
        return y, (h, c)


class LSTMCell(RecurrentCell):
    """One step of an LSTM.

    Takes x (N, input_size), or (input_size,) without a batch, and (h, c) before the step, or None for
    zeros; returns (h, c) after it, each (N, hidden_size) or (hidden_size,). Parameters: weight_ih
    (4·hidden_size, input_size), weight_hh (4·hidden_size, hidden_size), bias_ih and bias_hh.
    """

    gates = 4

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__(input_size, hidden_size, bias)

    def run_step(self, x: Tensor, states: States | None) -> States:
        return lstm_cell(x, as_pair(states), self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)

    def forward(self, input: Tensor, hx: State | None = None) -> State:
        h, c = self.run(input, as_pair(hx))
        return h, c


def _flat(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` with h0 and c0 as two arguments, as the registry passes them."""

    def call(
        input: Tensor, h0: Tensor | None, c0: Tensor | None, *weights: Tensor | None, **options: Any
    ) -> Any:
        return function(input, (h0, c0), *weights, **options)

    return call


_STATES = (2, 2), (2, 2)
_STATES_P = (2, 1), (2, 2)
_SMALL = recurrent_weights(8, 1, 2)
_FULL = recurrent_weights(8, 3, 2, biases=True)
_PROJECTED = *recurrent_weights(8, 1, 1), None, None, (1, 2)


def _run_ones(
    x: Shape = (3, 2, 3),
    h0: Shape = (2, 2),
    c0: Shape = (2, 2),
    weight_ih: Shape = (8, 3),
    weight_hh: Shape = (8, 2),
    bias_ih: Shape = (8,),
    **options: Any,
) -> tuple[Tensor, ...]:
    hx = ones(h0), ones(c0)
    return lstm_layer(ones(x), hx, ones(weight_ih), ones(weight_hh), ones(bias_ih), **options)


def _in_torch(torch: Any, input: Any, h0: Any, c0: Any, *weights: Any, reverse: bool = False) -> Any:
    return torch_layer(torch.lstm, input, (h0, c0), weights, reverse)


register(
    name="lstm",
    function=_flat(lstm_layer),
    composed=_flat(lstm_layer_composed),
    parameters=("weights",),
    cases=(
        Case(((2, 2, 3), *_STATES, *_FULL)),
        Case(((3, 2, 1), None, None, *_SMALL), {"reverse": True}),
        Case(((3, 2, 1), *_STATES_P, *_PROJECTED)),
        Case(((2, 2, 1), *_STATES_P, *_PROJECTED), {"lengths": (2, 1)}),
        Case(((3, 2, 1), *_STATES, *_SMALL), {"lengths": (2, 0)}),
        Case(((3, 2, 1), *_STATES, *_SMALL), {"lengths": (1, 3), "reverse": True}),
        Case(((1, 2, 1), *_STATES, *_SMALL, None, (8,))),
        Case(((3, 0, 3), (0, 2), (0, 2), *_FULL)),
    ),
    errors=(
        ErrorCase(lambda: _run_ones(x=(3, 2, 4)), ValueError, "takes x (T, N, 3)"),
        ErrorCase(lambda: _run_ones(x=(0, 2, 3)), ValueError, "at least one time step"),
        ErrorCase(lambda: _run_ones(h0=(1, 2)), ValueError, "h0 has shape (1, 2), expected (2, 2)"),
        ErrorCase(lambda: _run_ones(c0=(2, 3)), ValueError, "c0 has shape (2, 3), expected (2, 2)"),
        ErrorCase(lambda: _run_ones(weight_ih=(6, 3)), ValueError, "weight_ih (4·H, D)"),
        ErrorCase(lambda: _run_ones(weight_hh=(8, 3)), ValueError, "weight_hh has shape (8, 3)"),
        ErrorCase(lambda: _run_ones(bias_ih=(2,)), ValueError, "bias_ih has shape (2,), expected (8,)"),
        ErrorCase(lambda: _run_ones(lengths=(4, 1)), ValueError, "between 0 and the 3 steps"),
        ErrorCase(
            lambda: lstm_layer(ones(3, 2, 3), ones(2, 2), ones(8, 3), ones(8, 2)),  # type: ignore[arg-type]
            TypeError,
            "a pair (h, c), got Tensor",
        ),
        ErrorCase(lambda: LSTM(3, 2, proj_size=2), ValueError, "smaller than hidden_size (2)"),
    ),
    kind="block",
    title="LSTM",
    paper="Hochreiter, Schmidhuber 1997",
    torch=_in_torch,
    bench=(
        Case(((32, 32, 128), (32, 128), (32, 128), *recurrent_weights(512, 128, 128, biases=True))),
        Case(((8, 64, 8), (64, 64), (64, 64), *recurrent_weights(256, 8, 64, biases=True))),
    ),
)
register(
    name="lstm_cell",
    function=_flat(lstm_cell),
    composed=_flat(lstm_cell_composed),
    parameters=("weights",),
    cases=(
        Case(((2, 3), *_STATES, *_FULL)),
        Case(((2, 1), None, None, *_SMALL)),
        Case(((0, 3), (0, 2), (0, 2), *_FULL)),
    ),
    errors=(
        ErrorCase(lambda: lstm_cell(ones(3), None, ones(8, 3), ones(8, 2)), ValueError, "takes x (N, D)"),
        ErrorCase(lambda: lstm_cell(ones(2, 4), None, ones(8, 3), ones(8, 2)), ValueError, "takes x"),
        ErrorCase(lambda: lstm_cell([[1.0]], None, ones(8, 1), ones(8, 2)), TypeError, "takes a Tensor"),  # type: ignore[arg-type]
    ),
    kind="block",
    title="LSTMCell",
    paper="Hochreiter, Schmidhuber 1997",
)
