"""Putting tensors together, taking them apart, and laying out copies of them."""

import math
from collections.abc import Sequence
from typing import Any

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..registry import Case, ErrorCase, register
from .dims import Axes, Shape, as_shape, normalize_dim, normalize_dims
from .operands import as_tensor, result_type
from .shape import reshape, unsqueeze


def _along(dim: int, part: Any) -> tuple[Any, ...]:
    return (slice(None),) * dim + (part,)


class Cat(Function):
    """y = the inputs, one after the other along `dim` · dx = each one's own part of dy"""

    def forward(self, *xs: Array, dim: int) -> Array:
        self.saved = dim, tuple([x.shape[dim] for x in xs])
        return namespace(xs[0]).concatenate(xs, dim)

    def backward(self, dy: Array) -> Gradients:
        dim, sizes = self.saved
        dxs = []
        start = 0
        for size in sizes:
            dxs.append(dy[_along(dim, slice(start, start + size))])
            start += size
        return tuple(dxs)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return the tensors joined along an axis they have; tensors of shape (0,) are passed over.

    Raises:
        ValueError: for no tensors, or shapes that differ on another axis than `dim`.
    """
    xs = _same_dtype(tensors, "cat")
    full = [x for x in xs if x.shape != (0,)] or xs[:1]
    if full[0].ndim == 0:
        raise ValueError("cat needs tensors with at least one axis: use stack for 0-d ones")
    dim = normalize_dim(dim, full[0].ndim)
    shape = full[0].shape
    for i, x in enumerate(full):
        if x.ndim != len(shape) or x.shape[:dim] + x.shape[dim + 1 :] != shape[:dim] + shape[dim + 1 :]:
            raise ValueError(
                f"cat along axis {dim}: shapes must agree on every other axis, got {shape} and {x.shape} "
                f"(tensor {i})"
            )
    return Cat.apply(*full, dim=dim)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return the tensors, all of one shape, joined along a new axis `dim`.

    Raises:
        ValueError: for no tensors, or different shapes.
    """
    xs = _same_dtype(tensors, "stack")
    for i, x in enumerate(xs):
        if x.shape != xs[0].shape:
            raise ValueError(f"stack needs equal shapes, got {xs[0].shape} and {x.shape} (tensor {i})")
    dim = normalize_dim(dim, xs[0].ndim + 1)
    return Cat.apply(*[unsqueeze(x, dim) for x in xs], dim=dim)


def _same_dtype(tensors: Sequence[Tensor], name: str) -> list[Tensor]:
    if isinstance(tensors, Tensor):
        raise TypeError(f"{name} takes a list or tuple of tensors, got one tensor")
    xs = [as_tensor(x, f"tensors[{i}]") for i, x in enumerate(tensors)]
    if not xs:
        raise ValueError(f"{name} needs at least one tensor, got an empty sequence")
    dtype = xs[0].array.dtype
    if any(x.array.dtype != dtype for x in xs):
        dtype = result_type(*xs)
        xs = [x.astype(dtype) for x in xs]
    return xs
