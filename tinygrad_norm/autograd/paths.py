"""Paths: which nodes of a graph lead from results to chosen tensors."""

from collections.abc import Iterable, Sequence
from typing import Any

from .function import Function
from .node import Node
from .tensor import Tensor


class Paths:
    """The nodes between roots and the tensors that are wanted, and those that made the latter.

    A node that was freed counts as one of them: its inputs are unknown, and its backward raises the error.
    """

    def __init__(self, roots: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
        self.wanted = {id(x) for x in wanted}
        self.ends = {x.creator for x in wanted}
        self.nodes: set[Node | None] = set()
        nodes = reachable(x.creator for x in roots if x.creator is not None)
        for node in sorted(nodes, key=lambda node: node.created_at):
            if node.freed or any(self._leads_on(x) for x in node.inputs):
                self.nodes.add(node)

    def _leads_on(self, x: Any) -> bool:
        return isinstance(x, Tensor) and (id(x) in self.wanted or x.creator in self.nodes)


def reachable(creators: Iterable[Node]) -> list[Function]:
    """Return every node that the given ones depend on, each once, the nearest first."""
    found = [node for node in creators if isinstance(node, Function)]
    seen = set(found)
    for node in found:  # grows during the walk
        for x in node.inputs:
            creator = x.creator if isinstance(x, Tensor) else None
            if isinstance(creator, Function) and creator not in seen:
                seen.add(creator)
                found.append(creator)
    return found
