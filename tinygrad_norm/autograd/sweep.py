"""The sweep: gradients from a result back to the leaves, node by node, latest first.

A node was always created after the nodes that made its inputs, so descending time of creation is a
topological order: of all nodes that a gradient has reached, the latest has its whole gradient and is next.
They wait in a heap, and no recursion is needed: a chain of 100,000 nodes is no deeper than one. A node's
gradient is dropped as soon as its backward has run. Unless the graph is retained, so are its saved arrays,
its inputs and its hooks: a result that lives on, such as a loss, keeps nothing else alive.
"""

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import Any

from ..backends import Array, asarray, namespace
from ..backends.cpu.silence import silent
from .accumulation import accumulate
from .flags import check_flags
from .function import Function, Observer
from .guards import (
    already_freed,
    check_for_writes,
    missing_return,
    raise_if_written,
    wrong_count,
    wrong_gradient,
)
from .hooks import register_hook, run_hooks
from .leaf_hooks import Completion, hooked
from .memory import watched, writes
from .node import Node
from .tensor import Tensor

Leaves = dict[int, tuple[Tensor, Array]]
"""Each leaf and its gradient, by the leaf's id."""

Reached = dict[Node, list[Array | None]]
"""The gradients that have reached a node so far, one for each of its outputs."""

Waiting = list[tuple[int, Node]]
"""A heap of the nodes that were reached, by -created_at: the latest is on top."""


def backward(
    root: Tensor, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False
) -> None:
    """Add dL/dx to `x.grad` of every leaf x, with L = this tensor, or sum(tensor · gradient).

    Args:
        root: this tensor.
        gradient: dL/d(this tensor), of its shape; not needed if it has one element.
        retain_graph: keep the graph, so that backward can run again, or `draw` can show it.
        create_graph: only False: there are no second derivatives yet.

    Raises:
        TypeError: if a flag is not a bool.
        NotImplementedError: if create_graph is True.
        RuntimeError: if no gradient is required; if this tensor has several elements and no gradient is
            given; a second time without `retain_graph`; if an array saved for backward was changed in place.
    """
    _check(retain_graph, create_graph)
    if not hooked:
        accumulate(sweep([root], [gradient], bool(retain_graph)).values())
        return
    with Completion(root) as completion:
        completion.finish(sweep([root], [gradient], bool(retain_graph), completion=completion))


def _check(retain_graph: Any, create_graph: Any) -> None:
    check_flags(retain_graph=False if retain_graph is None else retain_graph, create_graph=create_graph)
    if create_graph:
        raise _no_second_derivatives()


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """Return dL/dx for each of `inputs`; no `.grad` changes.

    L = Σ sum(output · grad_output) over `outputs`; a grad_output may be None for an output of one element.
    Only what lies between the outputs and `inputs` runs: hooks elsewhere are not called.
    The gradients have no graph of their own: there are no second derivatives yet.

    Raises:
        TypeError: if a flag is not a bool.
        NotImplementedError: if create_graph is True.
        RuntimeError: if there are no inputs, or an input was not used, unless `allow_unused` (its gradient
            is then None).
    """
    _check(retain_graph, create_graph)
    check_flags(allow_unused=allow_unused)
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if not inputs:
        raise RuntimeError("grad needs at least one input to differentiate with respect to, got none")
    if grad_outputs is None or isinstance(grad_outputs, Tensor) or hasattr(grad_outputs, "dtype"):
        grad_outputs = [grad_outputs] * len(outputs)
    dxs = gradients(outputs, inputs, grad_outputs, bool(retain_graph))
    for i, (x, dx) in enumerate(zip(inputs, dxs, strict=True)):
        if dx is None and not allow_unused:
            raise RuntimeError(
                f"input {i} (shape {x.shape}) was not used to compute the outputs, or does not require "
                "grad: pass allow_unused=True to get None for it"
            )
    return tuple([None if dx is None else Tensor._wrap(dx) for dx in dxs])


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


def _no_second_derivatives() -> NotImplementedError:
    return NotImplementedError(
        "create_graph=True: a backward runs on raw arrays and records nothing, so there are no second "
        "derivatives yet. Compute first derivatives with create_graph=False, and take their differences"
    )


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
        paths = None if wanted is None else _Paths(roots, wanted)
        return _sweep(roots, dys, retain, observer, silence, completion, paths)


def _sweep(
    roots: Sequence[Tensor],
    gradients: Sequence[Any],
    retain: bool,
    observer: Observer | None,
    silence: silent,
    completion: Completion | None,
    paths: "_Paths | None",
) -> Leaves:
    leaves: Leaves = {}
    reached: Reached = {}
    waiting: Waiting = []
    for root, gradient in zip(roots, gradients, strict=True):
        _deliver(root, _start(root, gradient), leaves, reached, waiting)
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
        dxs: Any = _run_backward(node, dys, retain, observer)
        del dys
        dx: Any = None
        try:
            for x, needed, dx in zip(node.inputs, node.needs, dxs, strict=True):
                if needed and dx is not None:
                    array, maker = x.array, x.creator
                    if dx.shape != array.shape or type(dx) is Tensor:
                        raise _wrong_gradient(node, dxs)
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
                raise _wrong_gradient(node, dxs) from None
            raise
        dxs = dx = x = array = None
        if completion is not None:
            completion.backward_ran(node, leaves, silence)
        if not retain:
            node.inputs, node.hooks = (), None
    for key, (leaf, dx) in leaves.items():
        if leaf.hooks and (paths is None or key in paths.wanted):
            leaves[key] = leaf, silence.lifted(run_hooks, leaf.hooks, dx)
    return leaves


class _Paths:
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


def _run_backward(
    node: Any, dys: list[Array | None], retain: bool, observer: Observer | None
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


def _wrong_gradient(node: Any, dxs: tuple[Any, ...]) -> RuntimeError:
    """Return the error for the first gradient that is not an array of its input's shape."""
    wrong = [
        i
        for i, (x, needed, dx) in enumerate(zip(node.inputs, node.needs, dxs, strict=True))
        if needed and dx is not None and (type(dx) is Tensor or getattr(dx, "shape", None) != x.shape)
    ]
    return wrong_gradient(node, wrong[0], dxs[wrong[0]])


def _start(root: Tensor, gradient: Any) -> Array:
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
