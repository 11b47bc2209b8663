"""Hooks: functions that see, and may replace, a tensor's gradient when it is known."""

import weakref
from collections.abc import Callable
from typing import Any, Self

from ..backends import Array, asarray
from ..backends.cpu.silence import silent
from .tensor import Tensor


class RemovableHandle:
    """The result of `register_hook`: `remove()`, or the end of a `with` block, removes the hook."""

    def __init__(self, hooks: list[Any], hook: Any) -> None:
        self.hooks, self.hook = hooks, hook
        retained = hooks[-1:] if hooks and isinstance(hooks[-1], RetainedGradient) else []
        hooks[len(hooks) - len(retained) :] = [hook, *retained]

    def remove(self) -> None:
        """Remove the hook; a second call does nothing."""
        if self.hook in self.hooks:
            self.hooks.remove(self.hook)
        self.hooks = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class RetainedGradient:
    """The hook that keeps a computed tensor's `.grad`; it stays behind all others."""

    def __init__(self, x: Tensor) -> None:
        self.x = weakref.ref(x)  # the tensor refers to its creator, which refers to this hook

    def __call__(self, dy: Tensor) -> None:
        x = self.x()
        if x is not None and dy.requires_grad:
            x._grad = dy if x._grad is None else x._grad + dy
        elif x is not None:
            with silent():
                x._grad = x._wrap(dy.array.copy() if x._grad is None else x._grad.array + dy.array)


def register_hook(x: Tensor, hook: Callable[[Tensor], Any]) -> RemovableHandle:
    """Call `hook(gradient)` when this tensor's gradient is known; what it returns replaces the gradient.

    Returns a handle with `remove()`.

    Raises:
        TypeError: if the hook cannot be called.
        RuntimeError: if the tensor does not require grad.
    """
    if not callable(hook):
        raise TypeError(f"a hook is a function of the gradient, got {hook!r}")
    if not x.requires_grad:
        raise RuntimeError("a hook needs a tensor that requires grad")
    return RemovableHandle(_hooks_of(x), hook)


def _hooks_of(x: Tensor) -> list[Any]:
    if x.creator is None:
        if x.hooks is None:
            x.hooks = []
        return x.hooks
    if x.creator.hooks is None:
        x.creator.hooks = {}
    return x.creator.hooks.setdefault(x.index, [])


def retain_grad(x: Tensor) -> None:
    """Keep `.grad` for this computed tensor too (a leaf's is always kept), as it is after all hooks.

    Raises:
        RuntimeError: if the tensor does not require grad.
    """
    if not x.requires_grad:
        raise RuntimeError("retain_grad needs a tensor that requires grad")
    if x.creator is not None:
        hooks = _hooks_of(x)
        if not hooks or not isinstance(hooks[-1], RetainedGradient):
            hooks.append(RetainedGradient(x))


def run_hooks(hooks: list[Any], dx: Array) -> Array:
    """Call every hook on the gradient and return it, or what replaced it."""
    for hook in tuple(hooks):
        replaced = hook(Tensor._wrap(dx))
        if replaced is not None:
            dx = _checked(replaced.array if isinstance(replaced, Tensor) else asarray(replaced), dx)
    return dx


def _checked(new: Any, dx: Any) -> Any:
    if new.shape != dx.shape:
        raise RuntimeError(f"a hook returned shape {new.shape} for a gradient of shape {dx.shape}")
    if new.dtype != dx.dtype:
        raise RuntimeError(f"a hook returned dtype {new.dtype} for a gradient of dtype {dx.dtype}")
    return new


def run_recorded_hooks(hooks: list[Any], dx: Tensor) -> Tensor:
    """Call every hook on the gradient, which has a graph, and return it, or what replaced it."""
    for hook in tuple(hooks):
        replaced = hook(dx)
        if replaced is not None:
            dx = _checked(replaced if isinstance(replaced, Tensor) else Tensor._wrap(asarray(replaced)), dx)
    return dx
