"""Converters of the normalizations that ONNX has."""

from collections.abc import Sequence
from typing import Any

import numpy

from ..normalization.batch.fixednorm import BatchNormEvalFunction
from ..normalization.sample.groupnorm import GroupNormFunction
from ..normalization.sample.instancenorm import InstanceNormFunction
from ..normalization.sample.layernorm import LayerNormFunction
from ..normalization.sample.localresponsenorm import LocalResponseNormFunction
from ..normalization.sample.rmsnorm import RMSNormFunction
from ..normalization.vector.normalize import NormalizeFunction
from .converters import converts, from_opset
from .graph_builder import GraphBuilder, Name
from .sizes import Call, Constant


def _affine(g: GraphBuilder, call: Call, shape: Any) -> list[Name]:
    """Return the names of weight and bias, which are ones and zeros if not given."""
    dtype = call.outputs[0].dtype
    found = []
    for given, fill, name in zip(call.inputs[1:3], (1, 0), ("weight", "bias"), strict=False):
        found.append(
            g.constant(numpy.full(shape, fill, dtype), name=name) if given is None else g.value(given)
        )
    return found


@converts(BatchNormEvalFunction)
def _batch_norm(g: GraphBuilder, call: Call) -> Name:
    mean, var = (_statistic(g, call.options[name], name) for name in ("mean", "var"))
    affine = _affine(g, call, call.inputs[0].shape[1:2])
    return g.op("BatchNormalization", call.inputs[0], *affine, mean, var, epsilon=float(call.options["eps"]))


def _statistic(g: GraphBuilder, value: Constant, name: str) -> Name:
    return g.constant(value.array, name=f"running_{name}", stored=True)


@converts(LayerNormFunction)
def _layer_norm(g: GraphBuilder, call: Call) -> Name:
    shape, eps = call.options["normalized_shape"], float(call.options["eps"])
    weight, bias = _affine(g, call, shape)
    given = bias if call.inputs[2] is not None else None
    return g.op("LayerNormalization", call.inputs[0], weight, given, axis=-len(shape), epsilon=eps)


@converts(RMSNormFunction, accepts=from_opset(23))
def _rms_norm(g: GraphBuilder, call: Call) -> Name:
    shape, eps = call.options["normalized_shape"], float(call.options["eps"])
    (weight,) = _affine(g, call, shape)
    return g.op("RMSNormalization", call.inputs[0], weight, axis=-len(shape), epsilon=eps)


@converts(GroupNormFunction, accepts=from_opset(21))
def _group_norm(g: GraphBuilder, call: Call) -> Name:
    groups, eps = call.options["num_groups"], float(call.options["eps"])
    affine = _affine(g, call, call.inputs[0].shape[1:2])
    return g.op("GroupNormalization", call.inputs[0], *affine, num_groups=groups, epsilon=eps)


@converts(InstanceNormFunction)
def _instance_norm(g: GraphBuilder, call: Call) -> Name:
    affine = _affine(g, call, call.inputs[0].shape[1:2])
    return g.op("InstanceNormalization", call.inputs[0], *affine, epsilon=float(call.options["eps"]))


def _is_lrn(opset: int, inputs: Sequence[Any], options: dict[str, Any]) -> bool:
    """Accept images and odd sizes: an even window lies to the other side of the middle."""
    return inputs[0].ndim == 4 and options["size"] % 2 == 1


@converts(LocalResponseNormFunction, accepts=_is_lrn)
def _local_response_norm(g: GraphBuilder, call: Call) -> Name:
    size, numbers = call.options["size"], [float(call.options[name]) for name in ("alpha", "beta", "k")]
    return g.op("LRN", call.inputs[0], size=size, alpha=numbers[0], beta=numbers[1], bias=numbers[2])


def _is_lp(opset: int, inputs: Sequence[Any], options: dict[str, Any]) -> bool:
    """Accept p = 1 and 2 over one axis; ONNX has no eps, so only one that is nearly 0."""
    return options["p"] in (1, 2) and isinstance(options["dim"], int) and options["eps"] <= 1e-12


@converts(NormalizeFunction, accepts=_is_lp)
def _lp_normalization(g: GraphBuilder, call: Call) -> Name:
    return g.op("LpNormalization", call.inputs[0], axis=call.options["dim"], p=int(call.options["p"]))
