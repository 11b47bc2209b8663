"""Batch normalization: every channel gets mean 0 and variance 1 over the batch.

    x (N, C, ...)   pool = all samples and positions of one channel, n = x.size / C values
    m = mean(x)   v = mean((x - m)²)   r = 1/√(v + eps)   x̂ = (x - m)·r   y = w·x̂ + b = w·r·(x - m) + b

m, v, r, w and b are (C,). In evaluation m and v are constants: the running statistics

    running_mean ← (1 - momentum)·running_mean + momentum·m
    running_var  ← (1 - momentum)·running_var  + momentum·v·n/(n - 1)

which were updated in training. y is made with the biased variance v, the running one is unbiased;
momentum weighs the new value; momentum=None gives every batch the same weight (1/number of batches).

In the code: m mean, v var, r rstd, x̂ x_hat, w weight, b bias; x is (N, C, S) with S positions.

Ioffe, Szegedy 2015, arXiv:1502.03167.

Backward in training, for one channel, from dy = dL/dy. The affine part is elementwise, and the whole pool
shares its parameters:

    db = Σ dy      dw = Σ dy·x̂      g := dL/dx̂ = w·dy

Every x_i moves every x̂_j of its pool, so by the chain rule dL/dx_i = Σ_j g_j·∂x̂_j/∂x_i. With x̂_j = (x_j -
m)·r there are three paths from x_i to x̂_j, and their contributions add up:

    straight     ∂x_j/∂x_i = 1 if i = j                     r·g_i
    through m    ∂m/∂x_i = 1/n, ∂x̂_j/∂m = -r                -r·mean(g)
    through r    ∂v/∂x_i = (2/n)·(x_i - m), ∂r/∂v = -r³/2    -r·x̂_i·mean(g·x̂)

    (m also enters v, but Σ_j (x_j - m) = 0, so r does not move with m.)

    dx = r·(g - mean(g) - x̂·mean(g·x̂))

w is one number per pool, so mean(g) = w·mean(dy) = w·db/n and mean(g·x̂) = w·dw/n:

    dx = r·w·(dy - db/n - x̂·dw/n)

Backward in evaluation: m and r are constants, and only the straight path is left, dx = r·w·dy.

Insight: the two parameter gradients are exactly what dx needs. And mean(dx) = 0: a bias right before the
layer learns nothing.
"""

import math

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, kernel
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.sums import (
    channel_mean_products,
    channel_means,
    channel_sum_products,
    channel_sums,
    repeat_vectors,
)
from ...ops.arguments import check_flags
from ...ops.checks import check_channels, check_eps, check_pool, check_vectors
from ...registry import Case, ErrorCase, Input, positive, register
from ..core.exactness import (
    exact_for_any_scale,
    exact_near_the_limits,
    is_near_the_limits,
    loses_digits,
)
from ..core.moments import affine, standardized
from ..core.running_stats import RunningNorm, UpdateStatistics, update_both
from .fixednorm import PER_CHANNEL, BatchNormEvalFunction, as_channels, as_given
from .fixednorm import channel_kernels as _kernels
from .shortrows import attach_short_rows, short_rows, short_rows_backward

POOL = (0, 2)  # of x (N, C, S): the samples and the positions of one channel
FORWARD_SHAPES = dict.fromkeys(("mean", "var", "rstd", "weight", "bias"), PER_CHANNEL)
BACKWARD_SHAPES = dict.fromkeys(("dweight", "dbias", "weight"), PER_CHANNEL)


def batch_norm_composed(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    eps: float = 1e-5,
) -> Tensor:
    """Batch normalization from primitives (without the running update): autograd finds the gradient."""
    per_channel = (-1, *(1,) * (input.ndim - 2))
    if training or running_mean is None or running_var is None:
        x_hat = standardized(input, (0, *range(2, input.ndim)), eps)
    else:
        mean, var = running_mean.reshape(per_channel), running_var.reshape(per_channel)
        x_hat = (input - mean) * (var + eps) ** -0.5
    return affine(x_hat, weight, bias, per_channel)


@kernel
@in_blocks("x", "weight", "bias", axis=1, weight=1.0, bias=0.0)
@exact_for_any_scale(POOL, "mean", "var", "rstd")
@repeat_vectors
def batch_norm_forward(
    x: Channels, weight: PerChannel | None, bias: PerChannel | None, eps: float
) -> tuple[Channels, PerChannel, PerChannel, PerChannel]:
    """Return y (N, C, S), mean, var and rstd (1, C, 1); weight and bias are (1, C, 1)."""
    mean = channel_means(x)
    centered = x - mean
    var = channel_mean_products(centered, centered)
    rstd = (var + eps) ** -0.5
    return weight * rstd * centered + bias, mean, var, rstd


@batch_norm_forward.loops(**FORWARD_SHAPES)
def batch_norm_forward_loop(
    x: Channels,
    weight: PerChannel,
    bias: PerChannel,
    eps: float,
    y: Channels,
    mean: PerChannel,
    var: PerChannel,
    rstd: PerChannel,
    zero: float,
    left: Array,
    start: int,
    stop: int,
) -> None:
    """One channel after the other: twice to find m and v, once to write y."""
    (N, _, S), real = x.shape, x.dtype.type
    for c in range(start, stop):
        total = 0.0
        for n in range(N):
            s = zero
            for i in range(S):
                s += x[n, c, i]
            total += s
        m = real(total / (N * S))
        total = 0.0
        for n in range(N):
            s = zero
            for i in range(S):
                s += (x[n, c, i] - m) * (x[n, c, i] - m)
            total += s
        v = real(total / (N * S))
        r = real(1 / numpy.sqrt(v + eps))
        w, b = weight[0, c, 0] * r, bias[0, c, 0]
        for n in range(N):
            for i in range(S):
                y[n, c, i] = w * (x[n, c, i] - m) + b
        mean[0, c, 0], var[0, c, 0], rstd[0, c, 0], left[c] = m, v, r, loses_digits(m, r)


attach_short_rows(batch_norm_forward, short_rows, FORWARD_SHAPES)


@batch_norm_forward.cuda
def batch_norm_forward_cuda(
    x: Channels, weight: PerChannel | None, bias: PerChannel | None, eps: float
) -> tuple[Array, ...]:
    """Three kernels: the moments of strips, those of channels, and y."""
    mean, var, rstd = _kernels.statistics(x, eps)
    return _kernels.normalized(x, weight, bias, mean, rstd), mean, var, rstd


@kernel
@in_blocks("dy", "x", "weight", "mean", "rstd", axis=1, weight=1.0)
@exact_near_the_limits(POOL)
@repeat_vectors
def batch_norm_backward(
    dy: Channels, x: Channels, weight: PerChannel | None, mean: PerChannel, rstd: PerChannel
) -> tuple[Channels, PerChannel, PerChannel]:
    """Return dx (N, C, S), dweight and dbias (1, C, 1)."""
    x_hat = (x - mean) * rstd
    dweight, dbias = channel_sum_products(dy, x_hat), channel_sums(dy)
    n = x.shape[0] * x.shape[2]
    dx = rstd * weight * (dy - dbias / n - x_hat * (dweight / n))
    return dx, dweight, dbias


@batch_norm_backward.loops(**BACKWARD_SHAPES)
def batch_norm_backward_loop(
    dy: Channels,
    x: Channels,
    weight: PerChannel,
    mean: PerChannel,
    rstd: PerChannel,
    dx: Channels,
    dweight: PerChannel,
    dbias: PerChannel,
    zero: float,
    left: Array,
    start: int,
    stop: int,
) -> None:
    """One channel after the other: once for both sums, once to write dx."""
    (N, _, S), real = x.shape, x.dtype.type
    for c in range(start, stop):
        m, r = mean[0, c, 0], rstd[0, c, 0]
        left[c] = is_near_the_limits(m, r)
        dw = db = 0.0
        for n in range(N):
            s = s_x_hat = zero
            for i in range(S):
                s += dy[n, c, i]
                s_x_hat += dy[n, c, i] * ((x[n, c, i] - m) * r)
            db += s
            dw += s_x_hat
        w, mean_dy, mean_dy_x_hat = r * weight[0, c, 0], real(db / (N * S)), real(dw / (N * S))
        for n in range(N):
            for i in range(S):
                dx[n, c, i] = w * (dy[n, c, i] - mean_dy - (x[n, c, i] - m) * r * mean_dy_x_hat)
        dweight[0, c, 0], dbias[0, c, 0] = dw, db


attach_short_rows(batch_norm_backward, short_rows_backward, BACKWARD_SHAPES)


@batch_norm_backward.cuda
def batch_norm_backward_cuda(
    dy: Channels, x: Channels, weight: PerChannel | None, mean: PerChannel, rstd: PerChannel
) -> tuple[Channels, PerChannel, PerChannel]:
    """Three kernels: the sums of strips, those of channels, and dx."""
    sums = _kernels.sums(dy, x, mean, rstd)
    dweight, dbias = sums[0], sums[1]
    return _kernels.gradient(dy, x, weight, mean, rstd, dweight, dbias), dweight, dbias


class BatchNormFunction(Function):
    """y = w·(x - m)·r + b · dx = r·(g - mean(g) - x̂·mean(g·x̂)) with g = w·dy, means over each channel

    `update_statistics` is called with the batch's mean and biased variance (1, C, 1).
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
        y, mean, var, rstd = batch_norm_forward(pools, weight, bias, eps)
        update_statistics(mean, var)
        self.saved = pools, weight, mean, rstd
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        return as_given(dy.shape, *batch_norm_backward(dy.reshape(self.saved[0].shape), *self.saved))


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel over the batch, then scale and shift.

    Args:
        input: (N, C, ...).
        running_mean: (C,); used in evaluation, moved towards the batch's in training. May be None there.
        running_var: the same for the (unbiased) variance.
        weight: (C,), or None.
        bias: (C,), or None.
        training: whether the batch's own statistics are used, and the running ones updated in place.
        momentum: weight of the new value in the running statistics, a fraction per step.
        eps: added to the variance, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor, or `training` is not a bool.
        ValueError: if a vector is not (C,), in evaluation without running statistics, in training with one
            value per channel, whose variance is always 0, or if eps is negative.

    Source: Ioffe, Szegedy 2015, arXiv:1502.03167.
    """
    C = check_channels(input, "batch_norm")
    check_vectors(input, (C,), running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if type(eps) is not float or not 0 <= eps < math.inf:  # small layers are bound by their checks
        check_eps(eps)
    if training is not True:
        check_flags(training=training)
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm in evaluation needs running_mean and running_var: pass both")
        return BatchNormEvalFunction.apply(
            input, weight, bias, mean=running_mean.array.copy(), var=running_var.array.copy(), eps=eps
        )
    shape = input.array.shape
    n = shape[0] * math.prod(shape[2:])
    check_pool(input, n, "batch_norm", "use a larger batch, or call eval()")

    def update_statistics(mean: Array, var: Array) -> None:
        if n:
            update_both(running_mean, running_var, mean, var, momentum, n)

    return BatchNormFunction.apply(input, weight, bias, eps=eps, update_statistics=update_statistics)


class _BatchNorm(RunningNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias)

    def forward(self, input: Tensor) -> Tensor:
        shape = input.array.shape if isinstance(input, Tensor) else ()
        if len(shape) not in self.input_ndims or shape[1] != self.num_features:
            self.check_ndim(input)
            check_channels(input, type(self).__name__, self.num_features)
        return batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.count_batch(),
            self.eps,
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalization of (N, C) or (N, C, L) with learned weight (ones) and bias (zeros).

    Training uses the batch's statistics and updates the running ones. Evaluation uses the running ones, or
    the batch's if `track_running_stats` is False. `momentum` is the weight of the new value, a
    fraction per step; None weighs all batches alike. Source: Ioffe, Szegedy 2015, arXiv:1502.03167.
    """

    input_ndims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalization of (N, C, H, W); see BatchNorm1d."""

    input_ndims = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalization of (N, C, D, H, W); see BatchNorm1d."""

    input_ndims = (5,)


_STATISTICS = (Input((3,), differentiable=False), positive(3, differentiable=False))

register(
    name="batch_norm",
    function=batch_norm,
    composed=batch_norm_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((4, 3), None, None, (3,), (3,)), {"training": True}),
        Case(((4, 3), None, None, None, None), {"training": True}),
        Case(((4, 3, 2), None, None, (3,), None), {"training": True, "eps": 1e-3}),
        Case(((4, 3, 2), None, None, None, (3,)), {"training": True}),
        Case(((2, 3, 2, 2), None, None, (3,), (3,)), {"training": True}),
        Case(((2, 3, 2, 1, 2), None, None, (3,), (3,)), {"training": True}),
        Case(((2, 3, 7, 7), None, None, (3,), (3,)), {"training": True}),
        Case(((4, 3), *_STATISTICS, (3,), (3,)), {"training": False}),
        Case(((2, 3, 2, 2), *_STATISTICS, (3,), (3,)), {"training": False, "eps": 1e-3}),
        Case(((1, 3), *_STATISTICS, None, None), {"training": False}),
        Case(((2, 3, 50), *_STATISTICS, (3,), (3,)), {"training": False}),
        Case(((0, 3), *_STATISTICS, (3,), (3,)), {"training": False}),
    ),
    errors=(
        ErrorCase(lambda: batch_norm(Tensor(numpy.ones((1, 3))), training=True), ValueError, "more than one"),
        ErrorCase(lambda: batch_norm(Tensor(numpy.ones((2, 3)))), ValueError, "running_mean"),
        ErrorCase(lambda: batch_norm(Tensor(numpy.ones(3)), training=True), ValueError, "at least 2 axes"),
        ErrorCase(
            lambda: batch_norm(Tensor(numpy.ones((2, 3))), weight=Tensor(numpy.ones(2)), training=True),
            ValueError,
            "weight",
        ),
        ErrorCase(lambda: BatchNorm1d(3)(Tensor(numpy.ones((2, 4)))), ValueError, "3 channels"),
        ErrorCase(lambda: BatchNorm2d(3)(Tensor(numpy.ones((2, 3)))), ValueError, "4-d"),
        ErrorCase(lambda: BatchNorm1d(3, momentum=2.0), ValueError, "momentum"),
        ErrorCase(lambda: BatchNorm1d(0), ValueError, "num_features"),
    ),
    kind="normalization",
    title="BatchNorm",
    paper="Ioffe, Szegedy 2015, arXiv:1502.03167",
    pool="each channel, over samples and positions",
    torch="torch.nn.functional.batch_norm",
    bench=tuple(
        Case((shape, None, None, shape[1:2], shape[1:2]), {"training": True})
        for shape in ((64, 128), (256, 128), (128, 16, 8, 8), (64, 64, 32, 32))
    ),
)
