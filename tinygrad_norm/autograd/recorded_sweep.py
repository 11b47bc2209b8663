"""The recorded sweep: backward as calls in the graph, so that gradients can be differentiated again.

The backward of y = f(x) computes dx = J(x)ᵀ·dy, which is a function of x and dy. `Gradient` is the node of
that function. Its forward runs the backward of f's node, on arrays: with `create_graph`, a first derivative
has the same bits as without. Its backward needs dx as a graph, and gets it by a *replay*: the forward and the
backward of f run again on recorded arrays, which are arrays to them (ops/recorded). So the gradient that was
derived by hand is the one that is differentiated, and a Function need not know of it.

The replay of a Gradient differentiates the replay of its call, so third derivatives need nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from ..backends import Array, namespace
from .function import Function
from .grad_mode import enable_grad
from .hooks import run_recorded_hooks
from .node import Node
from .paths import Paths
from .sweep import Waiting, check_gradients, gradients, run_backward, start
from .tensor import Tensor

Replay = Callable[[type[Function], dict[str, Any], Sequence[Any], Sequence[Any]], Sequence[Tensor | None]]
"""replay(function, options, inputs, dys) returns dL/dx for each input, as a tensor with a graph."""

_replays: list[Replay] = []


def set_replay(replay: Replay) -> None:
    """Set what runs a Function again on recorded arrays: it needs the ops, which are above this package."""
    _replays[:] = [replay]


@dataclass
class Call:
    """A call of `function` whose gradient is differentiated.

    `run` is the backward of its node, dropped once it has run; then `positions` are those of the inputs that
    have a gradient.
    """

    function: type[Function]
    options: dict[str, Any]
    needs: Sequence[bool]
    run: Callable[[list[Any]], Sequence[Array | None]] | None
    positions: list[int] = field(default_factory=list)

    def replay(self, inputs: Sequence[Any], dys: Sequence[Any]) -> list[Tensor | None]:
        """Return the gradients at `positions`, with a graph from `inputs` and `dys`."""
        with enable_grad():
            if self.function is Gradient:
                first, count = self.options["call"], self.options["count"]
                found = partial_gradients(lambda *xs: first.replay(xs[:count], xs[count:]), inputs, dys)
            else:
                found = list(_replays[0](self.function, self.options, inputs, dys))
        return [found[i] for i in self.positions]


class Gradient(Function):
    """dx = J(x)ᵀ·dy of a call y = f(x) · dL/d(x, dy) = that of a replay of the call

    The inputs are those of the call, of which there are `count`, then dy for each of its outputs. There is an
    output for each input that has a gradient.
    """

    def forward(self, *arrays: Any, call: Call, count: int) -> tuple[Array, ...]:
        run, call.run = call.run, None
        assert run is not None
        # Copies: a backward may use dy as a buffer, and the replay needs it as it was.
        dxs = run([None if dy is None else dy.copy() for dy in arrays[count:]])
        call.positions = [i for i, dx in enumerate(dxs) if dx is not None and call.needs[i]]
        self.call, self.count, self.saved = call, count, arrays
        return tuple([_as_dtype(dxs[i], arrays[i].dtype) for i in call.positions])

    def backward(self, *ddxs: Array) -> tuple[Array | None, ...]:
        leaves = [
            Tensor(array, requires_grad=needed) if hasattr(array, "dtype") else array
            for array, needed in zip(self.saved, self.needs, strict=True)
        ]
        dxs = self.call.replay(leaves[: self.count], leaves[self.count :])
        known = [(dx, ddx) for dx, ddx in zip(dxs, ddxs, strict=True) if dx is not None and dx.requires_grad]
        wanted = [x for x, needed in zip(leaves, self.needs, strict=True) if needed]
        found = iter(gradients([dx for dx, _ in known], wanted, [ddx for _, ddx in known], False))
        return tuple([next(found) if needed else None for needed in self.needs])


def _as_dtype(dx: Any, dtype: Any) -> Array:
    return dx if dx.dtype == dtype else dx.astype(dtype)


class _Same(Function):
    """y = x · dx = dy"""

    is_view = True

    def forward(self, x: Array) -> Array:
        return x[...]

    def backward(self, dy: Array) -> Array:
        return dy


def partial_gradients(
    function: Callable[..., Sequence[Tensor | None]], inputs: Sequence[Any], dys: Sequence[Any]
) -> list[Any]:
    """Return Σ dy·∂y/∂x of `function`, whose outputs are y, for each of `inputs`, as tensors with a graph.

    They are partial derivatives: an input may depend on another, or be the same tensor.
    """
    xs = [_Same.apply(x) if isinstance(x, Tensor) and x.requires_grad else x for x in inputs]
    known = [(y, dy) for y, dy in zip(function(*xs), dys, strict=True) if y is not None and y.requires_grad]
    found = recorded_sweep([y for y, _ in known], [dy for _, dy in known], True, ends={id(x) for x in xs})
    return [found[id(x)][1] if id(x) in found else None for x in xs]


Leaves = dict[int, tuple[Tensor, Tensor]]
"""Each leaf and its gradient, by the leaf's id."""


def recorded_sweep(
    roots: Sequence[Tensor],
    dys: Sequence[Any],
    retain: bool,
    wanted: Sequence[Tensor] | None = None,
    ends: Container[int] = (),
) -> Leaves:
    """Run every backward that `roots` depend on; return each leaf with its gradient, as tensors with a graph.

    If tensors are `wanted`, only the backwards between them and `roots` run, and no hooks of other leaves.
    The tensors whose id is in `ends` count as leaves.
    """
    paths = None if wanted is None else Paths(roots, wanted)
    leaves: Leaves = {}
    reached: dict[Node, list[Tensor | None]] = {}
    waiting: Waiting = []

    def deliver(x: Tensor, dx: Tensor) -> None:
        node = x.creator
        if node is None or id(x) in ends:
            leaves[id(x)] = x, leaves[id(x)][1] + dx if id(x) in leaves else dx
            return
        if node not in reached:
            heappush(waiting, (-node.created_at, node))
            reached[node] = [None] if node.outputs is None else [None] * len(node.outputs)
        before = reached[node][x.index]
        reached[node][x.index] = dx if before is None else before + dx

    with enable_grad():
        for root, dy in zip(roots, dys, strict=True):
            array = start(root, dy)
            deliver(root, dy.to(root.dtype) if isinstance(dy, Tensor) else Tensor._wrap(array))
        while waiting:
            node = heappop(waiting)[1]
            arrived = reached.pop(node)
            if paths is None or node in paths.nodes or node in paths.ends:
                arrived = _with_hooks(node, arrived)
            if paths is None or node in paths.nodes:
                for x, dx in _gradients_of(node, arrived, retain):
                    deliver(x, dx)
        for key, (leaf, dx) in leaves.items():
            if leaf.hooks and key not in ends and (paths is None or key in paths.wanted):
                leaves[key] = leaf, run_recorded_hooks(leaf.hooks, dx)
    return leaves


def _with_hooks(node: Node, dys: list[Tensor | None]) -> list[Tensor | None]:
    """Return the gradients of the outputs of `node`, after its hooks."""
    return [
        dy if dy is None else run_recorded_hooks((node.hooks or {}).get(index, []), dy)
        for index, dy in enumerate(dys)
    ]


def _gradients_of(node: Any, dys: list[Tensor | None], retain: bool) -> list[tuple[Tensor, Tensor]]:
    """Run the backward of `node`; return those inputs that have a gradient, with it."""
    for i, varying in enumerate(node.outputs or ()):
        if dys[i] is None and varying is not None:
            like = next(dy.array for dy in dys if dy is not None)
            dys[i] = Tensor._wrap(namespace(like).zeros(*varying))
    inputs = node.inputs

    def run(arrays: list[Array | None]) -> tuple[Array | None, ...]:
        dxs = run_backward(node, arrays, retain)
        check_gradients(node, dxs)
        return dxs

    call = Call(type(node), node.options, node.needs, run)
    dxs = Gradient.apply(*inputs, *dys, call=call, count=len(inputs))
    if not retain:
        node.inputs, node.hooks, node.options = (), None, None
    return [(inputs[i], dx) for i, dx in zip(call.positions, dxs, strict=True)]
