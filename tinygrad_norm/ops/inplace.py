"""x.add_(y) and its like, which overwrite their tensor. They raise if they would have to be recorded."""

from collections.abc import Callable
from typing import Any

from ..autograd.grad_mode import mode
from ..autograd.tensor import Tensor
from .arithmetic import add, div, mul, sub
from .kinks import clamp


def _overwriting(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    name = f"{function.__name__}_"

    def method(self: Tensor, *arguments: Any, **options: Any) -> Tensor:
        given = [self, *arguments, *options.values()]
        if mode.enabled and any(isinstance(x, Tensor) and x.requires_grad for x in given):
            raise RuntimeError(
                f"{name} cannot be recorded for backward, but an input requires grad: make a new tensor "
                f"with {function.__name__}, or call it under tn.no_grad()"
            )
        result = function(self, *arguments, **options)
        if result.dtype.kind != self.dtype.kind:
            raise RuntimeError(
                f"{name}: a result of {result.dtype} does not fit into a tensor of {self.dtype}"
            )
        if result.shape != self.shape:
            raise RuntimeError(f"{name}: a result of shape {result.shape} does not fit into {self.shape}")
        return self.copy_(result)

    method.__name__ = name
    method.__doc__ = f"Overwrite the values with `{function.__name__}` of the same arguments. Not recorded."
    return method


IN_PLACE = {f"{function.__name__}_": _overwriting(function) for function in (add, sub, mul, div, clamp)}
