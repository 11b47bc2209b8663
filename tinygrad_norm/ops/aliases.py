"""PyTorch's second names for functions, and what a line of others does. Autograd finds the gradients."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

from ..autograd.tensor import Tensor
from ..backends import to_numpy
from .arguments import as_number, as_size
from .arithmetic import add, div, mul, neg, sub
from .creation import as_tensor as make_tensor
from .creation import linspace, zeros, zeros_like
from .dims import as_shape, normalize_dim, with_numpy_names
from .extremes import amax, amin
from .indexing import getitem
from .joining import cat, stack
from .kinks import abs
from .operands import as_tensor
from .reduction import mean, std
from .shape import expand, flatten, reshape, swapaxes, transpose, unsqueeze


def subtract(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """Return `sub(input, other)`."""
    return sub(input, other, alpha=alpha)


def multiply(input: Any, other: Any) -> Tensor:
    """Return `mul(input, other)`."""
    return mul(input, other)


def divide(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """Return `div(input, other)`."""
    return div(input, other, rounding_mode=rounding_mode)


def true_divide(input: Any, other: Any) -> Tensor:
    """Return `div(input, other)`."""
    return div(input, other)


def negative(input: Tensor) -> Tensor:
    """Return −input."""
    return neg(input)


def absolute(input: Tensor) -> Tensor:
    """Return |input|."""
    return abs(input)


def positive(input: Tensor) -> Tensor:
    """Return input.

    Raises:
        TypeError: for bools.
    """
    x = as_tensor(input)
    if x.array.dtype.kind == "b":
        raise TypeError("positive is not for bools: use .long() first")
    return x


def t(input: Tensor) -> Tensor:
    """Return a matrix transposed; a vector or a number stays.

    Raises:
        ValueError: if there are more than two axes.
    """
    x = as_tensor(input)
    if x.ndim > 2:
        raise ValueError(f"t takes a matrix, got shape {x.shape}: use transpose, or .mT for several matrices")
    return transpose(x, 0, 1) if x.ndim == 2 else x


def ravel(input: Tensor) -> Tensor:
    """Return `flatten(input)`."""
    return flatten(input)


def swapdims(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Return `swapaxes(input, dim0, dim1)`."""
    return swapaxes(input, dim0, dim1)


def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """Return input + weight·(end − input): input for weight 0, end for weight 1."""
    x = as_tensor(input)
    return add(x, mul(weight, sub(as_tensor(end, "end"), x)))


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """Return input + value·tensor1·tensor2."""
    return add(input, mul(as_tensor(tensor1, "tensor1"), tensor2), alpha=value)


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """Return input + value·tensor1/tensor2."""
    return add(input, div(as_tensor(tensor1, "tensor1"), tensor2), alpha=value)


class MinAndMax(NamedTuple):
    """The result of `aminmax`."""

    min: Tensor
    max: Tensor


@with_numpy_names
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> MinAndMax:
    """Return the smallest and the largest elements, over all axes or along `dim`.

    Raises:
        ValueError: if there are no elements to choose from.
    """
    dims: Any = () if dim is None else dim
    return MinAndMax(amin(input, dims, keepdim), amax(input, dims, keepdim))


@with_numpy_names
def std_mean(
    input: Tensor, dim: Any = None, *, correction: float = 1, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the standard deviation and the mean over `dim` (all axes if None)."""
    return std(input, dim, correction=correction, keepdim=keepdim), mean(input, dim, keepdim)


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """Return the elements at which `mask` is True, as a vector; both are broadcast.

    Raises:
        TypeError: if `mask` is not a bool tensor.
        ValueError: if the shapes do not broadcast.
    """
    x, m = as_tensor(input), as_tensor(mask, "mask")
    if m.array.dtype.kind != "b":
        raise TypeError(f"mask must be a bool tensor, got {m.dtype}: compare first, as in x > 0")
    try:
        shape = numpy.broadcast_shapes(x.shape, m.shape)
    except ValueError:
        raise ValueError(
            f"masked_select takes shapes that broadcast together, got {x.shape} and {m.shape}"
        ) from None
    if not shape:
        return getitem(reshape(x, 1), reshape(m, 1))
    return getitem(expand(x, shape), expand(m, shape))


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Return the positions of the elements that are not 0: one row each (n, axes), or a tuple of columns."""
    found = [make_tensor(column) for column in _nonzero(input)]
    if as_tuple:
        return tuple(found)
    n = int(to_numpy(as_tensor(input).array).astype(bool).sum())
    return stack(found, 1) if found else zeros(n, 0, dtype=numpy.int64)


def _nonzero(input: Any) -> tuple[numpy.ndarray, ...]:
    array = to_numpy(as_tensor(input).array)
    return array.nonzero() if array.ndim else ()


def argwhere(input: Tensor) -> Tensor:
    """Return the positions of the elements that are not 0, one row each (n, axes)."""
    return nonzero(input)


def repeat_interleave(input: Tensor, repeats: Any, dim: int | None = None) -> Tensor:
    """Return every entry along axis `dim` repeated, one after the other; flattened first if dim is None.

    Args:
        input: any shape.
        repeats: an int, or a tensor of ints with one number for each entry.
        dim: the axis, or None.

    Raises:
        ValueError: if a number is negative, or there is not one for each entry.
    """
    x = as_tensor(input)
    x = flatten(x) if dim is None or not x.ndim else x
    axis = normalize_dim(0 if dim is None else dim, x.ndim)
    counts = to_numpy(repeats.array) if isinstance(repeats, Tensor) else numpy.asarray(repeats)
    if counts.dtype.kind not in "iu":
        raise TypeError(f"repeats must be ints, got {counts.dtype}")
    if (counts < 0).any() or counts.size not in (1, x.shape[axis]):
        raise ValueError(
            f"repeat_interleave needs one number of at least 0, or one for each of the {x.shape[axis]} "
            f"entries, got {counts.tolist()}"
        )
    places = numpy.repeat(numpy.arange(x.shape[axis]), counts.reshape(-1))
    return getitem(x, (slice(None),) * axis + (places,))


def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Return the parts between the given positions along axis `dim`, or that many parts of nearly one size.

    Raises:
        TypeError: unless it gets an int or a sequence of ints.
        ValueError: if the number of parts is below 1, or there are no axes.
    """
    x = as_tensor(input)
    if not x.ndim:
        raise ValueError("tensor_split needs a tensor with at least one axis")
    axis = normalize_dim(dim, x.ndim)
    size, given = x.shape[axis], indices_or_sections
    given = given.tolist() if isinstance(given, Tensor) else given
    if isinstance(given, int):
        n = as_size(given, "sections")
        ends = [size // n * (i + 1) + min(i + 1, size % n) for i in range(n - 1)]
    else:
        ends = list(as_shape(given, "indices"))
    starts, before = [0, *ends], (slice(None),) * axis
    return tuple([x[(*before, slice(a, b))] for a, b in zip(starts, [*ends, None], strict=True)])


def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Return the windows of `size` entries along an axis, `step` apart; their entries are the last axis.

    Raises:
        ValueError: if the axis is shorter than a window.
    """
    x = as_tensor(input)
    x = x if x.ndim else reshape(x, 1)
    axis = normalize_dim(dimension, x.ndim)
    size, step = as_size(size, "size", 0), as_size(step, "step")
    if size > x.shape[axis]:
        raise ValueError(f"a window of {size} is longer than axis {dimension}, which has {x.shape[axis]}")
    starts = numpy.arange(0, x.shape[axis] - size + 1, step)
    windows = getitem(x, (slice(None),) * axis + (starts[:, None] + numpy.arange(size),))
    order = [i for i in range(windows.ndim) if i != axis + 1]
    return windows.permute(*order, axis + 1)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Return the coordinates of a grid: one tensor per axis, each of the shape of the whole grid.

    Args:
        tensors: vectors or numbers, or one sequence of them.
        indexing: "ij": the first vector runs along axis 0; "xy": along axis 1, and the second along axis 0.

    Raises:
        ValueError: if a tensor has several axes, or `indexing` is unknown.
    """
    if indexing not in ("ij", "xy"):
        raise ValueError(f"indexing must be 'ij' or 'xy', got {indexing!r}")
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], list | tuple) else tensors
    vectors = [as_tensor(v, "a vector") for v in given]
    if any(v.ndim > 1 for v in vectors):
        raise ValueError(f"meshgrid takes vectors, got shapes {', '.join(str(v.shape) for v in vectors)}")
    vectors = [v if v.ndim else reshape(v, 1) for v in vectors]
    swap = indexing == "xy" and len(vectors) > 1
    if swap:
        vectors[:2] = vectors[1::-1]
    shape = [v.numel() for v in vectors]
    grids = [
        expand(reshape(v, [-1 if i == k else 1 for i in range(len(shape))]), shape)
        for k, v in enumerate(vectors)
    ]
    if swap:
        grids[:2] = grids[1::-1]
    return tuple(grids)


def logspace(
    start: float,
    end: float,
    steps: int,
    base: float = 10.0,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return `steps` numbers from base**start to base**end, evenly spaced on a logarithmic scale.

    Raises:
        TypeError: if `steps` is not an int.
        ValueError: if it is negative.
    """
    base = as_number(base, "base")
    values = base ** linspace(start, end, steps, dtype=numpy.float64).numpy()
    made = make_tensor(values).to(linspace(0, 1, 1, dtype=dtype).dtype)
    return made.requires_grad_(requires_grad)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Return the tensors joined along axis 0; vectors count as rows."""
    return cat([_with_axes(x, 2, 0) for x in tensors], 0)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Return the tensors joined along axis 1; vectors along axis 0."""
    parts = [_with_axes(x, 1, 0) for x in tensors]
    return cat(parts, 0 if parts and parts[0].ndim == 1 else 1)


def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Return the tensors joined along axis 2; vectors (n,) count as (1, n, 1), matrices get a last axis."""
    parts = [_with_axes(x, 2, 0) for x in tensors]
    return cat([unsqueeze(x, 2) if x.ndim == 2 else x for x in parts], 2)


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Return the tensors joined along axis 1; vectors count as columns."""
    parts = [_with_axes(x, 1, 0) for x in tensors]
    return cat([unsqueeze(x, 1) if x.ndim == 1 else x for x in parts], 1)


def _with_axes(x: Any, ndim: int, axis: int) -> Tensor:
    x = as_tensor(x)
    while x.ndim < ndim:
        x = unsqueeze(x, axis)
    return x


def is_tensor(obj: Any) -> bool:
    """Return whether `obj` is a Tensor."""
    return isinstance(obj, Tensor)


def numel(input: Tensor) -> int:
    """Return the number of elements."""
    return as_tensor(input).numel()


def empty(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor of shape `size` for values that will be written; until then they are zeros."""
    return zeros(*size, dtype=dtype, requires_grad=requires_grad)


def empty_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor of the shape and dtype of `input` for values that will be written."""
    return zeros_like(input, dtype=dtype, requires_grad=requires_grad)


def asarray(obj: Any, *, dtype: Any = None) -> Tensor:
    """Return `as_tensor(obj, dtype)`."""
    return make_tensor(obj, dtype)
