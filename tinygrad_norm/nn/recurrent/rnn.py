"""RNN: the plain recurrent network. Its state is φ of a linear map of the input and the previous state.

    a_t = x_t @ w_ihᵀ + b_ih + h_{t-1} @ w_hhᵀ + b_hh      h_t = φ(a_t)      y_t = h_t      (T, N, H)

φ is tanh or relu, max(a, 0).

Elman 1990; with relu: Le, Jaitly, Hinton 2015, arXiv:1504.00941.

Backward, for one step, from dh_t (unrolled.py derives how it adds up):

    through φ       da = dh·φ'(a)    φ' = 1 - h² for tanh; 1 where h > 0, else 0, for relu
    through a to h  dh_{t-1} = da @ w_hh + dy_{t-1}

and dp = dq = da. φ' depends on h only and is computed for all steps at once.

Insight: between h_s and h_t there are t - s factors w_hh, and a product of many equal factors vanishes or
explodes unless their size is 1. tanh' <= 1 can only make it smaller. Clipping prevents exploding gradients;
against vanishing ones LSTM and GRU have a path around w_hh.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.half import downcast, upcast
from ...ops import ones, tanh
from ...ops.checks import Shape
from ...registry import Case, ErrorCase, register
from ..activation.rectifiers import relu_composed
from ..linear import linear_composed
from .recurrent_module import Recurrent, RecurrentCell, States
from .unrolled import (
    Lengths,
    check_layer,
    check_step,
    check_tensors,
    composed_layer,
    freeze,
    input_and_weight_gradients,
    input_product,
    last_state,
    mask_padding,
    padding_mask,
    recurrent_weights,
    sum_biases,
    time_order,
    torch_layer,
    trajectory,
    zeros_for_none,
)


def rnn_cell_composed(
    input: Tensor,
    hx: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    nonlinearity: str = "tanh",
) -> Tensor:
    """One step of an RNN from primitives: autograd finds the gradient."""
    (h,) = zeros_for_none((hx,), weight_hh.shape[1:], input)
    a = linear_composed(input, weight_ih, bias_ih) + linear_composed(h, weight_hh, bias_hh)
    return tanh(a) if nonlinearity == "tanh" else relu_composed(a)


def rnn_layer_composed(
    input: Tensor,
    hx: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    nonlinearity: str = "tanh",
    lengths: Lengths | None = None,
    reverse: bool = False,
) -> tuple[Tensor, ...]:
    """RNN over a sequence from primitives, step by step: autograd finds the gradient."""

    def step(x: Tensor, states: States) -> States:
        (h,) = states
        return (rnn_cell_composed(x, h, weight_ih, weight_hh, bias_ih, bias_hh, nonlinearity),)

    return composed_layer(step, input, zeros_for_none((hx,), weight_hh.shape[1:], input), lengths, reverse)


@kernel
def rnn_forward(
    x: Array,
    h0: Array | None,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None,
    bias_hh: Array | None,
    nonlinearity: str,
    padding: Array | None,
    reverse: bool,
) -> tuple[Array, Array]:
    """Return h before and after every step, (T, N, H): x (T, N, D) is 0 where padding (T, N, 1) is True."""
    xp = namespace(x)
    p = input_product(x, weight_ih, sum_biases(bias_ih, bias_hh))
    weight = xp.ascontiguousarray(weight_hh.T)
    h, h_after = trajectory(h0, len(weight), x, reverse)
    for t in time_order(len(x), reverse):
        a = xp.matmul(h[t], weight, out=h_after[t])
        a += p[t]
        if nonlinearity == "tanh":
            xp.tanh(a, out=a)
        else:
            xp.maximum(a, 0, out=a)
        freeze(h_after, h, padding, t)
    return h, h_after


@kernel
def rnn_backward(
    dy: Array,
    dh: Array,
    x: Array,
    weight_ih: Array,
    weight_hh: Array,
    nonlinearity: str,
    padding: Array | None,
    reverse: bool,
    h: Array,
    h_after: Array,
    needs: Sequence[bool],
) -> tuple[Array | None, ...]:
    """Return the gradients of x, h0, both weights and both biases.

    dy (T, N, H) is 0 in the padding; dh (N, H) is the gradient of the last state. The gradients of x, the
    weights and the biases are None where `needs` is False.
    """
    xp = namespace(x)
    T, N, H = h.shape
    da = 1 - h_after * h_after if nonlinearity == "tanh" else (h_after > 0) * xp.ones_like(h_after)
    if padding is not None:
        da *= ~padding
    dh = dh.copy()
    for t in reversed(time_order(T, reverse)):
        dh += dy[t]
        da[t] *= dh
        frozen = None if padding is None else dh * padding[t]
        xp.matmul(da[t], weight_hh, out=dh)
        if frozen is not None:
            dh += frozen
    da = da.reshape(T * N, H)
    dx, *others = input_and_weight_gradients(da, da, x, h, weight_ih, (needs[0], *needs[2:]))
    return dx, dh, *others


class RNNFunction(Function):
    """h_t = φ(x_t @ w_ihᵀ + h_{t-1} @ w_hhᵀ + b) · dh_{t-1} = (dh·φ') @ w_hh + dy_{t-1}"""

    def forward(
        self,
        x: Array,
        *state_and_weights: Array | None,
        nonlinearity: str,
        padding: Array | None,
        reverse: bool,
    ) -> tuple[Array, ...]:
        arrays = [None if array is None else upcast(array) for array in state_and_weights]
        rows = namespace(x).ascontiguousarray(mask_padding(upcast(x), padding))
        h, h_after = rnn_forward(rows, *arrays, nonlinearity, padding, reverse)
        _, weight_ih, weight_hh, _, _ = arrays
        self.saved = rows, weight_ih, weight_hh, nonlinearity, padding, reverse, h, h_after
        return downcast(mask_padding(h_after, padding), x), downcast(last_state(h_after, reverse), x)

    def backward(self, dy: Array, dh: Array) -> Gradients:
        padding = self.saved[4]
        return rnn_backward(mask_padding(upcast(dy), padding), upcast(dh), *self.saved, self.needs)


def rnn_layer(
    input: Tensor,
    hx: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    nonlinearity: str = "tanh",
    lengths: Lengths | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Run one layer of an RNN over a sequence, in one direction.

    Args:
        input: (T, N, D), T >= 1.
        hx: the initial h (N, H), or None for zeros.
        weight_ih: (H, D).
        weight_hh: (H, H).
        bias_ih: (H,), or None.
        bias_hh: (H,), or None.
        nonlinearity: "tanh" or "relu".
        lengths: (N,) integers in [0, T]; after its end, a sequence has outputs 0 and keeps its state.
        reverse: whether to run backwards, from the end of each sequence.

    Returns:
        y (T, N, H), and the last h (N, H).

    Raises:
        TypeError: if the input is not a floating-point tensor, or the dtypes differ.
        ValueError: if the shapes do not fit, T is 0, a length is outside [0, T], or the nonlinearity is
            unknown.

    Source: Elman 1990.
    """
    check_nonlinearity(nonlinearity)
    N, H = check_layer("rnn_layer", input, weight_ih, 1)
    check_tensors(
        input,
        hx=(hx, (N, H)),
        weight_hh=(weight_hh, (H, H)),
        bias_ih=(bias_ih, (H,)),
        bias_hh=(bias_hh, (H,)),
    )
    return RNNFunction.apply(
        input,
        hx,
        weight_ih,
        weight_hh,
        bias_ih,
        bias_hh,
        nonlinearity=nonlinearity,
        padding=padding_mask(lengths, input),
        reverse=reverse,
    )


def check_nonlinearity(nonlinearity: str) -> None:
    """Raise ValueError unless `nonlinearity` is "tanh" or "relu"."""
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")


def rnn_tanh_cell(
    input: Tensor,
    hx: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
) -> Tensor:
    """Return h after one step of an RNN with tanh: rnn_layer of one time step, for input (N, D)."""
    check_step(input, "rnn_tanh_cell")
    return rnn_layer(input.unsqueeze(0), hx, weight_ih, weight_hh, bias_ih, bias_hh, "tanh")[1]


def rnn_relu_cell(
    input: Tensor,
    hx: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
) -> Tensor:
    """Return h after one step of an RNN with relu: rnn_layer of one time step, for input (N, D)."""
    check_step(input, "rnn_relu_cell")
    return rnn_layer(input.unsqueeze(0), hx, weight_ih, weight_hh, bias_ih, bias_hh, "relu")[1]


class RNN(Recurrent):
    """Recurrent network over a sequence: stacked layers, each in one direction or in both.

    Takes x (T, N, input_size), with batch_first (N, T, input_size), or (T, input_size) for one sequence;
    hx (layers·directions, N, hidden_size), the initial state, or None for zeros; and lengths (N,), the
    number of steps of each sequence (in any order; 0 is allowed). Returns y, of x's shape with
    directions·hidden_size features, and the last states, of hx's shape. In the padding y and the
    gradients of x are 0, and the values of x are ignored.

    Parameters of layer k: weight_ih_lk (hidden_size, features of its input), weight_hh_lk (hidden_size,
    hidden_size), bias_ih_lk and bias_hh_lk (hidden_size,); those of the reverse direction end in
    _reverse. Source: Elman 1990.
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        check_nonlinearity(nonlinearity)
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)
        self.nonlinearity = nonlinearity

    def run_layer(
        self,
        x: Tensor,
        states: States | None,
        weights: dict[str, Tensor],
        lengths: Lengths | None,
        reverse: bool,
    ) -> States:
        hx = None if states is None else states[0]
        return rnn_layer(x, hx, **weights, nonlinearity=self.nonlinearity, lengths=lengths, reverse=reverse)


class RNNCell(RecurrentCell):
    """One step of an RNN.

    Takes x (N, input_size), or (input_size,) without a batch, and h before the step, or None for zeros;
    returns h after it, (N, hidden_size) or (hidden_size,). Parameters: weight_ih (hidden_size,
    input_size), weight_hh (hidden_size, hidden_size), bias_ih and bias_hh (hidden_size,).
    """

    gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh"
    ) -> None:
        check_nonlinearity(nonlinearity)
        super().__init__(input_size, hidden_size, bias)
        self.nonlinearity = nonlinearity

    def run_step(self, x: Tensor, states: States | None) -> States:
        cell = rnn_tanh_cell if self.nonlinearity == "tanh" else rnn_relu_cell
        hx = None if states is None else states[0]
        return (cell(x, hx, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh),)


_SMALL = recurrent_weights(2, 1, 2)
_FULL = recurrent_weights(2, 3, 2, biases=True)


def _run_ones(
    x: Shape = (3, 2, 3),
    hx: Shape = (2, 2),
    weight_ih: Shape = (2, 3),
    weight_hh: Shape = (2, 2),
    bias_ih: Shape = (2,),
    **options: Any,
) -> tuple[Tensor, Tensor]:
    return rnn_layer(ones(x), ones(hx), ones(weight_ih), ones(weight_hh), ones(bias_ih), **options)


def _cell_errors(cell: Callable[..., Tensor]) -> tuple[ErrorCase, ...]:
    return (
        ErrorCase(lambda: cell(ones(3), None, ones(2, 3), ones(2, 2)), ValueError, "takes x (N, D)"),
        ErrorCase(lambda: cell(ones(2, 4), None, ones(2, 3), ones(2, 2)), ValueError, "takes x"),
        ErrorCase(lambda: cell([[1.0]], None, ones(2, 1), ones(2, 2)), TypeError, "takes a Tensor"),
    )


def _in_torch(
    torch: Any, input: Any, hx: Any, *weights: Any, reverse: bool = False, nonlinearity: str = "tanh"
) -> Any:
    return torch_layer(getattr(torch, f"rnn_{nonlinearity}"), input, (hx,), weights, reverse)


register(
    name="rnn",
    function=rnn_layer,
    composed=rnn_layer_composed,
    parameters=("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
    cases=(
        Case(((3, 2, 3), (2, 2), *_FULL)),
        Case(((3, 2, 3), (2, 2), *_FULL), {"nonlinearity": "relu"}),
        Case(((3, 2, 1), None, *_SMALL), {"reverse": True}),
        Case(((3, 2, 1), (2, 2), *_SMALL), {"lengths": (2, 0)}),
        Case(((3, 2, 1), (2, 2), *_SMALL), {"lengths": (1, 3), "reverse": True}),
        Case(((1, 2, 1), (2, 2), *_SMALL, None, (2,))),
        Case(((3, 0, 3), (0, 2), *_FULL)),
    ),
    errors=(
        ErrorCase(lambda: _run_ones(x=(3, 2, 4)), ValueError, "takes x (T, N, 3)"),
        ErrorCase(lambda: _run_ones(x=(2, 3)), ValueError, "takes x (T, N, 3)"),
        ErrorCase(lambda: _run_ones(x=(0, 2, 3)), ValueError, "at least one time step"),
        ErrorCase(lambda: _run_ones(hx=(3, 2)), ValueError, "hx has shape (3, 2), expected (2, 2)"),
        ErrorCase(lambda: _run_ones(weight_hh=(2, 3)), ValueError, "weight_hh has shape (2, 3)"),
        ErrorCase(lambda: _run_ones(bias_ih=(3,)), ValueError, "bias_ih has shape (3,), expected (2,)"),
        ErrorCase(lambda: _run_ones(lengths=(1, 2, 3)), ValueError, "expected (2,)"),
        ErrorCase(lambda: _run_ones(lengths=(1, 4)), ValueError, "between 0 and the 3 steps"),
        ErrorCase(lambda: _run_ones(lengths=(1.0, 2.0)), TypeError, "integers"),
        ErrorCase(lambda: _run_ones(nonlinearity="sigmoid"), ValueError, "'tanh' or 'relu'"),
        ErrorCase(lambda: rnn_layer([[1.0]], None, ones(2, 3), ones(2, 2)), TypeError, "takes a Tensor"),  # type: ignore[arg-type]
        ErrorCase(lambda: _run_ones(weight_ih=(2,)), ValueError, "weight_ih (1·H, D)"),
        ErrorCase(
            lambda: rnn_layer(ones(3, 2, 3), ones(2, 2).double(), ones(2, 3), ones(2, 2)),
            TypeError,
            "float64",
        ),
        ErrorCase(lambda: RNN(3, 2, nonlinearity="sigmoid"), ValueError, "'tanh' or 'relu'"),
    ),
    kind="block",
    title="RNN",
    paper="Elman 1990",
    torch=_in_torch,
    bench=(Case(((32, 32, 128), (32, 128), *recurrent_weights(128, 128, 128, biases=True))),),
)
for _cell, _nonlinearity in ((rnn_tanh_cell, "tanh"), (rnn_relu_cell, "relu")):
    register(
        name=_cell.__name__,
        function=_cell,
        composed=partial(rnn_cell_composed, nonlinearity=_nonlinearity),
        parameters=("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
        cases=(
            Case(((2, 3), (2, 2), *_FULL)),
            Case(((2, 1), (2, 2), *_SMALL, None, None)),
            Case(((0, 3), (0, 2), *_FULL)),
        ),
        errors=_cell_errors(_cell),
        kind="block",
        title=f"RNNCell ({_nonlinearity})",
        paper="Elman 1990",
        torch=f"torch.{_cell.__name__}",
    )
