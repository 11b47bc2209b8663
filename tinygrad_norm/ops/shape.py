"""The same elements in another shape or order: a gradient only has to be put back into place.

The result shares memory with the input if NumPy can (a reshape of a permuted array is a copy).
"""

import math
from collections.abc import Sequence

from ..autograd.function import Function, Gradients
from ..autograd.memory import owner
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..registry import Case, ErrorCase, register
from .broadcast import unbroadcast
from .dims import Axes, Dim, Shape, as_shape, named_dims, normalize_dim, with_numpy_names
from .operands import as_tensor


class Reshape(Function):
    """y = x in another shape · dx = dy in the shape of x"""

    is_view = True

    def forward(self, x: Array, *, shape: Shape) -> Array:
        self.saved = (x.shape,)
        y = x.reshape(shape)
        self.is_view = owner(y) is owner(x)  # else y is a copy
        return y

    def backward(self, dy: Array) -> Gradients:
        (shape,) = self.saved
        return dy.reshape(shape)


class Permute(Function):
    """y = x with its axes in the order `dims` · dx = dy with them back in place"""

    is_view = True

    def forward(self, x: Array, *, dims: Axes) -> Array:
        self.saved = (tuple(sorted(range(len(dims)), key=dims.__getitem__)),)
        return x.transpose(dims)

    def backward(self, dy: Array) -> Gradients:
        (inverse,) = self.saved
        return namespace(dy).transpose(dy, inverse)


class Transpose(Function):
    """y = x with two axes exchanged · dx = dy with the same two exchanged"""

    is_view = True

    def forward(self, x: Array, *, dim0: int, dim1: int) -> Array:
        self.saved = dim0, dim1
        return x.swapaxes(dim0, dim1)

    def backward(self, dy: Array) -> Gradients:
        return dy.swapaxes(*self.saved)


class Expand(Function):
    """y = x broadcast to `shape` · dx = dy, summed over the stretched axes"""

    is_view = True

    def forward(self, x: Array, *, shape: Shape) -> Array:
        self.saved = (x.shape,)
        if math.prod(shape) == x.size:
            return x.reshape(shape)  # no element twice: it can be written to
        return namespace(x).broadcast_to(x, shape)

    def backward(self, dy: Array) -> Gradients:
        return unbroadcast(dy, *self.saved)


def reshape(input: Tensor, shape: int | Sequence[int]) -> Tensor:
    """Return the elements in `shape`; one size may be -1 and is computed from the others.

    Raises:
        ValueError: if `shape` has another number of elements than `input`.
    """
    x = as_tensor(input)
    sizes = as_shape(shape)
    try:
        return Reshape.apply(x, shape=sizes)
    except ValueError:
        raise ValueError(
            f"shape {sizes} does not fit a tensor of shape {x.shape} ({x.numel()} elements): "
            "the product of the sizes must be the same, and one of them may be -1"
        ) from None


view = reshape
"""In PyTorch, `view` raises if it would have to copy; here it copies."""


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Return the axes from `start_dim` to `end_dim`, inclusive, merged into one.

    Raises:
        ValueError: if `start_dim` comes after `end_dim`.
    """
    x = as_tensor(input)
    shape = x.shape or (1,)
    start, end = normalize_dim(start_dim, len(shape)), normalize_dim(end_dim, len(shape))
    if start > end:
        raise ValueError(f"flatten needs start_dim <= end_dim, got {start_dim} and {end_dim}")
    return Reshape.apply(x, shape=(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Return the tensor with axis `dim` split into axes of `sizes`, one of which may be -1.

    Raises:
        ValueError: if the product of `sizes` is not the size of the axis.
    """
    x = as_tensor(input)
    if not x.ndim:
        raise ValueError("unflatten needs a tensor with at least one axis")
    axis = normalize_dim(dim, x.ndim)
    n, parts = x.shape[axis], as_shape(sizes, "sizes")
    known = math.prod(size for size in parts if size != -1)
    if parts.count(-1) == 1 and known > 0 and n % known == 0:
        parts = tuple(n // known if size == -1 else size for size in parts)
    if math.prod(parts) != n or min(parts, default=0) < 0:
        raise ValueError(f"sizes {tuple(sizes)} do not multiply to {n}, the size of axis {dim}")
    return Reshape.apply(x, shape=(*x.shape[:axis], *parts, *x.shape[axis + 1 :]))


def permute(input: Tensor, dims: Sequence[int]) -> Tensor:
    """Return the tensor with its axes in the order `dims`, which names every axis once.

    Raises:
        ValueError: if an axis is missing or named twice.
    """
    x = as_tensor(input)
    axes = as_shape(dims, "dims")
    if len(axes) != x.ndim:
        raise ValueError(f"permute of a tensor with {x.ndim} axes needs all of them once, got {axes}")
    return Permute.apply(x, dims=named_dims(axes, x.ndim))


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Return the tensor with axes `dim0` and `dim1` exchanged."""
    x = as_tensor(input)
    dim0, dim1 = normalize_dim(dim0, x.ndim), normalize_dim(dim1, x.ndim)
    return Transpose.apply(x, dim0=dim0, dim1=dim1) if x.ndim else Reshape.apply(x, shape=())


def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """Return the tensor with axes `axis0` and `axis1` exchanged: `transpose` by another name."""
    return transpose(input, axis0, axis1)


def movedim(input: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Return the tensor with axes `source` moved to `destination`; the others keep their order.

    Raises:
        ValueError: if they differ in length.
    """
    x = as_tensor(input)
    sources = named_dims(as_shape(source, "source"), x.ndim)
    destinations = named_dims(as_shape(destination, "destination"), x.ndim)
    if len(sources) != len(destinations):
        raise ValueError(f"movedim needs as many sources as destinations, got {source} and {destination}")
    moved = dict(zip(destinations, sources, strict=True))
    rest = iter([axis for axis in range(x.ndim) if axis not in sources])
    return Permute.apply(x, dims=tuple([moved[i] if i in moved else next(rest) for i in range(x.ndim)]))


moveaxis = movedim


@with_numpy_names
def squeeze(input: Tensor, dim: Dim = None) -> Tensor:
    """Return the tensor without its axes of size 1, or without those of `dim` that have size 1."""
    x = as_tensor(input)
    axes = range(x.ndim) if dim is None else named_dims(dim, x.ndim)
    return Reshape.apply(x, shape=tuple([n for i, n in enumerate(x.shape) if n != 1 or i not in axes]))


@with_numpy_names
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """Return the tensor with a new axis of size 1 at position `dim`."""
    x = as_tensor(input)
    axis = normalize_dim(dim, x.ndim + 1)
    return Reshape.apply(x, shape=(*x.shape[:axis], 1, *x.shape[axis:]))


def expand(input: Tensor, size: int | Sequence[int]) -> Tensor:
    """Return the tensor with axes of size 1 broadcast to `size`, without a copy; -1 keeps a size.

    Raises:
        ValueError: if the size of an axis is neither 1 nor the requested one.
    """
    x = as_tensor(input)
    sizes = as_shape(size, "size")
    added = len(sizes) - x.ndim
    shape = tuple([x.shape[i - added] if n == -1 and i >= added else n for i, n in enumerate(sizes)])
    if added < 0 or any(n not in (1, m) for n, m in zip(x.shape, shape[added:], strict=True)):
        raise ValueError(
            f"a tensor of shape {x.shape} does not expand to {sizes}: only axes of size 1 can be "
            "broadcast, and new axes are added in front"
        )
    if min(shape, default=0) < 0:
        raise ValueError(f"expand to {sizes}: -1 stands for the size of an existing axis, not of a new one")
    return Expand.apply(x, shape=shape)


def broadcast_to(input: Tensor, shape: int | Sequence[int]) -> Tensor:
    """Return `input` broadcast to `shape`, without a copy; the same as `expand`."""
    return expand(input, shape)


register(
    name="reshape",
    function=reshape,
    composed=None,
    cases=(
        Case(((3, 4),), {"shape": (2, 6)}),
        Case(((3, 4),), {"shape": (-1,)}),
        Case(((),), {"shape": (1, 1)}),
        Case(((0, 3),), {"shape": (3, 0)}),
    ),
    errors=(ErrorCase(lambda: reshape(Tensor([1.0, 2.0, 3.0]), (2, -1)), ValueError, "3 elements"),),
    kind="primitive",
    torch="torch.reshape",
)
register(
    name="flatten",
    function=flatten,
    composed=None,
    cases=(Case(((2, 3, 4),)), Case(((2, 3, 4),), {"start_dim": 1}), Case(((),)), Case(((0, 3),))),
    errors=(ErrorCase(lambda: flatten(Tensor([[1.0]]), 1, 0), ValueError, "start_dim"),),
    kind="primitive",
    torch="torch.flatten",
)
register(
    name="unflatten",
    function=unflatten,
    composed=None,
    cases=(Case(((2, 6),), {"dim": 1, "sizes": (3, -1)}), Case(((6, 2),), {"dim": 0, "sizes": (2, 3)})),
    errors=(ErrorCase(lambda: unflatten(Tensor([1.0, 2.0, 3.0]), 0, (2, -1)), ValueError, "multiply to 3"),),
    kind="primitive",
    torch="torch.unflatten",
)
register(
    name="permute",
    function=permute,
    composed=None,
    cases=(
        Case(((2, 3, 4),), {"dims": (2, 0, 1)}),
        Case(((2, 3),), {"dims": (-1, 0)}),
        Case(((),), {"dims": ()}),
    ),
    errors=(
        ErrorCase(lambda: permute(Tensor([[1.0]]), (0,)), ValueError, "all of them once"),
        ErrorCase(lambda: permute(Tensor([[1.0]]), (0, 0)), ValueError, "twice"),
        ErrorCase(lambda: permute(Tensor([[1.0]]), (0, 2)), IndexError, "out of range"),
    ),
    kind="primitive",
    torch="torch.permute",
)
register(
    name="transpose",
    function=transpose,
    composed=None,
    cases=(Case(((2, 3, 4),), {"dim0": 0, "dim1": 2}), Case(((2, 3),), {"dim0": -1, "dim1": -2})),
    errors=(ErrorCase(lambda: transpose(Tensor([1.0]), 0, 1), IndexError, "out of range"),),
    kind="primitive",
    torch="torch.transpose",
)
register(
    name="movedim",
    function=movedim,
    composed=None,
    cases=(
        Case(((2, 3, 4),), {"source": 0, "destination": -1}),
        Case(((2, 3, 4),), {"source": (0, 2), "destination": (1, 0)}),
    ),
    errors=(ErrorCase(lambda: movedim(Tensor([[1.0]]), (0, 1), 0), ValueError, "as many"),),
    kind="primitive",
    torch="torch.movedim",
)
register(
    name="squeeze",
    function=squeeze,
    composed=None,
    cases=(Case(((1, 3, 1),)), Case(((1, 3, 1),), {"dim": 0}), Case(((1, 3, 1),), {"dim": (1, 2)})),
    errors=(ErrorCase(lambda: squeeze(Tensor([1.0]), 1), IndexError, "out of range"),),
    kind="primitive",
    torch="torch.squeeze",
)
register(
    name="unsqueeze",
    function=unsqueeze,
    composed=None,
    cases=(Case(((3, 4),), {"dim": 1}), Case(((3, 4),), {"dim": -1}), Case(((),), {"dim": 0})),
    errors=(ErrorCase(lambda: unsqueeze(Tensor([1.0]), 2), IndexError, "out of range"),),
    kind="primitive",
    torch="torch.unsqueeze",
)
register(
    name="expand",
    function=expand,
    composed=None,
    cases=(
        Case(((3, 1),), {"size": (2, 3, 4)}),
        Case(((3, 1),), {"size": (-1, 2)}),
        Case(((),), {"size": (2, 2)}),
        Case(((1, 3),), {"size": (0, 3)}),
    ),
    errors=(
        ErrorCase(lambda: expand(Tensor([1.0, 2.0]), (3,)), ValueError, "does not expand"),
        ErrorCase(lambda: expand(Tensor([1.0, 2.0]), (-1, 2)), ValueError, "-1 stands for"),
    ),
    kind="primitive",
    torch="torch.Tensor.expand",
)
register(
    name="broadcast_to",
    function=broadcast_to,
    composed=None,
    cases=(Case(((3, 1),), {"shape": (2, 3, 4)}),),
    errors=(ErrorCase(lambda: broadcast_to(Tensor([1.0, 2.0]), (3,)), ValueError, "does not expand"),),
    kind="primitive",
)
