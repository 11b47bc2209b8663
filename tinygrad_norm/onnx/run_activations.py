"""Operators of loaded files: activations, softmax and losses."""

from typing import Any

import numpy

from .. import ops
from ..autograd.tensor import Tensor
from ..nn import functional
from .running import Node, runs


@runs("Relu")
def _relu(node: Node, x: Tensor) -> Tensor:
    return functional.relu(x)


@runs("LeakyRelu")
def _leaky_relu(node: Node, x: Tensor) -> Tensor:
    return functional.leaky_relu(x, node.get("alpha", 0.01))


@runs("PRelu")
def _prelu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    return ops.clamp(x, min=0.0) + slope * ops.clamp(x, max=0.0)


@runs("Elu")
def _elu(node: Node, x: Tensor) -> Tensor:
    return functional.elu(x, node.get("alpha", 1.0))


@runs("Celu")
def _celu(node: Node, x: Tensor) -> Tensor:
    return functional.celu(x, node.get("alpha", 1.0))


@runs("Selu")
def _selu(node: Node, x: Tensor) -> Tensor:
    alpha, gamma = node.get("alpha", 1.67326319217681884765625), node.get("gamma", 1.05070102214813232421875)
    return functional.elu(x, alpha) * gamma


@runs("Gelu")
def _gelu(node: Node, x: Tensor) -> Tensor:
    approximate = node.get("approximate", b"none")
    return functional.gelu(x, approximate.decode())


@runs("Mish")
def _mish(node: Node, x: Tensor) -> Tensor:
    return functional.mish(x)


@runs("Softplus")
def _softplus(node: Node, x: Tensor) -> Tensor:
    return functional.softplus(x)


@runs("Softsign")
def _softsign(node: Node, x: Tensor) -> Tensor:
    return functional.softsign(x)


@runs("HardSigmoid")
def _hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-7 and beta == 0.5:
        return functional.hardsigmoid(x)
    return ops.clamp(x * alpha + beta, 0.0, 1.0)


@runs("HardSwish")
def _hard_swish(node: Node, x: Tensor) -> Tensor:
    return functional.hardswish(x)


@runs("ThresholdedRelu")
def _thresholded_relu(node: Node, x: Tensor) -> Tensor:
    return functional.threshold(x, node.get("alpha", 1.0), 0.0)


@runs("Softmax", "LogSoftmax")
def _softmax(node: Node, x: Tensor) -> Tensor:
    function: Any = functional.softmax if node.kind == "Softmax" else functional.log_softmax
    return function(x, node.get("axis", -1))


@runs("Dropout")
def _dropout(node: Node, x: Tensor, ratio: Tensor | None = None, mode: Tensor | None = None) -> Any:
    p = 0.5 if ratio is None else ratio.item()
    if mode is not None and mode.item() and p:
        raise node.fail("training_mode=True is not supported: export the model in evaluation mode")
    y = functional.dropout(x, p, training=node.training())
    if len(node.outputs) == 1:
        return y
    if node.training():
        raise node.fail("the mask of a dropout in training is not available")
    return y, Tensor(numpy.ones(x.shape, bool))


@runs("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
def _loss(node: Node, x: Tensor, target: Tensor, weight: Tensor | None = None) -> Any:
    options: dict[str, Any] = {
        "reduction": node.get("reduction", b"mean").decode(),
        "ignore_index": node.get("ignore_index", -100),
    }
    if node.kind == "NegativeLogLikelihoodLoss":
        return functional.nll_loss(x, target, weight, **options)
    y = functional.cross_entropy(x, target, weight, **options)
    return y if len(node.outputs) == 1 else (y, functional.log_softmax(x, 1))
