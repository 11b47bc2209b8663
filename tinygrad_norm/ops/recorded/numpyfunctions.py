"""NumPy's functions of recorded arrays, by NumPy's names and with its arguments.

A name that is missing raises: there is then no second derivative of the Function that called it.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from ...autograd.tensor import Tensor
from ...backends import set_namespace
from .. import bases, elementwise, joining, kinks, masking, modulo, trigonometry
from .. import shape as shapes
from ..arithmetic import pow
from ..contraction import einsum
from ..indexing import gather
from ..linalg import matmul
from ..rounding import nan_to_num
from .recordedarray import (
    BUFFERS,
    NotRecorded,
    RecordedArray,
    RecordedView,
    as_array,
    as_recorded_tensor,
    plain,
    returned,
)
from .writes import PutAdded

Recorded = Callable[..., Any]

UFUNCS: dict[str, Callable[..., Tensor]] = {
    "absolute": kinks.abs,
    "add": operator.add,
    "arccos": trigonometry.acos,
    "arccosh": trigonometry.acosh,
    "arcsin": trigonometry.asin,
    "arcsinh": trigonometry.asinh,
    "arctan": trigonometry.atan,
    "arctan2": trigonometry.atan2,
    "arctanh": trigonometry.atanh,
    "conjugate": lambda x: x,
    "copysign": lambda x, y: kinks.abs(x) * numpy.copysign(1.0, _values(y)),
    "cos": elementwise.cos,
    "cosh": trigonometry.cosh,
    "divide": operator.truediv,
    "exp": elementwise.exp,
    "exp2": bases.exp2,
    "expm1": elementwise.expm1,
    "fmax": kinks.maximum,
    "fmin": kinks.minimum,
    "fmod": modulo.fmod,
    "hypot": trigonometry.hypot,
    "ldexp": lambda x, n: x * numpy.ldexp(1.0, _values(n)),
    "log": elementwise.log,
    "log10": bases.log10,
    "log1p": elementwise.log1p,
    "log2": bases.log2,
    "logaddexp": bases.logaddexp,
    "matmul": matmul,
    "maximum": kinks.maximum,
    "minimum": kinks.minimum,
    "multiply": operator.mul,
    "negative": operator.neg,
    "positive": lambda x: x,
    "power": pow,
    "reciprocal": elementwise.reciprocal,
    "remainder": modulo.remainder,
    "sin": elementwise.sin,
    "sinh": trigonometry.sinh,
    "sqrt": elementwise.sqrt,
    "square": lambda x: x * x,
    "subtract": operator.sub,
    "tan": trigonometry.tan,
    "tanh": elementwise.tanh,
}
"""Those with a gradient, as functions of tensors."""

CONSTANT = {
    *("sign", "signbit", "floor", "ceil", "rint", "trunc", "floor_divide"),
    *("isfinite", "isnan", "isinf", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
    *("frexp", "logical_and", "logical_or", "logical_not"),
}
"""Those that are constant almost everywhere: their results are plain arrays."""

REDUCTIONS = {"add": "sum", "maximum": "max", "fmax": "max", "minimum": "min", "multiply": "prod"}


def call_ufunc(ufunc: Any, method: str, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
    """Do what NumPy does in `ufunc(*inputs)`, or in one of its methods."""
    name = ufunc.__name__
    if method == "reduce" and name in REDUCTIONS:
        x, *axis = inputs
        if further := options.keys() - {"axis", "keepdims"}:
            raise _missing(f"numpy.{name}.reduce with {', '.join(sorted(further))}")
        reduce = getattr(x, REDUCTIONS[name])
        return reduce(*(axis or [options.get("axis", 0)]), keepdims=options.get("keepdims", False))
    if method == "reduceat" and name == "add":
        return _sums_from(*inputs, **options)
    if method == "at" and name == "add":
        x, key, value = inputs
        x.tensor = PutAdded.apply(x.tensor, as_recorded_tensor(value), key=key)
        return None
    if method == "__call__" and name in CONSTANT:
        return ufunc(*[plain(x) for x in inputs], **options)
    if method != "__call__" or name not in UFUNCS:
        raise _missing(f"numpy.{name}" if method == "__call__" else f"numpy.{name}.{method}")
    y = UFUNCS[name](*_operands(inputs))
    return _written(y, **options)


def _operands(inputs: Sequence[Any]) -> list[Any]:
    """Return what the functions of tensors take: tensors, and Python's numbers as they are."""
    return [x if type(x) in (int, float) else as_recorded_tensor(x) for x in inputs]


def _values(x: Any) -> Any:
    return x.array if isinstance(x, Tensor) else x


def _written(y: Tensor, out: Any = None, where: Any = True, dtype: Any = None, **_: Any) -> Any:
    target = None if out is None else out[0] if isinstance(out, tuple) else out
    if target is not None and not isinstance(target, RecordedArray):
        raise NotRecorded(f"writes into a plain array, which loses the gradient: {BUFFERS}")
    if where is not True:
        if target is None:
            raise _missing("where= without out=")
        y = masking.where(as_recorded_tensor(where), y, target.tensor)
    return returned(y if dtype is None else y.to(numpy.dtype(dtype)), target)


def _sums_from(x: RecordedArray, starts: Any, axis: int = 0) -> Any:
    ends = [*starts[1:], x.shape[axis]]
    along = (slice(None),) * axis
    parts = [x[(*along, slice(a, max(a + 1, b)))].sum(axis) for a, b in zip(starts, ends, strict=True)]
    return _stack(parts, axis)


def _missing(what: str) -> NotRecorded:
    return NotRecorded(f"uses {what}, which recorded arrays do not have (ops/recorded/numpyfunctions.py)")


def call(name: str, args: Any, options: Any) -> Any:
    """Do what NumPy does in the function `name`."""
    function = FUNCTIONS.get(name)
    if function is None:
        raise _missing(f"numpy.{name}")
    return function(*args, **options)


def _where(condition: Any, x: Any, y: Any) -> Any:
    mask = as_recorded_tensor(plain(condition))
    return as_array(masking.where(mask, *_operands((x, y))))


def _stack(arrays: Sequence[Any], axis: int = 0) -> Any:
    return as_array(joining.stack([as_recorded_tensor(x) for x in arrays], axis))


def _concatenate(arrays: Sequence[Any], axis: int = 0) -> Any:
    return as_array(joining.cat([as_recorded_tensor(x) for x in arrays], axis))


def _split(x: RecordedArray, at: Any, axis: int = 0) -> list[Any]:
    size = x.shape[axis]
    ends = range(0, size + 1, size // at) if isinstance(at, int) else [0, *at, size]
    along = (slice(None),) * (axis % x.ndim)
    return [x[(*along, slice(a, b))] for a, b in itertools.pairwise(ends)]


def _broadcast_to(x: Any, shape: Any) -> Any:
    return as_array(shapes.expand(as_recorded_tensor(x), shape))


def _moveaxis(x: RecordedArray, source: int, destination: int) -> Any:
    order = [axis for axis in range(x.ndim) if axis != source % x.ndim]
    order.insert(destination % x.ndim, source % x.ndim)
    return x.transpose(order)


def _copyto(target: Any, source: Any, casting: str = "same_kind", where: Any = True) -> None:
    if not isinstance(target, RecordedArray):
        raise NotRecorded(f"writes into a plain array, which loses the gradient: {BUFFERS}")
    target.write(source if where is True else _where(where, source, target))


def _like(fill: float) -> Recorded:
    def make(x: Any, dtype: Any = None, shape: Any = None, **_: Any) -> Any:
        return _full(x.shape if shape is None else shape, fill, dtype or x.dtype)

    return make


def _full(shape: Any, value: Any, dtype: Any = None, **_: Any) -> Any:
    if isinstance(value, RecordedArray):
        return _broadcast_to(value, shape)
    array = numpy.full(shape, value, dtype)
    return RecordedArray(Tensor(array)) if array.dtype.kind == "f" else array


def _filled(value: float) -> Recorded:
    return lambda shape, dtype=float, **_: _full(shape, value, dtype)


def _as_strided(x: Any, shape: Any = None, strides: Any = None, **options: Any) -> Any:
    view = numpy.lib.stride_tricks.as_strided
    if not isinstance(x, RecordedArray):
        return view(x, shape, strides, **options)
    at = numpy.arange(x.size)
    return x.as_strided(view(at, shape, [step // x.itemsize * at.itemsize for step in strides]).copy())


def _converted(x: Any, dtype: Any = None, **options: Any) -> Any:
    if isinstance(x, RecordedArray):
        return x if dtype is None or numpy.dtype(dtype) == x.dtype else x.astype(dtype)
    return numpy.asarray(x, dtype)


FUNCTIONS: dict[str, Recorded] = {
    "amax": lambda x, axis=None, **options: x.max(axis, **options),
    "argsort": lambda x, *args, **options: numpy.argsort(plain(x), *args, **options),
    "array": _converted,
    "asarray": _converted,
    "ascontiguousarray": _converted,
    "broadcast_to": _broadcast_to,
    "clip": lambda x, *args, **options: x.clip(*args, **options),
    "concatenate": _concatenate,
    "copyto": _copyto,
    "cumprod": lambda x, axis, dtype=None: x.cumprod(axis, dtype),
    "cumsum": lambda x, axis, dtype=None: x.cumsum(axis, dtype),
    "dot": lambda x, y: as_array(matmul(as_recorded_tensor(x), as_recorded_tensor(y))),
    "einsum": lambda names, *xs, **_: as_array(einsum(names, *map(as_recorded_tensor, xs))),
    "empty": _filled(0.0),
    "empty_like": _like(0.0),
    "expand_dims": lambda x, axis: x.reshape(numpy.expand_dims(numpy.empty(x.shape, bool), axis).shape),
    "flip": lambda x, axis=None: as_array(joining.flip(x.tensor, range(x.ndim) if axis is None else axis)),
    "full": _full,
    "full_like": lambda x, value, dtype=None, **_: _full(x.shape, value, dtype or x.dtype),
    "max": lambda x, axis=None, **options: x.max(axis, **options),
    "may_share_memory": lambda *_: False,
    "mean": lambda x, axis=None, **options: x.mean(axis, **options),
    "min": lambda x, axis=None, **options: x.min(axis, **options),
    "moveaxis": _moveaxis,
    "nan_to_num": lambda x, **options: as_array(nan_to_num(x.tensor, **options)),
    "ndim": lambda x: x.ndim,
    "ones": _filled(1.0),
    "ones_like": _like(1.0),
    "outer": lambda x, y: x.reshape(-1, 1) * y.reshape(1, -1),
    "repeat": lambda x, repeats, axis: x.repeat(repeats, axis),
    "reshape": lambda x, shape, **_: x.reshape(shape),
    "roll": lambda x, shift, axis=None: as_array(joining.roll(x.tensor, shift, axis)),
    "shape": lambda x: x.shape,
    "split": _split,
    "squeeze": lambda x, axis=None: x.squeeze(axis),
    "stack": _stack,
    "sum": lambda x, axis=None, **options: x.sum(axis, **options),
    "swapaxes": lambda x, first, second: x.swapaxes(first, second),
    "take_along_axis": lambda x, at, axis: as_array(gather(x.tensor, axis, as_recorded_tensor(at))),
    "tile": lambda x, counts: as_array(joining.tile(x.tensor, counts)),
    "transpose": lambda x, axes=None: x.transpose(*([] if axes is None else [axes])),
    "tril": lambda x, k=0: as_array(masking.tril(x.tensor, k)),
    "triu": lambda x, k=0: as_array(masking.triu(x.tensor, k)),
    "vecdot": lambda x, y: (x * y).sum(-1),
    "where": _where,
    "zeros": _filled(0.0),
    "zeros_like": _like(0.0),
}


class _Namespace:
    """NumPy, in which arrays that are made can be written to with recorded ones."""

    def __getattr__(self, name: str) -> Any:
        return _MAKERS.get(name) or getattr(numpy, name)

    @property
    def lib(self) -> Any:
        return self

    stride_tricks = lib
    as_strided = staticmethod(_as_strided)


_MAKERS = {
    name: FUNCTIONS[name]
    for name in ("array", "asarray", "ascontiguousarray", "empty", "full", "ones", "zeros")
}
_namespace = _Namespace()
for _type in (RecordedArray, RecordedView):
    set_namespace(_type, _namespace)
RecordedArray.__array_ufunc__ = lambda self, ufunc, method, *inputs, **options: call_ufunc(  # type: ignore[attr-defined]
    ufunc, method, inputs, options
)
RecordedArray.__array_function__ = lambda self, function, types, args, options: call(  # type: ignore[attr-defined]
    function.__name__, args, options
)
