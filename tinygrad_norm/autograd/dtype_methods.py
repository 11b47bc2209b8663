"""The methods that put a tensor into the dtype of their name, x.double() and x.int(), and x.type(dtype)."""

from typing import Any

import numpy

from .tensor import Tensor


def double(x: Tensor) -> Tensor:
    """Return the tensor as float64."""
    return x.to(numpy.float64)


def float(x: Tensor) -> Tensor:
    """Return the tensor as float32."""
    return x.to(numpy.float32)


def half(x: Tensor) -> Tensor:
    """Return the tensor as float16."""
    return x.to(numpy.float16)


def long(x: Tensor) -> Tensor:
    """Return the tensor as int64."""
    return x.to(numpy.int64)


def int(x: Tensor) -> Tensor:
    """Return the tensor as int32."""
    return x.to(numpy.int32)


def short(x: Tensor) -> Tensor:
    """Return the tensor as int16."""
    return x.to(numpy.int16)


def char(x: Tensor) -> Tensor:
    """Return the tensor as int8."""
    return x.to(numpy.int8)


def byte(x: Tensor) -> Tensor:
    """Return the tensor as uint8."""
    return x.to(numpy.uint8)


def bool(x: Tensor) -> Tensor:
    """Return the tensor as bools: whether each number is not 0."""
    return x.to(numpy.bool_)


def type(x: Tensor, dtype: Any) -> Tensor:
    """Return the tensor as `dtype`. PyTorch's names such as "torch.FloatTensor" are not known.

    Raises:
        TypeError: if it is not a dtype.
    """
    return x.to(dtype=dtype)
