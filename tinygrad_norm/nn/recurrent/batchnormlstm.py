"""BN-LSTM, recurrent batch normalization: gates and memory cell are normalized over the batch at each step.

    p = x @ w_ihᵀ   q_t = h_{t-1} @ w_hhᵀ
    a_t = BN(p_t; γ_ih) + BN(q_t; γ_hh) + b
    c_t = f·c_{t-1} + i·g   h_t = o·tanh(BN(c_t; γ_c, β_c))   y_t = h_t

BN is frame-wise, as in sequencebatchnorm.py: the statistics are those of step t over the batch, of the
sequences that have not ended; γ and β are one for all steps. In evaluation the statistics are running ones,
(L, 4H) or (L, H), of each of the first L steps; a later step uses those of step L - 1.

γ starts at 0.1, where tanh is almost linear and gradients keep their size over many steps. With γ = 1 they do
not: through recurrent weights near the identity, with which the paper starts, they vanish, and through random
ones they explode (examples/batch_norm_lstm.py).

Cooijmans, Ballas, Laurent, Gülçehre, Courville 2016, arXiv:1603.09025.

Backward: normalizedlstm.py has the paths through a step, batchnorm.py those through the statistics, which
join the sequences of a batch:

    dx = (backward of BN(p; γ_ih))(da) @ w_ih

Insight: statistics need time steps of their own, because the first ones are transient: h starts at 0, so its
variance over the batch does, and one statistic for all steps would make the first ones too small.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from ...autograd.tensor import Tensor
from ...backends import Array, namespace
from ...backends.cuda.capture import upload
from ...normalization.batch.sequencebatchnorm import (
    sequence_batch_norm_backward,
    sequence_batch_norm_composed,
    sequence_batch_norm_forward,
)
from ...normalization.core.frames import Pools, check_pools, pools_of, running_update
from ...normalization.core.summary import derived_in
from ...ops import ones, sigmoid, tanh
from ...ops.arguments import as_number, as_size, check_flags
from ...ops.checks import Shape, check_vectors
from ...registry import Case, ErrorCase, Input, positive, register, uniform
from ..linear import linear_composed
from .lstm import State
from .normalizedlstm import (
    NAMES,
    NormalizedLSTM,
    NormalizedLSTMFunction,
    StepNorm,
    check_normalized_layer,
)
from .recurrent_module import States
from .stepstatistics import first_steps, track_steps, valid_steps
from .unrolled import Lengths, composed_layer, padding_mask, recurrent_weights, time_order, zeros_for_none

Running = Sequence[Tensor | None]
"""Means and variances (L, K) of p, of q and of c: mean_ih, var_ih, mean_hh, var_hh, mean_c, var_c."""


def batch_norm_lstm_composed(
    input: Tensor,
    hx: State | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    gamma_ih: Tensor,
    gamma_hh: Tensor,
    gamma_c: Tensor,
    beta_c: Tensor | None = None,
    bias: Tensor | None = None,
    running: Running | None = None,
    lengths: Lengths | None = None,
    reverse: bool = False,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Tensor, ...]:
    """BN-LSTM over a sequence from primitives, step by step (without the running update)."""
    valid, order = valid_steps(lengths, input), iter(time_order(len(input), reverse))

    def normalize(k: int, t: int, x: Tensor, gamma: Tensor, beta: Tensor | None) -> Tensor:
        mean, var = (None, None) if running is None else running[2 * k : 2 * k + 2]
        return sequence_batch_norm_composed(
            x.unsqueeze(0),
            valid[t : t + 1],
            None if mean is None else mean[min(t, len(mean) - 1)],
            None if var is None else var[min(t, len(var) - 1)],
            gamma,
            beta,
            training=training,
            eps=eps,
        )[0]

    def step(x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (h, c), t = states, next(order)
        a = normalize(0, t, linear_composed(x, weight_ih), gamma_ih, bias)
        a = a + normalize(1, t, linear_composed(h, weight_hh), gamma_hh, None)
        i, f, g, o = a.chunk(4, -1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(normalize(2, t, c, gamma_c, beta_c)), c

    states = zeros_for_none(hx or (None, None), (weight_hh.shape[1],) * 2, input)
    return composed_layer(step, input, states, lengths, reverse)


class _BatchNormSteps(StepNorm):
    """Statistics of each step over the sequences that have not ended; those of `running` in evaluation."""

    def __init__(
        self,
        valid: numpy.ndarray,
        like: Array,
        running: Running | None,
        training: bool,
        momentum: float,
        eps: float,
    ) -> None:
        (T, _), self.eps, self.momentum = valid.shape, eps, momentum
        self.tensors = (
            dict.fromkeys(NAMES, (None, None))
            if running is None
            else {name: (running[2 * k], running[2 * k + 1]) for k, name in enumerate(NAMES)}
        )
        self.training = training
        self.of_all = pools_of(valid, "frame", like)
        everyone = upload(numpy.arange(valid.shape[1])[:, None], namespace(like))
        self.of_step = [
            [Pools(numpy.array([t]), everyone if valid[t].all() else upload(at, namespace(like)))]
            if len(at := numpy.flatnonzero(valid[t])[:, None])
            else []
            for t in range(T)
        ]
        if training:
            check_pools(self.of_all, "batch_norm_lstm")

    def forward(
        self, name: str, t: int | None, x: Array, gamma: Array, beta: Array | None
    ) -> tuple[Array, Any]:
        pools, (mean, var) = self.of_all if t is None else self.of_step[t], self.tensors[name]
        fixed = None if self.training or mean is None or var is None else (mean.array, var.array)
        y, found = sequence_batch_norm_forward(x, gamma, beta, pools, fixed, self.eps)
        if self.training:
            update = running_update(mean, var, self.momentum, pools, x.shape[1])
            for each, (_, batch_mean, batch_var, _) in zip(pools, found, strict=True):
                update(each, batch_mean, batch_var)
        return y, (gamma, pools, not self.training, found)

    def backward(self, dy: Array, saved: Any) -> tuple[Array, Array, Array]:
        return sequence_batch_norm_backward(dy, *saved)


def batch_norm_lstm_layer(
    input: Tensor,
    hx: State | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    gamma_ih: Tensor,
    gamma_hh: Tensor,
    gamma_c: Tensor,
    beta_c: Tensor | None = None,
    bias: Tensor | None = None,
    running: Running | None = None,
    lengths: Lengths | None = None,
    reverse: bool = False,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer of a BN-LSTM over a sequence, in one direction.

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
        running: means and variances of each of the first L steps, of the products with x and with h (L, 4H)
            and of the memory cell (L, H): mean_ih, var_ih, mean_hh, var_hh, mean_c, var_c. Used in
            evaluation, moved towards the batch's in training, where None is allowed.
        lengths: (N,) integers in [0, T]; after its end, a sequence has outputs 0, keeps its states and is in
            no statistic.
        reverse: whether to run backwards, from the end of each sequence.
        training: whether the batch's own statistics are used, and the running ones updated in place.
        momentum: weight of the new value in the running statistics, a fraction per batch.
        eps: added to the variances.

    Returns:
        y (T, N, H), and the last h and c (N, H).

    Raises:
        TypeError: if the input is not a floating-point tensor, the dtypes differ, or hx is not a pair.
        ValueError: if the shapes do not fit, T is 0, a length is outside [0, T], in training if only one
            sequence has a step, in evaluation without running statistics, or if eps is negative.

    Source: Cooijmans et al. 2016, arXiv:1603.09025.
    """
    norms = gamma_ih, gamma_hh, gamma_c, beta_c, bias
    h0, c0 = check_normalized_layer("batch_norm_lstm", input, hx, weight_ih, weight_hh, *norms, eps)
    check_flags(training=training, reverse=reverse)
    _check_running(input, running, training, len(weight_ih) // 4)
    padding = padding_mask(lengths, input)
    norm = _BatchNormSteps(valid_steps(lengths, input), input.array, running, training, momentum, float(eps))
    return NormalizedLSTMFunction.apply(
        input, h0, c0, weight_ih, weight_hh, *norms, norm=norm, padding=padding, reverse=reverse
    )


def _check_running(x: Tensor, running: Running | None, training: bool, H: int) -> None:
    if running is None:
        if not training:
            raise ValueError("batch_norm_lstm in evaluation needs running statistics: pass all six")
        return
    if len(running) != 2 * len(NAMES):
        raise ValueError(f"running are the means and variances of {', '.join(NAMES)}: 6, got {len(running)}")
    for k, name in enumerate(NAMES):
        mean, var = running[2 * k : 2 * k + 2]
        if mean is None or var is None:
            raise ValueError(f"the running mean and variance of {name} must be tensors, got None")
        shape = mean.shape[0] if mean.ndim else 0, H if name == "c" else 4 * H
        check_vectors(x, shape, **{f"running_mean_{name}": mean, f"running_var_{name}": var})


@derived_in()
class BatchNormLSTM(NormalizedLSTM):
    """LSTM with batch-normalized gates and memory cells: stacked layers, in one direction or in both.

    Inputs and outputs are those of LSTM. Training uses the statistics of each time step over the batch, and
    updates the running ones, kept for the first `max_length` steps; evaluation uses those, and past the last
    step that was trained, or past `max_length`, those of the last.

    Parameters of layer k: weight_ih_lk (4·hidden_size, features of its input), weight_hh_lk (4·hidden_size,
    hidden_size), gamma_ih_lk and gamma_hh_lk (4·hidden_size,), gamma_c_lk (hidden_size,), all of them `gamma`
    at first, beta_c_lk (hidden_size,) and bias_lk (4·hidden_size,), zeros. Buffers: running_mean_ih_lk,
    running_var_ih_lk (max_length, 4·hidden_size), the same with hh, and with c (max_length, hidden_size);
    num_steps_tracked, how many steps training has had. Those of the reverse direction end in _reverse.
    Source: Cooijmans et al. 2016, arXiv:1603.09025.
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
        max_length: int = 100,
        eps: float = 1e-5,
        momentum: float = 0.1,
        gamma: float = 0.1,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, eps, gamma
        )
        self.max_length = as_size(max_length, "max_length")
        if not 0 <= as_number(momentum, "momentum") <= 1:
            raise ValueError(f"momentum is the weight of the new value, between 0 and 1, got {momentum}")
        self.momentum = momentum
        for suffix, _ in self._suffixes:
            for name in NAMES:
                shape = max_length, hidden_size * (1 if name == "c" else 4)
                self.register_buffer(
                    f"running_mean_{name}{suffix}", Tensor(numpy.zeros(shape, numpy.float32))
                )
                self.register_buffer(f"running_var_{name}{suffix}", Tensor(numpy.ones(shape, numpy.float32)))
        self.register_buffer("num_steps_tracked", Tensor(numpy.array(0)))

    def _weights(self, suffix: str) -> dict[str, Any]:
        kinds = [(kind, name) for name in NAMES for kind in ("mean", "var")]
        running = [getattr(self, f"running_{kind}_{name}{suffix}") for kind, name in kinds]
        return {**super()._weights(suffix), "running": running}

    def run_layer(
        self,
        x: Tensor,
        states: States | None,
        weights: dict[str, Any],
        lengths: Lengths | None,
        reverse: bool,
    ) -> States:
        if self.training:
            track_steps(self.num_steps_tracked, valid_steps(lengths, x), self.max_length)
        else:
            weights = {**weights, "running": first_steps(weights["running"], self.num_steps_tracked)}
        hx = None if states is None else (states[0], states[1])
        return batch_norm_lstm_layer(
            x,
            hx,
            **weights,
            lengths=lengths,
            reverse=reverse,
            training=self.training,
            momentum=self.momentum,
            eps=self.eps,
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, max_length={self.max_length}"


def _flat(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` with its states and running statistics as arguments of their own."""

    def call(
        input: Tensor, h0: Tensor | None, c0: Tensor | None, *rest: Tensor | None, **options: Any
    ) -> Any:
        weights, running = rest[:7], rest[7:]
        return function(input, (h0, c0), *weights, running=running or None, **options)

    return call


def _norms(H: int, bias: bool = True) -> tuple[Input | None, ...]:
    shapes = (4 * H,), (4 * H,), (H,)
    gammas = tuple([uniform(0.3, 1.0, *shape) for shape in shapes])
    return *gammas, Input((H,)) if bias else None, Input((4 * H,)) if bias else None


def _running(L: int, H: int) -> tuple[Input, ...]:
    inputs: list[Input] = []
    for shape in ((L, 4 * H), (L, 4 * H), (L, H)):
        inputs += uniform(-0.3, 0.3, *shape, differentiable=False), positive(*shape, differentiable=False)
    return tuple(inputs)


_WEIGHTS = *recurrent_weights(4, 1, 1), *_norms(1)
_PLAIN = *recurrent_weights(8, 3, 2), *_norms(2, bias=False)
_STATES = (4, 1), (4, 1)
_TRAINING = {"training": True, "eps": 1e-2}


def _run_ones(x: Shape = (3, 2, 3), gamma_c: Shape = (2,), running: Any = None, **options: Any) -> Any:
    weights = ones(8, 3), ones(8, 2), ones(8), ones(8), ones(gamma_c)
    return batch_norm_lstm_layer(ones(x), None, *weights, running=running, **options)


register(
    name="batch_norm_lstm",
    function=_flat(batch_norm_lstm_layer),
    composed=_flat(batch_norm_lstm_composed),
    parameters=("rest",),
    cases=(
        Case(((2, 4, 1), *_STATES, *_WEIGHTS), _TRAINING),
        Case(((2, 3, 3), None, None, *_PLAIN), {**_TRAINING, "reverse": True}),
        Case(((3, 4, 1), *_STATES, *_WEIGHTS), {**_TRAINING, "lengths": (3, 1, 3, 1)}),
        Case(((2, 4, 1), *_STATES, *_WEIGHTS), {**_TRAINING, "lengths": (2, 0, 1, 2), "reverse": True}),
        Case(((3, 2, 1), (2, 1), (2, 1), *_WEIGHTS, *_running(2, 1)), {"lengths": (1, 3)}),
        Case(((2, 0, 1), (0, 1), (0, 1), *_WEIGHTS), _TRAINING),
    ),
    errors=(
        ErrorCase(lambda: _run_ones(x=(3, 2, 4), training=True), ValueError, "takes x (T, N, 3)"),
        ErrorCase(lambda: _run_ones(x=(3, 1, 3), training=True), ValueError, "step 0 has one"),
        ErrorCase(lambda: _run_ones(training=True, lengths=(3, 1)), ValueError, "step 1 has one"),
        ErrorCase(lambda: _run_ones(), ValueError, "needs running statistics"),
        ErrorCase(lambda: _run_ones(running=[ones(1, 8)] * 4), ValueError, "6, got 4"),
        ErrorCase(lambda: _run_ones(running=[ones(1, 8)] * 6), ValueError, "running_mean_c has shape"),
        ErrorCase(lambda: _run_ones(gamma_c=(3,), training=True), ValueError, "gamma_c has shape (3,)"),
        ErrorCase(lambda: BatchNormLSTM(3, 2, max_length=0), ValueError, "max_length"),
        ErrorCase(lambda: BatchNormLSTM(3, 2, momentum=2.0), ValueError, "momentum"),
    ),
    kind="block",
    title="BatchNormLSTM",
    paper="Cooijmans et al. 2016, arXiv:1603.09025",
    bench=(
        Case(
            ((32, 32, 128), (32, 128), (32, 128), *recurrent_weights(512, 128, 128), *_norms(128)), _TRAINING
        ),
    ),
)
