"""Sums, means and variances over axes.

A reduction's gradient is spread back over the axes that it summed away: `_spread`.
"""

import math
from typing import Any

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..registry import Case, ErrorCase, register
from .operands import as_float_tensor

Dim = int | tuple[int, ...] | list[int] | None
Axes = tuple[int, ...]


def normalize_dims(dim: Dim, ndim: int) -> tuple[int, ...]:
    """Return `dim` as non-negative axes; None and () mean all of them.

    Raises:
        IndexError: for an axis that does not exist.
        ValueError: for an axis named twice.
    """
    if dim is None or dim == () or dim == []:
        return tuple(range(ndim))
    dims = tuple(dim) if isinstance(dim, tuple | list) else (dim,)
    for d in dims:
        if not -max(ndim, 1) <= d < max(ndim, 1):
            raise IndexError(f"dim {d} is out of range for a tensor with {ndim} axes")
    result = tuple(d % max(ndim, 1) for d in dims) if ndim else ()
    if len(set(result)) != len(result):
        raise ValueError(f"dim {dim} names an axis twice")
    return result


def kept_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """Return `shape` with size 1 at every one of `axes`: the shape of a keepdim result."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def _count(shape: tuple[int, ...], axes: Axes) -> int:
    return math.prod(shape[axis] for axis in axes)


def _spread(dy: Any, shape: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    return namespace(dy).broadcast_to(dy.reshape(kept_shape(shape, axes)), shape)


class Sum(Function):
    """y = Σ x over `axes` · dx = dy, spread over them"""

    def forward(self, x: Array, *, axes: Axes, keepdim: bool) -> Array:
        self.saved = x.shape, axes
        return x.sum(axes, keepdims=keepdim)

    def backward(self, dy: Array) -> Gradients:
        return _spread(dy, *self.saved)


class Mean(Function):
    """y = Σ x / n over `axes` · dx = dy/n, spread over them"""

    def forward(self, x: Array, *, axes: Axes, keepdim: bool) -> Array:
        self.saved = x.shape, axes, _count(x.shape, axes)
        return x.mean(axes, keepdims=keepdim)

    def backward(self, dy: Array) -> Gradients:
        shape, axes, n = self.saved
        return _spread(dy / n, shape, axes)


class Var(Function):
    """y = Σ (x - mean(x))² / (n - correction) over `axes` · dx = dy·2·(x - mean(x))/(n - correction)"""

    def forward(self, x: Array, *, axes: Axes, correction: float, keepdim: bool) -> Array:
        centered = x - x.mean(axes, keepdims=True)
        divisor = max(_count(x.shape, axes) - correction, 0)
        self.saved = x, axes, divisor
        return (centered * centered).sum(axes, keepdims=keepdim) / divisor

    def backward(self, dy: Array) -> Gradients:
        x, axes, divisor = self.saved
        centered = x - x.mean(axes).reshape(kept_shape(x.shape, axes))
        return _spread(dy, x.shape, axes) * centered * (2 / divisor)


def sum(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Return the sum over `dim` (all axes if None); bools and integers sum to int64."""
    return Sum.apply(input, axes=normalize_dims(dim, input.ndim), keepdim=keepdim)


def mean(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Return the mean over `dim` (all axes if None).

    Raises:
        RuntimeError: for integers, whose mean is no integer.
    """
    if input.array.dtype.kind != "f":
        raise RuntimeError(f"mean of {input.dtype}: convert to a floating-point dtype first, with .float()")
    return Mean.apply(input, axes=normalize_dims(dim, input.ndim), keepdim=keepdim)
