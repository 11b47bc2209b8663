"""Converters of the primitives that move elements: shapes, indexing and joining."""

from collections.abc import Sequence
from typing import Any

import numpy

from ..ops import indexing, joining, shape
from .convert_primitives import name_axes
from .converters import converts
from .graph_builder import GraphBuilder, Name, fail
from .sizes import Call, Constant, Size, Value


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
        y = g.op("Slice", y, g.sizes(starts), g.sizes(ends), name_axes(g, axes), g.sizes(steps))
    if squeezed:
        y = g.op("Squeeze", y, name_axes(g, squeezed))
    new, place = [], 0
    for k in keys:
        if k is None:
            new.append(place)
        place += k is None or isinstance(k, slice)
    return g.op("Unsqueeze", y, name_axes(g, new)) if new else y if axes else g.op("Identity", y)


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
    columns = [g.op("Unsqueeze", g.op("Expand", name, target), name_axes(g, [-1])) for name in names]
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
    y = g.op("Unsqueeze", x, name_axes(g, range(missing))) if missing > 0 else g.value(x)
    return g.op("Tile", y, g.sizes(((1,) * -missing if missing < 0 else ()) + tuple(times)))


@converts(joining.Flip)
def _flip(g: GraphBuilder, call: Call) -> Name:
    axes = call.options["axes"]
    if not axes:
        return g.op("Identity", call.inputs[0])
    ends = g.sizes([-_END] * len(axes))
    starts, steps = g.sizes([-1] * len(axes)), g.sizes([-1] * len(axes))
    return g.op("Slice", call.inputs[0], starts, ends, name_axes(g, axes), steps)


@converts(joining.Roll)
def _roll(g: GraphBuilder, call: Call) -> Name:
    y = g.value(call.inputs[0])
    for shift, axis in zip(call.options["shifts"], call.options["axes"], strict=True):
        n = call.inputs[0].shape[axis]
        if isinstance(n, Size):
            raise fail(call, "the rolled axis must have a fixed size: leave it out of dynamic_axes")
        at = g.sizes([-shift % n if n else 0])
        head = g.op("Slice", y, g.sizes([0]), at, name_axes(g, [axis]))
        tail = g.op("Slice", y, at, g.sizes([_END]), name_axes(g, [axis]))
        y = g.op("Concat", tail, head, axis=axis)
    return y
