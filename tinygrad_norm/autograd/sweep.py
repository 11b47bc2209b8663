"""The sweep: gradients from a result back to the leaves, node by node, youngest first.

A node is always younger than the nodes that made its inputs, so descending birth order is a
topological order: of all nodes that a gradient has reached, the youngest has its whole gradient and
is next. They wait in a heap, and no recursion is needed: a chain of 100,000 nodes is no deeper than
one. A node's gradient is dropped as soon as its backward has run, and so are its saved arrays unless
the graph is retained.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import numpy

from ..backends import Array, asarray, namespace
from ..backends.cpu.silence import silent_context
from .tensor import Tensor

if TYPE_CHECKING:
    from .function import Function


def backward(
    root: Tensor, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False
) -> None:
    """Add dL/dx to `x.grad` for every leaf x that `root` was computed from.

    L is `root` itself where it has one element, else sum(root · gradient).
    """
    _refuse_second_derivatives(create_graph)
    leaves = sweep([root], [gradient], bool(retain_graph))
    for leaf, dx in leaves.values():
        _accumulate(leaf, dx)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """Return dL/dx for each of `inputs` without touching any `.grad`.

    L = Σ sum(output · grad_output) over `outputs`; a grad_output may be None for a one-element output.
    The gradients have no graph of their own: there are no second derivatives yet.

    Raises:
        NotImplementedError: for create_graph=True.
        RuntimeError: where an input was not used, unless `allow_unused` (its gradient is then None).
    """
    _refuse_second_derivatives(create_graph)
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if grad_outputs is None or isinstance(grad_outputs, Tensor) or hasattr(grad_outputs, "dtype"):
        grad_outputs = [grad_outputs] * len(outputs)
    caught: dict[int, Array] = {}
    removers = [_catch(x, caught) for x in inputs if x.creator is not None]
    try:
        leaves = sweep(outputs, grad_outputs, bool(retain_graph))
    finally:
        for remove in removers:
            remove()
    result: list[Tensor | None] = []
    for i, x in enumerate(inputs):
        dx = leaves[id(x)][1] if id(x) in leaves else caught.get(id(x))
        if dx is None and not allow_unused:
            raise RuntimeError(
                f"input {i} (shape {x.shape}) was not used to compute the outputs, or does not require "
                "grad: pass allow_unused=True to get None for it"
            )
        result.append(None if dx is None else Tensor._wrap(dx))
    return tuple(result)


def _refuse_second_derivatives(create_graph: bool) -> None:
    if create_graph:
        raise NotImplementedError(
            "create_graph=True: a backward runs on raw arrays and records nothing, so there are no second "
            "derivatives yet. Take first ones, with create_graph=False, and difference them"
        )


def _catch(x: Tensor, caught: dict[int, Array]) -> Any:
    def keep(dx: Tensor) -> None:
        caught[id(x)] = dx.array

    return x.register_hook(keep).remove


def sweep(roots: Sequence[Tensor], gradients: Sequence[Any], retain: bool) -> dict[int, tuple[Tensor, Array]]:
    """Run every backward that `roots` depend on; return each leaf with its gradient.

    Infinity and NaN are results here, as in PyTorch, and no warnings.
    """
    return silent_context().run(_sweep, roots, gradients, retain)


def _sweep(
    roots: Sequence[Tensor], gradients: Sequence[Any], retain: bool
) -> dict[int, tuple[Tensor, Array]]:
    leaves: dict[int, tuple[Tensor, Array]] = {}
    waiting: list[tuple[int, Function]] = []  # by -birth: the youngest is on top of the heap
    dx: Any = None
    try:
        for root, gradient in zip(roots, gradients, strict=True):
            _deliver(root, _start(root, gradient), leaves, waiting)
        while waiting:
            node = heappop(waiting)[1]
            dys: Any = node.dys
            node.dys = None
            if node.hooks is not None:
                _run_hooks(node, dys)
            if node.outputs is not None:
                _fill_missing(node, dys)
            dxs: Any = node.run_backward(dys, retain)
            del dys
            for i, x in enumerate(node.inputs):
                dx = dxs[i]
                if dx is not None and node.needs[i]:
                    if type(dx) is Tensor or dx.shape != x.array.shape:
                        node.refuse_gradient(i, dx)
                    _deliver(x, dx, leaves, waiting)
            dx = dxs = None
    except AttributeError as error:
        if dx is not None and error.obj is dx and error.name == "shape":
            node.refuse_gradient(i, dx)
        raise
    finally:
        for _, node in waiting:  # only after an error is anything left here
            node.dys = None
    for key, (leaf, dx) in leaves.items():
        if leaf.hooks:
            leaves[key] = leaf, _through_hooks(leaf.hooks, dx)
    return leaves


def reachable(creators: Iterable[Function]) -> list[Function]:
    """Return every node that the given ones depend on, each once, the nearest first."""
    stack = list(creators)
    seen = set(stack)
    for node in stack:  # grows while it is walked
        for x in node.inputs:
            if isinstance(x, Tensor):
                creator = x.creator
                if creator is not None and creator not in seen:
                    seen.add(creator)
                    stack.append(creator)
    return stack


def _start(root: Tensor, gradient: Any) -> Array:
    if not root.requires_grad:
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
    dy = gradient.array if isinstance(gradient, Tensor) else asarray(gradient)
    if dy.shape != root.shape:
        raise RuntimeError(f"gradient has shape {dy.shape}, but the tensor has shape {root.shape}")
    return dy.astype(root.dtype, copy=False)


def _deliver(
    x: Tensor, dx: Array, leaves: dict[int, tuple[Tensor, Array]], waiting: list[tuple[int, Function]]
) -> None:
    if dx.dtype is not x.array.dtype and dx.dtype != x.array.dtype:
        dx = dx.astype(x.array.dtype)
    node = x.creator
    if node is None:
        key = id(x)
        leaves[key] = (x, dx) if key not in leaves else (x, leaves[key][1] + dx)
        return
    dys = node.dys
    if dys is None:
        heappush(waiting, (-node.birth, node))
        if node.outputs is None:
            node.dys = [dx]
            return
        dys = node.dys = [None] * len(node.outputs)
    before = dys[x.index]
    dys[x.index] = dx if before is None else before + dx


def _fill_missing(node: Function, dys: list[Array | None]) -> None:
    for i, varying in enumerate(node.outputs or ()):
        if dys[i] is None and varying is not None:
            dys[i] = namespace(next(dy for dy in dys if dy is not None)).zeros(*varying)


def _run_hooks(node: Function, dys: list[Array | None]) -> None:
    for index, hooks in (node.hooks or {}).items():
        if dys[index] is not None:
            dys[index] = _through_hooks(hooks, dys[index])


def _through_hooks(hooks: list[Any], dx: Array) -> Array:
    for hook in tuple(hooks):
        replaced = hook(Tensor._wrap(dx))
        if replaced is not None:
            new = replaced.array if isinstance(replaced, Tensor) else asarray(replaced)
            if new.shape != dx.shape:
                raise RuntimeError(f"a hook returned shape {new.shape} for a gradient of shape {dx.shape}")
            dx = new
    return dx


def _accumulate(leaf: Tensor, dx: Array) -> None:
    slot = leaf.grad_slot
    if leaf._grad is not None:
        namespace(dx).add(leaf._grad.array, dx, out=leaf._grad.array)
        leaf._grad.mark_written()
    elif slot is not None:
        leaf._grad = slot.receive(dx)
    else:
        # An array that anybody else holds (the caller's dy, another leaf's gradient) is copied, so
        # that changing one .grad in place never changes another. References: leaves, dx, getrefcount.
        owned = sys.getrefcount(dx) <= _OWN_REFERENCES and isinstance(dx, numpy.ndarray) and _is_alone(dx)
        leaf._grad = Tensor._wrap(dx if owned else dx.copy())


def _is_alone(dx: numpy.ndarray) -> bool:
    """Say whether `dx` is no view, or one of an array as large, a reshaped one, that nobody else knows."""
    if dx.base is None:
        return True
    whole = isinstance(dx.base, numpy.ndarray) and dx.base.flags.owndata and dx.base.size == dx.size
    return whole and sys.getrefcount(dx.base) == _VIEWS_REFERENCES


def _own_references() -> int:
    """Count the references that `backward` itself holds to a gradient, as `_accumulate` sees them."""

    def inner(leaf: object, dx: Array) -> int:
        return sys.getrefcount(dx)

    leaves = {0: (None, numpy.zeros(1))}
    for leaf, dx in leaves.values():
        return inner(leaf, dx)
    raise AssertionError


_OWN_REFERENCES = _own_references()
_VIEW = numpy.zeros(2).reshape(2, 1)
_VIEWS_REFERENCES = sys.getrefcount(_VIEW.base)
