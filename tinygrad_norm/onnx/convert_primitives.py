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
    kinks,
    linalg,
    masking,
    modulo,
    norms,
    reduction,
)
from .converters import CONVERTERS, Converter, Emit, converts
from .graph_builder import GraphBuilder, Name
from .recorder import Comparison
from .sizes import Call, Constant, Size, Value


def same_dtype(g: GraphBuilder, call: Call) -> list[Name]:
    """Return the names of the inputs, with elements of the type of the output."""
    dtype = call.outputs[0].dtype
    return [g.cast(x, dtype) for x in call.inputs]


def _elementwise(kind: str) -> Emit:
    return lambda g, call: g.op(kind, *same_dtype(g, call))


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
    return g.op("Pow", *same_dtype(g, call))


@converts(arithmetic.RoundedDiv)
def _rounded_div(g: GraphBuilder, call: Call) -> Name:
    a, b = same_dtype(g, call)
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
    a, b = same_dtype(g, call)
    if call.outputs[0].dtype.kind != "f":
        return g.op("Mod", a, b)
    return g.op("Sub", a, g.op("Mul", g.op("Floor", g.op("Div", a, b)), b))


@converts(modulo.Fmod)
def _fmod(g: GraphBuilder, call: Call) -> Name:
    return g.op("Mod", *same_dtype(g, call), fmod=1)


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


def name_axes(g: GraphBuilder, axes: Any) -> Name:
    """Return the name of a tensor of axes."""
    return g.constant(numpy.array(axes, numpy.int64).reshape(-1), name="axes")


def reduce(g: GraphBuilder, kind: str, x: Any, axes: Sequence[int], keepdim: bool) -> Name:
    """Reduce x over `axes`; they became an input of most of the operators in opset 18."""
    if not len(axes):
        return g.op("Identity", x)
    if g.opset >= 18 or kind == "ReduceSum":
        return g.op(kind, x, name_axes(g, axes), keepdims=int(keepdim))
    return g.op(kind, x, axes=list(axes), keepdims=int(keepdim))


def _reduced(call: Call) -> tuple[int, ...]:
    ndim = len(call.inputs[0].shape)
    axes = call.options["axes"] if "axes" in call.options else (call.options["dim"],)
    return tuple(range(ndim)) if axes is None else tuple(axis % ndim for axis in axes)


def _reduction(kind: str) -> Emit:
    def emit(g: GraphBuilder, call: Call) -> Name:
        x = g.cast(call.inputs[0], call.outputs[0].dtype)
        return reduce(g, kind, x, _reduced(call), call.options["keepdim"])

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
    x, axes, dtype = call.inputs[0], _reduced(call), call.outputs[0].dtype
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
    p, axes, keepdim = call.options["p"], _reduced(call), call.options["keepdim"]
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
