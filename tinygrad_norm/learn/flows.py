"""Flows: the gradient of every value, and the part of it that comes back along each arrow."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..autograd.function import Function
from ..autograd.hooks import RetainedGradient
from ..autograd.paths import reachable
from ..autograd.sweep import sweep
from ..autograd.tensor import Tensor
from ..backends import Array


@dataclass(frozen=True)
class Flows:
    """The gradients of one backward, by id of tensor, and by function and index of its input."""

    tensors: dict[int, Array] = field(default_factory=dict)
    arrows: dict[tuple[Function, int], Array] = field(default_factory=dict)

    def along(self, arrows: Iterable[tuple[Function, int]]) -> Array | None:
        """Return what comes back along several arrows together; None if that is nothing."""
        parts = [self.arrows[arrow] for arrow in arrows if arrow in self.arrows]
        return sum(parts[1:], parts[0]) if parts else None


def flows_of(outputs: Sequence[Tensor], dys: Sequence[Any]) -> Flows:
    """Run backward from `dys`, and return every gradient of it; no `.grad` changes, the graph is kept."""
    flows = Flows()

    def add(x: Tensor, dx: Array) -> None:
        before = flows.tensors.get(id(x))
        flows.tensors[id(x)] = dx if before is None else before + dx

    def observer(node: Any, incoming: list[Any]) -> Any:
        outgoing = node.backward(*incoming)
        dxs = outgoing if isinstance(outgoing, tuple) else (outgoing,)
        for i, (x, needed, dx) in enumerate(zip(node.inputs, node.needs, dxs, strict=True)):
            if needed and dx is not None:
                flows.arrows[node, i] = dx
                add(x, dx)
        return outgoing

    for y, dy in zip(outputs, dys, strict=True):
        add(y, dy)
    kept = [(x, x.grad) for x in _retaining(outputs)]
    try:
        sweep(outputs, dys, True, observer)
    finally:
        for x, grad in kept:
            x.grad = grad
    return flows


def _retaining(outputs: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield the results on which `retain_grad` was called: a sweep adds to their `.grad`."""
    for node in reachable(y.creator for y in outputs if y.creator is not None):
        for hook in itertools.chain.from_iterable((node.hooks or {}).values()):
            x = hook.x() if isinstance(hook, RetainedGradient) else None
            if x is not None:
                yield x
