"""Hooks: functions that see, and may replace, a tensor's gradient when it is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tensor import Tensor


class RemovableHandle:
    """What `register_hook` returns: `remove()` takes the hook away again."""

    def __init__(self, hooks: list[Any], hook: Any) -> None:
        self.hooks, self.hook = hooks, hook
        hooks.append(hook)

    def remove(self) -> None:
        """Take the hook away; a second call does nothing."""
        if self.hook in self.hooks:
            self.hooks.remove(self.hook)


def register_hook(x: Tensor, hook: Callable[[Tensor], Any]) -> RemovableHandle:
    """Call `hook(gradient)` when this tensor's gradient is known; what it returns replaces it.

    Returns a handle with `remove()`.
    """
    if not callable(hook):
        raise TypeError(f"a hook is a function of the gradient, got {hook!r}")
    if not x.requires_grad:
        raise RuntimeError("a hook needs a tensor that requires grad")
    if x.creator is None:
        if x.hooks is None:
            x.hooks = []
        return RemovableHandle(x.hooks, hook)
    if x.creator.hooks is None:
        x.creator.hooks = {}
    return RemovableHandle(x.creator.hooks.setdefault(x.index, []), hook)


def retain_grad(x: Tensor) -> None:
    """Keep `.grad` for this computed tensor too (a leaf's is always kept)."""
    if x.creator is not None:

        def keep(dy: Tensor) -> None:
            x._grad = dy if x._grad is None else x._wrap(x._grad.array + dy.array)

        x.register_hook(keep)
