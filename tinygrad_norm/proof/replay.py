"""Replay: a call that an ordinary run has recorded, run again on arrays of exact numbers.

The graph of the ordinary run says which Functions were called, with which options, and on what: every forward
runs again in its order, and every backward in the reverse order. Running statistics stay as they are: an
option whose name begins with "update" changes them, and is not called.

What no node has computed is data. A float of an input is the number of that input, also where data are
gathered, repeated or sliced. Detached tensors are numbers without a derivative.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy

from ..autograd.function import Function
from ..autograd.guards import wrong_gradient
from ..autograd.tensor import Tensor
from ..backends.cpu.silence import silent
from . import makers  # noqa: F401
from .duals import value
from .errors import WrongShape
from .numberarray import NumberArray, each
from .written import is_short

Leaves = Sequence[tuple[Tensor, Any]]
"""Tensors, and the arrays of exact numbers that stand for them."""


class Replay:
    """One run of the graph behind `outputs`; tensors in `leaves` are replaced by their arrays.

    `constant` turns a float of any other tensor into a number. `detached` pairs the tensors that
    `recording_detached` saw with those that they were detached from.
    """

    def __init__(
        self,
        outputs: Sequence[Tensor],
        leaves: Leaves,
        constant: Any,
        detached: Sequence[tuple[Tensor, Tensor]] = (),
    ) -> None:
        self.leaves, self.constant = {id(x): array.copy() for x, array in leaves}, constant
        self.of_float = _of_float(leaves)
        self.detached = {id(x): source for x, source in detached}
        self.recorded = _in_order(outputs, self.leaves, self.detached)
        self.nodes: dict[int, Any] = {}
        self.results: dict[int, tuple[Any, ...]] = {}
        for node in self.recorded:
            self._forward(node)
        self.outputs = [self.array(y) for y in outputs]

    def array(self, x: Any) -> Any:
        """Return the array of numbers of an input of a node; what is no tensor stays as it is."""
        if not isinstance(x, Tensor):
            return x
        if id(x) in self.leaves:
            return self.leaves[id(x)]
        if x.creator is not None:
            return self.results[id(x.creator)][x.index]
        if id(x) in self.detached:
            return each(value, self.array(self.detached[id(x)]))
        return self._numbers(x.array) if x.array.dtype.kind == "f" else x.array

    def _numbers(self, values: Any) -> NumberArray:
        """Return the numbers of the inputs that these floats are entries of, or else what they stand for."""
        return each(self._number, values)

    def _number(self, x: float) -> Any:
        found = self.of_float.get(float(x))
        return self.constant(x) if found is None else found

    def _forward(self, recorded: Any) -> None:
        node = type(recorded)()
        node.inputs, node.options, node.needs = recorded.inputs, recorded.options, list(recorded.needs)
        arrays = [self.data(self.array(x)) for x in recorded.inputs]
        options = {name: self._option(name, value) for name, value in recorded.options.items()}
        with silent():
            y = node.forward(*arrays, **options)
        self.nodes[id(recorded)] = node
        self.results[id(recorded)] = tuple(map(_as_array, y if type(y) is tuple else (y,)))

    def _option(self, name: str, value: Any) -> Any:
        if name.startswith("update") and callable(value):
            return lambda *_: None
        return self.data(value)

    def data(self, value: Any) -> Any:
        """Return floats in arrays and tensors, also in tuples and dicts, as numbers; all else as it is."""
        if type(value) is numpy.ndarray and value.dtype.kind == "f":
            return self._numbers(value)
        if isinstance(value, Tensor) and value.array.dtype.kind == "f":
            return _holding(value, self.array(value))
        if isinstance(value, tuple | list):
            parts = [self.data(part) for part in value]
            return value._make(parts) if hasattr(value, "_make") else type(value)(parts)
        if isinstance(value, dict):
            return {key: self.data(part) for key, part in value.items()}
        if hasattr(value, "tensors"):  # the statistics of the steps of a recurrent layer
            held = copy.copy(value)
            held.tensors = self.data(value.tensors)
            return held
        return value

    def gradients(self, outputs: Sequence[Tensor], dys: Sequence[Any]) -> dict[int, Any]:
        """Return dL/dx of every leaf that has one, by its id, for L = Σ sum(y·dy)."""
        reached: dict[int, list[Any]] = {}
        found: dict[int, Any] = {}

        def deliver(x: Tensor, dx: Any) -> None:
            key = id(x)
            if key in self.leaves or x.creator is None:
                found[key] = dx if key not in found else found[key] + dx
                return
            dys = reached.setdefault(id(x.creator), [None] * len(self.results[id(x.creator)]))
            dys[x.index] = dx if dys[x.index] is None else dys[x.index] + dx

        for y, dy in zip(outputs, dys, strict=True):
            deliver(y, dy.copy())  # backward may write to it
        for recorded in reversed(self.recorded):
            if id(recorded) not in reached:
                continue
            dys = [
                _zeros(y) if dy is None and _varies(recorded, k) else dy
                for k, (y, dy) in enumerate(
                    zip(self.results[id(recorded)], reached[id(recorded)], strict=True)
                )
            ]
            with silent():
                dxs = self.nodes[id(recorded)].backward(*dys)
            dxs = dxs if type(dxs) is tuple else (dxs,)
            for i, (x, needed, dx) in enumerate(zip(recorded.inputs, recorded.needs, dxs, strict=True)):
                if needed and dx is not None:
                    dx = _as_array(dx)
                    if dx.shape != x.shape:
                        raise WrongShape(wrong_gradient(recorded, i, dx))
                    deliver(x, dx)
        return found


@contextmanager
def recording_detached(constants: bool) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Collect the tensors that are detached meanwhile, each with the one that it was detached from.

    With `constants`, they have a gradient, so that what follows from them is recorded.
    """
    found: list[tuple[Tensor, Tensor]] = []
    detach = Tensor.detach

    def recorded(x: Tensor) -> Tensor:
        out = detach(x)
        out.requires_grad = constants
        found.append((out, x))
        return out

    Tensor.detach = recorded  # type: ignore[method-assign, assignment]
    try:
        yield found
    finally:
        Tensor.detach = detach  # type: ignore[method-assign]


def _in_order(outputs: Sequence[Tensor], leaves: dict[int, Any], detached: dict[int, Tensor]) -> list[Any]:
    """Return the nodes behind `outputs`, from the first that ran to the last."""
    found: dict[int, Any] = {}
    waiting = list(outputs)
    while waiting:
        x = waiting.pop()
        x = detached.get(id(x), x)
        if not isinstance(x, Tensor) or id(x) in leaves or x.creator is None or id(x.creator) in found:
            continue
        found[id(x.creator)] = x.creator
        waiting += x.creator.inputs
    for node in found.values():
        if not isinstance(node, Function):
            raise TypeError(f"{node.name} is no Function with a forward, so it cannot run again")
    return sorted(found.values(), key=lambda node: node.created_at)


def _varies(node: Any, output: int) -> bool:
    return node.outputs is not None and node.outputs[output] is not None


def _zeros(y: Any) -> NumberArray:
    return numpy.zeros(y.shape, object).view(NumberArray)


def _as_array(y: Any) -> Any:
    """Return a number, which NumPy makes of a 0-d array, as an array."""
    if isinstance(y, numpy.ndarray):
        return y.view(NumberArray) if y.dtype == object else y
    return numpy.array(y, object).view(NumberArray)


def _holding(x: Tensor, array: Any) -> Tensor:
    """Return a tensor like x, with that array."""
    out = copy.copy(x)
    out.array = array
    return out


def _of_float(leaves: Leaves) -> dict[float, Any]:
    """Return the number of each float of the leaves: of those that are `told_apart`."""
    found: dict[float, Any] = {}
    for x, array in leaves:
        values: Any = x.array
        for real, number in zip(numpy.ravel(values).tolist(), numpy.ravel(array), strict=True):
            if not is_short(real):
                found[real] = value(number)
    return found
