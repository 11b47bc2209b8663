"""Arguments that are axes or shapes: `dim` made non-negative, sizes made a tuple."""

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
    """Let `function` also take NumPy's names `axis` and `keepdims`, as PyTorch's functions of `dim` do.

    Raises, in a call:
        TypeError: if an argument is given by both of its names.
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
    """Return `dim` as a non-negative axis; a 0-d tensor counts as having one axis.

    Raises:
        TypeError: unless it is an integer.
        IndexError: if there is no such axis.
    """
    if type(dim) is not int:
        dim = _index(dim)
    n = ndim or 1
    if not -n <= dim < n:
        raise IndexError(f"dim {dim} is out of range for a tensor with {ndim} axes: use {-n} to {n - 1}")
    return dim + n if dim < 0 else dim


def _index(dim: Any) -> int:
    if isinstance(dim, bool) or not hasattr(dim, "__index__"):
        raise TypeError(f"dim must be an int, or a tuple of ints for several axes, got {dim!r}")
    return operator.index(dim)


def normalize_dims(dim: Dim, ndim: int) -> Axes:
    """Return `dim` as non-negative axes; None and () mean all of them.

    Raises:
        TypeError: unless it is an integer or a sequence of integers.
        IndexError: if there is no such axis.
        ValueError: if an axis is named twice.
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
    """Return the axes that `dims` names, made non-negative; unlike `normalize_dims`, () is no axes.

    Raises:
        IndexError, TypeError, ValueError: as in `normalize_dims`.
    """
    return () if isinstance(dims, tuple | list) and not dims else normalize_dims(dims, ndim)  # type: ignore[arg-type]


def kept_shape(shape: Shape, axes: Axes) -> Shape:
    """Return `shape` with size 1 on `axes`: the shape of a result with keepdim=True."""
    return tuple([1 if i in axes else n for i, n in enumerate(shape)])


def count(shape: Shape, axes: Axes) -> int:
    """Return the number of elements that a reduction over `axes` combines into one."""
    return math.prod([shape[axis] for axis in axes])


def as_shape(size: int | Sequence[int], what: str = "shape") -> Shape:
    """Return a size, or a sequence of sizes, as a tuple of ints.

    Raises:
        TypeError: if a size is not an integer.
    """
    if isinstance(size, int):
        return (size,)
    try:
        return tuple(map(operator.index, size))
    except TypeError:
        if hasattr(size, "__index__"):
            return (operator.index(size),)
        raise TypeError(f"{what} must be an int or a sequence of ints, got {size!r}") from None
