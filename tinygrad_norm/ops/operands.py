"""Arguments that become tensors: numbers and arrays are wrapped, dtypes promoted to a common one.

PyTorch's rules: a Python number never changes the dtype of a floating-point tensor, an integer tensor is
promoted to the dtype of a floating-point tensor, and a 0-d tensor does not change one with axes.
"""

from typing import Any

import numpy

from ..autograd.tensor import Tensor, default_dtype
from ..backends import check_precision
from ..backends.cpu.silence import silent


def as_tensor(x: Any, what: str = "input") -> Tensor:
    """Return `x` as a tensor; arrays are copied, Python numbers wrapped.

    Raises:
        TypeError: if it is anything else.
    """
    if isinstance(x, Tensor):
        return x
    if hasattr(x, "dtype") and hasattr(x, "shape"):
        return _copied(x)
    if isinstance(x, bool | int):
        return Tensor(numpy.asarray(x))
    if isinstance(x, float):
        with silent():
            return Tensor(numpy.asarray(x, default_dtype))
    raise TypeError(f"{what} must be a Tensor, got {type(x).__name__}: wrap it with tn.tensor(...)")


def as_float_tensor(x: Any, what: str = "input") -> Tensor:
    """Return `x` as a floating-point tensor: integers become the default dtype."""
    x = as_tensor(x, what)
    return x if x.array.dtype.kind == "f" else x.astype(default_dtype)


def promote(a: Any, b: Any) -> tuple[Any, Any]:
    """Return both operands ready for one array operation: tensors of one dtype, or a Python number."""
    a_is, b_is = isinstance(a, Tensor), isinstance(b, Tensor)
    if a_is and b_is:
        if a.array.dtype == b.array.dtype:
            return a, b
    elif a_is and type(b) in (float, int):
        if a.array.dtype.kind == "f" or (type(b) is int and a.array.dtype.kind == "i"):
            return a, b
    elif b_is and type(a) in (float, int) and b.array.dtype.kind == "f":
        return a, b
    a, b = as_operand(a), as_operand(b)
    dtype = result_type(a, b)
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        return Tensor(numpy.asarray(a, dtype)), Tensor(numpy.asarray(b, dtype))
    return _as_dtype(a, dtype), _as_dtype(b, dtype)


def as_operand(x: Any) -> Any:
    """Return `x` as a tensor or a Python number.

    Raises:
        TypeError: if it is neither, nor an array.
    """
    if isinstance(x, Tensor | bool | int | float) and not isinstance(x, numpy.generic):
        return x
    if isinstance(x, numpy.generic):
        check_precision(x.dtype)  # its item() is no Python number
        return x.item()
    if hasattr(x, "dtype") and hasattr(x, "shape"):
        return _copied(x)
    raise TypeError(f"unsupported operand {type(x).__name__}: wrap it with tn.tensor(...)")


def _copied(array: Any) -> Tensor:
    """Return a tensor with memory of its own: later writes to the array would not be detected."""
    return Tensor(array.copy() if hasattr(array, "copy") else numpy.asarray(array).copy())


def is_operand(x: Any) -> bool:
    """Return whether `as_operand` takes `x`."""
    return isinstance(x, Tensor | int | float | numpy.generic) or (
        hasattr(x, "dtype") and hasattr(x, "shape")
    )


def _as_dtype(x: Any, dtype: numpy.dtype) -> Any:
    return x.astype(dtype) if isinstance(x, Tensor) else dtype.type(x).item()


def result_type(*operands: Any) -> numpy.dtype:
    """Return the dtype to which tensors and Python numbers are promoted, by PyTorch's rules."""
    with_axes, without_axes, numbers = [], [], []
    for x in operands:
        if not isinstance(x, Tensor):
            numbers.append(numpy.asarray(x).dtype if not isinstance(x, float) else default_dtype)
        elif x.array.ndim:
            with_axes.append(x.array.dtype)
        else:
            without_axes.append(x.array.dtype)
    first, *others = [_join(group) for group in (with_axes, without_axes, numbers) if group]
    for dtype in others:  # a later group counts only if its kind is higher
        if _KINDS[dtype.kind] > _KINDS[first.kind]:
            first = dtype
    return first


_KINDS = {"b": 0, "i": 1, "u": 1, "f": 2}


def _join(dtypes: list[numpy.dtype]) -> numpy.dtype:
    floats = [d for d in dtypes if d.kind == "f"]
    return numpy.result_type(*(floats or dtypes))
