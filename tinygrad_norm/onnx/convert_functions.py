"""Converters of further functions of numbers: angles, logarithms, rounding; and of interpolation."""

import math

import numpy

from ..nn.windows.interpolation import InterpolateFunction
from ..ops import bases, rounding, trigonometry
from .convert_primitives import same_dtype
from .converters import CONVERTERS, Converter, Emit, converts
from .graph_builder import GraphBuilder, Name, fail
from .sizes import Call


def _named(kind: str) -> Emit:
    return lambda g, call: g.op(kind, call.inputs[0])


for _name in ("Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cosh", "Sinh", "Tan"):
    CONVERTERS[getattr(trigonometry, _name)] = Converter(_named(_name))


@converts(bases.Exp2)
def _exp2(g: GraphBuilder, call: Call) -> Name:
    return g.op("Pow", g.cast(2, call.outputs[0].dtype), call.inputs[0])


@converts(bases.Log2, bases.Log10)
def _log(g: GraphBuilder, call: Call) -> Name:
    base = 2 if call.function is bases.Log2 else 10
    return g.op("Mul", g.op("Log", call.inputs[0]), g.cast(1 / math.log(base), call.outputs[0].dtype))


@converts(bases.LogAddExp)
def _log_add_exp(g: GraphBuilder, call: Call) -> Name:
    a, b = same_dtype(g, call)
    near = g.op("Exp", g.op("Neg", g.op("Abs", g.op("Sub", a, b))))
    return g.op("Add", g.op("Max", a, b), g.op("Log", g.op("Add", near, g.cast(1, call.outputs[0].dtype))))


@converts(trigonometry.Hypot)
def _hypot(g: GraphBuilder, call: Call) -> Name:
    a, b = same_dtype(g, call)
    return g.op("Sqrt", g.op("Add", g.op("Mul", a, a), g.op("Mul", b, b)))


@converts(rounding.Rounded)
def _rounded(g: GraphBuilder, call: Call) -> Name:
    x, how = call.inputs[0], call.options["how"]
    if how == "trunc":
        return g.op("Mul", g.op("Sign", x), g.op("Floor", g.op("Abs", x)))
    kinds = {"floor": "Floor", "ceil": "Ceil", "rint": "Round"}
    if how not in kinds:
        raise fail(call, f"{how} has no operator in ONNX")
    return g.op(kinds[how], x)


@converts(InterpolateFunction)
def _interpolate(g: GraphBuilder, call: Call) -> Name:
    """Between two neighbours, which ONNX's Resize would choose by other rules for some sizes."""
    x, dim, weight = call.inputs[0], call.options["dim"], call.options["weight"].array
    left, right = (
        g.op("Gather", x, g.constant(call.options[side].array, numpy.int64), axis=dim)
        for side in ("left", "right")
    )
    if not weight.any():
        return left
    dtype, shape = call.outputs[0].dtype, (-1, *(1,) * (len(x.shape) - dim - 1))
    w = weight.astype(dtype).reshape(shape)
    return g.op("Add", g.op("Mul", left, 1 - w), g.op("Mul", right, w))
