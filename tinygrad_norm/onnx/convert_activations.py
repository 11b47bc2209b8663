"""Converters of activations and of softmax."""

from typing import Any

import numpy

from ..nn.activation import exponentials, gated, piecewise, rectifiers, sigmoids, softcap, softmax
from .converters import CONVERTERS, Converter, Emit, converts
from .graph_builder import GraphBuilder, Name
from .sizes import Call


def _named(kind: str) -> Emit:
    return lambda g, call: g.op(kind, call.inputs[0])


for _function, _kind in {
    rectifiers.ReLUFunction: "Relu",
    sigmoids.SoftsignFunction: "Softsign",
}.items():
    CONVERTERS[_function] = Converter(_named(_kind))


def _number(g: GraphBuilder, call: Call, value: float) -> Name:
    return g.cast(value, call.outputs[0].dtype)


@converts(rectifiers.LeakyReLUFunction)
def _leaky_relu(g: GraphBuilder, call: Call) -> Name:
    return g.op("LeakyRelu", call.inputs[0], alpha=float(call.options["negative_slope"]))


@converts(rectifiers.PReLUFunction)
def _prelu(g: GraphBuilder, call: Call) -> Name:
    x, weight = call.inputs
    spatial = len(x.shape) - 2
    if weight.shape == (1,) or spatial <= 0:
        return g.op("PRelu", x, weight)
    sizes = g.constant(numpy.array([-1, *(1,) * spatial], numpy.int64), name="sizes")
    return g.op("PRelu", x, g.op("Reshape", weight, sizes))


@converts(rectifiers.ThresholdFunction)
def _threshold(g: GraphBuilder, call: Call) -> Name:
    x, above = call.inputs[0], _number(g, call, call.options["threshold"])
    return g.op("Where", g.op("Greater", x, above), x, _number(g, call, call.options["fill"]))


@converts(piecewise.HardtanhFunction)
def _hardtanh(g: GraphBuilder, call: Call) -> Name:
    low, high = (_number(g, call, call.options[name]) for name in ("low", "high"))
    return g.op("Clip", call.inputs[0], low, high)


@converts(softcap.SoftcapFunction)
def _softcap(g: GraphBuilder, call: Call) -> Name:
    cap = _number(g, call, call.options["cap"])
    return g.op("Mul", g.op("Tanh", g.op("Div", call.inputs[0], cap)), cap)


@converts(piecewise.HardsigmoidFunction)
def _hardsigmoid(g: GraphBuilder, call: Call) -> Name:
    return g.op("HardSigmoid", call.inputs[0], alpha=1 / 6, beta=0.5)


@converts(piecewise.HardswishFunction)
def _hardswish(g: GraphBuilder, call: Call) -> Name:
    return g.op("HardSwish", call.inputs[0])


@converts(exponentials.ExponentialUnitFunction)
def _exponential_unit(g: GraphBuilder, call: Call) -> Name:
    """y = s·x where x > 0, else s·a·(exp(x/c) − 1)."""
    s, a, c = (call.options[name] for name in "sac")
    x = call.inputs[0]
    if c != 1:
        return g.op("Celu", x, alpha=float(c))  # s = 1 and a = c
    return g.op("Elu", x, alpha=float(a)) if s == 1 else g.op("Selu", x, alpha=float(a), gamma=float(s))


@converts(gated.SiLUFunction)
def _silu(g: GraphBuilder, call: Call) -> Name:
    return g.op("Mul", call.inputs[0], g.op("Sigmoid", call.inputs[0]))


@converts(gated.GELUFunction, gated.GELUTanhFunction)
def _gelu(g: GraphBuilder, call: Call) -> Name:
    x, tanh = call.inputs[0], call.function is gated.GELUTanhFunction
    if g.opset >= 20:
        return g.op("Gelu", x, approximate="tanh" if tanh else "none")
    half = g.op("Mul", x, _number(g, call, 0.5))
    if tanh:
        cube = g.op("Mul", g.op("Mul", x, x), x)
        inner = g.op("Add", x, g.op("Mul", cube, _number(g, call, 0.044715)))
        bent = g.op("Tanh", g.op("Mul", inner, _number(g, call, float(numpy.sqrt(2 / numpy.pi)))))
    else:
        bent = g.op("Erf", g.op("Mul", x, _number(g, call, float(numpy.sqrt(0.5)))))
    return g.op("Mul", half, g.op("Add", bent, _number(g, call, 1.0)))


@converts(gated.MishFunction)
def _mish(g: GraphBuilder, call: Call) -> Name:
    x = call.inputs[0]
    return g.op("Mish", x) if g.opset >= 18 else g.op("Mul", x, g.op("Tanh", g.op("Softplus", x)))


@converts(gated.GLUFunction)
def _glu(g: GraphBuilder, call: Call) -> Name:
    x, dim = call.inputs[0], call.options["dim"]
    half = call.outputs[0].shape[dim]
    a, b = g.op("Split", x, g.sizes([half, half]), axis=dim, outputs=2)
    return g.op("Mul", a, g.op("Sigmoid", b))


@converts(sigmoids.SoftplusFunction)
def _softplus(g: GraphBuilder, call: Call) -> Name:
    """log(1 + exp(β·x))/β; above the threshold it is x, to less than a rounding error."""
    beta, threshold, x = call.options["beta"], call.options["threshold"], call.inputs[0]
    scaled = x if beta == 1 else g.op("Mul", x, _number(g, call, beta))
    y = g.op("Softplus", scaled)
    y = y if beta == 1 else g.op("Div", y, _number(g, call, beta))
    if threshold >= 20:
        return y
    return g.op("Where", g.op("Greater", scaled, _number(g, call, threshold)), x, y)


@converts(sigmoids.LogSigmoidFunction)
def _log_sigmoid(g: GraphBuilder, call: Call) -> Name:
    return g.op("Neg", g.op("Softplus", g.op("Neg", call.inputs[0])))


@converts(softmax.SoftmaxFunction)
def _softmax(g: GraphBuilder, call: Call) -> Name:
    return g.op("Softmax", call.inputs[0], axis=_axis(call))


@converts(softmax.LogSoftmaxFunction)
def _log_softmax(g: GraphBuilder, call: Call) -> Name:
    return g.op("LogSoftmax", call.inputs[0], axis=_axis(call))


def _axis(call: Call) -> int:
    dim: Any = call.options["dim"]
    return int(dim) % max(len(call.outputs[0].shape), 1)
