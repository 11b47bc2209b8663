"""Selecting elements by position: by keys, and by indices along an axis.

The gradient of a selected element goes back to the position it was taken from; an element taken several
times gets the sum. For keys with arrays of integers, `scatter_add` computes that sum.
"""

from types import EllipsisType
from typing import Any

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, asarray, current_backend, host_can_read, namespace
from ..backends.cpu.half import downcast, upcast
from ..backends.cuda.capture import upload
from ..backends.cuda.deferred import check_later
from ..registry import Case, ErrorCase, fixed, integers, register
from .creation import ones, tensor, zeros
from .dims import Shape, normalize_dim
from .operands import as_tensor
from .shape import expand, reshape

_FEW = 1024  # elements that add.at adds as exactly
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


class Scatter(Function):
    """y = 0, but y[key] += x for every occurrence · dx = dy[key]"""

    def forward(self, x: Array, *, shape: Shape, key: tuple[Any, ...]) -> Array:
        self.saved = (key,)
        return downcast(scatter_add(shape, key, x), x)

    def backward(self, dy: Array) -> Gradients:
        (key,) = self.saved
        return dy[key]


def scatter_add(shape: Shape, key: tuple[Any, ...], dy: Array) -> Array:
    """Return zeros of `shape` with `dy` added at `key`, as often as the key names an element.

    NumPy's `add.at` is several times faster with one index into the flat array than with a key of several
    parts. The flat index is computed from the coordinate on each axis at `key`. Where an element may be named
    many times, `bincount` adds in float64.
    """
    xp = namespace(dy)
    dy = upcast(dy)
    if all(k.dtype.kind == "b" for k in key if hasattr(k, "dtype")):  # no element twice
        dx = xp.zeros(shape, dy.dtype)
        dx[key] = dy
        return dx
    positions: Any = 0
    stride = 1
    for axis in range(len(shape) - 1, -1, -1):
        coordinates = xp.broadcast_to(_arange_along(xp, axis, shape), shape)[key]
        positions = positions + coordinates * stride
        stride *= shape[axis]
    if positions.size > max(_FEW, stride // 4) and type(dy) is numpy.ndarray:
        return numpy.bincount(positions.reshape(-1), dy.reshape(-1), stride).astype(dy.dtype).reshape(shape)
    dx = xp.zeros(stride, dy.dtype)
    xp.add.at(dx, positions.reshape(-1), dy.reshape(-1))
    return dx.reshape(shape)


def _arange_along(xp: Any, axis: int, shape: Shape) -> Array:
    return xp.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])


def getitem(input: Tensor, key: Any) -> Tensor:
    """Return input[key]: a view for ints, slices, None and Ellipsis; a copy for tensors and lists of indices.

    Raises:
        IndexError: if an index is out of range, or there are too many.
        TypeError: if an index is neither an integer nor a bool.
    """
    basic, arrays = split_key(key)
    if arrays is None:
        return Slice.apply(input, key=basic)
    return Index.apply(input if basic is None else Slice.apply(input, key=basic), key=arrays)


def split_key(key: Any) -> tuple[Any, tuple[Any, ...] | None]:
    """Split a key into what selects a view, and what then selects from the view by arrays; None for nothing.

    Raises:
        TypeError: if an index is neither an integer nor a bool.
    """
    if type(key) in _BASIC:
        return key, None
    parts = tuple([k if type(k) in _BASIC else _as_index(k) for k in (key if type(key) is tuple else (key,))])
    if not any(hasattr(k, "dtype") for k in parts):
        return parts, None
    return _ints_first(parts) if any(type(k) is int for k in parts) else (None, parts)


def _as_index(k: Any) -> Any:
    if isinstance(k, Tensor):
        k = k.array
    elif not hasattr(k, "dtype"):
        k = _from_sequence(k)
    if k.dtype.kind not in "iub":
        raise TypeError(f"a tensor is indexed by integers or bools, got {k.dtype}: convert it with .long()")
    if k.dtype.kind != "b" and k.ndim == 0:
        return int(k)
    return upload(k, current_backend().namespace) if type(k) is numpy.ndarray else asarray(k)


def _from_sequence(k: Any) -> Array:
    if not isinstance(k, bool | list | tuple | range):
        raise TypeError(
            f"a tensor is indexed by ints, slices, None, ... and tensors of integers or bools, got {k!r}"
        )
    array = numpy.asarray(k)
    return array if array.size else array.astype(numpy.int64)


def _ints_first(parts: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Split a key into its ints and the rest, as PyTorch does; NumPy treats ints beside arrays as arrays."""
    basic: list[Any] = []
    rest: list[Any] = []
    for k in parts:
        if hasattr(k, "dtype"):
            basic += [slice(None)] * (k.ndim if k.dtype.kind == "b" else 1)
            rest.append(k)
        else:
            basic.append(k)
            if type(k) is not int:
                rest.append(k if k is Ellipsis else slice(None))
    return tuple(basic), tuple(rest)


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Return y with y[i][j][k] = input[i][index[i][j][k]][k] (here for dim = 1), of the shape of `index`.

    Raises:
        ValueError: if `index` is longer than `input` along another axis than `dim`.
        IndexError: if an index is not in 0 to size − 1.
    """
    x, i = as_tensor(input), as_tensor(index, "index")
    axis = normalize_dim(dim, x.ndim)
    if x.ndim != i.ndim or any(i.shape[d] > x.shape[d] for d in range(x.ndim) if d != axis):
        raise ValueError(
            f"gather along axis {axis} of a tensor of shape {x.shape} needs an index with as many axes and "
            f"no larger sizes on the other axes, got {i.shape}"
        )
    positions = _checked_index("gather", i, x.shape[axis] if x.ndim else 1)
    if not x.ndim:
        return reshape(x, ())
    xp = namespace(positions)
    key = [positions if d == axis else _arange_along(xp, d, i.shape) for d in range(i.ndim)]
    return Index.apply(x, key=tuple(key))


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Return `gather` after broadcasting the other axes; of the flattened tensors if dim is None.

    Negative indices count from the end.

    Raises:
        ValueError: if the other axes do not broadcast.
        IndexError: if an index is not in −size to size − 1.
    """
    x, i = as_tensor(input), as_tensor(indices, "indices")
    if dim is None:
        return gather(reshape(x, x.numel()), 0, _from_the_end(reshape(i, i.numel()), x.numel()))
    if x.ndim != i.ndim:
        raise ValueError(f"take_along_dim needs the same number of axes in both, got {x.shape} and {i.shape}")
    axis = normalize_dim(dim, x.ndim)
    i = _from_the_end(i, x.shape[axis] if x.ndim else 1)
    sizes = [
        -1 if d == axis else max(n, m) if min(n, m) else 0
        for d, (n, m) in enumerate(zip(x.shape, i.shape, strict=True))
    ]
    return gather(expand(x, sizes), axis, expand(i, sizes))


def _from_the_end(index: Tensor, size: int) -> Tensor:
    """Return `index` with `size` added to what is negative and in range."""
    array = index.array
    if array.dtype.kind != "i" or not array.size:
        return index
    if not host_can_read(array):
        return Tensor._wrap(array + size * ((array < 0) & (array >= -size)))
    if array.min() >= 0 or array.min() < -size:
        return index
    return Tensor._wrap(array + size * (array < 0))


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Return the slices of `input` along axis `dim` at the positions in the 1-d `index`, in its order.

    Raises:
        ValueError: if `index` has several axes.
        IndexError: if an index is not in 0 to size − 1.
    """
    x, i = as_tensor(input), as_tensor(index, "index")
    if i.ndim > 1:
        raise ValueError(
            f"index_select needs a 1-d index, got shape {i.shape}: use x[index] for several axes"
        )
    axis = normalize_dim(dim, x.ndim)
    positions = _checked_index("index_select", i, x.shape[axis] if x.ndim else 1).reshape(-1)
    if not x.ndim:
        return reshape(x, ())
    return Index.apply(x, key=(slice(None),) * axis + (positions,))


def _checked_index(name: str, index: Tensor, size: int) -> Array:
    array = index.array
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} needs an index of integers, got {array.dtype}: convert it with .long()")
    if not host_can_read(array):
        advice = f"use 0 to {size - 1}"
        check_later(array, size, f"{name} got the index {{}}, but the axis has size {size}: {advice}")
    elif array.size and not (array.min() >= 0 and array.max() < size):
        raise IndexError(
            f"{name} got indices from {array.min()} to {array.max()}, but the axis has size {size}: "
            f"use 0 to {size - 1}"
        )
    return array


_MASK, _ROW = numpy.array([[True, False, True], [False, True, True]]), numpy.array([2, 0, 0, -1])

register(
    name="getitem",
    function=getitem,
    composed=None,
    cases=(
        Case(((3, 4),), {"key": 1}),
        Case(((3, 4),), {"key": (slice(None, None, 2), -1)}),
        Case(((3, 4),), {"key": (None, Ellipsis, slice(1, 3))}),
        Case(((2, 3),), {"key": (1, 2)}),
        Case(((3, 4),), {"key": _ROW}),
        Case(((2, 3, 4),), {"key": (slice(None), [2, 2])}),
        Case(((2, 3, 4),), {"key": (0, slice(None), _ROW)}),
        Case(((3, 4),), {"key": (numpy.array([[0], [2]]), numpy.array([1, 1, 3]))}),
        Case(((3, 2, 4),), {"key": (_ROW - 1, slice(None), _ROW)}),
        Case(((2, 3),), {"key": _MASK}),
        Case(((2, 3, 4),), {"key": (_MASK, slice(1, 3))}),
        Case(((4, 2, 3),), {"key": (_ROW, _MASK[:, 0])}),
        Case(((3, 2),), {"key": []}),
    ),
    errors=(
        ErrorCase(lambda: Tensor([1.0, 2.0])[2], IndexError, "out of bounds"),
        ErrorCase(lambda: Tensor([1.0, 2.0])[0, 0], IndexError, "too many indices"),
        ErrorCase(lambda: Tensor([1.0, 2.0])[1.0], TypeError, "indexed by ints"),
        ErrorCase(lambda: Tensor([1.0, 2.0])[Tensor([1.0])], TypeError, "by integers or bools"),
    ),
    kind="primitive",
)
register(
    name="gather",
    function=gather,
    composed=None,
    cases=(
        Case(((3, 4), fixed([[3, 0, 0], [1, 1, 1]])), {"dim": 1}),
        Case(((3, 4), fixed([[2, 0, 2, 1]])), {"dim": 0}),
        Case(((2, 3, 2), integers(3, 2, 5, 2)), {"dim": -2}),
    ),
    inputs=("input", "index"),
    errors=(
        ErrorCase(lambda: gather(ones(2, 2), 1, zeros(3, 1, dtype=int)), ValueError, "no larger sizes"),
        ErrorCase(lambda: gather(ones(2), 0, tensor([-1])), IndexError, "use 0 to 1"),
        ErrorCase(lambda: gather(ones(2), 0, ones(1)), TypeError, "index of integers"),
    ),
    kind="primitive",
    torch="torch.gather",
)
register(
    name="take_along_dim",
    function=take_along_dim,
    composed=None,
    cases=(
        Case(((3, 4), fixed([[3, 0]])), {"dim": 1}),
        Case(((1, 4), integers(4, 3, 2)), {"dim": 1}),
        Case(((3, 4), integers(12, 5))),
        Case(((3, 4), fixed([[-1, 0], [-4, 2], [3, -2]])), {"dim": 1}),
    ),
    errors=(
        ErrorCase(lambda: take_along_dim(ones(2), zeros(1, 1, dtype=int), 0), ValueError, "same number"),
        ErrorCase(lambda: take_along_dim(ones(2), tensor([2])), IndexError, "use 0 to 1"),
    ),
    kind="primitive",
    torch="torch.take_along_dim",
)
register(
    name="index_select",
    function=index_select,
    composed=None,
    cases=(
        Case(((3, 4), fixed([2, 0, 2])), {"dim": 0}),
        Case(((3, 4), integers(4, 6)), {"dim": -1}),
        Case(((3, 4), integers(4, 0)), {"dim": 1}),
    ),
    inputs=("input", "index"),
    errors=(
        ErrorCase(lambda: index_select(ones(2), 0, zeros(1, 1, dtype=int)), ValueError, "1-d index"),
        ErrorCase(lambda: index_select(ones(2), 0, tensor([2])), IndexError, "use 0 to 1"),
    ),
    kind="primitive",
    torch="torch.index_select",
)
