"""RecordedArray: a Tensor with the interface of a NumPy array of floats.

What is computed from it is another one. Comparisons, signs and indices are plain arrays: they are constant
almost everywhere. A write replaces the Tensor by one that has the new values, and a view is a function of the
array it was taken from: it follows that array's writes, and a write to it is one to that array.

What would lose the gradient raises: the conversion to a plain array or to a number.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy

from ...autograd.tensor import Tensor
from ..error_function import erf
from ..joining import stack
from .writes import Put

Get = Callable[[Tensor], Tensor]
"""A view, as a function of the tensor it is taken from."""

Set = Callable[[Tensor, Tensor], Tensor]
"""What that tensor becomes when the view becomes another tensor."""


class NotRecorded(NotImplementedError):
    """What a body does with a recorded array loses the gradient, or is not known here."""


BUFFERS = "make buffers with np.zeros_like(dy) in place of np.zeros(dy.shape), from an array with a gradient"
"""What to write in place of a plain array that cannot hold values with a gradient."""


class RecordedArray:
    """The values of `tensor`, as an array."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self.version = 0  # counts the writes

    @property
    def tensor(self) -> Tensor:
        """The tensor that holds the values."""
        return self._tensor

    @tensor.setter
    def tensor(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self.version += 1

    def write(self, value: Any) -> None:
        """Overwrite all values, with broadcasting and in this dtype."""
        tensor = as_recorded_tensor(value)
        if tensor.dtype != self.dtype:
            tensor = tensor.to(self.dtype)
        self.tensor = tensor if tensor.shape == self.shape else tensor.expand(*self.shape)

    def _view(self, get: Get, put: Set) -> RecordedArray:
        return RecordedView(self, get, put)

    # -- what an array knows of itself

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of every axis."""
        return self.tensor.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.tensor.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.tensor.array.size

    @property
    def dtype(self) -> numpy.dtype:
        """The type of an element."""
        return self.tensor.dtype

    @property
    def itemsize(self) -> int:
        """The bytes of an element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """The bytes of all elements."""
        return self.size * self.itemsize

    @property
    def flags(self) -> Any:
        """Those of a contiguous array."""
        return numpy.empty(self.shape, self.dtype).flags

    @property
    def strides(self) -> tuple[int, ...]:
        """Those of a contiguous array."""
        return numpy.empty(self.shape, self.dtype).strides

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.tensor.array)

    def _lost(self, *_: Any, **__: Any) -> NoReturn:
        raise NotRecorded(
            "converts an array to a plain one, or to a number, or writes it into a plain array, which loses "
            f"its gradient; {BUFFERS}"
        )

    __array__ = __float__ = __int__ = __index__ = item = tolist = _lost

    # -- parts and shapes

    def __getitem__(self, key: Any) -> Any:
        tensor = self.tensor[key]
        if any(isinstance(part, list) or getattr(part, "ndim", 0) for part in _parts(key)):
            return as_array(tensor)  # a copy
        return self._view(lambda x: x[key], lambda x, part: Put.apply(x, part, key=key))

    def __setitem__(self, key: Any, value: Any) -> None:
        self.tensor = Put.apply(self.tensor, as_recorded_tensor(value).to(self.dtype), key=key)

    def reshape(self, *shape: Any, order: str = "C") -> RecordedArray:
        """As NumPy's."""
        new = _as_given(shape)
        return self._view(lambda x: x.reshape(new), lambda x, part: part.reshape(x.shape))

    def transpose(self, *axes: Any) -> RecordedArray:
        """As NumPy's."""
        given = _as_given(axes) if axes else tuple(reversed(range(self.ndim)))
        order = [axis % self.ndim for axis in given]
        back = [order.index(axis) for axis in range(self.ndim)]
        return self._view(lambda x: x.permute(order), lambda x, part: part.permute(back))

    def swapaxes(self, first: int, second: int) -> RecordedArray:
        """As NumPy's."""
        order = list(range(self.ndim))
        order[first], order[second] = order[second], order[first]
        return self.transpose(order)

    @property
    def T(self) -> RecordedArray:
        """The axes in reverse order."""
        return self.transpose()

    def as_strided(self, at: numpy.ndarray) -> RecordedArray:
        """Return the view with the elements whose numbers, counted row by row, are `at`."""

        def put(x: Tensor, part: Tensor) -> Tensor:
            return Put.apply(x.reshape(-1), part, key=at).reshape(x.shape)

        return self._view(lambda x: x.reshape(-1)[at], put)

    def ravel(self) -> RecordedArray:
        """As NumPy's."""
        return self.reshape(-1)

    def squeeze(self, axis: Any = None) -> RecordedArray:
        """As NumPy's."""
        return self.reshape(numpy.empty(self.shape, bool).squeeze(axis).shape)

    def diagonal(self, offset: int, first: int, second: int) -> Any:
        """As NumPy's."""
        at = numpy.arange(self.size).reshape(self.shape).diagonal(offset, first, second)
        return as_array(self.tensor.reshape(-1)[at.copy()])

    def copy(self, order: str = "C") -> RecordedArray:
        """As NumPy's: later writes to one do not change the other."""
        return RecordedArray(self.tensor)

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """As NumPy's; integers and bools are plain arrays."""
        return as_array(self.tensor.to(numpy.dtype(dtype)))

    def fill(self, value: Any) -> None:
        """As NumPy's."""
        self.write(value)

    def repeat(self, repeats: Any, axis: int) -> Any:
        """As NumPy's."""
        return self.take(numpy.repeat(numpy.arange(self.shape[axis]), repeats), axis)

    def take(self, indices: Any, axis: int) -> Any:
        """As NumPy's."""
        return self[(slice(None),) * (axis % self.ndim) + (indices,)]

    # -- reductions

    def sum(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        """As NumPy's."""
        return returned(self._as(dtype).sum(self._axes(axis), keepdims), out)

    def mean(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        """As NumPy's."""
        return returned(self._as(dtype).mean(self._axes(axis), keepdims), out)

    def max(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        """As NumPy's."""
        return returned(self.tensor.amax(self._axes(axis), keepdims), out)

    def min(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        """As NumPy's."""
        return returned(self.tensor.amin(self._axes(axis), keepdims), out)

    def prod(self, axis: int, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        """As NumPy's."""
        return returned(self._as(dtype).prod(axis, keepdims), out)

    def cumsum(self, axis: int, dtype: Any = None) -> Any:
        """As NumPy's."""
        return as_array(self._as(dtype).cumsum(axis))

    def cumprod(self, axis: int, dtype: Any = None) -> Any:
        """As NumPy's."""
        rows = RecordedArray(self._as(dtype)).swapaxes(axis, -1)
        products = [rows[..., : i + 1].prod(-1).tensor for i in range(self.shape[axis])]
        return as_array(stack(products, -1)).swapaxes(axis, -1) if products else self.copy()

    def erf(self) -> Any:
        """The error function."""
        return as_array(erf(self.tensor))

    def _as(self, dtype: Any) -> Tensor:
        return self.tensor if dtype is None else self.tensor.to(numpy.dtype(dtype))

    def _axes(self, axis: Any) -> tuple[int, ...]:
        return tuple(range(self.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)

    def argmax(self, *args: Any, **options: Any) -> Any:
        """As NumPy's: a plain array."""
        return self.tensor.array.argmax(*args, **options)

    def argmin(self, *args: Any, **options: Any) -> Any:
        """As NumPy's: a plain array."""
        return self.tensor.array.argmin(*args, **options)

    def all(self, *args: Any, **options: Any) -> Any:
        """As NumPy's: a plain array."""
        return self.tensor.array.all(*args, **options)

    def any(self, *args: Any, **options: Any) -> Any:
        """As NumPy's: a plain array."""
        return self.tensor.array.any(*args, **options)

    def clip(self, low: Any = None, high: Any = None, out: Any = None) -> Any:
        """As NumPy's."""
        return returned(self.tensor.clamp(plain(low), plain(high)), out)

    # -- operators; numpyfunctions.py has NumPy's functions

    def __neg__(self) -> Any:
        return as_array(-self.tensor)

    def __abs__(self) -> Any:
        return as_array(self.tensor.abs())


class RecordedView(RecordedArray):
    """A part of `base`, or `base` in another shape: `get` and `put` read and write it there."""

    def __init__(self, base: RecordedArray, get: Get, put: Set) -> None:
        super().__init__(get(base.tensor))
        self.base, self.get, self.put, self.seen = base, get, put, base.version

    @property
    def tensor(self) -> Tensor:
        """The tensor that holds the values: computed again if the base was written to."""
        base = self.base.tensor  # first: a base that is a view itself updates its version
        if self.seen != self.base.version:
            self._tensor, self.seen = self.get(base), self.base.version
            self.version += 1
        return self._tensor

    @tensor.setter
    def tensor(self, tensor: Tensor) -> None:
        self.base.tensor = self.put(self.base.tensor, tensor)


def _parts(key: Any) -> tuple[Any, ...]:
    return key if type(key) is tuple else (key,)


def _as_given(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """Return what a method was given as one tuple, or as several numbers."""
    return tuple(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes


def returned(x: Tensor, out: Any) -> Any:
    """Return `x` as an array, written to `out` if that is given."""
    if out is None:
        return as_array(x)
    out.write(x)
    return out


def plain(x: Any) -> Any:
    """Return the array of a recorded array; anything else as it is."""
    return x.tensor.array if isinstance(x, RecordedArray) else x


def as_array(x: Tensor) -> Any:
    """Return a tensor of floats as a recorded array, any other as a plain array."""
    return RecordedArray(x) if x.array.dtype.kind == "f" else x.array


def as_recorded_tensor(x: Any) -> Tensor:
    """Return the tensor of a recorded array, or a tensor with the values of a plain one, or of a number."""
    if isinstance(x, RecordedArray):
        return x.tensor
    return x if isinstance(x, Tensor) else Tensor(numpy.asarray(x) if not hasattr(x, "dtype") else x)


def _operator(name: str, ufunc: Any) -> None:
    def forward(self: RecordedArray, other: Any) -> Any:
        return ufunc(self, other)

    def reflected(self: RecordedArray, other: Any) -> Any:
        return ufunc(other, self)

    def in_place(self: RecordedArray, other: Any) -> RecordedArray:
        self.write(ufunc(self, other))
        return self

    setattr(RecordedArray, f"__{name}__", forward)
    setattr(RecordedArray, f"__r{name}__", reflected)
    setattr(RecordedArray, f"__i{name}__", in_place)


def _comparison(name: str) -> None:
    compare = getattr(operator, name)
    setattr(RecordedArray, f"__{name}__", lambda self, other: compare(self.tensor.array, plain(other)))


for _name, _ufunc in {
    "add": numpy.add,
    "sub": numpy.subtract,
    "mul": numpy.multiply,
    "truediv": numpy.divide,
    "floordiv": numpy.floor_divide,
    "pow": numpy.power,
    "matmul": numpy.matmul,
}.items():
    _operator(_name, _ufunc)
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    _comparison(_name)
RecordedArray.__hash__ = object.__hash__  # type: ignore[method-assign]
