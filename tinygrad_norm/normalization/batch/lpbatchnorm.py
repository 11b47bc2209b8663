"""L1 and L∞ batch normalization: every channel is divided by its mean or its largest deviation.

    x (N, C, ...)   pool = all samples and positions of one channel, n = x.size / C values
    m = mean(x)   z = x - m   a = mean|z| (p = 1), √mean(z²) (p = 2) or max|z| (p = ∞)   d = κ·a
    r = 1/√(d² + eps)   x̂ = z·r   y = w·x̂ + b

κ is 1 or, with `gaussian`, √(π/2): √(π/2)·mean|z| is the standard deviation of normally distributed numbers.
p = 2 is batch normalization. For every p, d² is used where batch normalization uses the variance: eps is
added to it, and the running variance moves towards d²·n/(n - 1). The factor is right for every p, since m
makes z too short by √(1 - 1/n). Evaluation is that of batch normalization.

In the code: z centered, m mean + rest (see core/deviations.py), a deviation, κ factor, r rstd, x̂ x_hat, w
weight, b bias; x is (N, C, S).

Santurkar, Tsipras, Ilyas, Madry 2018, arXiv:1805.11604; κ in Hoffer et al. 2018, arXiv:1803.01814.

Backward in training, for one channel, from dy = dL/dy:

    db = Σ dy      dw = Σ dy·x̂      g := dL/dx̂ = w·dy

There are three paths from x_i to x̂_j, as in batchnorm.py, and with s_i := n·∂a/∂z_i:

    straight     ∂x_j/∂x_i = 1 if i = j                             r·g_i
    through m    ∂m/∂x_i = 1/n, ∂x̂_j/∂m = -r                        -r·mean(g)
    through r    ∂a/∂x_i = (s_i - mean(s))/n, ∂r/∂a = -r³·κ·d       -r·q·(s_i - mean(s))·mean(g·x̂), q = r·κ·d

    dx = r·(g - mean(g) - q·(s - mean(s))·mean(g·x̂))

    p = 1   s = sign(z)      p = ∞   s = n·sign(z) at the largest |z|, else 0

mean(s) comes from m, which enters a. For p = 2 it does not show: there q·s = x̂, whose mean is 0. For p = ∞,
entries that tie for the largest |z| share s in equal parts: one of the subgradients, as torch.amax has it.

Insight: p says who pays. For p = 1 every entry pays the same, for p = 2 in proportion to its distance from
the mean, for p = ∞ the farthest alone. And no entry is squared: no guard is needed up to 1/(2·n) of the
largest number, where the sums of n differences begin to overflow (on a GPU they are divided by n first).
"""

import math
from typing import Any

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.sums import channel_means, channel_sum_products, channel_sums, repeat_vectors
from ...backends.cuda.launch import CudaSource
from ...ops import ones
from ...ops.arguments import as_number, check_flags
from ...ops.checks import check_channels, check_eps, check_pool, check_vectors
from ...registry import Case, ErrorCase, Input, positive, register
from ..core.deviations import (
    DeviationKernels,
    centered,
    deviations,
    exact_means,
    inverse_deviations,
    slopes,
)
from ..core.moments import affine
from ..core.running_stats import RunningNorm, UpdateStatistics, update_both
from .batchnorm import batch_norm, batch_norm_composed
from .deviationloops import (
    deviation_backward_loop,
    deviation_forward_loop,
    deviation_rows,
    deviation_rows_backward,
)
from .fixednorm import PER_CHANNEL, as_channels, as_given
from .shortrows import attach_short_rows

_kernels = DeviationKernels(
    CudaSource(__file__, "../core/moments.cuh", "../core/powers.cuh", "../core/strips.cuh")
)
GAUSSIAN = math.sqrt(math.pi / 2)
FORWARD_SHAPES = dict.fromkeys(("mean", "rest", "deviation", "rstd", "weight", "bias"), PER_CHANNEL)
BACKWARD_SHAPES = dict.fromkeys(("dweight", "dbias", "weight"), PER_CHANNEL)


def lp_batch_norm_composed(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    p: float = 1.0,
    gaussian: bool = False,
) -> Tensor:
    """Lp batch normalization from primitives (without the running update): autograd finds the gradient."""
    if p == 2 or not training:
        return batch_norm_composed(input, running_mean, running_var, weight, bias, training, eps)
    pool, n = (0, *range(2, input.ndim)), max(input.array.size // max(input.shape[1], 1), 1)
    m = input.mean(pool, keepdim=True)
    z = input - m
    d = z.norm(p, pool, keepdim=True) * ((GAUSSIAN if gaussian else 1.0) / n if p == 1 else 1.0)
    rstd = (d * d + eps) ** -0.5
    return affine(z * rstd, weight, bias, (-1, *(1,) * (input.ndim - 2)))


@kernel
@in_blocks("x", "weight", "bias", axis=1, weight=1.0, bias=0.0)
@repeat_vectors
def lp_batch_norm_forward(
    x: Channels, weight: PerChannel | None, bias: PerChannel | None, p: float, factor: float, eps: float
) -> tuple[Channels, PerChannel, PerChannel, PerChannel, PerChannel]:
    """Return y (N, C, S), mean, rest, deviation and rstd (1, C, 1); weight and bias are (1, C, 1)."""
    if not x.size:
        nothing = namespace(x).zeros((1, x.shape[1], 1), x.dtype)
        return x.copy(), nothing, nothing, nothing, nothing
    mean, rest = exact_means(x)
    z = centered(x, mean, rest)
    deviation = deviations(z, p)
    rstd = inverse_deviations(factor * deviation, eps)
    return weight * rstd * z + bias, mean, rest, deviation, rstd


lp_batch_norm_forward.loops(**FORWARD_SHAPES)(deviation_forward_loop)
attach_short_rows(lp_batch_norm_forward, deviation_rows, FORWARD_SHAPES)


@lp_batch_norm_forward.cuda
def lp_batch_norm_forward_cuda(
    x: Channels, weight: PerChannel | None, bias: PerChannel | None, p: float, factor: float, eps: float
) -> tuple[Array, ...]:
    """Five kernels: shifts of strips and channels, deviations of strips and channels, and y."""
    mean, rest, deviation, rstd = _kernels.statistics(x, p, factor, eps)
    return _kernels.normalized(x, weight, bias, mean, rest, rstd), mean, rest, deviation, rstd


@kernel
@in_blocks("dy", "x", "weight", "mean", "rest", "deviation", "rstd", axis=1, weight=1.0)
@repeat_vectors
def lp_batch_norm_backward(
    dy: Channels,
    x: Channels,
    weight: PerChannel | None,
    mean: PerChannel,
    rest: PerChannel,
    deviation: PerChannel,
    rstd: PerChannel,
    p: float,
    factor: float,
) -> tuple[Channels, PerChannel, PerChannel]:
    """Return dx (N, C, S), dweight and dbias (1, C, 1)."""
    z, n = centered(x, mean, rest), max(x.shape[0] * x.shape[2], 1)
    dweight, dbias = channel_sum_products(dy, z * rstd), channel_sums(dy)
    s, q = slopes(z, deviation, p), rstd * factor * (factor * deviation)
    dx = rstd * weight * (dy - dbias / n - q * (s - channel_means(s)) * (dweight / n))
    return dx, dweight, dbias


lp_batch_norm_backward.loops(**BACKWARD_SHAPES)(deviation_backward_loop)
attach_short_rows(lp_batch_norm_backward, deviation_rows_backward, BACKWARD_SHAPES)


@lp_batch_norm_backward.cuda
def lp_batch_norm_backward_cuda(
    dy: Channels,
    x: Channels,
    weight: PerChannel | None,
    mean: PerChannel,
    rest: PerChannel,
    deviation: PerChannel,
    rstd: PerChannel,
    p: float,
    factor: float,
) -> tuple[Channels, PerChannel, PerChannel]:
    """Three kernels: the sums of strips, those of channels, and dx."""
    return _kernels.gradients(dy, x, weight, (mean, rest, deviation, rstd), p, factor)


class LpBatchNormFunction(Function):
    """y = w·(x - m)·r + b · dx = r·(g - mean(g) - q·(s - mean(s))·mean(g·x̂)) with g = w·dy, s = n·∂a/∂z

    `update_statistics` is called with the batch's mean and d² (1, C, 1).
    """

    def forward(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        p: float,
        factor: float,
        eps: float,
        update_statistics: UpdateStatistics,
    ) -> Array:
        pools, weight, bias = as_channels(x, weight, bias)
        y, *statistics = lp_batch_norm_forward(pools, weight, bias, p, factor, eps)
        mean, _, deviation, _ = statistics
        update_statistics(mean, (factor * deviation) ** 2)
        self.saved = pools, weight, *statistics, p, factor
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        return as_given(dy.shape, *lp_batch_norm_backward(dy.reshape(self.saved[0].shape), *self.saved))


def lp_batch_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    p: float = 1.0,
    gaussian: bool = False,
) -> Tensor:
    """Normalize each channel by its mean (p = 1) or largest (p = inf) deviation; p = 2 is `batch_norm`.

    Args:
        input: (N, C, ...).
        running_mean: (C,); used in evaluation, moved towards the batch's in training. May be None there.
        running_var: the same for the square of the deviation, n/(n - 1) times.
        weight: (C,), or None.
        bias: (C,), or None.
        training: whether the batch's own statistics are used, and the running ones updated in place.
        momentum: weight of the new value in the running statistics, a fraction per step.
        eps: added to the square of the deviation, in units of input².
        p: 1, 2 or inf.
        gaussian: for p = 1, whether the deviation is multiplied by √(π/2).

    Raises:
        TypeError: if the input is not a floating-point tensor, or a flag is not a bool.
        ValueError: if p is not 1, 2 or inf, if `gaussian` is set and p is not 1, and as in `batch_norm`.

    Source: Santurkar et al. 2018, arXiv:1805.11604.
    """
    check_flags(training=training, gaussian=gaussian)
    factor = _check_deviation(p, gaussian)
    if p == 2 or not training:
        return batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    C = check_channels(input, "lp_batch_norm")
    check_vectors(input, (C,), running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    check_eps(eps)
    n = input.array.shape[0] * math.prod(input.array.shape[2:])
    check_pool(input, n, "lp_batch_norm", "use a larger batch, or call eval()")

    def update_statistics(mean: Array, var: Array) -> None:
        if n:
            update_both(running_mean, running_var, mean, var, momentum, n)

    options: dict[str, Any] = {"p": float(p), "factor": factor, "eps": float(eps)}
    return LpBatchNormFunction.apply(input, weight, bias, **options, update_statistics=update_statistics)


def _check_deviation(p: float, gaussian: bool) -> float:
    """Return κ; raise ValueError unless there is a batch normalization by such a deviation."""
    if as_number(p, "p") not in (1, 2, math.inf):
        raise ValueError(f"p must be 1 (mean deviation), 2 (standard deviation) or inf (largest), got {p}")
    if gaussian and p != 1:
        raise ValueError(f"gaussian is a factor of the mean deviation, p = 1, got p = {p}")
    return GAUSSIAN if gaussian else 1.0


class _LpBatchNorm(RunningNorm):
    def __init__(
        self,
        num_features: int,
        p: float = 1.0,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        gaussian: bool = False,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias=True)
        check_flags(gaussian=gaussian)
        _check_deviation(p, gaussian)
        self.p, self.gaussian = float(p), gaussian

    def forward(self, input: Tensor) -> Tensor:
        self.check_ndim(input)
        check_channels(input, type(self).__name__, self.num_features)
        return lp_batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.count_batch(),
            self.eps,
            self.p,
            self.gaussian,
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, p={self.p}, gaussian={self.gaussian}"


class LpBatchNorm1d(_LpBatchNorm):
    """Batch normalization of (N, C) or (N, C, L) by the mean (p=1) or largest (p=inf) deviation.

    Parameters and buffers are those of BatchNorm1d, which it is for p=2; running_var is the square of the
    deviation. `gaussian` multiplies the mean deviation by √(π/2): an estimate of the standard deviation.
    Source: Santurkar et al. 2018, arXiv:1805.11604.
    """

    input_ndims = (2, 3)


class LpBatchNorm2d(_LpBatchNorm):
    """Batch normalization of (N, C, H, W) by the mean or largest deviation; see LpBatchNorm1d."""

    input_ndims = (4,)


_RUNNING = (Input((3,), differentiable=False), positive(3, differentiable=False))

register(
    name="lp_batch_norm",
    function=lp_batch_norm,
    composed=lp_batch_norm_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((5, 3), None, None, (3,), (3,)), {"training": True}),
        Case(((4, 3, 2), None, None, (3,), None), {"training": True, "gaussian": True, "eps": 0.1}),
        Case(((5, 3), None, None, (3,), (3,)), {"training": True, "p": math.inf}),
        Case(((2, 3, 2, 2), None, None, None, (3,)), {"training": True, "p": math.inf, "eps": 0.1}),
        Case(((2, 3, 7, 7), None, None, (3,), (3,)), {"training": True}),
        Case(((2, 3, 7, 7), None, None, (3,), (3,)), {"training": True, "p": math.inf}),
        Case(((2, 3, 1, 3, 2), None, None, (3,), (3,)), {"training": True, "p": 2.0}),
        Case(((4, 3), *_RUNNING, (3,), (3,)), {"training": False, "p": math.inf}),
        Case(((0, 3), None, None, (3,), (3,)), {"training": True}),
    ),
    errors=(
        ErrorCase(lambda: lp_batch_norm(ones(1, 3), training=True), ValueError, "more than one"),
        ErrorCase(lambda: lp_batch_norm(ones(2, 3), training=True, p=3.0), ValueError, "p must be 1"),
        ErrorCase(
            lambda: lp_batch_norm(ones(2, 3), training=True, p=math.inf, gaussian=True), ValueError, "p = 1"
        ),
        ErrorCase(lambda: lp_batch_norm(ones(2, 3)), ValueError, "running_mean"),
        ErrorCase(lambda: lp_batch_norm(ones(2, 3), weight=ones(2), training=True), ValueError, "weight"),
        ErrorCase(lambda: LpBatchNorm1d(3)(ones(2, 4)), ValueError, "3 channels"),
        ErrorCase(lambda: LpBatchNorm2d(3)(ones(2, 3)), ValueError, "4-d"),
        ErrorCase(lambda: LpBatchNorm1d(3, p=0.5), ValueError, "p must be 1"),
    ),
    kind="normalization",
    title="LpBatchNorm",
    paper="Santurkar et al. 2018, arXiv:1805.11604",
    pool="each channel, over samples and positions",
    bench=tuple(
        Case((shape, None, None, shape[1:2], shape[1:2]), {"training": True, "p": p})
        for shape, p in (((256, 128), 1.0), ((64, 64, 32, 32), 1.0), ((64, 64, 32, 32), math.inf))
    ),
)
