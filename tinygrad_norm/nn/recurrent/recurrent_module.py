"""Base classes of the modules: layers and directions of RNN, LSTM and GRU, and one step of their cells.

    y⁰ = x    yˡ = [layerˡ(yˡ⁻¹), layerˡ(yˡ⁻¹) in reverse]    with dropout on y between two layers

One layer in one direction is one function (`rnn_layer`, `lstm_layer`, `gru_layer`). The base class passes it
its parameters, which it finds by name, and its initial states, at index layer·directions + direction.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy

from ...autograd.tensor import Tensor
from ...module import Module, Parameter
from ...ops import cat, stack
from ...ops.arguments import as_size, check_flags
from ...ops.checks import Shape, check_input
from .. import init
from ..dropout import check_probability, dropout
from .unrolled import Lengths

States = tuple[Tensor, ...]
"""The hidden state, and the memory cell of an LSTM."""


class Recurrent(Module):
    """Base of RNN, LSTM and GRU: a stack of layers, each in one direction or in both.

    A subclass sets `gates`, the number of gates in its weights, and runs one layer in `run_layer`. All
    parameters are initialized uniformly in ±1/√hidden_size.
    """

    gates: ClassVar[int]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int = 0,
    ) -> None:
        super().__init__()
        check_flags(bias=bias, batch_first=batch_first, bidirectional=bidirectional)
        self.input_size = as_size(input_size, "input_size")
        self.hidden_size = as_size(hidden_size, "hidden_size")
        self.num_layers = as_size(num_layers, "num_layers")
        self.proj_size = as_size(proj_size, "proj_size", None)
        if not 0 <= proj_size < hidden_size:
            raise ValueError(
                f"proj_size must be smaller than hidden_size ({hidden_size}), or 0 for no projection, "
                f"got {proj_size}"
            )
        check_probability(dropout)
        if dropout and num_layers == 1:
            warnings.warn(
                f"dropout={dropout} applies between layers: it has no effect with num_layers=1", stacklevel=3
            )
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional = bool(bidirectional)
        rows, output_size = self.gates * hidden_size, proj_size or hidden_size
        self._suffixes = [
            (f"_l{layer}{direction}", bool(direction))
            for layer in range(num_layers)
            for direction in (("", "_reverse") if bidirectional else ("",))
        ]
        directions = len(self._suffixes) // num_layers
        for k, (suffix, _) in enumerate(self._suffixes):
            columns = input_size if k < directions else directions * output_size
            shapes: dict[str, Shape] = {"weight_ih": (rows, columns), "weight_hh": (rows, output_size)}
            if bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            if proj_size:
                shapes["weight_hr"] = proj_size, hidden_size
            for name, shape in shapes.items():
                self.register_parameter(name + suffix, Parameter(numpy.empty(shape, numpy.float32)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize all weights and biases again."""
        _reset_uniform(self, self.hidden_size)

    def run_layer(
        self,
        x: Tensor,
        states: States | None,
        weights: dict[str, Tensor],
        lengths: Lengths | None,
        reverse: bool,
    ) -> tuple[Tensor, ...]:
        """Return y of one layer and direction, and its last states; every subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__} must define run_layer")

    def forward(self, input: Tensor, hx: Any = None, lengths: Lengths | None = None) -> tuple[Tensor, Any]:
        """Return y and the last state, for a network whose state is one tensor."""
        y, (h,) = self.run(input, None if hx is None else (hx,), lengths)
        return y, h

    def run(self, input: Tensor, states: States | None, lengths: Lengths | None) -> tuple[Tensor, States]:
        """Run all layers and directions; return y and the last states."""
        self._check(input, states, lengths)
        time_axis = 1 if self.batch_first and input.ndim == 3 else 0
        x = input.swapaxes(0, time_axis) if input.ndim == 3 else input.unsqueeze(1)
        if states is not None and input.ndim == 2:
            states = tuple([state.unsqueeze(1) for state in states])
        directions = 1 + self.bidirectional
        last: list[States] = []
        for layer in range(self.num_layers):
            if layer:
                x = dropout(x, self.dropout, self.training)
            ys = []
            for k in range(layer * directions, (layer + 1) * directions):
                suffix, reverse = self._suffixes[k]
                initial = None if states is None else tuple([state[k] for state in states])
                y, *after = self.run_layer(x, initial, self._weights(suffix), lengths, reverse)
                ys.append(y)
                last.append(tuple(after))
            x = ys[0] if len(ys) == 1 else cat(ys, -1)
        finals = tuple([stack(state) for state in zip(*last, strict=True)])
        if input.ndim == 3:
            return x.swapaxes(0, time_axis), finals
        return x.squeeze(1), tuple([state.squeeze(1) for state in finals])

    def _weights(self, suffix: str) -> dict[str, Tensor]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        found = {name: getattr(self, name + suffix, None) for name in names}
        return {name: parameter for name, parameter in found.items() if parameter is not None}

    def _check(self, input: Tensor, states: States | None, lengths: Lengths | None) -> None:
        name = type(self).__name__
        check_input(input, name)
        axes = "(N, T, D)" if self.batch_first else "(T, N, D)"
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            raise ValueError(
                f"{name} takes x {axes}, or (T, D) without a batch, with D = input_size = {self.input_size}, "
                f"got shape {input.shape}"
            )
        batch = () if input.ndim == 2 else (input.shape[0 if self.batch_first else 1],)
        if lengths is not None and not batch:
            raise ValueError(
                "lengths are for the sequences of a batch, but x of shape "
                f"{input.shape} is one sequence: slice it instead, as in x[:length]"
            )
        sizes = self.proj_size or self.hidden_size, self.hidden_size
        _check_states(name, states, [(len(self._suffixes), *batch, size) for size in sizes])

    def extra_repr(self) -> str:
        return _repr(self)


class RecurrentCell(Module):
    """Base of RNNCell, LSTMCell and GRUCell: one step. Parameters start uniform in ±1/√hidden_size."""

    gates: ClassVar[int]

    def __init__(self, input_size: int, hidden_size: int, bias: bool) -> None:
        super().__init__()
        check_flags(bias=bias)
        self.input_size = as_size(input_size, "input_size")
        self.hidden_size = as_size(hidden_size, "hidden_size")
        self.bias = bias
        rows = self.gates * hidden_size
        for name, columns in (("weight_ih", input_size), ("weight_hh", hidden_size)):
            self.register_parameter(name, Parameter(numpy.empty((rows, columns), numpy.float32)))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(numpy.empty(rows, numpy.float32)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize all weights and biases again."""
        _reset_uniform(self, self.hidden_size)

    def run_step(self, x: Tensor, states: States | None) -> States:
        """Return the states (N, H) after x (N, D); every subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__} must define run_step")

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """Return the state after one step, for a cell whose state is one tensor."""
        return self.run(input, None if hx is None else (hx,))[0]

    def run(self, input: Tensor, states: States | None) -> States:
        """Return the states after one step, for input (N, D) or (D,)."""
        name = type(self).__name__
        check_input(input, name)
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise ValueError(
                f"{name} takes x (N, D), or (D,) without a batch, with D = input_size = {self.input_size}, "
                f"got shape {input.shape}"
            )
        _check_states(name, states, [(*input.shape[:-1], self.hidden_size)] * 2)
        if input.ndim == 2:
            return self.run_step(input, states)
        if states is not None:
            states = tuple([state.unsqueeze(0) for state in states])
        return tuple([state.squeeze(0) for state in self.run_step(input.unsqueeze(0), states)])

    def extra_repr(self) -> str:
        return _repr(self)


def _check_states(name: str, states: States | None, shapes: Sequence[Shape]) -> None:
    for state, shape in zip(states or (), shapes, strict=False):
        if not isinstance(state, Tensor):
            raise TypeError(f"{name} takes a state of shape {shape}, got {type(state).__name__}")
        if state.shape != shape:
            raise ValueError(f"{name} takes a state of shape {shape}, got shape {state.shape}")


def _reset_uniform(module: Module, hidden_size: int) -> None:
    bound = 1 / math.sqrt(hidden_size)
    for parameter in module.parameters():
        init.uniform_(parameter, -bound, bound)


_DEFAULTS = {
    "proj_size": 0,
    "num_layers": 1,
    "nonlinearity": "tanh",
    "bias": True,
    "batch_first": False,
    "dropout": 0.0,
    "bidirectional": False,
}


def _repr(module: Module) -> str:
    chosen = [
        f"{name}={getattr(module, name)!r}"
        for name, default in _DEFAULTS.items()
        if getattr(module, name, default) != default
    ]
    return ", ".join([str(module.input_size), str(module.hidden_size), *chosen])
