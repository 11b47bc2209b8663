"""Converters of the losses that ONNX has: those of class indices."""

from collections.abc import Sequence
from typing import Any

import numpy

from ..nn.loss.crossentropy import CrossEntropyFunction
from ..nn.loss.nll import NLLLossFunction
from .converters import converts
from .graph_builder import GraphBuilder, Name
from .sizes import Call


def _has_classes(opset: int, inputs: Sequence[Any], options: dict[str, Any]) -> bool:
    return bool(inputs[0].ndim >= 2)


@converts(CrossEntropyFunction, NLLLossFunction, accepts=_has_classes)
def _loss(g: GraphBuilder, call: Call) -> Name:
    x, target, weight = call.inputs
    cross_entropy = call.function is CrossEntropyFunction
    return g.op(
        "SoftmaxCrossEntropyLoss" if cross_entropy else "NegativeLogLikelihoodLoss",
        x,
        g.cast(target, numpy.int64),
        weight,
        reduction=call.options["reduction"],
        ignore_index=call.options["ignore_index"],
    )
