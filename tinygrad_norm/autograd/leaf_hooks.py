"""Leaf hooks: functions that are called when a leaf's `.grad` is complete, while backward goes on.

A leaf is complete when backward has run for every call that used it. These calls are counted before the
sweep, by a walk through the graph, but only if some leaf has such a hook: other programs pay nothing.

So the gradients of the last layers can be sent to other processes while those of the first are computed.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from ..backends import Array
from ..backends.cpu.silence import silent
from .accumulation import accumulate, accumulate_recorded
from .hooks import RemovableHandle, run_hooks
from .tensor import Tensor

hooked: dict[int, list[Callable[[Tensor], Any]]] = {}
"""The hooks of each leaf that has, or had, some, by the leaf's id."""


def register_post_accumulate_grad_hook(x: Tensor, hook: Callable[[Tensor], Any]) -> RemovableHandle:
    """Call `hook(x)` in every `backward` that reaches this leaf, once `x.grad` holds the whole gradient.

    The hook may change `x.grad`. It is called before backward ends, as soon as no call that is left can add
    to the gradient. A copy of the tensor has no hooks. Returns a handle with `remove()`.

    Raises:
        TypeError: if the hook cannot be called.
        RuntimeError: if the tensor is not a leaf, or does not require grad.
    """
    if not callable(hook):
        raise TypeError(f"a hook is a function of the tensor, got {hook!r}")
    if x.creator is not None or not x.requires_grad:
        raise RuntimeError(
            "a hook that runs after the gradient is accumulated needs a leaf that requires grad: for a "
            "computed tensor, use register_hook"
        )
    key = id(x)
    if key not in hooked:
        hooked[key] = []
        weakref.finalize(x, hooked.pop, key, None).atexit = False
    return RemovableHandle(hooked[key], hook)


class _Running(threading.local):
    completion: Completion | None = None


_running = _Running()


def after_backward(function: Callable[[], Any], after_error: Callable[[], Any] = lambda: None) -> None:
    """Call `function()` at the end of the backward that runs now, when every `.grad` is complete.

    If an error ends it, `after_error()` is called.

    Raises:
        RuntimeError: if it is not called from a hook of a leaf.
    """
    if _running.completion is None:
        raise RuntimeError("after_backward is for hooks of leaves: no backward that calls some is running")
    _running.completion.at_the_end.append(function)
    _running.completion.after_error.append(after_error)


class Completion:
    """One backward from `roots`, in which leaves have hooks: accumulates what is complete, and calls them."""

    def __init__(self, roots: Sequence[Tensor]) -> None:
        self.uses = _count_uses(roots)
        self.at_the_end: list[Callable[[], Any]] = []
        self.after_error: list[Callable[[], Any]] = []

    def __enter__(self) -> Completion:
        self.outer, _running.completion = _running.completion, self
        return self

    def __exit__(self, error: object, *_: object) -> None:
        _running.completion = self.outer
        if error is not None:
            for function in self.after_error:
                function()

    def backward_ran(self, node: Any, leaves: dict[int, tuple[Tensor, Array]], silence: silent) -> None:
        """Complete those inputs of `node` that no other call uses; `leaves` are the gradients so far."""
        uses = self.uses
        for x, needed in zip(node.inputs, node.needs, strict=True):
            key = id(x)
            if needed and key in uses:
                uses[key] -= 1
                if not uses[key] and key in leaves:
                    silence.lifted(_complete, leaves.pop(key), True)

    def finish(self, leaves: dict[int, tuple[Tensor, Array]]) -> None:
        """Complete the other leaves, then call what waits for the end."""
        while leaves:
            _complete(leaves.pop(next(iter(leaves))))
        self._end()

    def finish_recorded(self, leaves: dict[int, tuple[Tensor, Tensor]]) -> None:
        """Complete the leaves, whose gradients have a graph, then call what waits for the end."""
        for leaf, dx in leaves.values():
            accumulate_recorded(leaf, dx)
            _run_leaf_hooks(leaf)
        self._end()

    def _end(self) -> None:
        for function in self.at_the_end:
            function()


def _complete(leaf_and_gradient: tuple[Tensor, Array], before_the_end: bool = False) -> None:
    leaf, dx = leaf_and_gradient
    if before_the_end and leaf.hooks:  # at the end, the sweep has called them
        leaf_and_gradient = leaf, run_hooks(leaf.hooks, dx)
    del dx  # accumulate counts the references
    accumulate((leaf_and_gradient,))
    _run_leaf_hooks(leaf)


def _run_leaf_hooks(leaf: Tensor) -> None:
    if leaf.requires_grad:
        for hook in tuple(hooked.get(id(leaf), ())):
            hook(leaf)


def _count_uses(roots: Sequence[Tensor]) -> dict[int, int]:
    """Return by how many calls in the graph of `roots` each leaf with hooks is used, by the leaf's id."""
    uses: dict[int, int] = {}
    seen = {root.creator for root in roots if root.creator is not None}
    nodes = list(seen)  # a freed one has no inputs
    for node in nodes:  # grows during the walk
        for x, needed in zip(node.inputs, node.needs, strict=False):
            if needed and x.creator is None:
                if hooked.get(id(x)):
                    uses[id(x)] = uses.get(id(x), 0) + 1
            elif needed and x.creator not in seen:
                seen.add(x.creator)
                nodes.append(x.creator)
    return uses
