"""What Functions without an ONNX operator become: composed forms, called with the arguments of `apply`."""

import math
from typing import Any, cast

from ..autograd.function import Function
from ..autograd.tensor import Tensor
from ..nn.activation.sinkhorn import SinkhornFunction, sinkhorn_composed
from ..nn.activation.softmax import log_softmax
from ..nn.alpha_dropout import AlphaDropoutFunction, masked_alpha_dropout_composed
from ..nn.attention import scaleddotproduct
from ..nn.cosine import CosineConv2dFunction
from ..nn.linear import BilinearFunction, bilinear_composed
from ..nn.loss import divergence, likelihood, regression, similarity, soft_margin
from ..nn.loss.crossentropy import (
    SmoothedCrossEntropyFunction,
    SoftCrossEntropyFunction,
    cross_entropy_composed,
)
from ..nn.loss.ranking import MarginRankingLossFunction, margin_ranking_loss_composed
from ..nn.pooling import adaptivepool, matrixsqrtpool
from ..nn.recurrent import batchnormlstm, layernormlstm, lstm
from ..nn.recurrent.normalizedlstm import NAMES, NormalizedLSTMFunction
from ..nn.windows.folding import FoldFunction, UnfoldFunction, windows_composed
from ..nn.windows.padding import PadFunction, pad
from ..nn.windows.sliding_view import Windows
from ..normalization.weight.cosinelinear import directions_composed
from ..ops import cat, stack
from .norm_decompositions import COMPOSED as NORMS
from .norm_decompositions import Composed
from .onnx_package import OnnxError


def _attention(*inputs: Any, scale: float, weights: bool, softcap: float | None) -> Any:
    y, w = scaleddotproduct.attention_composed(*inputs, scale=scale, softcap=softcap)
    return (y, w) if weights else y


def _adaptive_pool(composed: Composed) -> Composed:
    def pool(x: Tensor, *, count: tuple[int, ...], indices: bool = False) -> Tensor:
        if indices:
            raise OnnxError("windows of different sizes have no indices in ONNX: set return_indices=False")
        return composed(len(count), x, count)

    return pool


def _unfold(x: Tensor, *, windows: Windows) -> Tensor:
    patches = windows_composed(x, windows)
    return patches.reshape(len(patches), patches.shape[1] * patches.shape[2], math.prod(patches.shape[3:]))


def _fold(cols: Tensor, *, windows: Windows, space: tuple[int, ...]) -> Tensor:
    """Add up the columns of each k, at their positions and with zeros elsewhere."""
    N, K = len(cols), math.prod(windows.kernel)
    counts = windows.counts(space)
    cols = cols.reshape(N, cols.shape[1] // K, K, *counts)
    parts = []
    for k, offset in enumerate(windows.offsets()):
        part, widths = cols[:, :, k], []
        for axis in reversed(range(len(space))):
            part = _with_zeros(part, 2 + axis, windows.stride[axis])
            before = windows.dilation[axis] * offset[axis] - windows.before[axis]
            widths += [before, space[axis] - part.shape[2 + axis] - before]
        parts.append(pad(part, widths))
    return stack(parts).sum(0)


def _with_zeros(x: Tensor, axis: int, stride: int) -> Tensor:
    """Put stride − 1 zeros between the entries along an axis."""
    if stride == 1:
        return x
    n = x.shape[axis]
    apart = x.unsqueeze(axis + 1)
    spread = pad(apart, [0, 0] * (x.ndim - axis - 1) + [0, stride - 1])
    joined = spread.reshape(*x.shape[:axis], n * stride, *x.shape[axis + 1 :])
    return joined.narrow(axis, 0, stride * (n - 1) + 1)


def _cosine_conv(x: Tensor, weight: Tensor, *, windows: Windows, groups: int) -> Tensor:
    patches = windows_composed(x, windows)
    N, C, K, *P = patches.shape
    X = patches.reshape(N, groups, C // groups * K, math.prod(P)).mT
    v = directions_composed(weight.reshape(groups, len(weight) // groups, C // groups * K))
    return (v @ directions_composed(X).mT).reshape(N, len(weight), *P)


def _lstm_with_projection(x: Tensor, h: Any, c: Any, *weights: Any, padding: Any, reverse: bool) -> Any:
    _check_padding(padding)
    layer: Composed = lstm.lstm_layer_composed
    return layer(x, _states(h, c), *weights, reverse=reverse)


def _normalized_lstm(x: Tensor, h: Any, c: Any, *weights: Any, norm: Any, padding: Any, reverse: bool) -> Any:
    _check_padding(padding)
    states, layer = _states(h, c), cast(Composed, layernormlstm.layer_norm_lstm_composed)
    if isinstance(norm, layernormlstm._LayerNormSteps):
        return layer(x, states, *weights, reverse=reverse, eps=norm.eps)
    running = [tensor for name in NAMES for tensor in norm.tensors[name]]
    known: Any = None if None in running else running
    layer = cast(Composed, batchnormlstm.batch_norm_lstm_composed)
    return layer(x, states, *weights, running=known, reverse=reverse, training=known is None, eps=norm.eps)


def _states(h: Any, c: Any) -> Any:
    return None if h is None and c is None else (h, c)


def _check_padding(padding: Any) -> None:
    if padding is not None:
        raise OnnxError("sequences of different lengths cannot be exported: pass them without lengths")


def _soft_cross_entropy(x: Tensor, q: Tensor, *, reduction: str, divisor: Any) -> Tensor:
    losses = -(q * log_softmax(x, min(x.ndim - 1, 1))).sum(min(x.ndim - 1, 1))
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.sum() / divisor


def _smoothed_cross_entropy(
    x: Tensor, target: Tensor, weight: Tensor | None, *, smoothing: float, **options: Any
) -> Tensor:
    return cross_entropy_composed(x, target, weight, label_smoothing=smoothing, **options)


def _squared_error(x: Tensor, t: Tensor, *, reduction: str, weight: Any, divisor: Any = None) -> Tensor:
    return _divided(regression.mse_loss_composed, x, t, reduction, weight, divisor)


def _absolute_error(x: Tensor, t: Tensor, *, reduction: str, weight: Any, divisor: Any = None) -> Tensor:
    return _divided(regression.l1_loss_composed, x, t, reduction, weight, divisor)


def _divided(composed: Composed, x: Tensor, t: Tensor, reduction: str, weight: Any, divisor: Any) -> Tensor:
    if divisor is None or reduction != "mean":
        return composed(x, t, reduction=reduction, weight=_tensor(weight))
    return composed(x, t, reduction="sum", weight=_tensor(weight)) / _tensor(divisor)


def _huber(x: Tensor, t: Tensor, *, reduction: str, delta: float, unit: float, weight: Any) -> Tensor:
    return regression.huber_loss_composed(x, t, reduction, delta, _tensor(weight)) / unit


def _entropy(composed: Composed) -> Composed:
    def loss(x: Tensor, t: Tensor, *, weight: Any, **options: Any) -> Tensor:
        if "pos_weight" in options:
            options["pos_weight"] = _tensor(options["pos_weight"])
        return composed(x, t, weight=_tensor(weight), **options)

    return loss


def _tensor(x: Any) -> Any:
    return Tensor._wrap(x) if hasattr(x, "dtype") and not isinstance(x, Tensor) else x


def _circular_pad(x: Tensor, *, widths: Any, mode: str, value: float) -> Tensor:
    """Before opset 19, padding does not wrap: join parts of x."""
    for axis, (before, after) in enumerate(widths):
        if before or after:
            n, parts = x.shape[axis], [x]
            if before:
                parts.insert(0, x.narrow(axis, n - before, before))
            if after:
                parts.append(x.narrow(axis, 0, after))
            x = cat(parts, axis)
    return x


COMPOSED: dict[type[Function], Composed] = NORMS | {
    matrixsqrtpool.MatrixSqrtPoolFunction: matrixsqrtpool.matrix_sqrt_pool_composed,
    scaleddotproduct.AttentionFunction: _attention,
    adaptivepool.AdaptiveAvgPoolFunction: _adaptive_pool(adaptivepool.adaptive_avg_pool_composed),
    adaptivepool.AdaptiveMaxPoolFunction: _adaptive_pool(adaptivepool.adaptive_max_pool_composed),
    SinkhornFunction: sinkhorn_composed,
    BilinearFunction: bilinear_composed,
    CosineConv2dFunction: _cosine_conv,
    FoldFunction: _fold,
    UnfoldFunction: _unfold,
    PadFunction: _circular_pad,
    lstm.LSTMFunction: _lstm_with_projection,
    NormalizedLSTMFunction: _normalized_lstm,
    SoftCrossEntropyFunction: _soft_cross_entropy,
    SmoothedCrossEntropyFunction: _smoothed_cross_entropy,
    similarity.CosineSimilarityFunction: similarity.cosine_similarity_composed,
    divergence.BinaryCrossEntropyFunction: _entropy(divergence.binary_cross_entropy_composed),
    divergence.BinaryCrossEntropyWithLogitsFunction: _entropy(
        divergence.binary_cross_entropy_with_logits_composed
    ),
    divergence.KLDivFunction: divergence.kl_div_composed,
    AlphaDropoutFunction: masked_alpha_dropout_composed,
    likelihood.GaussianNLLFunction: likelihood.gaussian_nll_loss_composed,
    likelihood.PoissonNLLFunction: likelihood.poisson_nll_loss_composed,
    soft_margin.SoftMarginLossFunction: soft_margin.soft_margin_loss_composed,
    MarginRankingLossFunction: margin_ranking_loss_composed,
    regression.MSELossFunction: _squared_error,
    regression.L1LossFunction: _absolute_error,
    regression.HuberLossFunction: _huber,
}
