"""Fusion: batch normalization in evaluation is one multiplication and one addition per channel,

    y = w·(z - m)·r + b = a·z + (b - a·m)      a = w·r, r = 1/√(v + eps)

and if z = W·x + c comes from a convolution or a linear layer, both can be folded into that layer:

    W' = a·W (per output channel)      c' = a·(c - m) + b
"""

import copy
from typing import Any, TypeVar

from ...backends import Array, namespace
from ...module import Module, Parameter
from ...normalization.core.moments import rsqrt
from ..convolution.wsconv import WSConv2d

Layer = TypeVar("Layer", bound=Module)


def fuse_conv_bn_eval(conv: Layer, bn: Module, transpose: bool = False) -> Layer:
    """Return a copy of a convolution that includes the batch normalization after it.

    Args:
        conv: a convolution in evaluation mode.
        bn: a batch normalization in evaluation mode, with running statistics.
        transpose: whether `conv` is a transposed convolution, whose weight is (in, out/groups, ...).

    Raises:
        RuntimeError: if a layer is in training mode, or there are no running statistics.
        TypeError: if the convolution computes its weight from `weight`, as WSConv2d does.
        ValueError: if the numbers of channels differ.
    """
    if isinstance(conv, WSConv2d):
        raise TypeError(
            f"fusion scales the weight of a convolution, but {type(conv).__name__} standardizes it again: "
            "put its standardized weight into a Conv2d first"
        )
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
        ValueError: if the numbers of features differ.
    """
    a, shift = _scale_and_shift(linear, bn, linear.weight.shape[0])
    return _with(linear, linear.weight.array * a[:, None], shift)


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
