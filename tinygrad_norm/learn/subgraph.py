"""Subgraph: the functions and tensors that led to a result, in the order in which they were computed.

A result knows its creator, a creator its inputs, and so on down to the leaves. What a picture has no
room for is cut off at the far end: the nodes nearest to the result are kept.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..autograd.function import Function
from ..autograd.sweep import reachable
from ..autograd.tensor import Tensor


@dataclass(frozen=True)
class Subgraph:
    """A part of the graph: functions, oldest first; tensors in order of first use; what was left out.

    `omitted` counts the functions that did not fit.
    """

    outputs: tuple[Tensor, ...]
    functions: tuple[Function, ...]
    tensors: tuple[Tensor, ...]
    omitted: int


def find_subgraph(outputs: Sequence[Tensor], max_nodes: int) -> Subgraph:
    """Return the graph behind `outputs`, nearest nodes first up to `max_nodes` functions and tensors."""
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
    """Return whether an input gets a node of its own: a tensor does, unless it is a constant number."""
    return isinstance(x, Tensor) and (x.requires_grad or x.ndim > 0)
