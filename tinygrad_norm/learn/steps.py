"""The steps of a traced computation: each call with its values, its gradients and its finite differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from ..autograd.function import Function
from ..autograd.sweep import gradients
from ..autograd.tensor import Tensor
from ..backends import to_numpy
from ..gradient_check.check import jacobians
from ..gradient_check.error import GradcheckError
from ..gradient_check.failure_report import disagreement
from ..gradient_check.jacobian import JacobianPair
from ..gradient_check.registered import NUMERIC_TOLERANCE
from ..registry import Op
from .derivation import symbols_of
from .formulas import formula_and_derivative, operand
from .tracing import Call, Trace

_SIGNS = {"Add": " + ", "Sub": " - ", "Mul": "·", "Div": "/", "Pow": " ** ", "Matmul": " @ "}
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_LARGEST_JACOBIAN = 4096  # entries; of a larger one, only its product with the incoming gradient is checked


@dataclass(frozen=True)
class Value:
    """A named array, and the expression that it was computed by."""

    name: str
    expression: str
    array: numpy.ndarray


@dataclass(frozen=True)
class Flow:
    """The gradient of one input of a step.

    `local` has the derivatives that are not 0: ∂y/∂x in the shape of y if each y depends on one x, in that of
    x if each x moves one y, else the whole matrix with a row per y; None if that has over 4096 entries.
    """

    name: str
    local: numpy.ndarray | None
    outgoing: numpy.ndarray
    correct: bool | None  # compared with finite differences of this step alone; None at infinite inputs


@dataclass(frozen=True)
class Step:
    """One call of a primitive: forward `expression`, backward from `incoming` to one flow per input."""

    name: str
    expression: str
    formula: str
    derivative: str
    array: numpy.ndarray
    incoming: numpy.ndarray
    flows: tuple[Flow, ...]


@dataclass(frozen=True)
class Explained:
    """What `explain_calls` found, the names by id of tensor included."""

    values: tuple[Value, ...]
    outputs: tuple[Value, ...]
    dys: tuple[Value, ...]
    steps: tuple[Step, ...]
    names: dict[int, str]


def explain_calls(
    op: Op,
    trace: Trace,
    inputs: Sequence[Tensor | None],
    xs: Sequence[Tensor],
    ys: Sequence[Tensor],
    dys: Sequence[numpy.ndarray],
) -> Explained:
    """Run the backward of a traced call from `dys`, and return every step with its values and gradients."""
    swept: dict[Function, tuple[list[Any], tuple[Any, ...]]] = {}

    def observer(node: Function, incoming: list[Any]) -> Any:
        outgoing = node.backward(*incoming)
        swept[node] = list(incoming), outgoing if isinstance(outgoing, tuple) else (outgoing,)
        return outgoing

    if dys:
        gradients(ys, xs, dys, True, observer)
    calls = [call for call in trace.calls if call.node in swept]
    names = names_of(op, trace, calls, ys)
    values = [Value(names[id(x)], "", to_numpy(x.array)) for x in inputs if x is not None]
    values += [
        Value(names[id(y)], expression(call, names), to_numpy(y.array))
        for call in calls
        for y in call.outputs
        if y.creator is not None
    ]
    many = len(ys) > 1
    ends = [f"y{subscript(k + 1)}" if many else "y" for k in range(len(ys))]
    outputs = [
        Value(end, names[id(y)] if dys else "", to_numpy(y.array)) for end, y in zip(ends, ys, strict=True)
    ]
    return Explained(
        values=tuple(values),
        outputs=tuple(value for value in outputs if value.expression != value.name),
        dys=tuple(Value(f"d{end}", "", dy) for end, dy in zip(ends, dys, strict=False)),
        steps=tuple(_step(call, *swept[call.node], names) for call in calls),
        names=names,
    )


def subscript(number: int) -> str:
    """Return a number as a subscript: ₁₂."""
    return str(number).translate(_SUBSCRIPTS)


def modules_of(op: Op) -> list[str]:
    """Return the modules whose docstrings derive the op: those of the closed and of the composed form."""
    forms = [form for form in (op.function, op.composed) if form is not None]
    return list(dict.fromkeys(getattr(form, "func", form).__module__ for form in forms))


def names_of(op: Op, trace: Trace, calls: Sequence[Call], ys: Sequence[Tensor]) -> dict[int, str]:
    """Return a name for every tensor: the derivation's symbol, the code's name, or t₁, t₂, …"""
    own = modules_of(op)
    taken: Counter[str] = Counter()
    names: dict[int, str] = {}

    def give(x: Tensor, name: str) -> None:
        taken[name] += 1
        names[id(x)] = name + (subscript(taken[name]) if taken[name] > 1 else "")

    for k, y in enumerate(ys):
        if trace.names.get(id(y), ("y", ""))[0] == "y":
            names[id(y)] = f"y{subscript(k + 1)}" if len(ys) > 1 else "y"
    for x in trace.kept:
        code, module = trace.names[id(x)]
        symbols = [symbols_of(known).get(code) for known in (*own, module)]
        if id(x) not in names and (code != "y" or x.creator is None):
            give(x, next(filter(None, symbols), code))
    count = 0
    for call in [*calls, *trace.calls]:
        for y in call.outputs:
            if id(y) not in names:
                count += 1
                names[id(y)] = f"t{subscript(count)}"
    return names


def expression(call: Call, names: dict[int, str]) -> str:
    """Return a call as it would be written: x - m, mean(x)."""
    operands = [operand(x, names) for x in call.inputs if x is not None]
    name = call.node.name
    if name in _SIGNS and len(operands) == 2:
        return _SIGNS[name].join(operands)
    if name == "Neg":
        return f"-{operands[0]}"
    return f"{name.lower()}({', '.join(operands)})"


def _step(call: Call, incoming: list[Any], outgoing: tuple[Any, ...], names: dict[int, str]) -> Step:
    first = next(k for k, dy in enumerate(incoming) if dy is not None)
    y = call.outputs[first]
    formula, derivative = formula_and_derivative(call.node, call.inputs, y, names)
    return Step(
        name=names[id(y)],
        expression=expression(call, names),
        formula=formula,
        derivative=derivative,
        array=to_numpy(y.array),
        incoming=to_numpy(incoming[first]),
        flows=tuple(_flows(call, incoming, outgoing, names)),
    )


def _flows(
    call: Call, incoming: list[Any], outgoing: tuple[Any, ...], names: dict[int, str]
) -> Iterator[Flow]:
    moved = {i: x for i, x in enumerate(call.inputs) if isinstance(x, Tensor) and x.requires_grad}
    copies = [
        Tensor(x.array.copy(), requires_grad=x.requires_grad) if isinstance(x, Tensor) else x
        for x in call.inputs
    ]
    made = sum(dy.size for dy in incoming if dy is not None)
    small = made * max(x.numel() for x in moved.values()) <= _LARGEST_JACOBIAN

    def run(*tensors: Any) -> Any:
        result = type(call.node).apply(*tensors, **call.options)
        if small:
            return result
        results = result if isinstance(result, tuple) else (result,)
        parts = [(y * Tensor(dy)).sum() for y, dy in zip(results, incoming, strict=True) if dy is not None]
        return sum(parts[1:], parts[0])

    tensors = [x for x in (*call.inputs, *call.outputs) if isinstance(x, Tensor)]
    finite = all(numpy.isfinite(to_numpy(x.array)).all() for x in tensors)
    try:
        pairs = jacobians(run, tuple(copies)) if finite else []
    except GradcheckError:
        pairs = []
    for i, x in moved.items():
        own = [pair for pair in pairs if pair.input == i]
        dx = outgoing[i]
        blocks = [(pair.analytic, pair.output_shape) for pair in own]
        yield Flow(
            name=names[id(x)],
            local=_compact(blocks, x.shape) if small and blocks else None,
            outgoing=numpy.zeros(x.shape) if dx is None else to_numpy(dx),
            correct=_agrees(own) if finite and not is_kinked(own) else None,
        )


def _agrees(pairs: Sequence[JacobianPair]) -> bool:
    return bool(pairs) and disagreement(pairs, 0.0, NUMERIC_TOLERANCE) is None


def is_kinked(pairs: Sequence[JacobianPair]) -> bool:
    """Return whether backward and finite differences disagree, but only where forward has a kink."""
    wrong = [pair.wrong(0.0, NUMERIC_TOLERANCE) for pair in pairs]
    kinked = [pair.kinked for pair in pairs]
    return any(map(numpy.any, wrong)) and not any((w & ~k).any() for w, k in zip(wrong, kinked, strict=True))


def _compact(blocks: list[tuple[numpy.ndarray, tuple[int, ...]]], shape: tuple[int, ...]) -> numpy.ndarray:
    """Return a Jacobian, by output, in the shape of y or of x if there is no more than one entry for each."""
    matrix = numpy.concatenate([block for block, _ in blocks])
    nonzero = matrix != 0
    if len(blocks) == 1 and (nonzero.sum(1) <= 1).all():
        return matrix.sum(1).reshape(blocks[0][1])
    if (nonzero.sum(0) <= 1).all():
        return matrix.sum(0).reshape(shape)
    return matrix
