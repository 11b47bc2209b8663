"""An RNN whose product with the input is batch-normalized, frame-wise or sequence-wise.

    h_t = φ(BN(x_t @ w_ihᵀ; γ, b) + h_{t-1} @ w_hhᵀ)      y_t = h_t

Only what enters the recurrence is normalized, not what runs in it, so BN and its backward are those of
sequencebatchnorm.py on all steps at once, and the rest is rnn.py with the identity as w_ih.

Laurent, Pereyra, Brakel, Zhang, Bengio 2015, arXiv:1510.01378. They report that to
normalize the product with h too did not help.
"""

from typing import Any

import numpy

from ...autograd.tensor import Tensor
from ...module import Parameter
from ...normalization.batch.sequencebatchnorm import sequence_batch_norm
from ...normalization.core.frames import check_mode
from ...ops import eye
from ...ops.arguments import as_number, as_size, check_flags
from ...ops.checks import check_eps
from .. import init
from ..linear import linear
from .recurrent_module import Recurrent, States
from .rnn import check_nonlinearity, rnn_layer
from .stepstatistics import first_steps, track_steps, valid_steps
from .unrolled import Lengths, padding_mask


class BatchNormRNN(Recurrent):
    """RNN with a batch-normalized product with the input: stacked layers, in one direction or in both.

    Inputs and outputs are those of RNN. `mode` is "frame", statistics per time step, or "sequence", over all
    time steps; padding is in no statistic. Evaluation uses running statistics: frame-wise those of each of
    the first `max_length` steps, and past the last step that was trained, or past `max_length`, of the last.

    Parameters of layer k: weight_ih_lk (hidden_size, features of its input), weight_hh_lk (hidden_size,
    hidden_size), gamma_ih_lk, `gamma` at first, and bias_lk, zeros, (hidden_size,). Buffers: running_mean_lk,
    running_var_lk, frame-wise (max_length, hidden_size), else (hidden_size,); num_steps_tracked. Those of the
    reverse direction end in _reverse. Source: Laurent et al. 2015, arXiv:1510.01378.
    """

    gates = 1

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
        nonlinearity: str = "tanh",
        mode: str = "frame",
        max_length: int = 100,
        eps: float = 1e-5,
        momentum: float = 0.1,
        gamma: float = 0.1,
    ) -> None:
        check_nonlinearity(nonlinearity)
        check_mode(mode)
        super().__init__(input_size, hidden_size, num_layers, False, batch_first, dropout, bidirectional)
        check_flags(bias=bias)
        check_eps(eps)
        if not 0 <= as_number(momentum, "momentum") <= 1:
            raise ValueError(f"momentum is the weight of the new value, between 0 and 1, got {momentum}")
        self.bias, self.nonlinearity, self.mode = bias, nonlinearity, mode
        self.max_length, self.start = as_size(max_length, "max_length"), as_number(gamma, "gamma")
        self.eps, self.momentum = eps, momentum
        zeros = numpy.zeros(hidden_size, numpy.float32)
        per_step = numpy.zeros((max_length, hidden_size), numpy.float32) if mode == "frame" else zeros
        for suffix, _ in self._suffixes:
            self.register_parameter("gamma_ih" + suffix, Parameter(zeros.copy()))
            if bias:
                self.register_parameter("bias" + suffix, Parameter(zeros.copy()))
            self.register_buffer("running_mean" + suffix, Tensor(per_step.copy()))
            self.register_buffer("running_var" + suffix, Tensor(per_step + 1))
        self.register_buffer("num_steps_tracked", Tensor(numpy.array(0)))
        self._reset_norms()

    def reset_parameters(self) -> None:
        """Initialize all weights, biases and scales again."""
        super().reset_parameters()
        self._reset_norms()

    def _reset_norms(self) -> None:
        for name, parameter in self.named_parameters():
            if name.startswith("gamma"):
                init.constant_(parameter, self.start)
            elif name.startswith("bias"):
                init.zeros_(parameter)

    def _weights(self, suffix: str) -> dict[str, Any]:
        names = ("weight_ih", "weight_hh", "gamma_ih", "bias", "running_mean", "running_var")
        return {name: getattr(self, name + suffix, None) for name in names}

    def run_layer(
        self,
        x: Tensor,
        states: States | None,
        weights: dict[str, Any],
        lengths: Lengths | None,
        reverse: bool,
    ) -> States:
        padding, valid = padding_mask(lengths, x), valid_steps(lengths, x)
        running = [weights["running_mean"], weights["running_var"]]
        if self.training:
            track_steps(self.num_steps_tracked, valid, self.max_length)
        elif self.mode == "frame":
            running = first_steps(running, self.num_steps_tracked)
        p = sequence_batch_norm(
            linear(x, weights["weight_ih"]),
            None if padding is None else valid,
            running[0],
            running[1],
            weights["gamma_ih"],
            weights["bias"],
            self.mode,
            self.training,
            self.momentum,
            self.eps,
        )
        return rnn_layer(
            p,
            None if states is None else states[0],
            eye(self.hidden_size, dtype=x.dtype),
            weights["weight_hh"],
            nonlinearity=self.nonlinearity,
            lengths=lengths,
            reverse=reverse,
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mode={self.mode!r}"
