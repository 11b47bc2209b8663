"""NumPy's protocols: what NumPy's functions do with tensors.

Its elementwise functions are ours: `numpy.exp(x)` is `x.exp()`, recorded. All others see an array, and return
arrays. For a tensor that requires a gradient they would cut the graph, so they raise instead.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy

from ..backends import to_numpy
from .grad_mode import mode
from .tensor import Tensor

_UFUNCS = {
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "power": "pow",
    "negative": "neg",
    "absolute": "abs",
    "equal": "eq",
    "not_equal": "ne",
    "less": "lt",
    "less_equal": "le",
    "greater": "gt",
    "greater_equal": "ge",
}
"""Our names of NumPy's elementwise functions, if they differ."""

_OURS = {"reshape", "squeeze", "swapaxes", "flip"}
"""Functions that NumPy passes on to the tensor's method of that name."""

_INSTEAD = {
    "array_split": "tn.chunk",
    "average": "x.mean",
    "clip": "x.clamp",
    "concat": "tn.cat",
    "concatenate": "tn.cat",
    "dot": "tn.matmul",
    "expand_dims": "x.unsqueeze",
    "hstack": "tn.cat",
    "inner": "tn.einsum",
    "linalg.norm": "x.norm",
    "max": "x.amax",
    "min": "x.amin",
    "moveaxis": "x.movedim",
    "pad": "nn.functional.pad",
    "permute_dims": "x.permute",
    "ravel": "x.flatten",
    "repeat": "x.expand and x.reshape",
    "stack": "tn.stack",
    "take": "x.index_select",
    "tensordot": "tn.einsum",
    "trace": "tn.einsum",
    "transpose": "x.permute",
    "vstack": "tn.cat",
    "where": "tn.where",
}
"""What to call in place of NumPy's functions, if the name or the arguments differ."""

_CONSTANTS = {"copy", "empty_like", "full_like", "ones_like", "zeros_like"}


def array(x: Tensor, dtype: Any = None, copy: bool | None = None) -> numpy.ndarray:
    """Return the values for `numpy.asarray(x)` and `numpy.array(x)`.

    Raises:
        RuntimeError: if the tensor was computed with a gradient, while operations are recorded.
        ValueError: if `copy` is False, and another dtype, or the GPU, needs a copy.
    """
    if x.creator is not None and mode.enabled:
        raise RuntimeError(
            "this tensor was computed with a gradient, which no array has: give x.detach(), or x.numpy(), "
            "if it is not needed; tn.stack joins tensors with their gradients"
        )
    other = None if dtype is None or x.dtype == dtype else dtype
    if copy is False and (other is not None or type(x.array) is not numpy.ndarray):
        what = "is a NumPy array" if other is None else f"is one of {dtype}"
        raise ValueError(
            f"a tensor of {x.dtype} on {x.device!r} {what} only as a copy: allow it, as numpy.asarray(x) does"
        )
    if not copy and other is None:
        return x.numpy()
    values = to_numpy(x.array)
    return values.astype(x.dtype if other is None else other, copy=other is not None or values is x.array)


def array_ufunc(x: Tensor, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
    """Call our function in place of NumPy's: ndarray * Tensor and numpy.exp(Tensor) are Tensors.

    NumPy itself writes into an array (`p.data -= lr * p.grad`), with the values of the tensors.

    Raises:
        TypeError: if this package has no such function.
    """
    if out is not None:
        values = [x.array if isinstance(x, Tensor) else x for x in inputs]
        return getattr(ufunc, method)(*values, out=out, **options)
    ours = getattr(Tensor, _UFUNCS.get(ufunc.__name__, ufunc.__name__), None)
    if method != "__call__" or options or ours is None:
        raise TypeError(f"numpy.{ufunc.__name__} does not take a Tensor: give it x.numpy()")
    return ours(*inputs)


def array_function(
    x: Tensor,
    function: Callable[..., Any],
    types: Iterable[type],
    arguments: tuple[Any, ...],
    options: Mapping[str, Any],
) -> Any:
    """Call a function of NumPy with the values of the tensors.

    Raises:
        TypeError: if the result is of floating-point numbers and a tensor requires grad, while operations are
            recorded.
    """
    name = function.__name__
    if name in _OURS and isinstance(arguments[0], Tensor) and options.keys() <= {"axis", "shape"}:
        return getattr(arguments[0], name)(*arguments[1:], *options.values())
    result = function(*_values(arguments), **_values(options))
    loses = mode.enabled and any(tensor.requires_grad for tensor in _tensors((arguments, options)))
    if loses and name not in _CONSTANTS and _is_floating(result):
        raise _loses_the_gradient(function)
    return result


def _values(given: Any) -> Any:
    """Return `given` with the array of every tensor in it."""
    if isinstance(given, Tensor):
        return given.numpy()
    if type(given) in (list, tuple):
        return type(given)([_values(part) for part in given])
    if isinstance(given, dict):
        return {name: _values(part) for name, part in given.items()}
    return given


def _tensors(given: Any) -> Iterator[Tensor]:
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, list | tuple | dict):
        for part in given.values() if isinstance(given, dict) else given:
            yield from _tensors(part)


def _is_floating(result: Any) -> bool:
    if isinstance(result, list | tuple):
        return any(_is_floating(part) for part in result)
    return isinstance(result, numpy.ndarray | numpy.generic) and result.dtype.kind in "fc"


def _loses_the_gradient(function: Callable[..., Any]) -> TypeError:
    name = f"{function.__module__}.{function.__name__}"
    short = name.removeprefix("numpy.")
    instead = _INSTEAD.get(short, f"x.{short}" if hasattr(Tensor, short) else "")
    return TypeError(
        f"{name} returns plain arrays, without a gradient, but a tensor requires grad: call "
        + (f"{instead}, or " if instead else "")
        + f"{name} with x.detach() if no gradient is needed"
    )
