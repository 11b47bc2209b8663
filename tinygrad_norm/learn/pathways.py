"""The paths of a gradient: the sweep is linear, so what flows through a statistic can be told from the rest.

Going back from y, the sweep is stopped at every value that the derivation has a path through. What reaches
the input all the same came straight; what was stopped at r is then swept back from r alone, and is the path
through r. So every way from y to x is counted once, by the first of these values on it.
"""

from collections.abc import Sequence
from typing import Any

import numpy

from ..autograd.sweep import gradients
from ..autograd.tensor import Tensor
from ..registry import Op
from .derivation import paths_of
from .steps import expression, modules_of
from .tracing import Trace

Found = tuple[str, str, list[Any]]
"""The name of a path, its formula or "", and its contribution to every input: None where it does not lead."""


def gradients_of_paths(
    op: Op,
    trace: Trace,
    xs: Sequence[Tensor],
    ys: Sequence[Tensor],
    dys: Sequence[numpy.ndarray],
    names: dict[int, str],
) -> list[Found]:
    """Return the contributions of all paths to the gradients of `xs`; they add up to the gradients."""
    own = modules_of(op)
    others = [name for name in trace.modules if ".normalization." in name and name not in own]
    for modules in (own, others):
        listed: dict[str, str] = {}
        for module in reversed(modules):
            listed |= paths_of(module, op.name)
        through = _found(listed, trace, [*xs, *ys], names)
        if through:
            # Formulas count if they are this op's own, and all contributions to dx: from straight on.
            complete = modules is own and "straight" in listed
            formulas = listed if complete else dict.fromkeys(listed, "")
            return _stopped(through, formulas, xs, ys, dys)
    return _by_use(trace, xs, ys, dys, names)


def _found(
    listed: dict[str, str], trace: Trace, ends: Sequence[Tensor], names: dict[int, str]
) -> dict[str, list[Tensor]]:
    """Return the values that the listed paths lead through: also v₂ and v₃, where one is called v."""
    excluded = {id(x) for x in ends}
    through: dict[str, list[Tensor]] = {}
    for label in listed:
        symbol = label.split()[-1]
        values = [
            x
            for x in trace.kept
            if x.requires_grad and id(x) not in excluded and names[id(x)].rstrip("₀₁₂₃₄₅₆₇₈₉") == symbol
        ]
        if values:
            through[label] = values
    return through


def _stopped(
    through: dict[str, list[Tensor]],
    formulas: dict[str, str],
    xs: Sequence[Tensor],
    ys: Sequence[Tensor],
    dys: Sequence[numpy.ndarray],
) -> list[Found]:
    arrived: dict[int, Any] = {}

    def stop(x: Tensor) -> Any:
        def hook(dx: Tensor) -> Tensor:
            arrived[id(x)] = dx.array
            return dx * 0

        return x.register_hook(hook)

    handles = [stop(x) for values in through.values() for x in values]
    try:
        straight = gradients(ys, xs, dys, retain=True)
    finally:
        for handle in handles:
            handle.remove()
    straight = [dx if dx is not None and dx.any() else None for dx in straight]
    found: list[Found] = [("straight", formulas.get("straight", ""), straight)]
    for label, values in through.items():
        reached = [x for x in values if id(x) in arrived]
        parts = [gradients([x], xs, [arrived[id(x)]], retain=True) for x in reached]
        found.append(
            (label, formulas[label], [_sum(contributions) for contributions in zip(*parts, strict=True)])
        )
    return [path for path in found if path[2]]


def _by_use(
    trace: Trace,
    xs: Sequence[Tensor],
    ys: Sequence[Tensor],
    dys: Sequence[numpy.ndarray],
    names: dict[int, str],
) -> list[Found]:
    """Return one path per use of each input; where it is used once, per use of what is made of it."""
    found: list[Found] = []
    outgoing = _outgoing(xs, ys, dys)
    for k, x in enumerate(xs):
        value, uses = x, _uses(x, trace)
        while len(uses) == 1 and len(uses[0][0].outputs) == 1 and not _is_one_of(uses[0][0].outputs[0], ys):
            value = uses[0][0].outputs[0]
            uses = _uses(value, trace)
        for call, i in uses:
            dx = outgoing.get((call.node, i))
            if dx is not None:
                whole = dx if value is x else gradients([value], [x], [dx], retain=True)[0]
                made = f"{names[id(call.outputs[0])]} = {expression(call, names)}"
                place = sum(use[0] is call for use in uses) > 1
                label = f"through {made}" + (f", input {i + 1}" if place else "")
                found.append((label, "", [whole if j == k else None for j in range(len(xs))]))
        if _is_one_of(value, ys):
            end = next(n for n, y in enumerate(ys) if y is value)
            whole = dys[end] if value is x else gradients([value], [x], [dys[end]], retain=True)[0]
            found.append(("straight", "", [whole if j == k else None for j in range(len(xs))]))
    return found


def _outgoing(xs: Sequence[Tensor], ys: Sequence[Tensor], dys: Sequence[Any]) -> dict[tuple[Any, int], Any]:
    found: dict[tuple[Any, int], Any] = {}

    def observer(node: Any, incoming: list[Any]) -> Any:
        dxs = node.backward(*incoming)
        found.update(((node, i), dx) for i, dx in enumerate(dxs if isinstance(dxs, tuple) else (dxs,)))
        return dxs

    gradients(ys, xs, dys, True, observer)
    return found


def _uses(x: Tensor, trace: Trace) -> list[tuple[Any, int]]:
    return [(call, i) for call in trace.calls for i, given in enumerate(call.inputs) if given is x]


def _is_one_of(x: Tensor, ys: Sequence[Tensor]) -> bool:
    return any(x is y for y in ys)


def _sum(parts: Sequence[Any]) -> Any:
    known = [part for part in parts if part is not None]
    return sum(known[1:], known[0]) if known else None
