"""StepRecorder: the hooks of one training step, and the numbers that they gather.

The numbers stay on the device until the step ends, and are then copied at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from ..autograd.grad_mode import is_grad_enabled
from ..autograd.node import Node
from ..autograd.tensor import Tensor
from ..backends import Array, namespace, to_numpy
from ..backends.cuda.capture import current_graph
from ..module import Module
from ..nn import Hardsigmoid, Hardswish, Linear, ReLU, ReLU6, Threshold
from ..nn.convolution.convnd import ConvNd
from ..normalization import SequenceBatchNorm
from ..normalization.core.running_stats import RunningNorm
from .layer_statistics import activation, beside_running, change, dead_share, length
from .stats_file import QUANTITIES, Row

RECTIFIERS = (ReLU, ReLU6, Threshold, Hardswish, Hardsigmoid)
"""Layers in which a unit may be 0 for a whole batch, and stay so."""

_PARAMETRIZATIONS = "parametrizations"


def layers_of(model: Module) -> dict[str, Module]:
    """Return the layers by name: the modules with parameters of their own or without submodules.

    A model that is a layer itself has the name of its type. The parts of a parametrization are no layers.
    """
    layers = {}
    for name, module in model.named_modules():
        parts = [child for child, _ in module.named_children() if child != _PARAMETRIZATIONS]
        own = any(True for _ in module.parameters(recurse=False))
        if _PARAMETRIZATIONS not in name.split(".") and (own or not parts):
            layers[name or type(module).__name__] = module
    return layers


class StepRecorder:
    """Record one step of `model`: from now on its layers have hooks, until `detach()`.

    `read(step)` returns the rows of the step.
    """

    def __init__(self, model: Module) -> None:
        self._model, self._layers = model, layers_of(model)
        self._numbers: dict[tuple[str, str], list[Any]] = {}  # by layer and quantity, one for each call
        self._weights: dict[str, Array] = {}  # before the update
        self._rectified: set[Node] = set()  # those whose dead units are recorded
        self._convolved = False  # whether the latest layer with a matrix or filters was a convolution
        self._latest: tuple[Tensor, ...] = ()  # the output that was recorded last
        self._handles: list[Any] = []
        for name, layer in self._layers.items():
            self._handles.append(layer.register_forward_hook(partial(self._ran, name)))
            if isinstance(layer, RunningNorm) and not isinstance(layer, SequenceBatchNorm):
                self._handles.append(layer.register_forward_pre_hook(partial(self._compare, name)))

    def detach(self) -> None:
        """Remove all hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def read(self, step: int) -> list[Row]:
        """Return the rows of the step, which the optimizer has done; this copies the numbers to the host.

        Raises:
            RuntimeError: if no layer ran, or no parameter has a gradient.
        """
        _check_not_captured()
        if not self._numbers:
            raise RuntimeError(
                f"no layer ran in step {step} in training mode and with gradients: call the model itself, "
                "not model.forward, and then watched.step(). A replayed CUDA graph runs no layers either"
            )
        order = {name: i for i, name in enumerate(dict.fromkeys(layer for layer, _ in self._numbers))}
        with_gradient = [(n, p) for n, p in self._model.named_parameters() if p.grad is not None]
        if not with_gradient:
            raise RuntimeError(
                f"no parameter has a gradient in step {step}: call watched.step() after optimizer.step() and "
                "before zero_grad()"
            )
        for name, parameter in with_gradient:
            order[name] = len(order)
            self._add(name, "grad", length(parameter.grad.array))  # type: ignore[union-attr]
            if name in self._weights:
                self._add(name, "update_ratio", change(self._weights[name], parameter.array))
        rows = [
            (step, layer, quantity, sum(values) / len(values))
            for (layer, quantity), values in self._read_numbers().items()
        ]
        rows = [row for row in rows if row[2] != "update_ratio" or abs(row[3]) < float("inf")]
        return sorted(rows, key=lambda row: (order[row[1]], QUANTITIES.index(row[2])))

    def _read_numbers(self) -> dict[tuple[str, str], list[float]]:
        everything = [number for numbers in self._numbers.values() for number in numbers]
        values = iter(to_numpy(namespace(everything[0]).stack(everything)).tolist())
        return {key: [next(values) for _ in numbers] for key, numbers in self._numbers.items()}

    def _add(self, layer: str, quantity: str, number: Any) -> None:
        self._numbers.setdefault((layer, quantity), []).append(number)

    # -- hooks

    def _is_recorded(self) -> bool:
        """Return whether a call is part of the training; keep the weights, as the first call finds them."""
        if not (self._model.training and is_grad_enabled()):
            return False
        _check_not_captured()
        if not self._weights:
            self._weights = {name: p.array.copy() for name, p in self._model.named_parameters()}
        return True

    def _ran(self, name: str, layer: Module, args: tuple[Any, ...], output: Any) -> None:
        if not self._is_recorded():
            return
        if isinstance(layer, ConvNd | Linear):
            self._convolved = isinstance(layer, ConvNd)
            for x in _tensors(args):
                if x.creator is not None and x.creator.name == "ReLU":  # the function, as blocks call it
                    self._add_dead(f"{name} (input)", x)
        y = next(_tensors(output), None)
        if y is None or y.ndim == 0 or y.array.size == 0 or y.array.dtype.kind != "f":
            return
        known = [*_tensors(args), *self._latest]
        if any(y is x or (y.memory is not None and y.memory is x.memory) for x in known):
            return  # Identity and Flatten, and an attention, whose output is that of its last layer
        self._latest = (y,)
        numbers = activation(y.array, self._units(y))
        for quantity, number in zip(("activation_mean", "activation_std", "unit_std"), numbers, strict=True):
            self._add(name, quantity, number)
        if isinstance(layer, RECTIFIERS):
            self._add_dead(name, y)
        if y.requires_grad:
            self._handles.append(y.register_hook(partial(self._add_gradient, name)))

    def _add_dead(self, name: str, y: Tensor) -> None:
        if y.creator is not None:
            if y.creator in self._rectified:
                return
            self._rectified.add(y.creator)
        self._add(name, "dead", dead_share(y.array, self._units(y)))

    def _units(self, y: Tensor) -> int:
        """Return the axis of the units: channels of images and after a Conv1d, else features on the last."""
        return 1 if y.ndim > 3 or (y.ndim == 3 and self._convolved) else -1

    def _add_gradient(self, name: str, dy: Tensor) -> None:
        self._add(name, "activation_grad", length(dy.array))

    def _compare(self, name: str, layer: RunningNorm, args: tuple[Any, ...]) -> None:
        """Compare the batch with the running statistics, before the layer updates them."""
        x = next(_tensors(args), None)
        if x is None or layer.running_mean is None or not (layer.training and self._is_recorded()):
            return
        mean, var = layer.running_mean.array, layer.running_var.array
        if x.ndim < 2 or x.shape[1] != mean.size or x.array.size <= mean.size:
            return
        numbers = beside_running(x.array, mean, var, layer.eps)
        for quantity, number in zip(("mean_distance", "var_ratio"), numbers, strict=True):
            self._add(name, quantity, number)


def _tensors(values: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested tuples and lists, as in the output of an LSTM."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, tuple | list):
        for value in values:
            yield from _tensors(value)


def _check_not_captured() -> None:
    if current_graph() is not None:
        raise RuntimeError(
            "a step that is captured as a CUDA graph cannot be watched, because its replays run no Python "
            "code: watch steps that are not captured"
        )
