"""PyTorch's further names for what indexing and other functions do. Autograd finds their gradients."""

from typing import Any

from ..autograd.tensor import Tensor
from .arguments import as_size
from .casting import astype
from .comparison import ne
from .creation import full, ones, tensor, zeros
from .dims import normalize_dim
from .joining import cat
from .kinks import clamp
from .linalg import matmul
from .operands import as_tensor
from .shape import expand, reshape, view


def clip(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Return `clamp(input, min, max)`."""
    return clamp(input, min, max)


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """Return `length` entries along axis `dim`, from `start` on; a negative start counts from the end.

    Raises:
        IndexError: if there is no such axis.
        ValueError: if the axis does not have these entries.
    """
    x = as_tensor(input)
    axis, size = _axis(x, dim, "narrow")
    first, length = as_size(start, "start", None), as_size(length, "length", 0)
    first += size if first < 0 else 0
    if not 0 <= first <= size - length:
        raise ValueError(f"axis {dim} has {size} entries: start {start} and length {length} do not fit")
    return x[(slice(None),) * axis + (slice(first, first + length),)]


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """Return entry `index` along axis `dim`, without this axis.

    Raises:
        IndexError: if there is no such axis or entry.
    """
    x = as_tensor(input)
    axis, size = _axis(x, dim, "select")
    index = as_size(index, "index", None)
    if not -size <= index < size:
        raise IndexError(f"index {index} is out of range for axis {dim} with {size} entries")
    return x[(slice(None),) * axis + (index,)]


def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """Return the differences of neighbours along axis `dim`, `n` times; for bools, whether they differ.

    `prepend` and `append` are joined to the input first.

    Raises:
        ValueError: if the input has no axes, or n is negative.
    """
    x = as_tensor(input)
    axis, _ = _axis(x, dim, "diff")
    if prepend is not None or append is not None:
        x = cat([part for part in (prepend, x, append) if part is not None], axis)
    before = (slice(None),) * axis
    for _ in range(as_size(n, "n", 0)):
        later, earlier = x[(*before, slice(1, None))], x[(*before, slice(None, -1))]
        x = ne(later, earlier) if x.dtype == bool else later - earlier
    return x


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """Return the sum of the products of two vectors of one length (D,).

    Raises:
        ValueError: if either is not a vector, or the lengths differ.
    """
    a, b = as_tensor(input), as_tensor(tensor)
    if a.ndim != 1 or b.ndim != 1:
        raise ValueError(f"dot takes two vectors, got shapes {a.shape} and {b.shape}: use matmul")
    return matmul(a, b)


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """Return the product of a matrix (M, D) and a vector (D,).

    Raises:
        ValueError: if the shapes are others.
    """
    a, b = as_tensor(input), as_tensor(vec)
    if a.ndim != 2 or b.ndim != 1:
        raise ValueError(f"mv takes a matrix and a vector, got shapes {a.shape} and {b.shape}: use matmul")
    return matmul(a, b)


def _axis(x: Tensor, dim: int, name: str) -> tuple[int, int]:
    """Return the axis, made non-negative, and its size."""
    if not x.ndim:
        raise ValueError(f"{name} needs at least one axis, got a tensor of shape ()")
    axis = normalize_dim(dim, x.ndim)
    return axis, x.shape[axis]


def _view_as(self: Tensor, other: Tensor) -> Tensor:
    """Return the elements in the shape of `other`."""
    return view(self, other.shape)


def _reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """Return the elements in the shape of `other`."""
    return reshape(self, other.shape)


def _expand_as(self: Tensor, other: Tensor) -> Tensor:
    """Return self, broadcast to the shape of `other`."""
    return expand(self, other.shape)


def _type_as(self: Tensor, other: Tensor) -> Tensor:
    """Return self in the dtype of `other`."""
    return astype(self, other.dtype)


def _new_zeros(self: Tensor, *size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return zeros of shape `size`, in the dtype and on the device of self."""
    dtype = self.dtype if dtype is None else dtype
    return zeros(*size, dtype=dtype, requires_grad=requires_grad).to(self.device)


def _new_ones(self: Tensor, *size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return ones of shape `size`, in the dtype and on the device of self."""
    dtype = self.dtype if dtype is None else dtype
    return ones(*size, dtype=dtype, requires_grad=requires_grad).to(self.device)


def _new_full(
    self: Tensor, size: Any, fill_value: float, *, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return a tensor of shape `size` filled with `fill_value`, in the dtype and on the device of self."""
    dtype = self.dtype if dtype is None else dtype
    return full(size, fill_value, dtype=dtype, requires_grad=requires_grad).to(self.device)


def _new_tensor(self: Tensor, data: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor with a copy of `data`, in the dtype and on the device of self."""
    dtype = self.dtype if dtype is None else dtype
    return tensor(data, dtype=dtype, requires_grad=requires_grad).to(self.device)


def _new_empty(self: Tensor, *size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return `new_zeros` of the same arguments, for values that will be written."""
    return _new_zeros(self, *size, dtype=dtype, requires_grad=requires_grad)


def _stride(self: Tensor, dim: int | None = None) -> tuple[int, ...] | int:
    """Return by how many elements the neighbours on each axis, or on axis `dim`, are apart in memory.

    Raises:
        IndexError: if there is no such axis.
    """
    steps = tuple([step // self.array.itemsize for step in self.array.strides])
    return steps if dim is None else steps[_axis(self, dim, "stride")[0]]


def _element_size(self: Tensor) -> int:
    """Return the bytes of an element."""
    return self.array.itemsize


def _nelement(self: Tensor) -> int:
    """Return the number of elements."""
    return self.numel()


def _is_contiguous(self: Tensor) -> bool:
    """Return whether the elements lie in memory in the order of their indices."""
    return bool(self.array.flags.c_contiguous)


def _positive(self: Tensor) -> Tensor:
    """Return self.

    Raises:
        TypeError: for bools.
    """
    if self.dtype == bool:
        raise TypeError("the sign + is not for bools: use .long() first")
    return self


SHORTCUTS = {function.__name__: function for function in (clip, narrow, select, diff, dot, mv)} | {
    "view_as": _view_as,
    "reshape_as": _reshape_as,
    "expand_as": _expand_as,
    "type_as": _type_as,
    "new_zeros": _new_zeros,
    "new_ones": _new_ones,
    "new_full": _new_full,
    "new_tensor": _new_tensor,
    "new_empty": _new_empty,
    "stride": _stride,
    "element_size": _element_size,
    "nelement": _nelement,
    "is_contiguous": _is_contiguous,
    "__pos__": _positive,
}
"""The methods of Tensor in this file."""
