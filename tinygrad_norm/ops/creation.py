"""New tensors: from values, filled, evenly spaced, random. All are on the current backend."""

from typing import Any

import numpy

from ..autograd.integer_range import check_range, from_python
from ..autograd.tensor import Tensor
from ..backends import asarray, check_numbers, check_precision, current_backend, is_array_like, namespace
from ..backends.cpu.silence import silent
from ..backends.cuda.capture import upload
from ..backends.random import generator
from .arguments import as_size
from .dims import Shape, as_shape
from .dtypes import int64
from .operands import default_dtype


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor with a copy of `data`: numbers, nested sequences, an array or a tensor.

    Without a dtype, an array keeps its own, and a DataFrame the common one of its columns. Python floats
    become float32, ints int64, bools bool.

    Raises:
        ValueError: if nested sequences have unequal lengths, or an array has masked values.
        TypeError: if the values are not bools or real numbers with up to 64 bits.
        OverflowError: if a number does not fit the integer dtype.
    """
    if isinstance(data, Tensor):
        array = data.array
    elif is_array_like(data):
        array = asarray(data)
    else:
        values = _from_sequences(data, dtype)
        check_numbers(values.dtype)
        if dtype is not None:
            check_range(values, dtype)
        array = asarray(values)
    check_numbers(array.dtype, data)
    dtype = array.dtype if dtype is None else numpy.dtype(dtype)
    check_precision(dtype)
    with silent():
        out = Tensor._wrap(array.astype(dtype))
    return out if requires_grad is False else out.requires_grad_(requires_grad)


def as_tensor(data: Any, dtype: Any = None) -> Tensor:
    """Return `data` as a tensor, without a copy if it is a tensor or an array and has that dtype.

    A tensor is returned itself, or converted with its graph; an array shares its memory (see from_numpy).
    """
    if isinstance(data, Tensor):
        return data if dtype is None else data.to(dtype=dtype)
    if isinstance(data, numpy.ndarray) and (dtype is None or data.dtype == dtype):
        return from_numpy(data)
    return tensor(data, dtype)


def from_numpy(ndarray: numpy.ndarray) -> Tensor:
    """Return a tensor that shares the memory of a NumPy array; on a GPU it is a copy.

    Writes to the array are not detected: use `tn.tensor` if it may change between forward and backward.

    Raises:
        TypeError: unless it is a NumPy array of real numbers or bools.
    """
    if not isinstance(ndarray, numpy.ndarray):
        raise TypeError(f"from_numpy takes a NumPy array, got {type(ndarray).__name__}: use tn.tensor(...)")
    check_numbers(ndarray.dtype)
    return Tensor._wrap(asarray(ndarray))


def _from_sequences(data: Any, dtype: Any) -> numpy.ndarray:
    try:
        array = from_python(data, dtype)
    except ValueError:
        raise ValueError(
            "nested sequences need equal lengths at every depth to become a tensor: pad the short ones"
        ) from None
    first = data
    while isinstance(first, list | tuple) and first:
        first = first[0]
    if dtype is None and array.dtype == numpy.float64 and not is_array_like(first):
        with silent():
            return array.astype(default_dtype)
    return array


def _wrap(array: Any, requires_grad: bool) -> Tensor:
    return _leaf(asarray(array), requires_grad)


def _leaf(array: Any, requires_grad: bool) -> Tensor:
    if array.dtype.itemsize > 8:
        check_precision(array.dtype)
    out = Tensor._wrap(array)
    return out if requires_grad is False else out.requires_grad_(requires_grad)


def _shape(size: tuple[Any, ...]) -> Shape:
    shape = as_shape(size[0] if len(size) == 1 else size, "size")
    if min(shape, default=0) < 0:
        raise ValueError(f"a size cannot be negative, got {shape}")
    return shape


def _or_default(dtype: Any) -> Any:
    return default_dtype if dtype is None else dtype


def zeros(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return zeros of shape `size`, given as ints or as one tuple."""
    xp = current_backend().namespace
    return _leaf(xp.zeros(_shape(size), _or_default(dtype)), requires_grad)


def ones(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return ones of shape `size`, given as ints or as one tuple."""
    xp = current_backend().namespace
    return _leaf(xp.ones(_shape(size), _or_default(dtype)), requires_grad)


def full(size: Any, fill_value: float, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor of shape `size` filled with `fill_value`, in the dtype of that value."""
    dtype = _dtype_of(fill_value) if dtype is None else dtype
    check_range(fill_value, dtype)
    return _leaf(_full(current_backend().namespace, _shape((size,)), fill_value, dtype), requires_grad)


def _full(xp: Any, shape: Shape, value: Any, dtype: Any) -> Any:
    with silent():
        return xp.full(shape, value if xp is numpy else numpy.asarray(value).astype(dtype)[()], dtype)


def _dtype_of(*values: Any) -> numpy.dtype:
    dtype = numpy.result_type(*(from_python(value).dtype for value in values))
    return default_dtype if dtype.kind == "f" else dtype


def arange(
    start: float, end: float | None = None, step: float = 1, *, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return start, start + step, ... before `end`; with one argument, 0, 1, ... before it.

    Integers give int64, floats float32. With an integer `dtype`, all three are truncated to integers first.

    Raises:
        ValueError: if `step` is 0 or leads away from `end`.
    """
    if end is None:
        start, end = 0, start
    start, end, step = map(_as_python_number, (start, end, step))
    if dtype is not None and numpy.dtype(dtype).kind in "iu":
        start, end, step = int(start), int(end), int(step)
    if step == 0 or (end - start) * step < 0:
        raise ValueError(f"arange from {start} to {end} cannot go in steps of {step}")
    dtype = _dtype_of(start, end, step) if dtype is None else dtype
    xp = current_backend().namespace
    if xp is numpy or isinstance(start + end + step, int):
        return _wrap(xp.arange(start, end, step).astype(dtype), requires_grad)
    return _wrap(upload(numpy.arange(start, end, step).astype(dtype), xp).copy(), requires_grad)


def _as_python_number(x: Any) -> Any:
    """Return a 0-d tensor or array as a Python number, which computes in float64."""
    return x.item() if hasattr(x, "item") else x


def linspace(
    start: float, end: float, steps: int, *, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return `steps` numbers from `start` to `end`, inclusive, evenly spaced; float32 by default.

    Raises:
        TypeError: if `steps` is not an int.
        ValueError: if it is negative.
    """
    values = numpy.linspace(_as_python_number(start), _as_python_number(end), as_size(steps, "steps", 0))
    with silent():
        values = values.astype(_or_default(dtype))
    xp = current_backend().namespace
    return _leaf(values if xp is numpy else upload(values, xp).copy(), requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return the (n, m) matrix with ones on its diagonal; m is n by default."""
    return _leaf(current_backend().namespace.eye(n, m, dtype=_or_default(dtype)), requires_grad)


def rand(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return random numbers of shape `size`, uniform in [0, 1)."""
    return _wrap(_uniform(_shape(size), dtype), requires_grad)


def randn(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return random numbers of shape `size` from the standard normal distribution."""
    return _wrap(_normal(_shape(size), dtype), requires_grad)


def randint(
    low: Any = 0, high: Any = None, size: Any = None, *, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return random integers from `low` to `high` − 1; `randint(high, size)` starts at 0.

    Raises:
        TypeError: if a bound is not an int, or there is no size.
        ValueError: if `low` is not less than `high`.
    """
    if size is None:
        high, size = None, high
    if size is None:
        raise TypeError("randint takes a size: tn.randint(low, high, size) or tn.randint(high, size)")
    if high is None:
        low, high = 0, low
    low, high = as_size(low, "low", None), as_size(high, "high", None)
    if low >= high:
        raise ValueError(f"randint needs low below high, got low={low} and high={high}")
    check_range(numpy.asarray([low, high - 1]), int64 if dtype is None else dtype)
    values = generator().integers(low, high, _shape((size,)))
    return _wrap(numpy.asarray(values, int64 if dtype is None else dtype), requires_grad)


def randperm(n: int, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return the integers 0 … n−1 in random order.

    Raises:
        TypeError: if n is not an int.
        ValueError: if it is negative.
    """
    values = generator().permutation(as_size(n, "n", 0))
    return _wrap(numpy.asarray(values, int64 if dtype is None else dtype), requires_grad)


def _uniform(shape: Shape, dtype: Any) -> numpy.ndarray:
    dtype = numpy.dtype(_or_default(dtype))
    if dtype == numpy.float16:  # rounded from float32 it could be 1
        return (generator().integers(0, 2048, shape) / 2048).astype(dtype)
    return generator().random(shape, dtype)


def _normal(shape: Shape, dtype: Any) -> numpy.ndarray:
    dtype = numpy.dtype(_or_default(dtype))
    return generator().standard_normal(shape, numpy.float32 if dtype.itemsize < 8 else dtype).astype(dtype)


def zeros_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return zeros of the shape and dtype of `input`, on its device."""
    dtype = input.dtype if dtype is None else dtype
    return _leaf(namespace(input.array).zeros(input.shape, dtype), requires_grad)


def ones_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return ones of the shape and dtype of `input`, on its device."""
    dtype = input.dtype if dtype is None else dtype
    return _leaf(namespace(input.array).ones(input.shape, dtype), requires_grad)


def full_like(input: Tensor, fill_value: float, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor filled with `fill_value`, of the shape and dtype of `input`, on its device."""
    dtype = input.dtype if dtype is None else dtype
    check_range(fill_value, dtype)
    return _leaf(_full(namespace(input.array), input.shape, fill_value, dtype), requires_grad)


def rand_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return random numbers of the shape and dtype of `input`, uniform in [0, 1), on its device."""
    dtype = input.dtype if dtype is None else dtype
    return rand(input.shape, dtype=dtype, requires_grad=requires_grad).to(input.device)


def randn_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return standard normal random numbers of the shape and dtype of `input`, on its device."""
    dtype = input.dtype if dtype is None else dtype
    return randn(input.shape, dtype=dtype, requires_grad=requires_grad).to(input.device)
