"""Draw a registered op on few and small numbers, composed form beside closed form.

Both forms get the same inputs and the same dy, so both must show the same gradients. The composed form shows
the values by the names of the derivation, and every gradient that meets another; the closed form needs none
of the nodes between, and shows the paths of the gradient instead.
"""

import itertools
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.tensor import Tensor
from ..module import Parameter
from ..normalization.core.summary import formula_lines, gradient_lines
from ..registry import Case, Op
from .array_summary import aligned, columns, summarize, table_of
from .dot import Panel
from .draw import MAX_NODES, Drawing
from .flows import flows_of
from .formulas import formula_and_derivative
from .given import Given, choose, names_of_arguments, traced_call
from .graphfolding import folded_or_cut
from .pathways import gradients_of_paths
from .steps import modules_of, names_of, subscript
from .subgraph import find_subgraph

_CLOSED_WIDTH = 56
_NOTES_WIDTH = 72
_FORMULA_WIDTH = 40


def draw_op(
    op: Op,
    case: Case | None = None,
    forms: Sequence[str] = ("composed", "closed"),
    backward: bool = True,
    *,
    x: Any = None,
    dy: Any = None,
    shape: Sequence[int] | None = None,
    seed: int = 0,
    options: dict[str, Any] | None = None,
    max_nodes: int = MAX_NODES,
    given: Given | None = None,
) -> Drawing:
    """Draw `op` in each of `forms` ("composed", "closed"); with gradients if `backward`.

    The inputs are `given`, else those of `case`, else `x`, else random ones of `shape`, else the small ones
    of `explain`; `options` are those of the op that differ from these inputs' usual ones.
    A form of many functions is folded by the functions that it calls.

    Raises:
        ValueError: if the composed form is requested but the op is a primitive, which has none; or the op
            cannot take `x`, or `dy` is of another size than y.
    """
    given = given or choose(op, x, dy, shape=shape, seed=seed, options=options, case=case)
    panels = []
    for form in forms:
        function = {"composed": op.composed, "closed": op.function}[form]
        if function is None:
            raise ValueError(f"{op.name} is a primitive without a composed form: draw its closed form")
        panels.append(_panel(op, given, form, function, backward, max_nodes))
    gradients = "gradients of sum(y·dy)" + ("" if given.dy is not None else " for a random dy")
    shapes = tuple(x.shape for x in given.inputs if x is not None)
    shown = case or Case(shapes, given.options)
    shown_lines = textwrap.wrap(str(shown), 2 * _NOTES_WIDTH)
    below = [*shown_lines[1:], gradients if backward else "before backward"]
    return Drawing(panels, "\n".join([f"{op.title or op.name}   {shown_lines[0]}", *below]))


def _panel(
    op: Op, given: Given, form: str, function: Callable[..., Any], backward: bool, max_nodes: int
) -> Panel:
    names = names_of_arguments(op, len(given.inputs))
    own = Given(
        [_fresh(op, name, x) for name, x in zip(names, given.inputs, strict=True)],
        given.options,
        given.dy,
        given.seed,
    )
    trace, results = traced_call(op, own, function)
    ys = [y for y in results if y.requires_grad]
    dys = own.dys(ys)
    flows = flows_of(ys, dys) if backward and ys else None
    whole = find_subgraph(results, sys.maxsize)
    graph = folded_or_cut(results, {call.node: call.scopes for call in trace.calls}, max_nodes)
    drawn = set(whole.functions)
    calls = [call for call in trace.calls if call.node in drawn]
    known = names_of(op, trace, calls, ys)
    formulas = {
        call.node: formula_and_derivative(call.node, call.inputs, call.outputs[0], known) for call in calls
    }
    count = len(whole.functions)
    title = {"composed": "composed", "closed": "closed form" if op.composed else "primitive"}[form]
    closed = form == "closed" and op.composed is not None
    ends = {
        id(y): f"y{subscript(k + 1) if len(ys) > 1 else ''} = {known[id(y)]}"
        for k, y in enumerate(ys)
        if known[id(y)][0] != "y"
    }
    return Panel(
        graph,
        known | ends,
        f"{title}: {count} function{'s' * (count != 1)}",
        formulas,
        flows,
        [*_formula(op), *(_paths(op, own) if backward and ys else [])] if closed else (),
        _CLOSED_WIDTH if closed else Panel.width,
    )


def _fresh(op: Op, name: str, x: Tensor | None) -> Tensor | None:
    """Return a copy of x; a Parameter if the op is registered with it as one: weight, weights[0], …"""
    if x is None:
        return None
    is_parameter = x.requires_grad and name.partition("[")[0] in op.parameters
    return Parameter(x.array) if is_parameter else Tensor(x.array, requires_grad=x.requires_grad)


def _formula(op: Op) -> list[str]:
    """Return the formula and the gradient of a normalization, as its file derives them."""
    if op.kind != "normalization":
        return []
    derivation = sys.modules[modules_of(op)[0]].__doc__ or ""
    lines = [*formula_lines(derivation), *gradient_lines(derivation)]
    return [*(line for long in lines for line in _wrapped(long)), ""]


def _wrapped(line: str) -> list[str]:
    """Break a line between its formulas only."""
    found: list[str] = []
    for part in re.split(r" {2,}", line.strip()):
        if found and columns(f"{found[-1]}   {part}") <= _NOTES_WIDTH:
            found[-1] += f"   {part}"
        else:
            found.append(part)
    return found


def _paths(op: Op, given: Given) -> list[str]:
    """Return the paths of the first input's gradient as lines: name, formula, numbers, and their sum."""
    trace, results = traced_call(op, given, op.composed)
    ys = [y for y in results if y.requires_grad]
    x = next(x for x in given.inputs if x is not None and x.requires_grad)
    names = names_of(op, trace, trace.calls, ys)
    found = [
        (label, formula, dxs[0])
        for label, formula, dxs in gradients_of_paths(op, trace, [x], ys, given.dys(ys), names)
        if dxs[0] is not None
    ]
    if len(found) < 2:
        return []
    found.append(("sum", f"d{names[id(x)]}", sum(dx for _, _, dx in found)))
    arrays = [dx for _, _, dx in found]
    values = table_of(arrays) or [summarize(dx) for dx in arrays]
    wrapped = [textwrap.wrap(formula, _FORMULA_WIDTH) for _, formula, _ in found]
    cells = [
        row
        for (label, _, _), formula, rows in zip(found, wrapped, values, strict=True)
        for row in itertools.zip_longest([label], formula, rows, fillvalue="")
    ]
    filled = (aligned(column) for column in zip(*cells, strict=True))
    lines = ["  ".join(row).rstrip() for row in zip(*filled, strict=True)]
    return [f"the paths of d{names[id(x)]} add up:", "", *lines]
