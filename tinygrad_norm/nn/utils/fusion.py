"""Fusion: batch normalization in evaluation is one multiplication and one addition per channel,

    y = w·(z - m)·r + b = a·z + (b - a·m)      a = w·r, r = 1/√(v + eps)

and if z = W·x + c comes from a convolution or a linear layer, both can be folded into that layer:

    W' = a·W (per output channel)      c' = a·(c - m) + b

So both must be what they seem: the layer computes with W itself, and the normalization's evaluation is this
one map per channel, on the axis of the layer's outputs.
"""

import copy
from typing import Any, TypeVar

from ...backends import Array, namespace
from ...module import Module, Parameter
from ...normalization.batch.sequencebatchnorm import SequenceBatchNorm
from ...normalization.core.moments import rsqrt
from ...normalization.core.running_stats import RunningNorm
from ..convolution.convnd import ConvNd
from ..linear import Linear
from .plain_layers import is_plain

Layer = TypeVar("Layer", bound=Module)


def fuse_conv_bn_eval(conv: Layer, bn: Module, transpose: bool = False) -> Layer:
    """Return a copy of a convolution that includes the batch normalization after it.

    Args:
        conv: a convolution in evaluation mode.
        bn: a batch normalization in evaluation mode, with running statistics.
        transpose: whether `conv` is a transposed convolution, whose weight is (in, out/groups, ...).

    Raises:
        RuntimeError: if a layer is in training mode, or there are no running statistics.
        TypeError: if `conv` is not a convolution, or does not compute with `weight` itself (WSConv2d); if
            `bn` is not a normalization of the channels of its outputs with running statistics.
        ValueError: if the numbers of channels differ, `transpose` does not fit the convolution, or the
            evaluation of `bn` is not y above (WeighedBatchNorm2d, BatchChannelNorm2d).
    """
    _check_layer(conv, ConvNd, "fuse_conv_bn_eval", "a convolution")
    if bool(transpose) != conv.transposed:
        raise ValueError(f"{type(conv).__name__} needs transpose={conv.transposed}, got {transpose}")
    _check_norm(conv, bn)
    channel_axis = 1 if transpose else 0
    groups = conv.groups if transpose else 1
    a, shift = _scale_and_shift(conv, bn, conv.weight.shape[channel_axis] * groups)
    w = conv.weight.array
    by_group = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    per_channel = [groups, *(1,) * w.ndim]
    per_channel[channel_axis + 1] = len(a) // groups
    return _with(conv, (by_group * a.reshape(per_channel)).reshape(w.shape), shift)


def fuse_linear_bn_eval(linear: Layer, bn: Module) -> Layer:
    """Return a copy of a linear layer that includes the batch normalization after it.

    Raises:
        RuntimeError: if a layer is in training mode, or there are no running statistics.
        TypeError: if `linear` is not a Linear layer, or does not compute with `weight` itself (CosineLinear);
            if `bn` is not a normalization of the features of its outputs with running statistics (PowerNorm).
        ValueError: if the numbers of features differ, or the evaluation of `bn` is not y above.
    """
    _check_layer(linear, Linear, "fuse_linear_bn_eval", "a Linear layer")
    _check_norm(linear, bn)
    a, shift = _scale_and_shift(linear, bn, linear.weight.shape[0])
    return _with(linear, linear.weight.array * a[:, None], shift)


def _check_layer(layer: Module, kind: Any, function: str, expected: str) -> None:
    if not isinstance(layer, kind):
        raise TypeError(f"{function} takes {expected}, got {type(layer).__name__}")
    if not is_plain(layer):
        raise TypeError(
            f"fusion scales the weight, but {type(layer).__name__} has a forward of its own, maybe not "
            "x·W + b with this weight: fold into a plain layer with the weight that it computes"
        )


def _check_norm(layer: Any, bn: Any) -> None:
    """Raise TypeError or ValueError unless `bn` multiplies and shifts the channels of the layer's outputs."""
    name, of_layer = type(bn).__name__, type(layer).__name__
    if not isinstance(bn, RunningNorm):
        raise TypeError(
            f"fusion needs a batch normalization with running_mean and running_var, got {name}: leave it as "
            "it is"
        )
    if not bn.is_affine_in_evaluation():
        raise ValueError(
            f"{name} cannot be folded into {of_layer}: its evaluation is not "
            "weight·(x - running_mean)/√(running_var + eps) + bias per channel"
        )
    on_last = isinstance(bn, SequenceBatchNorm)
    if isinstance(layer, ConvNd):
        fits = not on_last and (not bn.input_ndims or layer.axes + 2 == max(bn.input_ndims))
    else:
        fits = on_last or not bn.input_ndims or (2 in bn.input_ndims and bn.over_the_batch)
    if not fits:
        raise TypeError(f"{name} does not normalize the channels of what {of_layer} returns: do not fold it")


def _scale_and_shift(layer: Module, bn: Module, channels: int) -> tuple[Array, Array]:
    """Return a and c', both (channels,)."""
    if layer.training or bn.training:
        raise RuntimeError("fusion is for evaluation, where the statistics are constants: call eval() first")
    if bn.running_mean is None or bn.running_var is None:
        raise RuntimeError(
            "fusion needs running statistics: this layer was made with track_running_stats=False"
        )
    mean, a = bn.running_mean.array, rsqrt(bn.running_var.array + bn.eps)
    if mean.shape != (channels,):
        raise ValueError(
            f"{type(layer).__name__} has {channels} outputs, "
            f"but {type(bn).__name__} normalizes {mean.shape[0]} features"
        )
    if bn.weight is not None:
        a = a * bn.weight.array
    shift = -a * mean if layer.bias is None else a * (layer.bias.array - mean)
    return a, shift if bn.bias is None else shift + bn.bias.array


def _with(layer: Layer, weight: Array, bias: Array) -> Layer:
    fused: Any = copy.deepcopy(layer)
    dtype, trained = layer.weight.dtype, layer.weight.requires_grad
    fused.weight = Parameter(namespace(weight).ascontiguousarray(weight.astype(dtype)), trained)
    fused.bias = Parameter(bias.astype(dtype), trained)
    return fused
