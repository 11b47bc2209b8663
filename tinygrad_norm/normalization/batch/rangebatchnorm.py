"""Range batch normalization: every channel is divided by its range, scaled to a normal deviation.

    x (N, C, ...)   pool = all samples and positions of one channel, n = x.size / C values
    m = mean(x)   R = max(x) - min(x)   κ = 1/√(2·ln n)   d = κ·R
    r = 1/√(d² + eps)   x̂ = (x - m)·r   y = w·x̂ + b

Of n normally distributed numbers with deviation σ, R is about 2·√(2·ln n)·σ for large n: d is about 2·σ, and
x̂ has a deviation of about 1/2 (0.67 for n = 64), which w can undo. As in lpbatchnorm.py, eps is added to d²,
and the running variance moves towards d²·n/(n - 1). Evaluation is that of batch normalization.

In the code: m mean + rest (see core/deviations.py), κ factor, d deviation, r rstd, max high, min low; x is
(N, C, S), and the bodies are those of fixednorm.py, with variance 1 and weight w·r.

Banner, Hubara, Hoffer, Soudry 2018, arXiv:1805.11046.

Backward in training, for one channel, from dy = dL/dy:

    db = Σ dy      dw = Σ dy·x̂      g := dL/dx̂ = w·dy

There are three paths from x_i to x̂_j, as in batchnorm.py, and with s_i := n·∂R/∂x_i:

    straight     ∂x_j/∂x_i = 1 if i = j                     r·g_i
    through m    ∂m/∂x_i = 1/n, ∂x̂_j/∂m = -r                -r·mean(g)
    through r    ∂R/∂x_i = s_i/n, ∂r/∂R = -r³·κ·d           -r·q·s_i·mean(g·x̂), q = r·κ·d

    dx = r·(g - mean(g) - q·s·mean(g·x̂))      s = n at the maximum, -n at the minimum, else 0

Entries that tie for an extreme share s in equal parts, as in torch.amax.

Insight: two entries pay for the scale of all. max|x - m| (lpbatchnorm.py, p = ∞) has one, and moves with m; R
does not: s has mean 0 by itself.
"""

import math

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, host_can_read, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import is_half, upcast
from ...backends.float_info import finfo
from ...ops import ones
from ...ops.arguments import check_flags
from ...ops.checks import check_channels, check_eps, check_pool, check_vectors
from ...registry import Case, ErrorCase, Input, positive, register
from ..core.deviations import exact_means, inverse_deviations
from ..core.moments import affine
from ..core.running_stats import RunningNorm, UpdateStatistics, update_both
from .batchnorm import batch_norm, batch_norm_composed
from .fixednorm import as_channels, as_given, batch_norm_eval_backward, batch_norm_eval_forward


def range_batch_norm_composed(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Range batch normalization from primitives (without the running update): autograd finds the gradient."""
    if not training:
        return batch_norm_composed(input, running_mean, running_var, weight, bias, training, eps)
    pool, n = (0, *range(2, input.ndim)), input.array.size // max(input.shape[1], 1)
    if not n:
        return affine(input, weight, bias, (-1, *(1,) * (input.ndim - 2)))
    d = (input.amax(pool, keepdim=True) - input.amin(pool, keepdim=True)) * _factor(n)
    z = input - input.mean(pool, keepdim=True)
    return affine(z * (d * d + eps) ** -0.5, weight, bias, (-1, *(1,) * (input.ndim - 2)))


def _factor(n: int) -> float:
    """Return κ of n values."""
    return 1 / math.sqrt(2 * math.log(max(n, 2)))


@in_blocks("dx", "x", "high", "low", "slope_high", "slope_low", "shift", axis=1)
def _less_through_statistics(
    dx: Channels,
    x: Channels,
    high: PerChannel,
    low: PerChannel,
    slope_high: PerChannel,
    slope_low: PerChannel,
    shift: PerChannel,
) -> Channels:
    return dx - shift - slope_high * (x == high) + slope_low * (x == low)


@kernel
def range_batch_norm_forward(
    x: Channels, weight: PerChannel | None, bias: PerChannel | None, eps: float
) -> tuple[Channels, PerChannel, PerChannel, PerChannel, PerChannel]:
    """Return y (N, C, S), mean, rest, deviation and rstd (1, C, 1); weight and bias are (1, C, 1)."""
    if not x.size:
        nothing = namespace(x).zeros((1, x.shape[1], 1), x.dtype)
        return x.copy(), nothing, nothing, nothing, nothing
    wide = upcast(x)
    mean, rest = (s[..., :1] for s in exact_means(wide))  # repeated, if rows are short
    deviation = (x.max((0, 2), keepdims=True).astype(wide.dtype) - x.min((0, 2), keepdims=True)) * (
        wide.dtype.type(_factor(x.shape[0] * x.shape[2]))
    )
    rstd = inverse_deviations(deviation, eps)
    scale = rstd if weight is None else weight * rstd
    shift = -scale * rest if bias is None else bias - scale * rest
    y, _ = batch_norm_eval_forward(x, scale, shift, mean, namespace(x).ones_like(mean), 0.0)
    return y, mean, rest, deviation, rstd


@kernel
def range_batch_norm_backward(
    dy: Channels,
    x: Channels,
    weight: PerChannel | None,
    mean: PerChannel,
    rest: PerChannel,
    deviation: PerChannel,
    rstd: PerChannel,
) -> tuple[Channels, PerChannel, PerChannel]:
    """Return dx (N, C, S), dweight and dbias (1, C, 1)."""
    if not x.size:
        return dy.copy(), mean, mean
    n, scale = x.shape[0] * x.shape[2], rstd if weight is None else weight * rstd
    straight, dz, dbias = batch_norm_eval_backward(dy, x, scale, mean, namespace(x).ones_like(mean))
    dweight = rstd * (dz - rest * dbias)
    high, low = x.max((0, 2), keepdims=True), x.min((0, 2), keepdims=True)
    slope = scale * (rstd * deviation) * rstd.dtype.type(_factor(n)) * dweight
    ties = (namespace(x).maximum((x == extreme).sum((0, 2), keepdims=True), 1) for extreme in (high, low))
    slopes = (slope / count.astype(slope.dtype) for count in ties)
    return _less_through_statistics(straight, x, high, low, *slopes, scale * dbias / n), dweight, dbias


def _unit(x: Channels, deviation: PerChannel) -> float:
    """Return 1, or what to divide x by where a range, or a sum of differences, would overflow.

    A GPU is not waited for: there, such an x gives NaN.
    """
    n = x.shape[0] * x.shape[2]
    if not n or not host_can_read(x) or is_half(x):  # float32 can hold the sums of half types
        return 1.0
    if not (deviation >= finfo(deviation.dtype).max / (16 * n)).any():
        return 1.0
    return float(2 ** (4 + n.bit_length()))


class RangeBatchNormFunction(Function):
    """y = w·(x - m)·r + b · dx = r·(g - mean(g) - q·s·mean(g·x̂)) with g = w·dy, s = n·∂R/∂x

    `update_statistics` is called with the batch's mean and d² (1, C, 1).
    """

    def forward(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        eps: float,
        update_statistics: UpdateStatistics,
    ) -> Array:
        pools, weight, bias = as_channels(x, weight, bias)
        y, *statistics = range_batch_norm_forward(pools, weight, bias, eps)
        self.unit = _unit(pools, statistics[2])
        if self.unit != 1:
            pools = pools / self.unit
            y, *statistics = range_batch_norm_forward(pools, weight, bias, eps / self.unit**2)
        update_statistics(statistics[0] * self.unit, (statistics[2] * self.unit) ** 2)
        self.saved = pools, weight, *statistics
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, *vectors = range_batch_norm_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return as_given(dy.shape, dx if self.unit == 1 else dx / self.unit, *vectors)


def range_batch_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel by its range over the batch, divided by √(2·ln n).

    Args:
        input: (N, C, ...).
        running_mean: (C,); used in evaluation, moved towards the batch's in training. May be None there.
        running_var: the same for the square of the deviation, n/(n - 1) times.
        weight: (C,), or None.
        bias: (C,), or None.
        training: whether the batch's own statistics are used, and the running ones updated in place.
        momentum: weight of the new value in the running statistics, a fraction per step.
        eps: added to the square of the deviation, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor, or `training` is not a bool.
        ValueError: as in `batch_norm`.

    Source: Banner et al. 2018, arXiv:1805.11046.
    """
    check_flags(training=training)
    if not training:
        return batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    C = check_channels(input, "range_batch_norm")
    check_vectors(input, (C,), running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    check_eps(eps)
    n = input.array.size // max(C, 1)
    check_pool(input, n, "range_batch_norm", "use a larger batch, or call eval()")

    def update_statistics(mean: Array, var: Array) -> None:
        if n:
            update_both(running_mean, running_var, mean, var, momentum, n)

    return RangeBatchNormFunction.apply(
        input, weight, bias, eps=float(eps), update_statistics=update_statistics
    )


class _RangeBatchNorm(RunningNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias=True)

    def forward(self, input: Tensor) -> Tensor:
        self.check_ndim(input)
        check_channels(input, type(self).__name__, self.num_features)
        return range_batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.count_batch(),
            self.eps,
        )


class RangeBatchNorm1d(_RangeBatchNorm):
    """Batch normalization of (N, C) or (N, C, L) by the range of each channel.

    Parameters and buffers are those of BatchNorm1d; running_var is the square of range/√(2·ln n).
    Source: Banner et al. 2018, arXiv:1805.11046.
    """

    input_ndims = (2, 3)


class RangeBatchNorm2d(_RangeBatchNorm):
    """Batch normalization of (N, C, H, W) by the range of each channel; see RangeBatchNorm1d."""

    input_ndims = (4,)


_RUNNING = (Input((3,), differentiable=False), positive(3, differentiable=False))

register(
    name="range_batch_norm",
    function=range_batch_norm,
    composed=range_batch_norm_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((5, 3), None, None, (3,), (3,)), {"training": True}),
        Case(((2, 3, 2, 2), None, None, (3,), None), {"training": True, "eps": 0.1}),
        Case(((4, 3, 7), None, None, None, (3,)), {"training": True}),
        Case(((4, 3), *_RUNNING, (3,), (3,)), {"training": False}),
        Case(((0, 3), None, None, (3,), (3,)), {"training": True}),
    ),
    errors=(
        ErrorCase(lambda: range_batch_norm(ones(1, 3), training=True), ValueError, "more than one"),
        ErrorCase(lambda: range_batch_norm(ones(2, 3)), ValueError, "running_mean"),
        ErrorCase(lambda: range_batch_norm(ones(2, 3), weight=ones(2), training=True), ValueError, "weight"),
        ErrorCase(lambda: RangeBatchNorm1d(3)(ones(2, 4)), ValueError, "3 channels"),
        ErrorCase(lambda: RangeBatchNorm2d(3)(ones(2, 3)), ValueError, "4-d"),
    ),
    kind="normalization",
    title="RangeBatchNorm",
    paper="Banner, Hubara, Hoffer, Soudry 2018, arXiv:1805.11046",
    pool="each channel, over samples and positions: its range",
    bench=(Case(((64, 64, 32, 32), None, None, (64,), (64,)), {"training": True}),),
)
