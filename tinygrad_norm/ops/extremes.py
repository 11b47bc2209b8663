"""Largest and smallest elements, and where they are.

Values over several axes share their gradient evenly among ties. Along one axis with its position
(`max(x, dim)`), the first extreme element gets all of it.
"""

from typing import Any, NamedTuple

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..registry import Case, ErrorCase, distinct, fixed, register
from .dims import Axes, Dim, kept_shape, normalize_dim, normalize_dims
from .elementwise import maximum, minimum
from .shape import reshape


class ValuesAndIndices(NamedTuple):
    """What `max(x, dim)` and `min(x, dim)` return."""

    values: Tensor
    indices: Tensor


class Amax(Function):
    """y = max x over `axes` · dx = dy where x = y, divided by how many x there are equal to y"""

    def forward(self, x: Array, *, axes: Axes, keepdim: bool) -> Array:
        y = x.max(axes, keepdims=keepdim)
        self.saved = x, y, axes
        return y

    def backward(self, dy: Array) -> Gradients:
        return _share(dy, *self.saved)


class Amin(Function):
    """y = min x over `axes` · dx = dy where x = y, divided by how many x there are equal to y"""

    def forward(self, x: Array, *, axes: Axes, keepdim: bool) -> Array:
        y = x.min(axes, keepdims=keepdim)
        self.saved = x, y, axes
        return y

    def backward(self, dy: Array) -> Gradients:
        return _share(dy, *self.saved)


def _share(dy: Array, x: Array, y: Array, axes: Axes) -> Array:
    kept = kept_shape(x.shape, axes)
    chosen = x == y.reshape(kept)
    ties = chosen.sum(axes).reshape(kept).astype(dy.dtype)
    return dy.reshape(kept) * chosen / (ties + (ties == 0))


class MaxAlong(Function):
    """y = x[i] with i = argmax x along `dim` · dx = dy at i, 0 elsewhere"""

    constants = (1,)

    def forward(self, x: Array, *, dim: int, keepdim: bool) -> tuple[Array, Array]:
        return self._take(x, x.argmax(dim), dim, keepdim)

    def _take(self, x: Array, index: Array, dim: int, keepdim: bool) -> tuple[Array, Array]:
        kept = index.reshape(kept_shape(x.shape, (dim,)))
        self.saved = x.shape, dim, kept
        y = namespace(x).take_along_axis(x, kept, dim)
        return (y, kept.copy()) if keepdim else (y.reshape(index.shape), index)

    def backward(self, dy: Array, _: Array | None) -> Gradients:
        shape, dim, index = self.saved
        xp = namespace(dy)
        places = xp.arange(shape[dim]).reshape([-1 if i == dim else 1 for i in range(len(shape))])
        return dy.reshape(index.shape) * (places == index)


class MinAlong(MaxAlong):
    """y = x[i] with i = argmin x along `dim` · dx = dy at i, 0 elsewhere"""

    def forward(self, x: Array, *, dim: int, keepdim: bool) -> tuple[Array, Array]:
        return self._take(x, x.argmin(dim), dim, keepdim)


def _extreme_axes(name: str, input: Tensor, dim: Dim) -> Axes:
    axes = normalize_dims(dim, input.ndim)
    if any(input.shape[axis] == 0 for axis in axes):
        raise ValueError(f"{name} of nothing: shape {input.shape} has size 0 along dim {dim}")
    return axes


def amax(input: Tensor, dim: Dim = (), keepdim: bool = False) -> Tensor:
    """Return the largest elements over `dim` (all axes if ()); ties share the gradient.

    Raises:
        ValueError: where there are no elements to choose from.
    """
    return Amax.apply(input, axes=_extreme_axes("amax", input, dim), keepdim=keepdim)


def amin(input: Tensor, dim: Dim = (), keepdim: bool = False) -> Tensor:
    """Return the smallest elements over `dim` (all axes if ()); ties share the gradient.

    Raises:
        ValueError: where there are no elements to choose from.
    """
    return Amin.apply(input, axes=_extreme_axes("amin", input, dim), keepdim=keepdim)


def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """Return the largest element; along axis `dim`, also where it is; with a tensor, the larger of both.

    `max(x)` shares its gradient among ties. `max(x, dim)` returns (values, indices) and its gradient
    goes to the index, the first of equals. `max(x, other)` is `maximum`.

    Raises:
        ValueError: where there are no elements to choose from.
    """
    if other is not None or isinstance(dim, Tensor):
        return maximum(input, dim if other is None else other)
    if dim is None:
        return amax(input)
    return _along("max", MaxAlong, input, dim, keepdim)


def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """Return the smallest element; along axis `dim`, also where it is; with a tensor, the smaller of both.

    `min(x)` shares its gradient among ties. `min(x, dim)` returns (values, indices) and its gradient
    goes to the index, the first of equals. `min(x, other)` is `minimum`.

    Raises:
        ValueError: where there are no elements to choose from.
    """
    if other is not None or isinstance(dim, Tensor):
        return minimum(input, dim if other is None else other)
    if dim is None:
        return amin(input)
    return _along("min", MinAlong, input, dim, keepdim)


def _along(name: str, function: type[Function], input: Tensor, dim: int, keepdim: bool) -> ValuesAndIndices:
    axis = normalize_dim(dim, input.ndim)
    _extreme_axes(name, input, dim)
    if input.ndim:
        return ValuesAndIndices(*function.apply(input, dim=axis, keepdim=keepdim))
    values, indices = function.apply(reshape(input, 1), dim=0, keepdim=False)
    return ValuesAndIndices(values, indices)


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return the index of the largest element along `dim` (in the flattened tensor if None), as int64.

    Raises:
        ValueError: where there are no elements to choose from.
    """
    _extreme_axes("argmax", input, dim)
    axis = None if dim is None else normalize_dim(dim, input.ndim) if input.ndim else None
    return Tensor._wrap(input.array.argmax(axis, keepdims=keepdim))


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return the index of the smallest element along `dim` (in the flattened tensor if None), as int64.

    Raises:
        ValueError: where there are no elements to choose from.
    """
    _extreme_axes("argmin", input, dim)
    axis = None if dim is None else normalize_dim(dim, input.ndim) if input.ndim else None
    return Tensor._wrap(input.array.argmin(axis, keepdims=keepdim))
