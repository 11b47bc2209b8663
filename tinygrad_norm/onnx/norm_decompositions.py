"""What normalizations without an ONNX operator become: composed forms, called as their `apply` is."""

import math
from collections.abc import Callable
from typing import Any

from ..autograd.function import Function
from ..autograd.tensor import Tensor
from ..normalization.batch import (
    acrossprocesses,
    actnorm,
    batchgroupnorm,
    batchinstancenorm,
    batchnorm,
    conditionalbatchnorm,
    evonormb0,
    ghostbatchnorm,
    inplaceabn,
    lpbatchnorm,
    meanonlybatchnorm,
    powernorm,
    rangebatchnorm,
    sequencebatchnorm,
    sourcetarget,
    switchablenorm,
    syncbatchnorm,
    weighedbatchnorm,
)
from ..normalization.core.gaussian import Gaussian, window_means_composed
from ..normalization.core.moments import affine, standardized
from ..normalization.graph import graphnorm, pairnorm
from ..normalization.sample import (
    adagroupnorm,
    adain,
    adalayernorm,
    addnorm,
    addrmsnorm,
    conditionalinstancenorm,
    crmsnorm,
    divisivenorm,
    dynamicerf,
    dynamicisru,
    dynamictanh,
    evonorms0,
    filterresponsenorm,
    gatedrmsnorm,
    gdn,
    globalresponsenorm,
    groupnorm,
    grouprmsnorm,
    layernorm,
    localresponsenorm,
    lpnorm,
    memoryefficient,
    partialrmsnorm,
    pcen,
    pixelnorm,
    positionalnorm,
    revin,
    rmsnorm,
    seednorm,
    standardscore,
    subtractivenorm,
)
from ..normalization.vector import logitnorm, normalize, scalenorm
from ..normalization.weight import cosinelinear, orthogonalweight, weightdemodulation
from ..normalization.whitening import channelgroups, decorrelatedbatchnorm, iternorm
from .onnx_package import OnnxError

Composed = Callable[..., Any]


def _add_layer_norm(
    x: Tensor, z: Tensor, weight: Any, bias: Any, *, normalized_shape: Any, eps: float
) -> Any:
    s = x + z
    return layernorm.layer_norm(s, normalized_shape, weight, bias, eps), s


def _add_rms_norm(x: Tensor, z: Tensor, weight: Any, *, normalized_shape: Any, eps: float) -> Any:
    s = x + z
    return rmsnorm.rms_norm(s, normalized_shape, weight, eps), s


def _batch_statistics(x: Tensor, weight: Any, bias: Any, *, eps: float, **_: Any) -> Tensor:
    return batchnorm.batch_norm_composed(x, None, None, weight, bias, True, eps)


def _sequence_batch_norm(
    x: Tensor, weight: Any, bias: Any, *, pools: Any, running: Any, eps: float, **_: Any
) -> Tensor:
    """With running statistics (C,) or (T', C), or with those of the steps; without padding only."""
    T, N, _C = x.shape
    if sum(each.frames.size for each in pools) != T * N:
        raise OnnxError("sequences with padding cannot be exported: pass them without a mask")
    if running is None:
        return affine(standardized(x, (0, 1) if len(pools[0].steps) < T else (1,), eps), weight, bias)
    mean, var = running
    if mean.ndim == 2:
        steps = [min(t, len(mean) - 1) for t in range(T)]
        mean, var = mean[steps][:, None], var[steps][:, None]
    return affine((x - Tensor._wrap(mean)) * (Tensor._wrap(var) + eps) ** -0.5, weight, bias)


def _power_norm(x: Tensor, weight: Any, bias: Any, *, running: Any, eps: float, **_: Any) -> Tensor:
    return powernorm.power_norm_composed(x, Tensor._wrap(running[0]), None, weight, bias, eps=eps)


def _partial_rms_norm(x: Tensor, weight: Any, bias: Any, *, k: int, eps: float) -> Tensor:
    return partialrmsnorm.partial_rms_norm_composed(x, (k + 0.5) / x.shape[-1], weight, bias, eps)


def _mixed(composed: Composed) -> Composed:
    """Of BatchNorm's statistics and those of samples: running ones in evaluation, else the batch's."""

    def call(x: Tensor, *inputs: Any, running: Any, eps: float, **_: Any) -> Tensor:
        *mixing, weight, bias = inputs
        statistics = [None, None] if running is None else [Tensor._wrap(array) for array in running]
        return composed(x, *mixing, *statistics, weight, bias, running is None, eps)

    return call


def _weighed(x: Tensor, weight: Any, bias: Any, *, running: Any, alpha: float, eps: float) -> Tensor:
    """From the running mean M: E[(x − M)²] has more digits than E[x²] − M²."""
    per_channel, space = (-1, *(1,) * (x.ndim - 2)), tuple(range(2, x.ndim))
    M, V = (Tensor._wrap(array).reshape(per_channel) for array in running)
    centered = x - M
    shift, square = centered, centered * centered
    if space:
        shift, square = shift.mean(space, keepdim=True), square.mean(space, keepdim=True)
    mu = alpha * shift
    var = alpha * square + (1 - alpha) * V - mu * mu
    return affine((centered - mu) * (var + eps) ** -0.5, weight, bias, per_channel)


def _source_target(x: Tensor, weight: Any, bias: Any, *, running: Any, prior: float, eps: float) -> Tensor:
    """Like the composed form, with the samples counted, as their number may change."""
    per_channel, pool = (-1, *(1,) * (x.ndim - 2)), (0, *range(2, x.ndim))
    M, V = (Tensor._wrap(array).reshape(per_channel) for array in running)
    N = (x.mean(tuple(range(1, x.ndim))).gt(math.inf).to(x.dtype) + 1).sum()
    share = N / (N + prior)
    centered = x - M
    shift = centered.mean(pool, keepdim=True)
    var = ((centered - shift) ** 2).mean(pool, keepdim=True)
    rstd = (share * var + (1 - share) * V + eps) ** -0.5
    return affine((centered - share * shift) * rstd, weight, bias, per_channel)


def _lp_batch_norm(
    x: Tensor, weight: Any, bias: Any, *, p: float, factor: float, eps: float, **_: Any
) -> Tensor:
    """Like the composed form, with a mean in place of a sum over a size that may change."""
    pool = (0, *range(2, x.ndim))
    z = x - x.mean(pool, keepdim=True)
    d = z.abs().mean(pool, keepdim=True) * factor if p == 1 else z.abs().amax(pool, keepdim=True)
    return affine(z * (d * d + eps) ** -0.5, weight, bias, (-1, *(1,) * (x.ndim - 2)))


def _mean_only(x: Tensor, bias: Any, *, mean: Any, **_: Any) -> Tensor:
    running = None if mean is None else Tensor._wrap(mean)
    return meanonlybatchnorm.mean_only_batch_norm_composed(x, running, bias, mean is None)


def _range(x: Tensor, weight: Any, bias: Any, *, eps: float, **_: Any) -> Tensor:
    """Of a batch of the recorded size: κ depends on it."""
    return rangebatchnorm.range_batch_norm_composed(x, None, None, weight, bias, True, eps=eps)


def _divisive(x: Tensor, *, gaussian: Gaussian, eps: float, mean_floor: bool) -> Tensor:
    deviation = window_means_composed(x * x, gaussian).sqrt()
    least = deviation.mean((2, 3), keepdim=True).clamp(min=eps) if mean_floor else eps
    return x / deviation.maximum(least)


def _inplace_abn(
    x: Tensor, weight: Any, bias: Any, *, running: Any, slope: float, eps: float, **_: Any
) -> Any:
    m, v = (None, None) if running is None else map(Tensor._wrap, running)
    return inplaceabn.inplace_abn_composed(x, weight, bias, m, v, m is None, eps, "leaky_relu", slope)


def _whitening(x: Tensor, weight: Any, bias: Any, *, mean: Any, W: Any) -> Tensor:
    running = Tensor._wrap(mean), Tensor._wrap(W)
    return channelgroups.whitening_composed(x, running, weight, bias, len(W))


def _options(composed: Composed, *names: str) -> Composed:
    """Pass the named options on and drop all others."""
    return lambda *inputs, **options: composed(*inputs, **{name: options[name] for name in names})


COMPOSED: dict[type[Function], Composed] = {
    actnorm.ActivationNormFunction: actnorm.activation_norm_composed,
    adagroupnorm.AdaptiveGroupNormFunction: adagroupnorm.adaptive_group_norm_composed,
    adain.AdaptiveInstanceNormFunction: adain.adaptive_instance_norm_composed,
    adalayernorm.AdaptiveLayerNormFunction: adalayernorm.adaptive_layer_norm_composed,
    addnorm.AddLayerNormFunction: _add_layer_norm,
    addrmsnorm.AddRMSNormFunction: _add_rms_norm,
    batchnorm.BatchNormFunction: _batch_statistics,
    syncbatchnorm.SyncBatchNormFunction: _batch_statistics,
    acrossprocesses.SyncBatchNormAcrossProcessesFunction: _batch_statistics,
    batchgroupnorm.BatchGroupNormFunction: lambda x, w, b, *, groups, eps, **_: (
        batchgroupnorm.batch_group_norm_composed(x, groups[1], groups[0], None, None, w, b, True, eps=eps)
    ),
    conditionalbatchnorm.ConditionalBatchNormFunction: _options(
        conditionalbatchnorm.batch_statistics_composed, "eps"
    ),
    conditionalbatchnorm.ConditionalBatchNormEvalFunction: conditionalbatchnorm.given_statistics_composed,
    conditionalinstancenorm.ConditionalInstanceNormFunction: conditionalinstancenorm.affine_of_rows_composed,
    batchinstancenorm.BatchInstanceNormFunction: _mixed(batchinstancenorm.batch_instance_norm_composed),
    cosinelinear.CosineLinearFunction: cosinelinear.cosine_linear_composed,
    channelgroups.WhiteningEvalFunction: _whitening,
    decorrelatedbatchnorm.DecorrelatedBatchNormFunction: lambda x, w, b, *, groups, eps, **_: (
        decorrelatedbatchnorm.decorrelated_batch_norm_composed(x, None, None, w, b, True, groups, eps)
    ),
    divisivenorm.DivisiveNormFunction: _divisive,
    dynamicerf.DynamicErfFunction: _options(dynamicerf.dynamic_erf_composed),
    dynamicisru.DynamicISRUFunction: _options(dynamicisru.dynamic_isru_composed),
    dynamictanh.DynamicTanhFunction: _options(dynamictanh.dynamic_tanh_composed),
    evonormb0.EvoNormB0Function: lambda x, v, w, b, *, eps, running_var, **_: evonormb0.evo_norm_b0_composed(
        x, None if running_var is None else Tensor._wrap(running_var), v, w, b, running_var is None, eps
    ),
    evonorms0.EvoNormS0Function: lambda x, v, w, b, *, num_groups, eps: evonorms0.evo_norm_s0_composed(
        x, num_groups, v, w, b, eps
    ),
    filterresponsenorm.FilterResponseNormFunction: filterresponsenorm.filter_response_norm_composed,
    gatedrmsnorm.GatedRMSNormFunction: gatedrmsnorm.gated_rms_norm_composed,
    ghostbatchnorm.GhostBatchNormFunction: lambda x, w, b, *, size, eps, **_: (
        ghostbatchnorm.ghost_batch_norm_composed(x, size, None, None, w, b, True, eps=eps)
    ),
    gdn.GDNFunction: lambda x, beta, gamma, *, power, inverse: gdn.gdn_composed(
        x, beta, gamma, inverse, power == 1
    ),
    gdn._LowerBound: lambda x, *, bound: x.clamp(min=bound),
    globalresponsenorm.GlobalResponseNormFunction: globalresponsenorm.global_response_norm_composed,
    graphnorm.GraphNormFunction: lambda x, w, b, a, batch, *, count, eps: graphnorm.graph_norm_composed(
        x, batch, w, b, a, count, eps
    ),
    orthogonalweight.OrthogonalWeightNormFunction: orthogonalweight.orthogonal_weight_norm_composed,
    groupnorm.GroupNormFunction: lambda x, w, b, *, num_groups, eps: groupnorm.group_norm_composed(
        x, num_groups, w, b, eps
    ),
    grouprmsnorm.GroupRMSNormFunction: lambda x, w, *, group_size, eps: grouprmsnorm.group_rms_norm_composed(
        x, group_size, w, eps
    ),
    inplaceabn.InPlaceABNFunction: _inplace_abn,
    memoryefficient.MemoryEfficientLayerNormFunction: lambda x, w, b, *, normalized_shape, eps: (
        layernorm.layer_norm(x, normalized_shape, w, b, eps)
    ),
    memoryefficient.MemoryEfficientRMSNormFunction: lambda x, w, *, normalized_shape, eps: rmsnorm.rms_norm(
        x, normalized_shape, w, eps
    ),
    iternorm.IterNormFunction: lambda x, w, b, *, groups, T, eps, **_: iternorm.iter_norm_composed(
        x, None, None, w, b, True, groups, T, eps
    ),
    localresponsenorm.LocalResponseNormFunction: localresponsenorm.local_response_norm_composed,
    lpbatchnorm.LpBatchNormFunction: _lp_batch_norm,
    crmsnorm.CRMSNormFunction: crmsnorm.crms_norm_composed,
    lpnorm.LpNormFunction: lambda x, w, *, normalized_shape, p, eps: lpnorm.lp_norm_composed(
        x, normalized_shape, w, p, eps
    ),
    logitnorm.LogitNormFunction: logitnorm.logit_norm_composed,
    meanonlybatchnorm.MeanOnlyBatchNormFunction: _mean_only,
    rangebatchnorm.RangeBatchNormFunction: _range,
    normalize.NormalizeFunction: normalize.normalize_composed,
    pairnorm.PairNormFunction: lambda x, batch, *, count, scale, individually, eps: (
        pairnorm.pair_norm_composed(x, batch, count, scale, individually, eps)
    ),
    pixelnorm.PixelNormFunction: pixelnorm.pixel_norm_composed,
    positionalnorm.PositionalNormFunction: positionalnorm.positional_norm_composed,
    powernorm.PowerNormFunction: _power_norm,
    pcen.PCENFunction: pcen.pcen_composed,
    revin.DetachedInstanceNormFunction: revin.reversible_instance_norm_composed,
    revin.ReversibleInstanceDenormFunction: revin.reversible_instance_denorm_composed,
    revin.ReversibleInstanceNormFunction: revin.reversible_instance_norm_composed,
    partialrmsnorm.PartialRMSNormFunction: _partial_rms_norm,
    seednorm.SeeDNormFunction: seednorm.seed_norm_composed,
    standardscore.StandardScoreFunction: standardscore.standard_score_composed,
    rmsnorm.RMSNormFunction: lambda x, w, *, normalized_shape, eps: rmsnorm.rms_norm_composed(
        x, normalized_shape, w, eps
    ),
    scalenorm.ScaleNormFunction: scalenorm.scale_norm_composed,
    sequencebatchnorm.SequenceBatchNormFunction: _sequence_batch_norm,
    sourcetarget.SourceTargetBatchNormFunction: _source_target,
    subtractivenorm.SubtractiveNormFunction: lambda x, *, gaussian: x - window_means_composed(x, gaussian),
    switchablenorm.SwitchableNormFunction: _mixed(switchablenorm.switchable_norm_composed),
    weighedbatchnorm.WeighedBatchNormFunction: _weighed,
    weightdemodulation.WeightDemodulationFunction: weightdemodulation.weight_demodulation_composed,
}
