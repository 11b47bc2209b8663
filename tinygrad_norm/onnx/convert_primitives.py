"""Converters of the primitives: arithmetic, reductions, shapes, indexing and joining."""

from collections.abc import Sequence
from typing import Any

import numpy

from ..ops import (
    arithmetic,
    casting,
    contraction,
    cumulative,
    elementwise,
    error_function,
    extremes,
    indexing,
    joining,
    kinks,
    linalg,
    masking,
    modulo,
    norms,
    reduction,
    shape,
)
from .converters import CONVERTERS, Converter, Emit, converts
from .graph_builder import GraphBuilder, Name, fail
from .recorder import Comparison
from .sizes import Call, Constant, Size, Value


def _same_dtype(g: GraphBuilder, call: Call) -> list[Name]:
    dtype = call.outputs[0].dtype
    return [g.cast(x, dtype) for x in call.inputs]


def _elementwise(kind: str) -> Emit:
    return lambda g, call: g.op(kind, *_same_dtype(g, call))


for _function, _kind in {
    arithmetic.Add: "Add",
    arithmetic.Sub: "Sub",
    arithmetic.Mul: "Mul",
    arithmetic.Div: "Div",
    arithmetic.Neg: "Neg",
    elementwise.Exp: "Exp",
    elementwise.Log: "Log",
    elementwise.Sqrt: "Sqrt",
    elementwise.Reciprocal: "Reciprocal",
    elementwise.Sin: "Sin",
    elementwise.Cos: "Cos",
    elementwise.Tanh: "Tanh",
    elementwise.Sigmoid: "Sigmoid",
    elementwise.Clone: "Identity",
    error_function.Erf: "Erf",
    kinks.Abs: "Abs",
    kinks.Sign: "Sign",
    kinks.Maximum: "Max",
    kinks.Minimum: "Min",
    linalg.MatMul: "MatMul",
}.items():
    CONVERTERS[_function] = Converter(_elementwise(_kind))


@converts(arithmetic.Pow)
def _pow(g: GraphBuilder, call: Call) -> Name:
    a, b = call.inputs
    if isinstance(b, int | float) and b in (0.5, -0.5, -1):
        root = g.value(a) if b == -1 else g.op("Sqrt", a)
        return root if b == 0.5 else g.op("Reciprocal", root)
    return g.op("Pow", *_same_dtype(g, call))


@converts(arithmetic.RoundedDiv)
def _rounded_div(g: GraphBuilder, call: Call) -> Name:
    a, b = _same_dtype(g, call)
    whole = call.outputs[0].dtype.kind != "f"
    if whole:
        a, b = g.cast_name(a, numpy.float64), g.cast_name(b, numpy.float64)
    y = g.op("Div", a, b)
    if call.options["rounding_mode"] == "floor":
        y = g.op("Floor", y)
    else:
        y = g.op("Mul", g.op("Sign", y), g.op("Floor", g.op("Abs", y)))
    return g.cast_name(y, call.outputs[0].dtype) if whole else y


@converts(modulo.Remainder)
def _remainder(g: GraphBuilder, call: Call) -> Name:
    a, b = _same_dtype(g, call)
    if call.outputs[0].dtype.kind != "f":
        return g.op("Mod", a, b)
    return g.op("Sub", a, g.op("Mul", g.op("Floor", g.op("Div", a, b)), b))


@converts(modulo.Fmod)
def _fmod(g: GraphBuilder, call: Call) -> Name:
    return g.op("Mod", *_same_dtype(g, call), fmod=1)


@converts(elementwise.Expm1)
def _expm1(g: GraphBuilder, call: Call) -> Name:
    return g.op("Elu", g.op("Min", call.inputs[0], g.cast(0, call.outputs[0].dtype)), alpha=1.0)


@converts(elementwise.Log1p)
def _log1p(g: GraphBuilder, call: Call) -> Name:
    return g.op("Log", g.op("Add", call.inputs[0], g.cast(1, call.outputs[0].dtype)))


@converts(elementwise.Rsqrt)
def _rsqrt(g: GraphBuilder, call: Call) -> Name:
    return g.op("Reciprocal", g.op("Sqrt", call.inputs[0]))


@converts(elementwise.Square)
def _square(g: GraphBuilder, call: Call) -> Name:
    return g.op("Mul", call.inputs[0], call.inputs[0])


@converts(kinks.Clamp)
def _clamp(g: GraphBuilder, call: Call) -> Name:
    x, low, high = call.inputs
    dtype = call.outputs[0].dtype
    y = g.cast(x, dtype)
    y = y if low is None else g.op("Max", y, g.cast(low, dtype))
    return y if high is None else g.op("Min", y, g.cast(high, dtype))


@converts(casting.Cast)
def _cast(g: GraphBuilder, call: Call) -> Name:
    return g.cast_name(g.value(call.inputs[0]), call.options["dtype"])


@converts(Comparison)
def _comparison(g: GraphBuilder, call: Call) -> Name:
    tensors = [x for x in call.inputs if isinstance(x, Value | Constant)]
    dtype = numpy.result_type(*[x.dtype for x in tensors])
    if any(isinstance(x, float) for x in call.inputs) and dtype.kind != "f":
        dtype = numpy.dtype(numpy.float32)
    a, b = (g.cast(x, dtype) for x in call.inputs)
    kind = {
        "eq": "Equal",
        "ne": "Equal",
        "lt": "Less",
        "le": "LessOrEqual",
        "gt": "Greater",
        "ge": "GreaterOrEqual",
    }
    relation = call.options["relation"]
    y = g.op(kind[relation], a, b)
    return g.op("Not", y) if relation == "ne" else y


@converts(masking.Where)
def _where(g: GraphBuilder, call: Call) -> Name:
    condition, a, b = call.inputs
    dtype = call.outputs[0].dtype
    return g.op("Where", g.cast(condition, bool), g.cast(a, dtype), g.cast(b, dtype))


@converts(masking.Triangle)
def _triangle(g: GraphBuilder, call: Call) -> Name:
    offset = g.constant(numpy.array(call.options["diagonal"], numpy.int64))
    return g.op("Trilu", call.inputs[0], offset, upper=int(not call.options["lower"]))


# -- over axes


def _axes(g: GraphBuilder, axes: Any) -> Name:
    return g.constant(numpy.array(axes, numpy.int64).reshape(-1), name="axes")


def reduce(g: GraphBuilder, kind: str, x: Any, axes: Sequence[int], keepdim: bool) -> Name:
    """Reduce x over `axes`; they became an input of most of the operators in opset 18."""
    if not len(axes):
        return g.op("Identity", x)
    if g.opset >= 18 or kind == "ReduceSum":
        return g.op(kind, x, _axes(g, axes), keepdims=int(keepdim))
    return g.op(kind, x, axes=list(axes), keepdims=int(keepdim))


def _axes_of(call: Call) -> tuple[int, ...]:
    ndim = len(call.inputs[0].shape)
    axes = call.options["axes"] if "axes" in call.options else (call.options["dim"],)
    return tuple(range(ndim)) if axes is None else tuple(axis % ndim for axis in axes)


def _reduction(kind: str) -> Emit:
    def emit(g: GraphBuilder, call: Call) -> Name:
        x = g.cast(call.inputs[0], call.outputs[0].dtype)
        return reduce(g, kind, x, _axes_of(call), call.options["keepdim"])

    return emit


for _function, _kind in {
    reduction.Sum: "ReduceSum",
    reduction.Mean: "ReduceMean",
    reduction.Prod: "ReduceProd",
    reduction.LogSumExp: "ReduceLogSumExp",
    extremes.Amax: "ReduceMax",
    extremes.Amin: "ReduceMin",
}.items():
    CONVERTERS[_function] = Converter(_reduction(_kind))


@converts(reduction.Var)
def _var(g: GraphBuilder, call: Call) -> Name:
    x, axes, dtype = call.inputs[0], _axes_of(call), call.outputs[0].dtype
    centered = g.op("Sub", x, reduce(g, "ReduceMean", x, axes, True))
    squares = g.op("Mul", centered, centered)
    sizes = [x.shape[axis] for axis in axes]
    if any(isinstance(size, Size) for size in sizes) and call.options["correction"]:
        n = reduce(g, "ReduceProd", g.sizes(sizes), (0,), False)
        total = reduce(g, "ReduceSum", squares, axes, call.options["keepdim"])
        return g.op(
            "Div", total, g.op("Sub", g.cast_name(n, dtype), g.cast(call.options["correction"], dtype))
        )
    mean = reduce(g, "ReduceMean", squares, axes, call.options["keepdim"])
    if not call.options["correction"]:
        return mean
    count = int(numpy.prod(sizes))
    return g.op("Mul", mean, g.cast(count / (count - call.options["correction"]), dtype))


@converts(norms.Norm)
def _norm(g: GraphBuilder, call: Call) -> Name:
    p, axes, keepdim = call.options["p"], _axes_of(call), call.options["keepdim"]
    x, dtype = call.inputs[0], call.outputs[0].dtype
    if p in (1, 2):
        return reduce(g, f"ReduceL{int(p)}", x, axes, keepdim)
    powers = g.op("Pow", g.op("Abs", x), g.cast(p, dtype))
    return g.op("Pow", reduce(g, "ReduceSum", powers, axes, keepdim), g.cast(1 / p, dtype))


@converts(extremes.MaxAlong, extremes.MinAlong)
def _extreme_along(g: GraphBuilder, call: Call) -> list[Name]:
    x, dim, keepdim = call.inputs[0], call.options["dim"], call.options["keepdim"]
    kind = "Min" if call.function is extremes.MinAlong else "Max"
    index = g.op(f"Arg{kind}", x, axis=dim, keepdims=int(keepdim))
    return [reduce(g, f"Reduce{kind}", x, (dim,), keepdim), index]


@converts(cumulative.Cumsum)
def _cumsum(g: GraphBuilder, call: Call) -> Name:
    return g.op("CumSum", call.inputs[0], g.constant(numpy.array(call.options["dim"], numpy.int64)))


# -- shapes


def reshape(g: GraphBuilder, x: Any, before: Any, after: Any) -> Name:
    """Reshape x from one shape to another; at most one size of the new shape is inferred."""
    sizes: list[Any] = list(after)
    if 0 in sizes:
        return g.op("Reshape", x, g.sizes(sizes), allowzero=1)
    unknown = [axis for axis, size in enumerate(sizes) if isinstance(size, Size)]
    for axis in unknown:
        if len(unknown) > 1 and axis < len(before) and before[axis] == sizes[axis]:
            sizes[axis] = 0
    unknown = [axis for axis, size in enumerate(sizes) if isinstance(size, Size)]
    if len(unknown) == 1:
        sizes[unknown[0]] = -1
    return g.op("Reshape", x, g.sizes(sizes))


@converts(shape.Reshape)
def _reshape(g: GraphBuilder, call: Call) -> Name:
    return reshape(g, call.inputs[0], call.inputs[0].shape, call.outputs[0].shape)


@converts(shape.Permute)
def _permute(g: GraphBuilder, call: Call) -> Name:
    ndim = len(call.inputs[0].shape)
    return g.op("Transpose", call.inputs[0], perm=[dim % ndim for dim in call.options["dims"]])


@converts(shape.Transpose)
def _transpose(g: GraphBuilder, call: Call) -> Name:
    order = list(range(len(call.inputs[0].shape)))
    a, b = call.options["dim0"], call.options["dim1"]
    order[a], order[b] = order[b], order[a]
    return g.op("Transpose", call.inputs[0], perm=order)


@converts(shape.Expand)
def _expand(g: GraphBuilder, call: Call) -> Name:
    return g.op("Expand", call.inputs[0], g.sizes(call.outputs[0].shape))


# -- indexing and joining


@converts(indexing.Slice)
def _slice(g: GraphBuilder, call: Call) -> Name:
    key = call.options["key"]
    keys = list(key) if isinstance(key, tuple) else [key]
    before = call.inputs[0].shape
    if Ellipsis in keys:
        at = keys.index(Ellipsis)
        missing = len(before) - sum(k is not None for k in keys) + 1
        keys[at : at + 1] = [slice(None)] * missing
    axes: list[int] = []
    bounds: list[tuple[Any, Any, int]] = []
    squeezed, axis = [], 0
    for k in keys:
        if k is None:
            continue
        if isinstance(k, slice):
            if k != slice(None):
                axes.append(axis)
                bounds.append(_bounds(k))
        elif not isinstance(k, bool):
            axes.append(axis)
            bounds.append((k, _after(k), 1))
            squeezed.append(axis)
        axis += 1
    y = g.value(call.inputs[0])
    if axes:
        starts, ends, steps = zip(*bounds, strict=True)
        y = g.op("Slice", y, g.sizes(starts), g.sizes(ends), _axes(g, axes), g.sizes(steps))
    if squeezed:
        y = g.op("Squeeze", y, _axes(g, squeezed))
    new, place = [], 0
    for k in keys:
        if k is None:
            new.append(place)
        place += k is None or isinstance(k, slice)
    return g.op("Unsqueeze", y, _axes(g, new)) if new else y if axes else g.op("Identity", y)


_END = numpy.iinfo(numpy.int64).max


def _after(k: Any) -> Any:
    if isinstance(k, Size):
        return Size(tuple(value + 1 for value in k.values))
    return _END if k == -1 else k + 1


def _bounds(k: slice) -> tuple[Any, Any, int]:
    step = 1 if k.step is None else k.step
    start = (0 if step > 0 else _END) if k.start is None else k.start
    stop = (_END if step > 0 else -_END) if k.stop is None else k.stop
    return start, stop, step


@converts(indexing.Index)
def _index(g: GraphBuilder, call: Call) -> Name:
    x, key = call.inputs[0], list(call.options["key"])
    arrays = [i for i, k in enumerate(key) if isinstance(k, Value | Constant)]
    if any(key[i].dtype.kind == "b" for i in arrays):
        raise fail(call, "indexing with a mask of bools has no fixed result shape: use where(mask, …)")
    if all(isinstance(k, slice) and k == slice(None) for i, k in enumerate(key) if i not in arrays):
        if len(arrays) == 1:
            return g.op("Gather", x, g.cast(key[arrays[0]], numpy.int64), axis=arrays[0])
        if arrays == list(range(len(key))):
            return _gather_points(g, x, key)
    raise fail(call, "this combination of index tensors and slices has no ONNX operator: index in two steps")


def _gather_points(g: GraphBuilder, x: Any, key: Sequence[Any]) -> Name:
    """x[i, j, …] with an array for each of the first axes."""
    shapes = [g.op("Shape", k) for k in key]
    names = [g.cast(k, numpy.int64) for k in key]
    whole = names[0]
    for name in names[1:]:  # a sum of zeros has the broadcast shape
        whole = g.op("Add", whole, name)
    target = g.op("Shape", whole) if len(shapes) > 1 else shapes[0]
    columns = [g.op("Unsqueeze", g.op("Expand", name, target), _axes(g, [-1])) for name in names]
    return g.op("GatherND", x, g.op("Concat", *columns, axis=-1) if len(columns) > 1 else columns[0])


@converts(joining.Cat)
def _cat(g: GraphBuilder, call: Call) -> Name:
    parts = [x for x in call.inputs if 0 not in x.shape] or call.inputs[:1]  # an empty 1-d tensor fits all
    names = [g.cast(x, call.outputs[0].dtype) for x in parts]
    return g.op("Concat", *names, axis=call.options["dim"]) if len(names) > 1 else g.op("Identity", names[0])


@converts(joining.Split)
def _split(g: GraphBuilder, call: Call) -> list[Name]:
    sizes, dim = call.options["sizes"], call.options["dim"]
    if len(sizes) == 1:
        return [g.op("Identity", call.inputs[0])]
    return list(g.op("Split", call.inputs[0], g.sizes(sizes), axis=dim, outputs=len(sizes)))


@converts(joining.Repeat)
def _repeat(g: GraphBuilder, call: Call) -> Name:
    x, times = call.inputs[0], call.options["times"]
    missing = len(times) - len(x.shape)
    y = g.op("Unsqueeze", x, _axes(g, range(missing))) if missing > 0 else g.value(x)
    return g.op("Tile", y, g.sizes(((1,) * -missing if missing < 0 else ()) + tuple(times)))


@converts(joining.Flip)
def _flip(g: GraphBuilder, call: Call) -> Name:
    axes = call.options["axes"]
    if not axes:
        return g.op("Identity", call.inputs[0])
    ends = g.sizes([-_END] * len(axes))
    starts, steps = g.sizes([-1] * len(axes)), g.sizes([-1] * len(axes))
    return g.op("Slice", call.inputs[0], starts, ends, _axes(g, axes), steps)


@converts(joining.Roll)
def _roll(g: GraphBuilder, call: Call) -> Name:
    y = g.value(call.inputs[0])
    for shift, axis in zip(call.options["shifts"], call.options["axes"], strict=True):
        n = call.inputs[0].shape[axis]
        if isinstance(n, Size):
            raise fail(call, "the rolled axis must have a fixed size: leave it out of dynamic_axes")
        at = g.sizes([-shift % n if n else 0])
        head = g.op("Slice", y, g.sizes([0]), at, _axes(g, [axis]))
        tail = g.op("Slice", y, at, g.sizes([_END]), _axes(g, [axis]))
        y = g.op("Concat", tail, head, axis=axis)
    return y


@converts(contraction.Einsum)
def _einsum(g: GraphBuilder, call: Call) -> Name:
    letters: dict[Any, str] = {}
    for name in [name for names in call.options["names"] for name in names]:
        letters.setdefault(name, chr(ord("a") + len(letters)))
    terms = [
        "".join(letters[name] for name in names) for names in (*call.options["names"], call.options["out"])
    ]
    inputs = [g.cast(x, call.outputs[0].dtype) for x in call.inputs]
    return g.op("Einsum", *inputs, equation=f"{','.join(terms[:-1])}->{terms[-1]}")
