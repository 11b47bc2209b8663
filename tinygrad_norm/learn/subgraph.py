"""Subgraph: the functions and tensors that led to a result, in the order of computation.

A result refers to its creator, a creator to its inputs, and so on down to the leaves. If the graph is too
large for a picture, only the nodes nearest to the result are kept.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..autograd.function import Function
from ..autograd.paths import reachable
from ..autograd.tensor import Tensor


@dataclass(frozen=True, eq=False)
class Folded:
    """Functions in one box: those of one call, or of `count` equal calls in a row.

    `places` are the names of the modules that were called, `parameters` those that no other box uses.
    """

    title: str
    functions: tuple[Function, ...]
    count: int = 1
    places: tuple[str, ...] = ()
    parameters: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Subgraph:
    """A part of the graph: functions, oldest first, and tensors in order of first use.

    `omitted` is the number of functions that were left out.
    """

    outputs: tuple[Tensor, ...]
    functions: tuple[Function | Folded, ...]
    tensors: tuple[Tensor, ...]
    omitted: int


def find_subgraph(outputs: Sequence[Tensor], max_nodes: int) -> Subgraph:
    """Return the functions and tensors nearest to `outputs`, at most `max_nodes` of them."""
    nearest = reachable(dict.fromkeys(out.creator for out in outputs if out.creator is not None))
    kept: list[Function] = []
    seen = {id(out) for out in outputs}
    for node in nearest:
        new = {id(x) for x in node.inputs if is_drawn(x)} - seen
        if len(kept) + 1 + len(seen) + len(new) > max_nodes:
            break
        kept.append(node)
        seen |= new
    kept.sort(key=operator.attrgetter("created_at"))
    used = [x for node in kept for x in node.inputs if is_drawn(x)]
    tensors = {id(x): x for x in (*used, *outputs)}
    return Subgraph(tuple(outputs), tuple(kept), tuple(tensors.values()), len(nearest) - len(kept))


def is_drawn(x: Any) -> bool:
    """Return whether an input gets its own node: every tensor does, unless it is a constant number."""
    return isinstance(x, Tensor) and (x.requires_grad or x.ndim > 0)
