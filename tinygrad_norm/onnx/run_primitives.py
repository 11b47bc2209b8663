"""Operators of loaded files: arithmetic, reductions, shapes, indexing."""

import functools
from collections.abc import Callable
from typing import Any

import numpy

from .. import ops
from ..autograd.tensor import Tensor
from ..ops.masking import where
from .running import RUNNERS, Node, dtype_of, ints, runs

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": ops.abs,
    "Acos": ops.acos,
    "Acosh": ops.acosh,
    "Asin": ops.asin,
    "Asinh": ops.asinh,
    "Atan": ops.atan,
    "Atanh": ops.atanh,
    "Ceil": ops.ceil,
    "Cosh": ops.cosh,
    "Floor": ops.floor,
    "Round": ops.round,
    "Sinh": ops.sinh,
    "Tan": ops.tan,
    "Cos": ops.cos,
    "Erf": ops.erf,
    "Exp": ops.exp,
    "Identity": lambda x: x,
    "IsNaN": ops.isnan,
    "Log": ops.log,
    "Neg": ops.neg,
    "Not": ops.logical_not,
    "Reciprocal": ops.reciprocal,
    "Sigmoid": ops.sigmoid,
    "Sign": ops.sign,
    "Sin": ops.sin,
    "Sqrt": ops.sqrt,
    "Tanh": ops.tanh,
}
_BINARY: dict[str, Callable[[Any, Any], Tensor]] = {
    "Add": ops.add,
    "And": ops.logical_and,
    "Equal": ops.eq,
    "Greater": ops.gt,
    "GreaterOrEqual": ops.ge,
    "Less": ops.lt,
    "LessOrEqual": ops.le,
    "MatMul": ops.matmul,
    "Mul": ops.mul,
    "Or": ops.logical_or,
    "Sub": ops.sub,
    "Xor": ops.logical_xor,
}
_VARIADIC: dict[str, Callable[[Any, Any], Tensor]] = {
    "Max": ops.maximum,
    "Min": ops.minimum,
    "Sum": ops.add,
    "Mean": ops.add,
}


def _unary(function: Callable[[Tensor], Tensor]) -> Any:
    return lambda node, x: function(x)


def _binary(function: Callable[[Any, Any], Tensor]) -> Any:
    return lambda node, a, b: function(a, b)


RUNNERS.update({kind: _unary(function) for kind, function in _UNARY.items()})
RUNNERS.update({kind: _binary(function) for kind, function in _BINARY.items()})


@runs(*_VARIADIC)
def _variadic(node: Node, *xs: Tensor) -> Tensor:
    total = functools.reduce(_VARIADIC[node.kind], xs)
    return total / len(xs) if node.kind == "Mean" else total


@runs("Div")
def _div(node: Node, a: Tensor, b: Tensor) -> Tensor:
    return ops.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc")


@runs("Pow")
def _pow(node: Node, a: Tensor, b: Tensor) -> Tensor:
    exponent = b.item() if b.numel() == 1 and not b.ndim and not b.requires_grad else b
    return _cast(ops.pow(a, exponent), a.dtype)


def _cast(x: Tensor, dtype: Any) -> Tensor:
    return x if x.dtype == dtype else x.to(dtype)


@runs("Mod")
def _mod(node: Node, a: Tensor, b: Tensor) -> Tensor:
    return ops.fmod(a, b) if node.get("fmod", 0) else ops.remainder(a, b)


@runs("Clip")
def _clip(node: Node, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    x = x if low is None else ops.maximum(x, low)
    return x if high is None else ops.minimum(x, high)


@runs("Cast")
def _cast_node(node: Node, x: Tensor) -> Tensor:
    dtype = dtype_of(node.get("to"))
    if numpy.dtype(dtype).kind not in "biuf":
        raise node.fail(f"a tensor holds real numbers or bools, not {dtype}")
    return x.to(dtype)


@runs("Where")
def _where(node: Node, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return where(condition, a, b)


@runs("Trilu")
def _trilu(node: Node, x: Tensor, k: Tensor | None = None) -> Tensor:
    diagonal = 0 if k is None else ints(k)[0]
    return ops.triu(x, diagonal) if node.get("upper", 1) else ops.tril(x, diagonal)


# -- over axes


def _axes(node: Node, x: Tensor, given: Tensor | None) -> tuple[int, ...] | None:
    """Return the axes: an input, or an attribute of older opsets; None for nothing to reduce."""
    axes = node.get("axes") if given is None else ints(given)
    if axes is None or not len(axes):
        return None if node.get("noop_with_empty_axes", 0) else tuple(range(x.ndim))
    return tuple(int(axis) % x.ndim for axis in axes)


_REDUCTIONS: dict[str, Callable[..., Tensor]] = {
    "ReduceSum": lambda x, axes, keep: ops.sum(x, axes, keepdim=keep),
    "ReduceMean": lambda x, axes, keep: ops.mean(x, axes, keepdim=keep),
    "ReduceMax": lambda x, axes, keep: ops.amax(x, axes, keepdim=keep),
    "ReduceMin": lambda x, axes, keep: ops.amin(x, axes, keepdim=keep),
    "ReduceL1": lambda x, axes, keep: ops.sum(ops.abs(x), axes, keepdim=keep),
    "ReduceL2": lambda x, axes, keep: ops.norm(x, 2, axes, keepdim=keep),
    "ReduceLogSum": lambda x, axes, keep: ops.log(ops.sum(x, axes, keepdim=keep)),
    "ReduceLogSumExp": lambda x, axes, keep: ops.logsumexp(x, axes, keepdim=keep),
    "ReduceSumSquare": lambda x, axes, keep: ops.sum(x * x, axes, keepdim=keep),
}


@runs(*_REDUCTIONS)
def _reduce(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    over, keep = _axes(node, x, axes), bool(node.get("keepdims", 1))
    if over is None:
        if node.kind in ("ReduceL1", "ReduceL2"):
            return ops.abs(x)
        return x * x if node.kind == "ReduceSumSquare" else ops.log(x) if node.kind == "ReduceLogSum" else x
    if node.kind in ("ReduceMax", "ReduceMin") and any(x.shape[axis] == 0 for axis in over):
        return _extreme_of_nothing(node, x, over, keep)
    return _REDUCTIONS[node.kind](x, over, keep)


def _extreme_of_nothing(node: Node, x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    """Return the smallest number of the dtype for the maximum, the largest for the minimum."""
    low, high = {"f": (-numpy.inf, numpy.inf), "b": (False, True)}.get(x.dtype.kind, (None, None))
    if low is None:
        low, high = numpy.iinfo(x.dtype).min, numpy.iinfo(x.dtype).max
    shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keep or i not in axes]
    return Tensor(numpy.full(shape, low if node.kind == "ReduceMax" else high, x.dtype))


@runs("ReduceProd")
def _reduce_prod(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    over = _axes(node, x, axes)
    for axis in sorted(over or (), reverse=True):
        x = ops.prod(x, axis, keepdim=bool(node.get("keepdims", 1)))
    return x


@runs("ArgMax", "ArgMin")
def _arg_extreme(node: Node, x: Tensor) -> Tensor:
    axis, keep = node.get("axis", 0), bool(node.get("keepdims", 1))
    find = ops.argmax if node.kind == "ArgMax" else ops.argmin
    if not node.get("select_last_index", 0):
        return find(x, axis, keepdim=keep)
    return x.shape[axis] - 1 - find(ops.flip(x, (axis,)), axis, keepdim=keep)


@runs("CumSum")
def _cumsum(node: Node, x: Tensor, axis: Tensor) -> Tensor:
    dim, backwards = ints(axis)[0], node.get("reverse", 0)
    y = ops.flip(x, (dim,)) if backwards else x
    y = ops.cumsum(y, dim) - (y if node.get("exclusive", 0) else 0)
    return _cast(ops.flip(y, (dim,)) if backwards else y, x.dtype)


@runs("Einsum")
def _einsum(node: Node, *xs: Tensor) -> Tensor:
    return ops.einsum(node.get("equation").decode(), *xs)


# -- shapes


@runs("Constant")
def _constant(node: Node) -> Tensor:
    raise node.fail("a constant without a value")


@runs("Shape")
def _shape(node: Node, x: Tensor) -> Tensor:
    return Tensor(numpy.array(x.shape[slice(node.get("start", 0), node.get("end"))], numpy.int64))


@runs("Size")
def _size(node: Node, x: Tensor) -> Tensor:
    return Tensor(numpy.array(x.numel(), numpy.int64))


@runs("ConstantOfShape")
def _constant_of_shape(node: Node, shape: Tensor) -> Tensor:
    value = node.get("value")
    fill = numpy.zeros(1, numpy.float32) if value is None else value
    return Tensor(numpy.full(ints(shape), fill.reshape(-1)[0], fill.dtype))


@runs("Reshape")
def _reshape(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    sizes = ints(shape)
    if not node.get("allowzero", 0):
        sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return ops.reshape(x, sizes)


@runs("Flatten")
def _flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis", 1)
    axis += x.ndim * (axis < 0)
    rows = int(numpy.prod(x.shape[:axis]))
    return ops.reshape(x, (rows, x.numel() // max(rows, 1)))


@runs("Transpose")
def _transpose(node: Node, x: Tensor) -> Tensor:
    return ops.permute(x, node.get("perm", tuple(reversed(range(x.ndim)))))


@runs("Expand")
def _expand(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    return ops.broadcast_to(x, numpy.broadcast_shapes(x.shape, tuple(ints(shape))))


@runs("Squeeze")
def _squeeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    gone = [i for i, n in enumerate(x.shape) if n == 1] if axes is None else ints(axes)
    gone = [axis % x.ndim for axis in gone]
    return ops.reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in gone))


@runs("Unsqueeze")
def _unsqueeze(node: Node, x: Tensor, axes: Tensor) -> Tensor:
    ndim = x.ndim + axes.numel()
    new, sizes = {axis % ndim for axis in ints(axes)}, iter(x.shape)
    return ops.reshape(x, tuple(1 if i in new else next(sizes) for i in range(ndim)))


@runs("Slice")
def _slice(node: Node, x: Tensor, starts: Tensor, ends: Tensor, *more: Tensor | None) -> Tensor:
    axes, steps = (*more, None, None)[:2]
    first = ints(starts)
    dims = range(len(first)) if axes is None else ints(axes)
    key: list[Any] = [slice(None)] * x.ndim
    flips = []
    for start, end, dim, step in zip(
        first, ints(ends), dims, [1] * len(first) if steps is None else ints(steps), strict=True
    ):
        places = range(*slice(start, end, step).indices(x.shape[dim]))
        if start < -x.shape[dim] and step < 0:
            places = range(0)
        if step < 0 and len(places):
            key[dim] = slice(places[-1], places[0] + 1, -step)
            flips.append(dim % x.ndim)
        else:
            key[dim] = slice(places.start, max(places.stop, places.start), abs(step))
    y = x[tuple(key)]
    return ops.flip(y, flips) if flips else y


@runs("Concat")
def _concat(node: Node, *xs: Tensor) -> Tensor:
    return ops.cat(xs, node.get("axis"))


@runs("Split")
def _split(node: Node, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis, count = node.get("axis", 0), len(node.outputs)
    if sizes is not None:
        return tuple(ops.split(x, ints(sizes), axis))
    part = -(-x.shape[axis] // count)
    parts = [min(part, max(x.shape[axis] - i * part, 0)) for i in range(count)]
    return tuple(ops.split(x, parts, axis))


@runs("Tile")
def _tile(node: Node, x: Tensor, times: Tensor) -> Tensor:
    return ops.tile(x, ints(times))


@runs("Range")
def _range(node: Node, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    numbers = [t.detach().numpy().reshape(-1)[0] for t in (start, limit, delta)]
    return Tensor(numpy.arange(*numbers).astype(start.dtype))


# -- indexing


@runs("Gather")
def _gather(node: Node, x: Tensor, index: Tensor) -> Tensor:
    axis = node.get("axis", 0) % x.ndim
    return x[(slice(None),) * axis + (_indices(index, x.shape[axis]),)]


def _indices(index: Tensor, size: int) -> Tensor:
    array = index.detach().numpy().astype(numpy.int64)
    return Tensor(numpy.where(array < 0, array + size, array))


@runs("GatherElements")
def _gather_elements(node: Node, x: Tensor, index: Tensor) -> Tensor:
    axis = node.get("axis", 0) % x.ndim
    return ops.gather(x, axis, _indices(index, x.shape[axis]))


@runs("GatherND")
def _gather_nd(node: Node, x: Tensor, index: Tensor) -> Tensor:
    array, batch = index.detach().numpy().astype(numpy.int64), node.get("batch_dims", 0)
    lead: list[Any] = [
        numpy.arange(n).reshape([-1 if i == j else 1 for j in range(array.ndim - 1)])
        for i, n in enumerate(x.shape[:batch])
    ]
    return x[(*lead, *numpy.moveaxis(array, -1, 0))]
