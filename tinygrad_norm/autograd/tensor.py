"""Tensor: an array, its gradient, and the Function that made it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy

from ..backends import Array, asarray, backend_of, check_numbers, is_array_like, to_numpy
from .flags import check_flags
from .grad_mode import mode
from .integer_range import check_range
from .memory import Memory, is_exposed, overwrite
from .node import Node

_OF_THE_GRAPH = ("creator", "index", "memory")

NumpyArray = numpy.ndarray  # in the class below, `numpy` is a method
_new = object.__new__

default_dtype = numpy.dtype(numpy.float32)
"""The dtype of Python floats."""


class Tensor:
    """An array on some backend that remembers how it was computed.

    Shares memory with an array given to it (`tn.tensor` copies); Python floats become float32. `array`
    is the raw array as the engine and the kernels use it; `data` is the same array for users, with
    writes to it detected. Arithmetic and the functions of `tinygrad_norm.ops` are methods too.
    """

    array: Array
    creator: Node | None = None  # the Function call that made it; None for a leaf
    index: int = 0  # which output of its creator
    memory: Memory | None = None
    hooks: list[Callable[[Tensor], Any]] | None = None
    grad_slot: GradSlot | None = None  # an optimizer's
    _requires_grad: bool  # the tape reads these two: a property is slower
    _grad: Tensor | None = None

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        array = asarray(data)
        check_numbers(array.dtype, data)
        if array.dtype == numpy.float64 and not is_array_like(data):
            array = array.astype(default_dtype)
        self.array = array
        self._requires_grad = False
        if requires_grad is not False:
            self.requires_grad_(requires_grad)

    @staticmethod
    def _wrap(array: Array, creator: Node | None = None, index: int = 0) -> Tensor:
        self = _new(Tensor)
        self.array = array if type(array) is numpy.ndarray else _as_result(array, creator)
        self._requires_grad = creator is not None
        if creator is not None:
            self.creator = creator
            if index:
                self.index = index
        return self

    # -- shape, dtype, device

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of every axis."""
        return self.array.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.array.ndim

    @property
    def dtype(self) -> numpy.dtype:
        """The type of an element."""
        return self.array.dtype

    @property
    def device(self) -> str:
        """Where the array lives: "cpu" or "cuda"."""
        return backend_of(self.array).device

    @property
    def grad_fn(self) -> Node | None:
        """The Function call that made it, PyTorch's name of `creator`; None for a leaf."""
        return self.creator

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded function made it; a leaf's gradient is kept in `.grad`."""
        return self.creator is None

    def size(self, dim: int | None = None) -> tuple[int, ...] | int:
        """Return the shape, or the size of axis `dim`."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """Return the number of axes."""
        return self.array.ndim

    def numel(self) -> int:
        """Return the number of elements."""
        return self.array.size

    def is_floating_point(self) -> bool:
        """Return whether the elements are floating-point numbers."""
        return self.array.dtype.kind == "f"

    # -- raw values

    @property
    def data(self) -> Array:
        """The array, shared: writing to it, or to a view of it, changes the tensor, and backward detects it.

        On a GPU, writes are not detected: call `mark_written()` after writing.
        """
        return self._shared_memory().expose(self.array)

    @data.setter
    def data(self, value: Any) -> None:
        array = asarray(value.array if isinstance(value, Tensor) else value)
        if array.shape != self.shape:
            raise ValueError(f"data of shape {array.shape} assigned to a tensor of shape {self.shape}")
        if self._requires_grad and array.dtype.kind != "f":
            raise RuntimeError(f"data of {array.dtype} assigned to a tensor that requires grad: use .float()")
        if is_exposed(array, self.array):
            array = self.array  # `x.data += 1` assigns the view that `x.data` returned
        self.array = array
        self.mark_written()

    def numpy(self) -> NumpyArray:
        """Return the values as a NumPy array: shared on the CPU, copied from a GPU."""
        return to_numpy(self.data)

    def item(self) -> float | int | bool:
        """Return the single element as a Python number."""
        if self.array.size != 1:
            raise RuntimeError(f"item() needs a tensor of one element, this one has shape {self.shape}")
        return to_numpy(self.array).item()

    def tolist(self) -> Any:
        """Return the values as nested lists of Python numbers."""
        return to_numpy(self.array).tolist()

    def _shared_memory(self) -> Memory:
        if self.memory is None:
            self.memory = Memory()
            if self.creator is not None:
                self.creator.guard_output(self.array, self.memory)
        return self.memory

    def mark_written(self) -> None:
        """Tell the tape that the array was changed in place: call it after writing to `.array`."""
        self._shared_memory().mark_written()

    def copy_(self, source: Any) -> Tensor:
        """Overwrite the values with those of `source`, broadcast to this shape. Not recorded.

        Raises:
            RuntimeError: if this tensor was computed with a gradient, or `source` requires grad, while
                operations are recorded.
        """
        self._check_overwritten()
        self._check_unrecorded(source)
        overwrite(self.array, asarray(source.array if isinstance(source, Tensor) else source))
        self.mark_written()
        return self

    def fill_(self, value: float) -> Tensor:
        """Overwrite every value with `value`. Not recorded, so it raises as `copy_` does."""
        self._check_unrecorded(value)
        check_range(value, self.dtype)
        return self.copy_(numpy.asarray(value))

    def zero_(self) -> Tensor:
        """Overwrite every value with zero. Not recorded, so it raises as `copy_` does."""
        return self.fill_(0)

    def _check_overwritten(self) -> None:
        if self.creator is not None and mode.enabled:
            raise RuntimeError(
                "overwriting a computed tensor that requires grad is not recorded, and its gradient would be "
                "that of the old values: make a new tensor (zeros_like, full_like, where), or write to "
                "x.detach()"
            )

    def _check_unrecorded(self, source: Any) -> None:
        if mode.enabled and _requires_grad(source):
            raise RuntimeError(
                "writing a tensor that requires grad into another is not recorded, and its gradient would be "
                "lost: build the result with stack, cat or where, or write source.detach()"
            )

    # -- gradients

    @property
    def requires_grad(self) -> bool:
        """Whether `.grad` is wanted, or that of a tensor this was computed from; set it on leaves."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, requires_grad: bool) -> None:
        if self.creator is not None:
            raise RuntimeError(
                "requires_grad can be set on leaves only, this tensor was computed: "
                "use detach() for its values without a gradient, retain_grad() to keep its gradient"
            )
        self.requires_grad_(requires_grad)

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward` adds to; None before the first.

        Raises:
            TypeError: unless a tensor or None is assigned.
            RuntimeError: if that tensor has another shape, dtype or device, or is this tensor itself.
        """
        return self._grad

    @grad.setter
    def grad(self, grad: Tensor | None) -> None:
        if grad is not None:
            self._check_grad(grad)
        self._grad = grad

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    def _check_grad(self, grad: Any) -> None:
        if not isinstance(grad, Tensor):
            raise TypeError(f"grad must be a Tensor or None, got {type(grad).__name__}: use tn.tensor(...)")
        if grad is self:
            raise RuntimeError("a tensor cannot be its own grad: assign a copy, x.detach().clone()")
        for what in ("shape", "dtype", "device"):
            own, other = getattr(self, what), getattr(grad, what)
            if own != other:
                raise RuntimeError(f"a grad of {what} {other} assigned to a tensor of {what} {own}")

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set whether `.grad` is wanted; return self.

        Raises:
            TypeError: unless requires_grad is a bool.
            RuntimeError: if the tensor has integers or bools, or is the result of a recorded operation.
        """
        check_flags(requires_grad=requires_grad)
        if requires_grad and self.array.dtype.kind != "f":
            raise RuntimeError(f"only floating-point tensors can require grad, this one has {self.dtype}")
        if not requires_grad and self.creator is not None:
            raise RuntimeError("only leaves can stop requiring grad: use detach() on a computed tensor")
        self._requires_grad = bool(requires_grad)
        return self

    def detach(self) -> Tensor:
        """Return the same values, sharing memory, without the graph."""
        out = Tensor._wrap(self.array)
        out.memory = self._shared_memory()
        if self.creator is None:
            out.memory.share(out)
        return out

    # -- Python's protocols

    def __repr__(self) -> str:
        body = numpy.array2string(
            to_numpy(self.array), separator=", ", precision=4, prefix="tensor(", floatmode="maxprec_equal"
        )
        if 0 in self.shape and self.ndim > 1:
            body += f", size={self.shape}"
        dtype = "" if self.dtype in (numpy.float32, numpy.int64, numpy.bool_) else f", dtype={self.dtype}"
        if self.creator is not None:
            return f"tensor({body}{dtype}, creator={self.creator.name})"
        return f"tensor({body}{dtype}{', requires_grad=True' if self.requires_grad else ''})"

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.shape:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind())

    def __bool__(self) -> bool:
        if self.array.size != 1:
            raise RuntimeError(
                f"the truth of a tensor of shape {self.shape} is ambiguous: use .all() or .any()"
            )
        return bool(to_numpy(self.array).item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.array.dtype.kind not in "iu" or self.array.size != 1:
            raise TypeError(f"an index is an integer tensor of one element, got {self.dtype} of {self.shape}")
        return int(to_numpy(self.array).item())

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: a computed tensor becomes a leaf with its values, without its graph."""
        return {name: value for name, value in vars(self).items() if name not in _OF_THE_GRAPH}

    def __copy__(self) -> Tensor:
        copy = _new(type(self))
        vars(copy).update(vars(self))
        if self.hooks:
            copy.hooks = list(self.hooks)
        return copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self.creator is not None:
            raise RuntimeError("only leaves can be deep-copied: use detach() on a computed tensor")
        copy = type(self).__new__(type(self))
        copy.array, copy._requires_grad = self.array.copy(), self._requires_grad
        if self._grad is not None:
            copy._grad = Tensor._wrap(self._grad.array.copy())
        memo[id(self)] = copy
        return copy

    # -- methods that stand in files of their own; the package `autograd` attaches these, `ops` all others

    if TYPE_CHECKING:

        def backward(
            self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False
        ) -> None: ...
        def register_hook(self, hook: Callable[[Tensor], Any]) -> Any: ...
        def retain_grad(self) -> None: ...
        def to(
            self,
            *targets: Any,
            device: str | None = None,
            dtype: Any = None,
            non_blocking: bool = False,
            copy: bool = False,
        ) -> Tensor: ...
        def double(self) -> Tensor: ...
        def half(self) -> Tensor: ...
        def long(self) -> Tensor: ...
        def cpu(self) -> Tensor: ...
        def cuda(self) -> Tensor: ...
        def __array__(self, dtype: Any = None, copy: bool | None = None) -> NumpyArray: ...
        def __getattr__(self, name: str) -> Any: ...
        def __getitem__(self, key: Any) -> Tensor: ...
        def __setitem__(self, key: Any, value: Any) -> None: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...


class GradSlot(Protocol):
    """Where an optimizer keeps a leaf's gradient."""

    def gradient_buffer(self) -> Array | None:
        """Return the array for the gradient, to write into; None while it is in use."""

    def receive(self, dx: Array) -> Tensor:
        """Return the gradient `dx` as a tensor, moved to where it is kept, unless that is in use."""


def _requires_grad(source: Any) -> bool:
    """Return whether it is a tensor that requires grad, or a list of such."""
    if isinstance(source, Tensor):
        return source.requires_grad
    return isinstance(source, list | tuple) and any(map(_requires_grad, source))


def _as_result(value: Any, creator: Node | None) -> Array:
    """Return an array as it is, and a NumPy scalar (what reductions return) as a 0-d array.

    Raises:
        TypeError: if it is anything else, such as the None of a forward without `return`.
    """
    if isinstance(value, numpy.generic | float | int | bool):
        return numpy.asarray(value)
    if isinstance(value, Tensor) or not hasattr(value, "dtype"):
        name = "forward" if creator is None else f"{creator.name}.forward"
        raise TypeError(f"{name} returned a {type(value).__name__}: return an array, or a tuple of arrays")
    return value
