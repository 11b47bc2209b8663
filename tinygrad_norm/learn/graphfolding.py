"""Fold a large graph: the functions of one call become one box, and equal boxes in a row become one too.

A box stands for an interval in the order of computation, so the folded graph has no circle either.
"""

from __future__ import annotations

import itertools
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ..autograd.function import Function
from ..autograd.tensor import Tensor
from ..parameter import Parameter
from .subgraph import Folded, Subgraph, find_subgraph, is_drawn
from .tracing import Scope

MOST_READABLE = 50
"""Functions and tensors in one picture: a graph with more is folded, if it is known what called them."""

_LONGEST_PERIOD = 32

Scopes = Mapping[Function, tuple[Scope, ...]]
_Unit = Function | Folded


def folded_or_cut(outputs: Sequence[Tensor], scopes: Scopes, max_nodes: int) -> Subgraph:
    """Return the graph of `outputs`, folded if it is too large to read, and cut off if that is not enough."""
    folded = fold(find_subgraph(outputs, sys.maxsize), scopes)
    return folded if _size(folded) <= max_nodes else find_subgraph(outputs, max_nodes)


def fold(graph: Subgraph, scopes: Scopes, limit: int = MOST_READABLE) -> Subgraph:
    """Return `graph` with as much detail as `limit` nodes can show.

    `scopes` has the calls that a function is part of, outermost first; the first is the whole. The deepest
    level that fits is chosen. If none fits, boxes that repeat are folded too, with a count; if that is not
    enough either, the result is the outermost level.
    """
    if _size(graph) <= limit:
        return graph
    depth_of = (len(scopes.get(node, ())) for node in graph.functions if isinstance(node, Function))
    depths = range(max(max(depth_of, default=0) - 1, 1), 0, -1)
    levels = [_without_repeated_layers(_by_scope(graph, scopes, depth)) for depth in depths]
    for units in levels:
        folded = _with(graph, units)
        if _size(folded) <= limit:
            return folded
    for units in levels:
        folded = _with(graph, units)
        while _size(folded) > limit and (run := _longest_run(units)) is not None:
            units = _merged(units, *run)
            folded = _with(graph, units)
        if _size(folded) <= limit:
            break
    return folded


def _without_repeated_layers(units: list[_Unit]) -> list[_Unit]:
    """Return the units with equal layers in a row folded into one."""
    found: list[_Unit] = []
    for _, equal in itertools.groupby(units, _signature):
        run = list(equal)
        layers = all(isinstance(unit, Folded) and unit.places for unit in run)
        found += _merged(run, 0, 1, len(run)) if layers and len(run) > 1 else run
    return found


def _size(graph: Subgraph) -> int:
    return len(graph.functions) + len(graph.tensors)


def _by_scope(graph: Subgraph, scopes: Scopes, depth: int) -> list[_Unit]:
    def scope_of(node: _Unit) -> Scope | None:
        own = scopes.get(node, ()) if isinstance(node, Function) else ()
        return own[depth] if len(own) > depth else None

    units: list[_Unit] = []
    for scope, nodes in itertools.groupby(graph.functions, scope_of):
        functions = tuple(_functions(nodes))
        if scope is None or len(functions) == 1:
            units += functions
        else:
            units.append(
                Folded(scope.title.lstrip("_"), functions, places=(scope.place,) if scope.place else ())
            )
    return units


def _longest_run(units: Sequence[_Unit]) -> tuple[int, int, int] | None:
    """Return start, period and count of the repetition that saves most boxes."""
    signs = [_signature(unit) for unit in units]
    best, saved = None, 0
    for period in range(1, min(len(signs) // 2, _LONGEST_PERIOD) + 1):
        start = 0
        while start + 2 * period <= len(signs):
            count = 1
            while (
                signs[start : start + period] == signs[start + count * period : start + (count + 1) * period]
            ):
                count += 1
            if (count - 1) * period > saved:
                best, saved = (start, period, count), (count - 1) * period
            start += max(1, (count - 1) * period)
    return best


def _signature(unit: _Unit) -> tuple[str, ...]:
    if isinstance(unit, Folded):
        return unit.title, str(unit.count), *(node.name for node in unit.functions)
    return (unit.name,)


def _merged(units: Sequence[_Unit], start: int, period: int, count: int) -> list[_Unit]:
    run = units[start : start + period * count]
    first = run[0]
    functions = tuple(_functions(run))
    if period == 1 and isinstance(first, Folded):
        places = tuple(place for unit in run if isinstance(unit, Folded) for place in unit.places)
        one: _Unit = replace(first, functions=functions, count=first.count * count, places=places)
    else:
        titles = [unit.title if isinstance(unit, Folded) else unit.name for unit in run[:period]]
        names = list(dict.fromkeys(titles))
        title = ", ".join(names) if len(names) < 4 else f"{names[0]} … {names[-1]}"
        one = Folded(title, functions, count=count)
    return [*units[:start], one, *units[start + period * count :]]


def _with(graph: Subgraph, units: Sequence[_Unit]) -> Subgraph:
    """Return the graph of `units`: without the values that only one box knows."""
    owner: dict[Function, _Unit] = {node: unit for unit in units for node in _functions([unit])}
    users: defaultdict[int, set[_Unit]] = defaultdict(set)
    for node, unit in owner.items():
        for x in node.inputs:
            if is_drawn(x):
                users[id(x)].add(unit)
    outputs = {id(y) for y in graph.outputs}
    inside: defaultdict[Folded, list[Tensor]] = defaultdict(list)
    shown = []
    for x in graph.tensors:
        maker = owner.get(x.creator) if isinstance(x.creator, Function) else None
        around = users[id(x)] | ({maker} if maker is not None else set())
        box = next(iter(around)) if len(around) == 1 else None
        hidden = x.creator is not None or isinstance(x, Parameter) or not x.requires_grad
        if isinstance(box, Folded) and hidden and id(x) not in outputs:
            inside[box].append(x)
        else:
            shown.append(x)
    final = tuple(
        replace(unit, parameters=tuple(x for x in inside[unit] if isinstance(x, Parameter)))
        if isinstance(unit, Folded)
        else unit
        for unit in units
    )
    return replace(graph, functions=final, tensors=tuple(shown))


def _functions(units: Iterable[_Unit]) -> Iterator[Function]:
    for unit in units:
        if isinstance(unit, Folded):
            yield from unit.functions
        else:
            yield unit
