"""Changes in place: x.add_(y) and its like, x += y, x[key] = y. They raise if they would have to be recorded.

Only a recorded x += y makes a new tensor.
"""

from collections.abc import Callable
from typing import Any

from ..autograd.grad_mode import mode
from ..autograd.integer_range import check_range
from ..autograd.memory import writable
from ..autograd.tensor import Tensor
from .arithmetic import add, div, mul, sub
from .indexing import split_key
from .kinks import clamp
from .masking import masked_fill
from .scattering import index_add, index_put, scatter, scatter_add


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
        return _overwrite(self, result, name)

    method.__name__ = name
    method.__doc__ = f"Overwrite the values with `{function.__name__}` of the same arguments. Not recorded."
    return method


def _overwrite(x: Tensor, result: Tensor, name: str) -> Tensor:
    if result.dtype.kind != x.dtype.kind:
        raise RuntimeError(f"{name}: a result of {result.dtype} does not fit into a tensor of {x.dtype}")
    if result.shape != x.shape:
        raise RuntimeError(f"{name}: a result of shape {result.shape} does not fit into {x.shape}")
    return x.copy_(result)


def _assigning(name: str) -> Callable[..., Tensor]:
    operator = f"__{name}__"

    def method(self: Tensor, other: Any) -> Tensor:
        operation = getattr(self, operator)
        if mode.enabled and (self.requires_grad or (isinstance(other, Tensor) and other.requires_grad)):
            if self.creator is None and self.requires_grad:
                raise RuntimeError(
                    "a leaf that requires grad cannot be changed in place while operations are recorded: "
                    "do it under tn.no_grad()"
                )
            return operation(other)  # recorded, as a new tensor
        result = operation(other)
        return _overwrite(self, result, f"the assignment with {name}")

    method.__name__ = f"__i{name}__"
    method.__doc__ = "Change the values, for every tensor that shares them; if recorded, make a new tensor."
    return method


def _setitem(self: Tensor, key: Any, value: Any) -> None:
    """Overwrite self[key], which has the shape that reading it gives. Not recorded.

    Raises:
        RuntimeError: if this tensor or `value` requires grad, while operations are recorded.
        IndexError, TypeError: as for reading.
        ValueError: if the value does not broadcast to the shape of self[key].
        OverflowError: if a number does not fit an integer dtype.
    """
    if self.requires_grad and mode.enabled:
        raise RuntimeError(
            "in-place assignment to a tensor that requires grad cannot be recorded: "
            "build the result with where or cat, or assign under tn.no_grad()"
        )
    self._check_unrecorded(value)
    if isinstance(value, int | float):
        check_range(value, self.dtype)
    basic, arrays = split_key(key)
    array = writable(self.array)
    if arrays is None:
        array[basic] = _values(value)
    else:
        (array if basic is None else array[basic])[arrays] = _values(value)
    self.mark_written()


def _values(value: Any) -> Any:
    """Return a tensor's array without its first axes of size 1, which would not fit into an element."""
    array = value.array if isinstance(value, Tensor) else value
    shape = getattr(array, "shape", ())
    while shape and shape[0] == 1:
        shape = shape[1:]
    return array.reshape(shape) if hasattr(array, "shape") else array


IN_PLACE: dict[str, Any] = {
    f"{function.__name__}_": _overwriting(function)
    for function in (add, sub, mul, div, clamp, masked_fill, scatter, scatter_add, index_add, index_put)
} | {f"__i{name}__": _assigning(name) for name in ("add", "sub", "mul", "truediv", "pow", "and", "or", "xor")}
IN_PLACE["__setitem__"] = _setitem
