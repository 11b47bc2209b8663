"""The sweep: gradients from a result back to the leaves, node by node, latest first.

A node was always created after the nodes that made its inputs, so descending time of creation is a
topological order: of all nodes that a gradient has reached, the latest has its whole gradient and is next.
They wait in a heap, and no recursion is needed: a chain of 100,000 nodes is no deeper than one. A node's
gradient is dropped as soon as its backward has run. Unless the graph is retained, so are its saved arrays,
its inputs and its hooks: a result that lives on, such as a loss, keeps nothing else alive.
"""

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any

from ..backends import Array, asarray, namespace
from ..backends.cpu.silence import silent
from .function import Observer
from .guards import (
    already_freed,
    check_for_writes,
    missing_return,
    raise_if_written,
    wrong_count,
    wrong_gradient,
)
from .hooks import register_hook, run_hooks
from .leaf_hooks import Completion
from .memory import watched, writes
from .node import Node
from .paths import Paths
from .tensor import Tensor

Leaves = dict[int, tuple[Tensor, Array]]
"""Each leaf and its gradient, by the leaf's id."""

Reached = dict[Node, list[Array | None]]
"""The gradients that have reached a node so far, one for each of its outputs."""

Waiting = list[tuple[int, Node]]
"""A heap of the nodes that were reached, by -created_at: the latest is on top."""


def gradients(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    dys: Sequence[Any],
    retain: bool,
    observer: Observer | None = None,
) -> list[Array | None]:
    """Return dL/dx for each of `inputs` as an array, None for one that was not used."""
    computed: dict[int, Array] = {}
    handles = [_record_gradient(x, computed) for x in inputs if x.creator is not None]
    try:
        leaves = sweep(outputs, dys, retain, observer, wanted=inputs)
    finally:
        for handle in handles:
            handle.remove()
    return [leaves[id(x)][1] if id(x) in leaves else computed.get(id(x)) for x in inputs]


def _record_gradient(x: Tensor, found: dict[int, Array]) -> Any:
    def keep(dx: Tensor) -> None:
        found[id(x)] = dx.array

    return register_hook(x, keep)


def sweep(
    roots: Sequence[Tensor],
    dys: Sequence[Any],
    retain: bool,
    observer: Observer | None = None,
    completion: Completion | None = None,
    wanted: Sequence[Tensor] | None = None,
) -> Leaves:
    """Run every backward that `roots` depend on; return each leaf with its gradient.

    `completion` takes those leaves that are complete before the end.
    If tensors are `wanted`, only the backwards between them and `roots` run, and no hooks of other leaves.
    Infinity and NaN are results here, as in PyTorch, without warnings. Hooks run with the caller's settings.
    """
    with silent() as silence:
        paths = None if wanted is None else Paths(roots, wanted)
        return _sweep(roots, dys, retain, observer, silence, completion, paths)


def _sweep(
    roots: Sequence[Tensor],
    gradients: Sequence[Any],
    retain: bool,
    observer: Observer | None,
    silence: silent,
    completion: Completion | None,
    paths: Paths | None,
) -> Leaves:
    leaves: Leaves = {}
    reached: Reached = {}
    waiting: Waiting = []
    for root, gradient in zip(roots, gradients, strict=True):
        _deliver(root, start(root, gradient), leaves, reached, waiting)
    while waiting:
        node: Any = heappop(waiting)[1]
        dys: Any = reached.pop(node)
        if paths is not None and node not in paths.nodes:
            if node in paths.ends and node.hooks is not None:
                silence.lifted(_run_hooks, node, dys)
            continue
        if node.hooks is not None:
            silence.lifted(_run_hooks, node, dys)
        if node.outputs is not None:
            _fill_missing(node, dys)
        dxs: Any = run_backward(node, dys, retain, observer)
        del dys
        dx: Any = None
        try:
            for x, needed, dx in zip(node.inputs, node.needs, dxs, strict=True):
                if needed and dx is not None:
                    array, maker = x.array, x.creator
                    if dx.shape != array.shape or type(dx) is Tensor:
                        check_gradients(node, dxs)
                    if dx.dtype is not array.dtype:
                        _deliver(x, dx, leaves, reached, waiting)
                    elif maker is None:
                        key = id(x)
                        leaves[key] = (x, leaves[key][1] + dx) if key in leaves else (x, dx)
                    elif maker in reached or maker.outputs is not None:
                        _deliver(x, dx, leaves, reached, waiting)
                    else:
                        reached[maker] = [dx]
                        heappush(waiting, (-maker.created_at, maker))
        except AttributeError as error:
            if error.obj is dx and error.name == "shape":
                check_gradients(node, dxs)
            raise
        dxs = dx = x = array = None
        if completion is not None:
            completion.backward_ran(node, leaves, silence)
        if not retain:
            node.inputs, node.hooks, node.options = (), None, None
    for key, (leaf, dx) in leaves.items():
        if leaf.hooks and (paths is None or key in paths.wanted):
            leaves[key] = leaf, silence.lifted(run_hooks, leaf.hooks, dx)
    return leaves


def run_backward(
    node: Any, dys: list[Array | None], retain: bool, observer: Observer | None = None
) -> tuple[Array | None, ...]:
    """Run the backward of `node` on `dys`, one per output, and return one gradient per input.

    Saved arrays are freed, unless `retain`.

    Raises:
        RuntimeError: if they were freed before or changed in place, or if backward returns another number of
            gradients.
    """
    if node.saved is None:
        raise already_freed(node)
    if watched:
        check_for_writes(node.inputs, node.saved_outputs)
    if writes.latest > node.created_at:
        raise_if_written(node)
    dxs = node.backward(*dys) if observer is None else observer(node, dys)
    if retain:
        node.retained = True
    else:
        node.saved = None
    if type(dxs) is not tuple:
        if dxs is None:
            raise missing_return(node)
        dxs = (dxs,)
    if len(dxs) != len(node.inputs):
        raise wrong_count(node, dxs)
    return dxs


def check_gradients(node: Any, dxs: Sequence[Any]) -> None:
    """Raise RuntimeError for the first gradient that is not an array of its input's shape."""
    for i, (x, needed, dx) in enumerate(zip(node.inputs, node.needs, dxs, strict=True)):
        if needed and dx is not None and (type(dx) is Tensor or getattr(dx, "shape", None) != x.shape):
            raise wrong_gradient(node, i, dx)


def start(root: Tensor, gradient: Any) -> Array:
    """Return dL/droot as an array: the given gradient, or 1."""
    if not root._requires_grad:
        raise RuntimeError(
            "this tensor does not require grad and was not computed from one that does: "
            "set requires_grad=True on the inputs, and do not compute under no_grad"
        )
    if gradient is None:
        if root.array.size != 1:
            raise RuntimeError(
                f"backward needs a gradient for a result of shape {root.shape}: only a single number is "
                "its own loss. Pass y.backward(dy) with dy of that shape, or reduce y to a number"
            )
        return namespace(root.array).ones(root.array.shape, root.array.dtype)
    y, dy = root.array, gradient.array if isinstance(gradient, Tensor) else gradient
    if type(dy) is not type(y):
        dy = asarray(dy)
    if dy.shape != y.shape:
        raise RuntimeError(f"gradient has shape {dy.shape}, but the tensor has shape {y.shape}")
    return dy.astype(y.dtype, copy=False)


def _deliver(x: Tensor, dx: Array, leaves: Leaves, reached: Reached, waiting: Waiting) -> None:
    """Add a gradient to a leaf's, or to that of the node which made x; the node then waits for its turn."""
    dtype = x.array.dtype
    if dx.dtype is not dtype and dx.dtype != dtype:
        dx = dx.astype(dtype)
    node: Any = x.creator
    if node is None:
        key = id(x)
        leaves[key] = (x, dx) if key not in leaves else (x, leaves[key][1] + dx)
        return
    dys = reached.get(node)
    if dys is None:
        heappush(waiting, (-node.created_at, node))
        dys = reached[node] = [None] if node.outputs is None else [None] * len(node.outputs)
    before = dys[x.index]
    dys[x.index] = dx if before is None else before + dx


def _fill_missing(node: Node, dys: list[Array | None]) -> None:
    """Put zeros for the outputs that the loss does not depend on."""
    for i, varying in enumerate(node.outputs or ()):
        if dys[i] is None and varying is not None:
            dys[i] = namespace(next(dy for dy in dys if dy is not None)).zeros(*varying)


def _run_hooks(node: Node, dys: list[Array | None]) -> None:
    for index, hooks in (node.hooks or {}).items():
        dy = dys[index]
        if dy is not None:
            dys[index] = run_hooks(hooks, dy)
