"""Exact rewriting of layers around a norm: its affine goes into what reads it, its mean into what writes.

    (i)   W·(γ∘x̂ + β) + c = (W·diag γ)·x̂ + (c + W·β)                  fold_norm
    (ii)  LN(x) = RMS(x - mean x), with the same eps
    (iii) if all that is added to the stream has mean 0, then x = x - mean x, and so LN(x) = RMS(x):
          W ← W - mean of W over its outputs, b ← b - mean b            center_writers
    (iv)  RMS(x·Q) = RMS(x)·Q for an orthogonal Q, if RMS has no weight: LN has no such identity
    (v)   one of D entries of mean 0 need not be stored: crmsnorm.py

So a trained pre-LN transformer becomes one with RMS normalization, and computes the same: Jiang, Gu, Zhu, Pan
2023, arXiv:2305.14858. (iv) lets rows and columns of the weights be rotated: Ashkboos et al. 2024,
arXiv:2401.15024 and arXiv:2404.00456.

β must be folded with the weight as it was: c + W·β before W·diag γ. In the other order β would be multiplied
by γ. Both functions return copies. So an embedding that is tied to the output layer is no longer tied: only
the copy that writes to the stream is centered, and the output layer keeps its own weight.
"""

import copy
from typing import Any

from ...backends import Array, namespace
from ...module import Module, Parameter
from ...normalization import (
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LayerNorm,
    LayerNorm2d,
    RMSNorm,
)
from ..attention.position import LearnedPositions
from ..convolution.convnd import ConvNd
from ..embedding import Embedding
from ..linear import Linear
from .parametrize import is_parametrized
from .plain_layers import is_plain

_INSTANCE_NORMS = InstanceNorm1d | InstanceNorm2d | InstanceNorm3d


def fold_norm(norm: Module, *readers: Module) -> tuple[Any, ...]:
    """Return copies of a norm without its affine, and of the layers that read it, which include the affine.

    Args:
        norm: a LayerNorm or RMSNorm over the last axis; a GroupNorm, InstanceNorm or LayerNorm2d before
            convolutions.
        readers: all layers whose input is the output of `norm`: Linear layers, a MultiheadAttention that
            takes it as query, key and value, or convolutions.

    Raises:
        TypeError: if there is no reader, or a layer is of another kind or does not compute with its weight
            itself.
        ValueError: if the norm is not over one axis, or of another size than the input of a reader; if an
            attention takes keys or values of another size, or has no bias to take β; if β stands before a
            convolution that pads with zeros, which are not β.
    """
    if not isinstance(norm, LayerNorm | RMSNorm | GroupNorm | _INSTANCE_NORMS):
        raise TypeError(
            "fold_norm takes a LayerNorm, LayerNorm2d, RMSNorm, GroupNorm or InstanceNorm, got "
            f"{type(norm).__name__}"
        )
    if getattr(norm, "input_scaled", False):
        raise TypeError("an RMSNorm with input_scaled=True normalizes after its weight: it cannot be folded")
    if not readers:
        raise TypeError("fold_norm needs the layers that read the norm, got none")
    if len(getattr(norm, "normalized_shape", (0,))) != 1:
        raise ValueError(f"fold_norm takes a norm over the last axis, got one over {norm.normalized_shape}")
    beta = getattr(norm, "bias", None)
    folded = [_fold(norm, None if beta is None else beta.array, reader) for reader in readers]
    bare: Any = copy.deepcopy(norm)
    bare.weight = None
    if beta is not None:
        bare.bias = None
    setattr(bare, "affine" if hasattr(bare, "affine") else "elementwise_affine", False)
    return bare, *folded


def center_writers(*writers: Module) -> tuple[Any, ...]:
    """Return copies of layers whose outputs have mean 0 over the last axis, and are else the same.

    Args:
        writers: every layer that adds to the residual stream: Embedding, LearnedPositions, Linear, or
            MultiheadAttention, of which the output projection is centered.

    After it, every LayerNorm that reads the stream can be an RMSNorm with the same eps and weight.

    Raises:
        TypeError: if a layer is of another kind, or does not compute with its weight itself.
    """
    return tuple([_centered(writer) for writer in writers])


def _is_attention(layer: Any) -> bool:
    """Return whether it is a MultiheadAttention, whose file imports from this package."""
    return hasattr(layer, "in_proj_bias") and isinstance(getattr(layer, "out_proj", None), Linear)


def _gamma(norm: Any) -> Array | None:
    if norm.weight is None:
        return None
    return 1 + norm.weight.array if getattr(norm, "zero_centered", False) else norm.weight.array


def _fold(norm: Any, beta: Array | None, reader: Module) -> Module:
    of_channels = isinstance(norm, LayerNorm2d) or not isinstance(norm, LayerNorm | RMSNorm)
    if of_channels != isinstance(reader, ConvNd):
        raise TypeError(
            f"{type(reader).__name__} does not read the axis whose affine {type(norm).__name__} has"
        )
    if of_channels:
        return _fold_into_conv(norm, beta, reader)
    D, folded = norm.normalized_shape[0], copy.deepcopy(reader)
    if _is_attention(reader):
        _check_attention(reader, D, beta)
        names = "in_proj_weight", "in_proj_bias"
    else:
        _check_linear("fold_norm", reader)
        names = "weight", "bias"
    weight, bias = (getattr(reader, name) for name in names)
    if weight.shape[1] != D:
        raise ValueError(f"the norm has {D} features, {type(reader).__name__} takes {weight.shape[1]}")
    W, gamma = weight.array, _gamma(norm)
    if beta is not None:
        shift = W @ beta
        _set(folded, names[1], shift if bias is None else bias.array + shift, weight)
    if gamma is not None:
        _set(folded, names[0], W * gamma, weight)
    return folded


def _fold_into_conv(norm: Any, beta: Array | None, conv: Any) -> Module:
    if conv.transposed or not is_plain(conv) or is_parametrized(conv):
        raise TypeError(f"fold_norm changes the weight of a plain convolution, got {type(conv).__name__}")
    channels = _channels(norm)
    if channels != conv.in_channels:
        raise ValueError(f"the norm has {channels} channels, {type(conv).__name__} takes {conv.in_channels}")
    W, G, folded = conv.weight.array, conv.groups, copy.deepcopy(conv)
    by_group = W.reshape(G, W.shape[0] // G, W.shape[1], -1)
    if beta is not None:
        if conv.padding_mode == "zeros" and _pads(conv):
            raise ValueError(
                "the norm has a bias, and the convolution pads with zeros, which the bias would not reach: "
                "pad the output of the norm first, or use affine=False"
            )
        shift = (by_group * beta.reshape(G, 1, -1, 1)).sum((2, 3)).reshape(-1)
        _set(folded, "bias", shift if conv.bias is None else conv.bias.array + shift, conv.weight)
    gamma = _gamma(norm)
    if gamma is not None:
        _set(folded, "weight", (by_group * gamma.reshape(G, 1, -1, 1)).reshape(W.shape), conv.weight)
    return folded


def _channels(norm: Any) -> int:
    if isinstance(norm, LayerNorm2d):
        return norm.normalized_shape[0]
    return norm.num_channels if isinstance(norm, GroupNorm) else norm.num_features


def _pads(conv: Any) -> bool:
    if isinstance(conv.padding, str):
        return conv.padding == "same" and max(conv.kernel_size) > 1
    return any(conv.padding)


def _check_attention(attention: Any, D: int, beta: Array | None) -> None:
    if is_parametrized(attention):
        raise TypeError("fold_norm changes in_proj_weight, which is parametrized: remove its parametrization")
    if attention.in_proj_weight is None or (attention.kdim, attention.vdim) != (D, D):
        raise ValueError(
            f"an attention of embed_dim {attention.embed_dim}, kdim {attention.kdim} and vdim "
            f"{attention.vdim} does not read one norm of {D} features three times"
        )
    if attention.in_proj_bias is None and beta is not None:
        raise ValueError("the norm has a bias, and the attention none that could take it: use bias=True")


def _check_linear(function: str, layer: Any) -> None:
    if not isinstance(layer, Linear) or not is_plain(layer) or is_parametrized(layer):
        raise TypeError(
            f"{function} changes the weight of a plain Linear layer or attention, got {type(layer).__name__}"
        )


def _centered(writer: Module) -> Module:
    centered: Any = copy.deepcopy(writer)
    if _is_attention(writer):
        _check_linear("center_writers", writer.out_proj)
        centered.out_proj = _centered(writer.out_proj)
        return centered
    if isinstance(writer, LearnedPositions | Embedding) and not is_parametrized(writer):
        W = writer.weight.array
        _set(centered, "weight", W - W.mean(1, keepdims=True), writer.weight)
        return centered
    _check_linear("center_writers", writer)
    W = centered.weight.array
    _set(centered, "weight", W - W.mean(0), centered.weight)
    if centered.bias is not None:
        _set(centered, "bias", centered.bias.array - centered.bias.array.mean(), centered.bias)
    return centered


def _set(layer: Any, name: str, value: Array, like: Parameter) -> None:
    array = namespace(value).ascontiguousarray(value.astype(like.dtype, copy=False))
    setattr(layer, name, Parameter(array, like.requires_grad))
