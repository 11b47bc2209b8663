"""Hooks of modules: functions that see, and may replace, inputs and outputs, and their gradients.

Those of one module are its attributes; those of `EVERYWHERE` are called for every module, before its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .autograd.hooks import RemovableHandle
from .module_backward_hooks import BackwardHook, Crossing
from .ops.arguments import check_flags


@dataclass(frozen=True, eq=False)
class ForwardHook:
    """A function that a module calls before or after its forward, with or without the keyword arguments."""

    call: Callable[..., Any]
    with_kwargs: bool


class Everywhere:
    """The hooks of all modules."""

    def __init__(self) -> None:
        self.forward_pre: list[ForwardHook] = []
        self.forward: list[ForwardHook] = []
        self.backward_pre: list[BackwardHook] = []
        self.backward: list[BackwardHook] = []

    def __bool__(self) -> bool:
        return bool(self.forward_pre or self.forward or self.backward_pre or self.backward)


EVERYWHERE = Everywhere()


class Hooked:
    """Base of Module: a call runs the hooks around `forward`.

    Hooks are attributes of the module: a copy of the module has them too, and a pickle contains them.
    """

    _forward_pre_hooks: Sequence[ForwardHook] = ()
    _forward_hooks: Sequence[ForwardHook] = ()
    _backward_pre_hooks: Sequence[BackwardHook] = ()
    _backward_hooks: Sequence[BackwardHook] = ()

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Compute the output. Every layer defines its own."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if self._forward_hooks or self._forward_pre_hooks or self._backward_hooks or EVERYWHERE:
            return self._call_with_hooks(inputs, options)
        if self._backward_pre_hooks:
            return self._call_with_hooks(inputs, options)
        return self.forward(*inputs, **options)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before every call of `forward`; return a handle with `remove()`.

        `args` is the tuple of positional arguments. A result that is not None takes their place, in a tuple
        if there are several. With `with_kwargs`, the hook is called as `hook(module, args, kwargs)` and
        returns None or (args, kwargs). A hook runs after those registered before it; with `prepend`, before
        them.

        Raises:
            TypeError: if the hook cannot be called, or a flag is not a bool.
        """
        return self._register_hook("_forward_pre_hooks", hook, prepend, with_kwargs)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after every call of `forward`; return a handle with `remove()`.

        A result that is not None takes the place of the output. With `with_kwargs`, the hook is called as
        `hook(module, args, kwargs, output)`. A hook runs after those registered before it; with `prepend`,
        before them.

        Raises:
            TypeError: if the hook cannot be called, or a flag is not a bool.
        """
        return self._register_hook("_forward_hooks", hook, prepend, with_kwargs)

    def register_full_backward_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, grad_output)` in backward, before the module's; return a handle with `remove()`.

        `grad_output` is a tuple, with dL/dy for each output that requires grad. A result that is not None
        takes its place. A hook runs after those registered before it; with `prepend`, before them.

        Raises:
            TypeError: if the hook cannot be called, or `prepend` is not a bool.
        """
        return self._register_backward_hook("_backward_pre_hooks", hook, prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` in backward, after the module's; return a handle.

        `grad_input` is a tuple, with dL/dx for each positional argument: 0 for a tensor that does not require
        grad, None for what is not a tensor, None for all if none requires grad. A result that is not None
        takes its place. With `create_graph`, the hook is called again when the gradients are differentiated:
        it should depend on its arguments alone.

        Raises:
            TypeError: if the hook cannot be called, or `prepend` is not a bool.
        """
        return self._register_backward_hook("_backward_hooks", hook, prepend)

    def _register_backward_hook(self, kind: str, hook: Any, prepend: Any) -> RemovableHandle:
        check_flags(prepend=prepend)
        return _register(self.__dict__.setdefault(kind, []), hook, BackwardHook, prepend)

    def _register_hook(self, kind: str, hook: Any, prepend: Any, with_kwargs: Any) -> RemovableHandle:
        check_flags(prepend=prepend, with_kwargs=with_kwargs)
        hooks = self.__dict__.setdefault(kind, [])
        return _register(hooks, hook, lambda call: ForwardHook(call, with_kwargs), prepend)

    def _call_with_hooks(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        for hook in (*EVERYWHERE.forward_pre, *self._forward_pre_hooks):
            if hook.with_kwargs:
                replaced = hook.call(self, args, kwargs)
                if replaced is not None:
                    args, kwargs = _args_and_kwargs(replaced)
            else:
                replaced = hook.call(self, args)
                if replaced is not None:
                    args = replaced if isinstance(replaced, tuple) else (replaced,)
        before = (*EVERYWHERE.backward_pre, *self._backward_pre_hooks)
        after = (*EVERYWHERE.backward, *self._backward_hooks)
        crossing = Crossing(self, before, after) if before or after else None
        output = self.forward(*(args if crossing is None else crossing.enter(args)), **kwargs)
        for hook in (*EVERYWHERE.forward, *self._forward_hooks):
            replaced = hook.call(self, args, *([kwargs] if hook.with_kwargs else []), output)
            output = output if replaced is None else replaced
        return output if crossing is None else crossing.leave(output)


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, args)` before the forward of every module; see Module.register_forward_pre_hook."""
    return _register(EVERYWHERE.forward_pre, hook, lambda call: ForwardHook(call, False))


def register_module_forward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, args, output)` after every module's forward; see Module.register_forward_hook."""
    return _register(EVERYWHERE.forward, hook, lambda call: ForwardHook(call, False))


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_output)` for every module; see Module.register_full_backward_pre_hook."""
    return _register(EVERYWHERE.backward_pre, hook, BackwardHook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` for every module.

    See Module.register_full_backward_hook.
    """
    return _register(EVERYWHERE.backward, hook, BackwardHook)


def _register(
    hooks: list[Any], hook: Any, kind: Callable[[Any], Any], prepend: bool = False
) -> RemovableHandle:
    if not callable(hook):
        raise TypeError(f"a hook is a function of the module and what passes it, got {hook!r}")
    handle = RemovableHandle(hooks, kind(hook))
    if prepend:
        hooks.insert(0, hooks.pop())
    return handle


def _args_and_kwargs(replaced: Any) -> tuple[Any, Any]:
    if not isinstance(replaced, tuple) or len(replaced) != 2:
        raise RuntimeError(
            f"a forward pre-hook with with_kwargs=True returns None or (args, kwargs), got {replaced!r}"
        )
    return replaced
