"""LSTM with layer normalization: the gates and the memory cell of each sequence and step are normalized.

    p = x @ w_ihᵀ   q_t = h_{t-1} @ w_hhᵀ
    a_t = LN(p_t; γ_ih) + LN(q_t; γ_hh) + b
    c_t = f·c_{t-1} + i·g   h_t = o·tanh(LN(c_t; γ_c, β_c))   y_t = h_t

LN has the statistics of one sequence at one step: those of p and q over all 4H features, those of c over H.

Ba, Kiros, Hinton 2016, arXiv:1607.06450.

Backward: normalizedlstm.py has the paths through a step, layernorm.py those through the statistics:

    dx = (backward of LN(p; γ_ih))(da) @ w_ih

Insight: no statistic leaves its sequence and step, so nothing is kept for evaluation, a batch may be of any
size, and sequences of any lengths.
"""

from typing import Any

from ...autograd.tensor import Tensor
from ...backends import Array
from ...normalization.core.summary import derived_in
from ...normalization.sample.layernorm import layer_norm_backward, layer_norm_composed, layer_norm_forward
from ...ops import ones, sigmoid, tanh
from ...ops.arguments import check_flags
from ...registry import Case, ErrorCase, Input, register, uniform
from ..linear import linear_composed
from .lstm import State
from .normalizedlstm import NormalizedLSTM, NormalizedLSTMFunction, StepNorm, check_normalized_layer
from .recurrent_module import States
from .unrolled import Lengths, composed_layer, padding_mask, recurrent_weights, zeros_for_none


def layer_norm_lstm_composed(
    input: Tensor,
    hx: State | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    gamma_ih: Tensor,
    gamma_hh: Tensor,
    gamma_c: Tensor,
    beta_c: Tensor | None = None,
    bias: Tensor | None = None,
    lengths: Lengths | None = None,
    reverse: bool = False,
    eps: float = 1e-5,
) -> tuple[Tensor, ...]:
    """LSTM with layer normalization from primitives, step by step: autograd finds the gradient."""
    H = weight_hh.shape[1]

    def step(x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c = states
        a = layer_norm_composed(linear_composed(x, weight_ih), (4 * H,), gamma_ih, bias, eps)
        a = a + layer_norm_composed(linear_composed(h, weight_hh), (4 * H,), gamma_hh, None, eps)
        i, f, g, o = a.chunk(4, -1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(layer_norm_composed(c, (H,), gamma_c, beta_c, eps)), c

    states = zeros_for_none(hx or (None, None), (H, H), input)
    return composed_layer(step, input, states, lengths, reverse)


class _LayerNormSteps(StepNorm):
    def __init__(self, eps: float) -> None:
        self.eps = eps

    def forward(
        self, name: str, t: int | None, x: Array, gamma: Array, beta: Array | None
    ) -> tuple[Array, Any]:
        y, mean, rstd = layer_norm_forward(x, gamma, beta, self.eps)
        return y, (x, gamma, mean, rstd)

    def backward(self, dy: Array, saved: Any) -> tuple[Array, Array, Array]:
        return layer_norm_backward(dy, *saved)


def layer_norm_lstm_layer(
    input: Tensor,
    hx: State | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    gamma_ih: Tensor,
    gamma_hh: Tensor,
    gamma_c: Tensor,
    beta_c: Tensor | None = None,
    bias: Tensor | None = None,
    lengths: Lengths | None = None,
    reverse: bool = False,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer of an LSTM with layer normalization over a sequence, in one direction.

    Args:
        input: (T, N, D), T >= 1.
        hx: the initial h and c (N, H), or None for zeros.
        weight_ih: (4H, D), gates in the order i, f, g, o.
        weight_hh: (4H, H).
        gamma_ih: (4H,), scales the normalized product with x.
        gamma_hh: (4H,), scales the normalized product with h.
        gamma_c: (H,), scales the normalized memory cell.
        beta_c: (H,), or None.
        bias: (4H,), or None.
        lengths: (N,) integers in [0, T]; after its end, a sequence has outputs 0 and keeps its states.
        reverse: whether to run backwards, from the end of each sequence.
        eps: added to the variances.

    Returns:
        y (T, N, H), and the last h and c (N, H).

    Raises:
        TypeError: if the input is not a floating-point tensor, the dtypes differ, or hx is not a pair.
        ValueError: if the shapes do not fit, T is 0, a length is outside [0, T], or eps is negative.

    Source: Ba, Kiros, Hinton 2016, arXiv:1607.06450.
    """
    norms = gamma_ih, gamma_hh, gamma_c, beta_c, bias
    h0, c0 = check_normalized_layer("layer_norm_lstm", input, hx, weight_ih, weight_hh, *norms, eps)
    check_flags(reverse=reverse)
    padding, norm = padding_mask(lengths, input), _LayerNormSteps(float(eps))
    return NormalizedLSTMFunction.apply(
        input, h0, c0, weight_ih, weight_hh, *norms, norm=norm, padding=padding, reverse=reverse
    )


@derived_in()
class LayerNormLSTM(NormalizedLSTM):
    """LSTM with layer-normalized gates and memory cells: stacked layers, in one direction or in both.

    Inputs, outputs and parameters are those of BatchNormLSTM. It has no running statistics and takes
    sequences of any length; `max_length` is there so that the two can be exchanged. In the paper, scales
    start at 1.
    Source: Ba, Kiros, Hinton 2016, arXiv:1607.06450.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        max_length: int | None = None,
        eps: float = 1e-5,
        gamma: float = 0.1,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, eps, gamma
        )

    def run_layer(
        self,
        x: Tensor,
        states: States | None,
        weights: dict[str, Tensor],
        lengths: Lengths | None,
        reverse: bool,
    ) -> States:
        hx = None if states is None else (states[0], states[1])
        return layer_norm_lstm_layer(x, hx, **weights, lengths=lengths, reverse=reverse, eps=self.eps)


def _flat(function: Any) -> Any:
    """Return `function` with h0 and c0 as two arguments, as the registry passes them."""

    def call(
        input: Tensor, h0: Tensor | None, c0: Tensor | None, *weights: Tensor | None, **options: Any
    ) -> Any:
        return function(input, (h0, c0), *weights, **options)

    return call


def _norms(H: int, bias: bool = True) -> tuple[Input | None, ...]:
    gammas = uniform(0.3, 1.0, 4 * H), uniform(0.3, 1.0, 4 * H), uniform(0.3, 1.0, H)
    return *gammas, Input((H,)) if bias else None, Input((4 * H,)) if bias else None


_WEIGHTS = *recurrent_weights(12, 1, 3), *_norms(3)
_PLAIN = *recurrent_weights(12, 3, 3), *_norms(3, bias=False)
_STATES = (2, 3), (2, 3)


def _run_ones(x: tuple[int, ...] = (3, 2, 3), gamma_ih: tuple[int, ...] = (8,), **options: Any) -> Any:
    weights = ones(8, 3), ones(8, 2), ones(gamma_ih), ones(8), ones(2)
    return layer_norm_lstm_layer(ones(x), None, *weights, **options)


register(
    name="layer_norm_lstm",
    function=_flat(layer_norm_lstm_layer),
    composed=_flat(layer_norm_lstm_composed),
    parameters=("weights",),
    cases=(
        Case(((2, 2, 1), *_STATES, *_WEIGHTS)),
        Case(((2, 2, 3), None, None, *_PLAIN), {"reverse": True, "eps": 1e-2}),
        Case(((2, 2, 1), *_STATES, *_WEIGHTS), {"lengths": (1, 2), "reverse": True}),
        Case(((2, 0, 1), (0, 3), (0, 3), *_WEIGHTS)),
    ),
    errors=(
        ErrorCase(lambda: _run_ones(x=(3, 2, 4)), ValueError, "takes x (T, N, 3)"),
        ErrorCase(lambda: _run_ones(gamma_ih=(2,)), ValueError, "gamma_ih has shape (2,), expected (8,)"),
        ErrorCase(lambda: _run_ones(lengths=(4, 1)), ValueError, "between 0 and the 3 steps"),
        ErrorCase(lambda: _run_ones(eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: LayerNormLSTM(3, 0), ValueError, "hidden_size"),
    ),
    kind="block",
    title="LayerNormLSTM",
    paper="Ba, Kiros, Hinton 2016, arXiv:1607.06450",
    bench=(Case(((32, 32, 128), (32, 128), (32, 128), *recurrent_weights(512, 128, 128), *_norms(128))),),
)
