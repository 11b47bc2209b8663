"""Choosing elements: by position, by mask, by condition.

A chosen element's gradient goes back to where it was taken from; one taken several times gets the sum.
"""

from types import EllipsisType
from typing import Any

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..registry import Case, ErrorCase, booleans, fixed, integers, register
from .broadcast import shape_of, unbroadcast
from .dims import Shape, kept_shape, normalize_dim
from .operands import as_tensor, meet, result_type

_BASIC = (int, slice, type(None), EllipsisType)


class Slice(Function):
    """y = x[key], a view · dx = 0, but dx[key] = dy"""

    is_view = True

    def forward(self, x: Array, *, key: Any) -> Array:
        self.saved = x.shape, key
        return x[key]

    def backward(self, dy: Array) -> Gradients:
        shape, key = self.saved
        dx = namespace(dy).zeros(shape, dy.dtype)
        dx[key] = dy
        return dx


class Index(Function):
    """y = x[key] with arrays in the key, a copy · dx = 0, but dx[key] += dy for every occurrence"""

    def forward(self, x: Array, *, key: tuple[Any, ...]) -> Array:
        if self.needs[0]:  # the caller may reuse an index array before backward reads it
            key = tuple([k.copy() if hasattr(k, "dtype") else k for k in key])
        self.saved = x.shape, key
        return x[key]

    def backward(self, dy: Array) -> Gradients:
        shape, key = self.saved
        return scatter_add(shape, key, dy)


class Where(Function):
    """y = a where condition, else b · da = dy where condition, db = dy elsewhere"""

    def forward(self, condition: Array, a: Array, b: Array) -> Array:
        self.saved = condition, shape_of(a), shape_of(b)
        return namespace(condition).where(condition, a, b)

    def backward(self, dy: Array) -> Gradients:
        condition, a_shape, b_shape = self.saved
        xp = namespace(dy)
        da = unbroadcast(xp.where(condition, dy, 0), a_shape) if self.needs[1] else None
        return None, da, unbroadcast(xp.where(condition, 0, dy), b_shape) if self.needs[2] else None


class Triangle(Function):
    """y = x below (or above) a diagonal, 0 elsewhere · dx = dy there, 0 elsewhere"""

    def forward(self, x: Array, *, diagonal: int, lower: bool) -> Array:
        self.saved = diagonal, lower
        return self._cut(x)

    def _cut(self, x: Array) -> Array:
        diagonal, lower = self.saved
        xp = namespace(x)
        return xp.tril(x, diagonal) if lower else xp.triu(x, diagonal)

    def backward(self, dy: Array) -> Gradients:
        return self._cut(dy)


def scatter_add(shape: Shape, key: tuple[Any, ...], dy: Array) -> Array:
    """Return zeros of `shape` with `dy` added at `key`, once for every time an element is named."""
    xp = namespace(dy)
    dx = xp.zeros(shape, dy.dtype)
    if all(k.dtype.kind == "b" for k in key if hasattr(k, "dtype")):
        dx[key] = dy
    else:
        xp.add.at(dx, key, dy)
    return dx


def getitem(input: Tensor, key: Any) -> Tensor:
    """Return input[key]: ints, slices, None and Ellipsis give views; arrays and lists of indices, copies.

    Raises:
        IndexError: for an index out of range, or too many of them.
        TypeError: for indices that are neither integers nor bools.
    """
    if type(key) in _BASIC:
        return Slice.apply(input, key=key)
    parts = tuple([_as_index(k) for k in (key if type(key) is tuple else (key,))])
    if not any(isinstance(k, numpy.bool_) or hasattr(k, "dtype") for k in parts):
        return Slice.apply(input, key=parts)
    if any(type(k) is int for k in parts):
        basic, parts = _ints_first(parts)
        input = Slice.apply(input, key=basic)
    return Index.apply(input, key=parts)


def _as_index(k: Any) -> Any:
    if type(k) in _BASIC:
        return k
    if isinstance(k, Tensor):
        k = k.array
    elif isinstance(k, bool | list | tuple | range):
        k = numpy.asarray(
            [i.array if isinstance(i, Tensor) else i for i in k] if not isinstance(k, bool) else k
        )
        k = k.astype(numpy.int64) if k.size == 0 else k
    kind = getattr(getattr(k, "dtype", None), "kind", "")
    if kind not in ("i", "u", "b"):
        raise TypeError(
            f"a tensor is indexed by ints, slices, None, ... and integer or bool tensors, got {k!r}"
        )
    return int(k) if k.ndim == 0 and kind != "b" else numpy.asarray(k) if isinstance(k, numpy.generic) else k


def _ints_first(parts: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Split a key in two steps: NumPy alone would count an int beside arrays as one of the arrays."""
    basic: list[Any] = []
    rest: list[Any] = []
    for k in parts:
        if hasattr(k, "dtype"):
            basic.extend([slice(None)] * (k.ndim if k.dtype.kind == "b" else 1))
            rest.append(k)
        else:
            basic.append(k)
            if type(k) is not int:
                rest.append(k if k is Ellipsis else slice(None))
    return tuple(basic), tuple(rest)


def where(condition: Tensor, input: Any, other: Any) -> Tensor:
    """Return input where `condition` holds, else other; all three are broadcast.

    Raises:
        TypeError: where `condition` is not bool.
    """
    mask = _as_mask(condition, "condition")
    a, b = meet(input, other) if isinstance(input, Tensor) or isinstance(other, Tensor) else (input, other)
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        dtype = result_type(a, b)
        a, b = Tensor(numpy.asarray(a, dtype)), Tensor(numpy.asarray(b, dtype))
    return Where.apply(mask, a, b)


def _as_mask(x: Any, what: str) -> Tensor:
    mask = as_tensor(x, what)
    if mask.array.dtype.kind != "b":
        raise TypeError(f"{what} must be a bool tensor, got {mask.dtype}: compare first, as in x > 0")
    return mask


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Return `input` with `value` (a number or a 0-d tensor) where `mask` is True, broadcast.

    Raises:
        TypeError: where `mask` is not bool, or `value` does not fit the dtype of `input`.
    """
    if isinstance(value, Tensor):
        if value.ndim:
            raise ValueError(f"value must be a number or a 0-d tensor, got shape {value.shape}: use where")
        value = value.astype(input.dtype)
    elif isinstance(value, float) and input.array.dtype.kind != "f":
        raise TypeError(f"value {value} does not fit a tensor of {input.dtype}: convert it with .float()")
    return Where.apply(_as_mask(mask, "mask"), value, input)


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """Return the last two axes' lower triangle, zeros above `diagonal` (0 is the main one, 1 above it)."""
    return _triangle(input, diagonal, True)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """Return the last two axes' upper triangle, zeros below `diagonal` (0 is the main one, 1 above it)."""
    return _triangle(input, diagonal, False)


def _triangle(input: Tensor, diagonal: int, lower: bool) -> Tensor:
    if input.ndim < 2:
        raise ValueError(f"a triangle needs a matrix, or several: got shape {input.shape}")
    return Triangle.apply(input, diagonal=diagonal, lower=lower)
