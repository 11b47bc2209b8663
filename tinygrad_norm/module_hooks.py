"""Forward hooks of modules: functions that see, and may replace, the inputs and the output of a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .autograd.hooks import RemovableHandle
from .ops.arguments import check_flags


@dataclass(frozen=True, eq=False)
class ForwardHook:
    """A function that a module calls before or after its forward, with or without the keyword arguments."""

    call: Callable[..., Any]
    with_kwargs: bool


class Hooked:
    """Base of Module: a call runs the hooks around `forward`.

    Hooks are attributes of the module: a copy of the module has them too, and a pickle contains them.
    """

    _forward_pre_hooks: Sequence[ForwardHook] = ()
    _forward_hooks: Sequence[ForwardHook] = ()

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Compute the output. Every layer defines its own."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if self._forward_hooks or self._forward_pre_hooks:
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

    def _register_hook(self, kind: str, hook: Any, prepend: Any, with_kwargs: Any) -> RemovableHandle:
        check_flags(prepend=prepend, with_kwargs=with_kwargs)
        if not callable(hook):
            raise TypeError(f"a forward hook is a function of the module and its inputs, got {hook!r}")
        hooks: list[ForwardHook] = self.__dict__.setdefault(kind, [])
        handle = RemovableHandle(hooks, ForwardHook(hook, with_kwargs))
        if prepend:
            hooks.insert(0, hooks.pop())
        return handle

    def _call_with_hooks(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        for hook in tuple(self._forward_pre_hooks):
            if hook.with_kwargs:
                replaced = hook.call(self, args, kwargs)
                if replaced is not None:
                    args, kwargs = _args_and_kwargs(replaced)
            else:
                replaced = hook.call(self, args)
                if replaced is not None:
                    args = replaced if isinstance(replaced, tuple) else (replaced,)
        output = self.forward(*args, **kwargs)
        for hook in tuple(self._forward_hooks):
            replaced = hook.call(self, args, *([kwargs] if hook.with_kwargs else []), output)
            output = output if replaced is None else replaced
        return output


def _args_and_kwargs(replaced: Any) -> tuple[Any, Any]:
    if not isinstance(replaced, tuple) or len(replaced) != 2:
        raise RuntimeError(
            f"a forward pre-hook with with_kwargs=True returns None or (args, kwargs), got {replaced!r}"
        )
    return replaced
