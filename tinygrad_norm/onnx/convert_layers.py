"""Converters of weighted sums, lookups, attention and recurrent layers."""

from collections.abc import Sequence
from typing import Any

import numpy

from ..nn.attention.scaleddotproduct import AttentionFunction
from ..nn.dropout import DropoutFunction
from ..nn.embedding import EmbeddingFunction
from ..nn.linear import LinearFunction
from ..nn.recurrent.gru import GRUFunction
from ..nn.recurrent.lstm import LSTMFunction
from ..nn.recurrent.rnn import RNNFunction
from ..normalization.batch.conditionalbatchnorm import RowsOfClassesFunction
from .converters import converts
from .graph_builder import GraphBuilder, Name
from .sizes import Call, Constant


@converts(LinearFunction)
def _linear(g: GraphBuilder, call: Call) -> Name:
    x, weight, bias = call.inputs
    if len(x.shape) == 2:
        return g.op("Gemm", x, weight, bias, transB=1)
    y = g.op("MatMul", x, g.op("Transpose", weight, perm=[1, 0]))
    return y if bias is None else g.op("Add", y, bias)


@converts(RowsOfClassesFunction)
@converts(EmbeddingFunction)
def _embedding(g: GraphBuilder, call: Call) -> Name:
    index, weight = call.inputs
    return g.op("Gather", weight, g.cast(index, numpy.int64), axis=0)


@converts(DropoutFunction)
def _dropout(g: GraphBuilder, call: Call) -> Name:
    x, mask = call.inputs
    dtype = call.outputs[0].dtype
    return g.op("Mul", x, g.op("Mul", g.cast(mask, dtype), g.cast(1 / (1 - call.options["p"]), dtype)))


def _has_attention(opset: int, inputs: Sequence[Any], options: dict[str, Any]) -> bool:
    """Leave a soft cap to primitives: versions of the operator differ in whether the mask comes first."""
    q, k, v, _mask, kept = inputs
    if options["softcap"] is not None:
        return False
    same = all(x.ndim == 4 for x in (q, k, v)) and q.shape[:2] == k.shape[:2] == v.shape[:2]
    return opset >= 23 and same and kept is None and not options["weights"]


@converts(AttentionFunction, accepts=_has_attention)
def _attention(g: GraphBuilder, call: Call) -> Name:
    q, k, v, mask, _ = call.inputs
    if mask is not None and mask.dtype.kind == "f":
        mask = g.cast(mask, call.outputs[0].dtype)
    return g.op("Attention", q, k, v, mask, scale=float(call.options["scale"]))


# -- recurrent layers: ONNX has the direction as first axis of the weights, and the gates in another order

_ORDER = {RNNFunction: (0,), LSTMFunction: (0, 3, 1, 2), GRUFunction: (1, 0, 2)}
_KIND = {RNNFunction: "RNN", LSTMFunction: "LSTM", GRUFunction: "GRU"}


def _plain(opset: int, inputs: Sequence[Any], options: dict[str, Any]) -> bool:
    """Accept layers without padding, and LSTMs without projection."""
    return options["padding"] is None and not (len(inputs) == 8 and inputs[7] is not None)


def _reordered(weight: Constant, order: tuple[int, ...]) -> numpy.ndarray:
    gates = numpy.split(weight.array, len(order))
    return numpy.concatenate([gates[i] for i in order])


@converts(RNNFunction, LSTMFunction, GRUFunction, accepts=_plain)
def _recurrent(g: GraphBuilder, call: Call) -> list[Name]:
    kind, order = _KIND[call.function], _ORDER[call.function]
    lstm = kind == "LSTM"
    x, *rest = call.inputs
    states, (weight_ih, weight_hh, bias_ih, bias_hh) = rest[: 1 + lstm], rest[1 + lstm : 5 + lstm]
    W, R = (_reordered(w, order)[None] for w in (weight_ih, weight_hh))
    bias = None
    if bias_ih is not None or bias_hh is not None:
        zeros = Constant(numpy.zeros(len(weight_ih.array), weight_ih.dtype), weight_ih.shape[:1])
        parts = [_reordered(zeros if b is None else b, order) for b in (bias_ih, bias_hh)]
        bias = g.constant(numpy.concatenate(parts)[None], name="bias", stored=True)
    first = g.constant(numpy.array([0], numpy.int64), name="axes")
    options: dict[str, Any] = {"hidden_size": weight_hh.shape[1]}
    if call.options["reverse"]:
        options["direction"] = "reverse"
    if kind == "RNN":
        options["activations"] = ["Relu" if call.options["nonlinearity"] == "relu" else "Tanh"]
    if kind == "GRU":
        options["linear_before_reset"] = 1
    starts = [None if state is None else g.op("Unsqueeze", state, first) for state in states]
    W_name, R_name = (
        g.constant(W, name="weight_ih", stored=True),
        g.constant(R, name="weight_hh", stored=True),
    )
    y, *last = g.op(kind, x, W_name, R_name, bias, None, *starts, outputs=2 + lstm, **options)
    second = g.constant(numpy.array([1], numpy.int64), name="axes")
    return [g.op("Squeeze", y, second), *[g.op("Squeeze", state, first) for state in last]]
