"""Switchable normalization: the mean and variance are learned mixtures of those of three normalizations.

    x (N, C, ...)   m_k and v_k for k = InstanceNorm, LayerNorm, BatchNorm: mean and variance of a channel of
    a sample, of a sample, of a channel over the batch (in evaluation: running statistics, constants)
    p = softmax(mean_weight)   q = softmax(var_weight)
    m = Σ_k p_k·m_k   v = Σ_k q_k·v_k   r = 1/√(v + eps)   x̂ = (x - m)·r   y = w·x̂ + b

w and b are (C,). All variances are biased ones: those of larger pools then follow from the InstanceNorm's,
v_LN = mean_c(v_IN + (m_IN - m_LN)²), and over the batch alike, without another look at x.

What differs between pools is kept in float64, and x̂ is made from z, the output of InstanceNorm:
x̂ = z·(std_IN·r) + (m_IN - m)·r keeps the digits of z, also beside a large mean.

In the code: z, r rstd, x̂ x_hat, w weight, b bias; x is (N, C, S) with S positions.

Luo, Ren, Peng, Zhang, Li 2019, arXiv:1806.10779.

Backward, from dy = dL/dy:

    dw = Σ dy·x̂      db = Σ dy      g := dL/dx̂ = w·dy

For one channel of one sample, with Σ over its positions, the mixture takes

    dm = -r·Σ g      dv = -½·r²·Σ g·x̂

and each statistic its share, dm_k = p_k·Σ dm and dv_k = q_k·Σ dv over all that use it. The mixing weights
take dp_k = Σ dm·m_k and dq_k = Σ dv·v_k, through the softmax: p·(dp - Σ p·dp). A mean of n values has the
gradient 1/n, and a variance 2·(x - m_k)/n: so

    dx = r·g + Σ_k (dm_k/n_k + 2·(x - m_k)·dv_k/n_k)

where the gradients of LayerNorm's and BatchNorm's statistics first go back to m_IN and v_IN of their pool.

Insight: the softmax of var_weight sums to 1, so v + eps = Σ q_k·(v_k + eps). With one p_k = q_k = 1 the three
terms of that core are left; with all three, dx still sums to 0 over the batch.
"""

import math
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.sums import means, sum_products, sums
from ...module import Parameter
from ...ops import ones
from ...ops.arguments import check_flags
from ...ops.checks import check_channels, check_eps, check_pool, check_vectors
from ...registry import Case, ErrorCase, Input, positive, register
from ..core.moments import affine, std_of
from ..core.running_stats import RunningNorm, UpdateStatistics, update_both
from ..sample.instancenorm import instance_norm_forward
from .fixednorm import as_channels

POSITIONS, CHANNELS, SAMPLES = (2,), (1,), (0,)


def switchable_norm_composed(
    input: Tensor,
    mean_weight: Tensor,
    var_weight: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    eps: float = 1e-5,
) -> Tensor:
    """Switchable normalization from primitives (without the running update)."""
    N, C, *space = input.shape
    x = input.reshape(N, C, math.prod(space))
    statistics = []
    for pool in ((2,), (1, 2), (0, 2)):
        mean = x.mean(pool, keepdim=True)
        centered = x - mean
        statistics.append((mean, (centered * centered).mean(pool, keepdim=True)))
    if not training and running_mean is not None and running_var is not None:
        statistics[2] = running_mean.reshape(1, C, 1), running_var.reshape(1, C, 1)
    p, q = (w.exp() / w.exp().sum() for w in (mean_weight, var_weight))
    m = sum(p[k] * statistics[k][0] for k in range(3))
    v = sum(q[k] * statistics[k][1] for k in range(3))
    return affine((x - m) * (v + eps) ** -0.5, weight, bias, (C, 1)).reshape(input.shape)


def _softmax(logits: Array) -> Array:
    xp = namespace(logits)
    e = xp.exp(logits - logits.max())
    return e / e.sum()


def _statistics(
    mean: Array, var: Array, rstd: Array, running: tuple[PerChannel, PerChannel] | None, eps: float
) -> tuple[list[Array], list[Array]]:
    """Return m_k and v_k + eps of the three normalizations, from those of single channels, in float64.

    A variance that float32 cannot hold is taken from r.
    """
    is_held = (var > 1e-30) & (var < 1e30)
    m_k, v_k = [mean], [namespace(var).where(is_held, var + eps, std_of(rstd) ** 2)]
    for axes in (CHANNELS, SAMPLES):
        m_k.append(means(mean, axes))
        v_k.append(means(v_k[0] + (mean - m_k[-1]) ** 2, axes))
    if running is not None:
        m_k[2], v_k[2] = running[0], running[1] + eps
    return m_k, v_k


@in_blocks("z", "scale", "shift", weight=1.0, bias=0.0)
def _normalized(
    z: Channels, scale: Array, shift: Array, weight: PerChannel | None, bias: PerChannel | None
) -> Channels:
    return weight * (z * scale + shift) + bias


@kernel
def switchable_norm_forward(
    x: Channels,
    mean_weight: Array,
    var_weight: Array,
    weight: PerChannel | None,
    bias: PerChannel | None,
    running: tuple[PerChannel, PerChannel] | None,
    eps: float,
) -> tuple[Channels, Channels, Array, Array, Array, Any, Any]:
    """Return y and z (N, C, S); scale and shift of z, and r (N, C, 1); m_k and v_k + eps in float64.

    weight and bias are (1, C, 1). In evaluation, `running` are mean and var, constants.
    """
    z, _, var, rstd = instance_norm_forward(x, None, None, eps)
    origin, wide = upcast(x[:, :, :1]), numpy.float64
    mean = origin.astype(wide) + means(upcast(x) - origin, POSITIONS).astype(wide)
    m_k, v_k = _statistics(mean, var.astype(wide), rstd.astype(wide), running, eps)
    p, q = (_softmax(logits.astype(wide)) for logits in (mean_weight, var_weight))
    m = p[0] * m_k[0] + p[1] * m_k[1] + p[2] * m_k[2]
    r = (q[0] * v_k[0] + q[1] * v_k[1] + q[2] * v_k[2]) ** -0.5
    scale, shift = (a.astype(rstd.dtype) for a in (v_k[0] ** 0.5 * r, (mean - m) * r))
    return _normalized(z, scale, shift, weight, bias), z, scale, shift, r, m_k, v_k


def _through_pool(dm: Array, dv: Array, mean: Array, of_pool: Array, axes: tuple[int, ...]) -> Any:
    """Return the gradients of m_IN and v_IN, for those of the mean and variance of a pool of them."""
    dm, dv = means(dm, axes), means(dv, axes)
    return dm + 2 * (mean - of_pool) * dv, dv


@kernel
def switchable_norm_backward(
    dy: Channels,
    z: Channels,
    mean_weight: Array,
    var_weight: Array,
    weight: PerChannel | None,
    scale: Array,
    shift: Array,
    r: Array,
    m_k: Any,
    v_k: Any,
    training: bool,
) -> tuple[Channels, Array, Array, PerChannel, PerChannel]:
    """Return dx (N, C, S), dmean_weight and dvar_weight (3,), dweight and dbias (1, C, 1)."""
    given, xp, S = dy, namespace(dy), dy.shape[2]
    dy, z = upcast(dy), upcast(z)
    sum_dy, sum_dy_x_hat = sums(dy, POSITIONS), sum_products(dy, z * scale + shift, POSITIONS)
    w = 1.0 if weight is None else upcast(weight)
    dm, dv = -r * (w * sum_dy), -0.5 * r * r * (w * sum_dy_x_hat)
    p, q = (_softmax(logits.astype(r.dtype)) for logits in (mean_weight, var_weight))
    dp, dq = (xp.stack([(d * s).sum() for s in of]) for d, of in ((dm, m_k), (dv, v_k)))
    dmean_weight, dvar_weight = p * (dp - (p * dp).sum()), q * (dq - (q * dq).sum())
    dm_in, dv_in = p[0] * dm, q[0] * dv
    for k, axes in ((1, CHANNELS), (2, SAMPLES)) if training else ((1, CHANNELS),):
        more = _through_pool(p[k] * dm, q[k] * dv, m_k[0], m_k[k], axes)
        dm_in, dv_in = dm_in + more[0], dv_in + more[1]
    straight, through_m, through_v = (
        a.astype(dy.dtype) for a in (r * w, dm_in / S, 2 / S * dv_in * v_k[0] ** 0.5)
    )
    dx = downcast(straight * dy + through_m + z * through_v, given)
    found = dmean_weight.astype(mean_weight.dtype), dvar_weight.astype(var_weight.dtype)
    return dx, *found, sums(sum_dy_x_hat, SAMPLES), sums(sum_dy, SAMPLES)


class SwitchableNormFunction(Function):
    """y = w·(x - m)·r + b, m = Σ p_k·m_k, v = Σ q_k·v_k · dx = r·g + Σ_k (dm_k + 2·(x - m_k)·dv_k)/n_k

    With g = w·dy, dm = -r·Σ g and dv = -½·r²·Σ g·x̂ over the positions of one channel of one sample.
    """

    def forward(
        self,
        x: Array,
        mean_weight: Array,
        var_weight: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        eps: float,
        running: tuple[Array, Array] | None,
        update_statistics: UpdateStatistics,
    ) -> Array:
        pools, weight, bias = as_channels(x, weight, bias)
        vectors: Any = running and tuple([array.reshape(1, -1, 1) for array in running])
        found = switchable_norm_forward(pools, mean_weight, var_weight, weight, bias, vectors, eps)
        y, z, *rest = found
        if running is None:
            update_statistics(rest[-2][2], rest[-1][2] - eps)
        self.saved = z, mean_weight, var_weight, weight, *rest, running is None
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dp, dq, *vectors = switchable_norm_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return dx.reshape(dy.shape), dp, dq, *[vector.reshape(-1) for vector in vectors]


def switchable_norm(
    input: Tensor,
    mean_weight: Tensor,
    var_weight: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize with learned mixtures of the means and variances of InstanceNorm, LayerNorm and BatchNorm.

    Args:
        input: (N, C, ...) with more than one position.
        mean_weight: (3,), whose softmax mixes the means.
        var_weight: (3,), whose softmax mixes the variances.
        running_mean: (C,), BatchNorm's; used in evaluation, moved towards the batch's in training.
        running_var: the same for the (unbiased) variance.
        weight: (C,), or None.
        bias: (C,), or None.
        training: whether BatchNorm's statistics are the batch's own, and the running ones updated in place.
        momentum: weight of the new value in the running statistics, a fraction per step.
        eps: added to the mixed variance, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor, or `training` is not a bool.
        ValueError: if a vector is not (C,) or (3,), in evaluation without running statistics, if a channel
            has one position, or if eps is negative.

    Source: Luo, Ren, Peng, Zhang, Li 2019, arXiv:1806.10779.
    """
    C = check_channels(input, "switchable_norm")
    check_vectors(input, (3,), mean_weight=mean_weight, var_weight=var_weight)
    check_vectors(input, (C,), running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    check_flags(training=training)
    check_eps(eps)
    S = math.prod(input.shape[2:])
    check_pool(input, S, "switchable_norm", "a channel needs more than one position", "channel of a sample")
    running = None
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("switchable_norm in evaluation needs running_mean and running_var: pass both")
        running = running_mean.array.copy(), running_var.array.copy()

    def update_statistics(mean: Array, var: Array) -> None:
        if input.array.size:
            update_both(running_mean, running_var, mean, var, momentum, len(input) * S)

    options = {"eps": float(eps), "running": running, "update_statistics": update_statistics}
    return SwitchableNormFunction.apply(input, mean_weight, var_weight, weight, bias, **options)


class SwitchableNorm2d(RunningNorm):
    """Switchable normalization of (N, C, H, W): mean_weight and var_weight, (3,), start at ones.

    Weight, bias, momentum and buffers are as in BatchNorm2d. The authors' code mixes InstanceNorm's variance
    unbiased, and takes LayerNorm's and BatchNorm's from it as if it were biased; here all are biased.
    Source: Luo, Ren, Peng, Zhang, Li 2019, arXiv:1806.10779.
    """

    input_ndims = (4,)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias=True)
        self.mean_weight = Parameter(numpy.ones(3, numpy.float32))
        self.var_weight = Parameter(numpy.ones(3, numpy.float32))

    def forward(self, input: Tensor) -> Tensor:
        self.check_ndim(input)
        check_channels(input, "SwitchableNorm2d", self.num_features)
        return switchable_norm(
            input,
            self.mean_weight,
            self.var_weight,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.count_batch(),
            self.eps,
        )

    def is_affine_in_evaluation(self) -> bool:
        return False


_STATISTICS = (Input((3,), differentiable=False), positive(3, differentiable=False))

register(
    name="switchable_norm",
    function=switchable_norm,
    composed=switchable_norm_composed,
    parameters=("mean_weight", "var_weight", "weight", "bias"),
    cases=(
        Case(((2, 3, 2, 3), (3,), (3,), None, None, (3,), (3,)), {"training": True}),
        Case(((3, 3, 4), (3,), (3,), None, None, None, (3,)), {"training": True, "eps": 1e-2}),
        Case(((2, 3, 4), (3,), (3,), *_STATISTICS, (3,), None)),
    ),
    errors=(
        ErrorCase(
            lambda: switchable_norm(ones(2, 3, 2).long(), ones(3), ones(3)), TypeError, "floating-point"
        ),
        ErrorCase(lambda: switchable_norm(ones(2, 3, 2), ones(3), ones(3)), ValueError, "running_mean"),
        ErrorCase(lambda: switchable_norm(ones(2, 3, 2), ones(2), ones(3)), ValueError, "mean_weight"),
        ErrorCase(
            lambda: switchable_norm(ones(2, 3, 1), ones(3), ones(3), training=True),
            ValueError,
            "more than one",
        ),
        ErrorCase(lambda: SwitchableNorm2d(3, eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: SwitchableNorm2d(3)(ones(2, 3, 4)), ValueError, "4-d"),
    ),
    kind="normalization",
    title="SwitchableNorm",
    paper="Luo, Ren, Peng, Zhang, Li 2019, arXiv:1806.10779",
    pool="each channel of each sample, each sample, each channel over the batch: mixed",
    bench=(Case(((8, 64, 32, 32), (3,), (3,), None, None, (64,), (64,)), {"training": True}),),
)
