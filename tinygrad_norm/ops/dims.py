"""Axes and shapes as arguments: `dim` made non-negative, and shapes with an axis kept, added or taken out."""

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Dim = int | tuple[int, ...] | list[int] | None
Axes = tuple[int, ...]
Shape = tuple[int, ...]

F = TypeVar("F", bound=Callable[..., Any])
_NUMPY_NAMES = {"axis": "dim", "keepdims": "keepdim"}


def with_numpy_names(function: F) -> F:
    """Let `function` be called with NumPy's `axis` and `keepdims` too, as PyTorch's functions of `dim` can.

    Raises, in a call:
        TypeError: for both names of one argument.
    """

    @functools.wraps(function)
    def called(*inputs: Any, **options: Any) -> Any:
        if not options:
            return function(*inputs)
        if "axis" not in options and "keepdims" not in options:
            return function(*inputs, **options)
        renamed = {_NUMPY_NAMES.get(name, name): value for name, value in options.items()}
        if len(renamed) < len(options):
            raise TypeError(f"{function.__name__} got an argument by both of its names: {', '.join(options)}")
        return function(*inputs, **renamed)

    return called  # type: ignore[return-value]


def normalize_dim(dim: int, ndim: int) -> int:
    """Return `dim` as a non-negative axis; a 0-d tensor counts as having one.

    Raises:
        TypeError: for anything but an integer.
        IndexError: for an axis that does not exist.
    """
    if type(dim) is not int:
        dim = _index(dim)
    n = ndim or 1
    if not -n <= dim < n:
        raise IndexError(f"dim {dim} is out of range for a tensor with {ndim} axes: use {-n} to {n - 1}")
    return dim + n if dim < 0 else dim


def _index(dim: Any) -> int:
    if isinstance(dim, bool) or not hasattr(dim, "__index__"):
        raise TypeError(f"dim must be an int, or where several are meant a tuple of ints, got {dim!r}")
    return operator.index(dim)


def normalize_dims(dim: Dim, ndim: int) -> Axes:
    """Return `dim` as non-negative axes; None and () mean all of them.

    Raises:
        TypeError: for anything but integers.
        IndexError: for an axis that does not exist.
        ValueError: for an axis named twice.
    """
    if dim is None:
        return tuple(range(ndim))
    if not isinstance(dim, tuple | list):
        axis = normalize_dim(dim, ndim)
        return (axis,) if ndim else ()
    if not dim:
        return tuple(range(ndim))
    axes = tuple([normalize_dim(d, ndim) for d in dim])
    if len(set(axes)) != len(axes):
        raise ValueError(f"dim {dim} names an axis of a tensor with {ndim} axes twice")
    return axes if ndim else ()


def named_dims(dims: int | Sequence[int], ndim: int) -> Axes:
    """Return exactly the axes that `dims` names, non-negative; () names none.

    Raises:
        IndexError, TypeError, ValueError: as `normalize_dims`.
    """
    return () if isinstance(dims, tuple | list) and not dims else normalize_dims(dims, ndim)  # type: ignore[arg-type]


def kept_shape(shape: Shape, axes: Axes) -> Shape:
    """Return `shape` with size 1 at every one of `axes`: the shape of a keepdim result."""
    return tuple([1 if i in axes else n for i, n in enumerate(shape)])


def count(shape: Shape, axes: Axes) -> int:
    """Return how many elements one entry of a reduction over `axes` is made of."""
    return math.prod([shape[axis] for axis in axes])


def as_shape(size: int | Sequence[int], what: str = "shape") -> Shape:
    """Return a size or a sequence of sizes as a tuple of ints.

    Raises:
        TypeError: where a size is no integer.
    """
    if isinstance(size, int):
        return (size,)
    try:
        return tuple(map(operator.index, size))
    except TypeError:
        if hasattr(size, "__index__"):
            return (operator.index(size),)
        raise TypeError(f"{what} must be an int or a sequence of ints, got {size!r}") from None
