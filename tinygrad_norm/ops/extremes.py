"""Largest and smallest elements, and where they are.

Equal extremes share the gradient evenly. In `max(x, dim)`, which also returns the position, the first of
them gets the whole gradient.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..registry import Case, ErrorCase, distinct, register
from .arguments import as_flag
from .dims import Axes, Dim, kept_shape, normalize_dim, normalize_dims, with_numpy_names
from .kinks import maximum, minimum
from .operands import as_tensor
from .shape import reshape


class ValuesAndIndices(NamedTuple):
    """The result of `max(x, dim)` and `min(x, dim)`."""

    values: Tensor
    indices: Tensor


class Amax(Function):
    """y = max x over `axes` · dx = dy where x = y, divided by how many x equal y"""

    def forward(self, x: Array, *, axes: Axes, keepdim: bool) -> Array:
        y = x.max(axes, keepdims=keepdim)
        self.saved = x, y, axes
        return y

    def backward(self, dy: Array) -> Gradients:
        return _share(dy, *self.saved)


class Amin(Function):
    """y = min x over `axes` · dx = dy where x = y, divided by how many x equal y"""

    def forward(self, x: Array, *, axes: Axes, keepdim: bool) -> Array:
        y = x.min(axes, keepdims=keepdim)
        self.saved = x, y, axes
        return y

    def backward(self, dy: Array) -> Gradients:
        return _share(dy, *self.saved)


def _share(dy: Array, x: Array, y: Array, axes: Axes) -> Array:
    """Return dy where x equals the extreme y, divided by the number of such x, and 0 elsewhere."""
    kept = kept_shape(x.shape, axes)
    chosen = (x == y.reshape(kept)) | (x != x)  # where x has a NaN, NaN is the extreme
    ties = chosen.sum(axes).reshape(kept).astype(dy.dtype)
    return dy.reshape(kept) * chosen / (ties + (ties == 0))


class MaxAlong(Function):
    """y = xᵢ with i = argmax x along `dim` · dxᵢ = dy, 0 elsewhere"""

    constants = (1,)

    def forward(self, x: Array, *, dim: int, keepdim: bool) -> tuple[Array, Array]:
        return self._take(x, x.argmax(dim), dim, keepdim)

    def _take(self, x: Array, index: Array, dim: int, keepdim: bool) -> tuple[Array, Array]:
        kept = index.reshape(kept_shape(x.shape, (dim,)))
        self.saved = x.shape, dim, kept.copy()  # the caller gets the index and may change it
        y = namespace(x).take_along_axis(x, kept, dim)
        return (y, kept) if keepdim else (y.reshape(index.shape), index)

    def backward(self, dy: Array, _: Array | None) -> Gradients:
        shape, dim, index = self.saved
        along = [-1 if i == dim else 1 for i in range(len(shape))]
        return dy.reshape(index.shape) * (namespace(dy).arange(shape[dim]).reshape(along) == index)


class MinAlong(MaxAlong):
    """y = xᵢ with i = argmin x along `dim` · dxᵢ = dy, 0 elsewhere"""

    def forward(self, x: Array, *, dim: int, keepdim: bool) -> tuple[Array, Array]:
        return self._take(x, x.argmin(dim), dim, keepdim)


def _axes_with_elements(name: str, x: Tensor, dim: Dim) -> Axes:
    axes = normalize_dims(dim, x.ndim)
    if 0 in [x.shape[axis] for axis in axes]:
        raise ValueError(
            f"{name} over dim {dim} of a tensor of shape {x.shape}: there are no elements to choose from"
        )
    return axes


@with_numpy_names
def amax(input: Tensor, dim: Dim = (), keepdim: bool = False) -> Tensor:
    """Return the largest elements over `dim` (all axes if ()); equal ones share the gradient.

    Raises:
        ValueError: if there are no elements to choose from.
    """
    if keepdim is not False and keepdim is not True:
        keepdim = as_flag(keepdim, "keepdim")
    x = as_tensor(input)
    return Amax.apply(x, axes=_axes_with_elements("amax", x, dim), keepdim=keepdim)


@with_numpy_names
def amin(input: Tensor, dim: Dim = (), keepdim: bool = False) -> Tensor:
    """Return the smallest elements over `dim` (all axes if ()); equal ones share the gradient.

    Raises:
        ValueError: if there are no elements to choose from.
    """
    if keepdim is not False and keepdim is not True:
        keepdim = as_flag(keepdim, "keepdim")
    x = as_tensor(input)
    return Amin.apply(x, axes=_axes_with_elements("amin", x, dim), keepdim=keepdim)


@with_numpy_names
def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """Return the largest element; along `dim`, (values, indices); with a tensor, the larger of the two.

    In `max(x)`, equal elements share the gradient; in `max(x, dim)`, the first of them gets all of it.

    Raises:
        TypeError: if keepdim is given without a dim, or is not a bool.
        ValueError: if there are no elements to choose from.
    """
    if keepdim is not False and keepdim is not True:
        keepdim = as_flag(keepdim, "keepdim")
    other = dim if isinstance(dim, Tensor) else other
    if other is None and dim is not None:
        return _along("max", MaxAlong, input, dim, keepdim)
    if keepdim:
        raise TypeError("keepdim of max needs a dim: to keep every axis, amax(x, keepdim=True)")
    return amax(input) if other is None else maximum(input, other)


@with_numpy_names
def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """Return the smallest element; along `dim`, (values, indices); with a tensor, the smaller of the two.

    In `min(x)`, equal elements share the gradient; in `min(x, dim)`, the first of them gets all of it.

    Raises:
        TypeError: if keepdim is given without a dim, or is not a bool.
        ValueError: if there are no elements to choose from.
    """
    if keepdim is not False and keepdim is not True:
        keepdim = as_flag(keepdim, "keepdim")
    other = dim if isinstance(dim, Tensor) else other
    if other is None and dim is not None:
        return _along("min", MinAlong, input, dim, keepdim)
    if keepdim:
        raise TypeError("keepdim of min needs a dim: to keep every axis, amin(x, keepdim=True)")
    return amin(input) if other is None else minimum(input, other)


def _along(name: str, function: type[Function], input: Any, dim: int, keepdim: bool) -> ValuesAndIndices:
    x = as_tensor(input)
    axis = normalize_dim(dim, x.ndim)
    _axes_with_elements(name, x, axis)
    if x.ndim:
        return ValuesAndIndices(*function.apply(x, dim=axis, keepdim=keepdim))
    return ValuesAndIndices(*function.apply(reshape(x, 1), dim=0, keepdim=False))


@with_numpy_names
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return the int64 index of the largest element along `dim`, or in the flattened tensor if None.

    Raises:
        ValueError: if there are no elements to choose from.
    """
    if keepdim is not False and keepdim is not True:
        keepdim = as_flag(keepdim, "keepdim")
    x, axis = _one_axis("argmax", input, dim)
    return Tensor._wrap(x.array.argmax(axis, keepdims=keepdim))


@with_numpy_names
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return the int64 index of the smallest element along `dim`, or in the flattened tensor if None.

    Raises:
        ValueError: if there are no elements to choose from.
    """
    if keepdim is not False and keepdim is not True:
        keepdim = as_flag(keepdim, "keepdim")
    x, axis = _one_axis("argmin", input, dim)
    return Tensor._wrap(x.array.argmin(axis, keepdims=keepdim))


def _one_axis(name: str, input: Any, dim: int | None) -> tuple[Tensor, int | None]:
    x = as_tensor(input)
    axis = None if dim is None else normalize_dim(dim, x.ndim)
    _axes_with_elements(name, x, axis)
    return x, axis if x.ndim else None


def _error_cases(function: Any, *calls: tuple[Any, type[Exception], str]) -> tuple[ErrorCase, ...]:
    empty = numpy.zeros((0, 3))
    return tuple([ErrorCase(partial(function, empty, dim), error, match) for dim, error, match in calls])


def _keepdim_error(function: Any, **options: Any) -> ErrorCase:
    return ErrorCase(partial(function, numpy.ones(2), keepdim=True, **options), TypeError, "needs a dim")


for _function in (amax, amin):
    register(
        name=_function.__name__,
        function=_function,
        composed=None,
        cases=(
            Case((distinct(3, 4),)),
            Case((distinct(2, 3, 4),), {"dim": (0, -1), "keepdim": True}),
            Case((distinct(3, 4),), {"dim": 1}),
            Case((distinct(),)),
        ),
        errors=_error_cases(
            _function,
            ((), ValueError, "no elements to choose from"),
            (2, IndexError, "dim 2 is out of range"),
        ),
        kind="primitive",
        torch=f"torch.{_function.__name__}",
    )

for _function in (max, min):
    register(
        name=_function.__name__,
        function=_function,
        composed=None,
        cases=(
            Case((distinct(3, 4),)),
            Case((distinct(3, 4),), {"dim": 1}),
            Case((distinct(2, 3, 2),), {"dim": -2, "keepdim": True}),
            Case((distinct(),), {"dim": 0}),
            Case((distinct(3, 0),), {"dim": 0}),
            Case(((3, 4), (4,))),
        ),
        errors=(
            *_error_cases(
                _function,
                (None, ValueError, "no elements to choose from"),
                (0, ValueError, "no elements to choose from"),
                ((0, 1), TypeError, "dim must be an int"),
            ),
            _keepdim_error(_function),
            _keepdim_error(_function, other=numpy.ones(2)),
        ),
        kind="primitive",
        torch=f"torch.{_function.__name__}",
    )
