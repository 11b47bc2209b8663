"""Instance normalization: every channel of every sample gets mean 0 and variance 1 over its positions.

    x (N, C, ...)   pool = the S positions of one channel of one sample
    m = mean(x)   v = mean((x - m)²)   r = 1/√(v + eps)   x̂ = (x - m)·r   y = w·x̂ + b = w·r·(x - m) + b

m, v and r are (N, C); w and b are (C,). With `track_running_stats`, running averages of m and of the unbiased
variance, each averaged over the batch, are kept; evaluation uses them as BatchNorm does.

In the code: m mean, v var, r rstd, x̂ x_hat, w weight, b bias; x is (N, C, S).

Ulyanov, Vedaldi, Lempitsky 2016, arXiv:1607.08022.

Backward, from dy = dL/dy. The affine part is elementwise, and samples and positions share its parameters:

    db = Σ dy      dw = Σ dy·x̂      over samples and positions      g := dL/dx̂ = w·dy

Every x_i moves every x̂_j of its pool of S values, so by the chain rule dL/dx_i = Σ_j g_j·∂x̂_j/∂x_i. With
x̂_j = (x_j - m)·r there are three paths from x_i to x̂_j, and their contributions add up:

    straight     ∂x_j/∂x_i = 1 if i = j                     r·g_i
    through m    ∂m/∂x_i = 1/S, ∂x̂_j/∂m = -r                -r·mean(g)
    through r    ∂v/∂x_i = (2/S)·(x_i - m), ∂r/∂v = -r³/2    -r·x̂_i·mean(g·x̂)

    (m also enters v, but Σ_j (x_j - m) = 0, so r does not move with m.)

    dx = r·(g - mean(g) - x̂·mean(g·x̂))

w is one number in each pool, so it goes in front: g = w·dy, and with the means of a pool

    dx = r·w·(dy - mean(dy) - x̂·mean(dy·x̂))

Insight: it erases the contrast and brightness of a channel, sample by sample, which is why style
transfer wants it; it is GroupNorm with one channel per group.
"""

import math

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.pool_loops import kept
from ...backends.cpu.sums import mean_products, means, sums
from ...backends.cuda.launch import CudaSource, contiguous, inverse, kept_bytes, teams, wide, wide_empty
from ...backends.cuda.teams import BACKWARD_SHAPES
from ...ops.arguments import check_flags
from ...ops.checks import check_channels, check_eps, check_pool, check_vectors
from ...registry import Case, ErrorCase, Input, positive, register
from ..batch.batchnorm import batch_norm, batch_norm_composed
from ..core.exactness import (
    exact_for_any_scale,
    exact_near_the_limits,
    is_near_the_limits,
    loses_digits,
)
from ..core.moments import affine, standardized
from ..core.running_stats import RunningNorm, UpdateStatistics, update_running

_kernels = CudaSource(__file__, "../core/moments.cuh")
POOL = (2,)  # of x (N, C, S): the positions of one channel of one sample
SAMPLES = (0,)  # which share weight and bias (1, C, 1)
PER_POOL, PER_CHANNEL = kept(0, 1), kept(1)


def instance_norm_composed(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    eps: float = 1e-5,
) -> Tensor:
    """Instance normalization from primitives (without the running update): autograd finds the gradient."""
    if not use_input_stats:
        return batch_norm_composed(input, running_mean, running_var, weight, bias, False, eps)
    axes = tuple(range(2, input.ndim))
    per_channel = (-1, *(1,) * len(axes))
    return affine(standardized(input, axes, eps), weight, bias, per_channel)


@kernel
@in_blocks("x", weight=1.0, bias=0.0)
@exact_for_any_scale(POOL, "mean", "var", "rstd")
def instance_norm_forward(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array, Array]:
    """Return y (N, C, S), mean, var and rstd (N, C, 1); weight and bias are (1, C, 1)."""
    mean = means(x, POOL)
    centered = x - mean
    var = mean_products(centered, centered, POOL)
    rstd = (var + eps) ** -0.5
    return weight * rstd * centered + bias, mean, var, rstd


@instance_norm_forward.loops(mean=PER_POOL, var=PER_POOL, rstd=PER_POOL, weight=PER_CHANNEL, bias=PER_CHANNEL)
def instance_norm_forward_loop(
    x: Array,
    weight: Array,
    bias: Array,
    eps: float,
    y: Array,
    mean: Array,
    var: Array,
    rstd: Array,
    zero: float,
    left: Array,
) -> None:
    """One pool after the other: twice to find m and v, once to write y."""
    (N, C, S), real = x.shape, x.dtype.type
    for n in range(N):
        left[n] = False
        for c in range(C):
            s = zero
            for i in range(S):
                s += x[n, c, i]
            m = real(s / S)
            s = zero
            for i in range(S):
                s += (x[n, c, i] - m) * (x[n, c, i] - m)
            v = real(s / S)
            r = real(1 / numpy.sqrt(v + eps))
            w, b = weight[0, c, 0] * r, bias[0, c, 0]
            for i in range(S):
                y[n, c, i] = w * (x[n, c, i] - m) + b
            mean[n, c, 0], var[n, c, 0], rstd[n, c, 0] = m, v, r
            left[n] |= loses_digits(m, r)


@instance_norm_forward.cuda
def instance_norm_forward_cuda(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, ...]:
    """One kernel: every pool is read once and written once."""
    sizes = *x.shape[1:], inverse(x.shape[1])
    return _kernels.forward_pools("instance_norm_forward", x, (weight, bias), 3, sizes, eps)


@kernel
@in_blocks("dy", "x", "mean", "rstd", add=True, weight=1.0)
@exact_near_the_limits(POOL)
def instance_norm_backward(
    dy: Array, x: Array, weight: Array | None, mean: Array, rstd: Array
) -> tuple[Array, Array, Array]:
    """Return dx (N, C, S), dweight and dbias (1, C, 1)."""
    x_hat = (x - mean) * rstd
    mean_dy, mean_dy_x_hat = means(dy, POOL), mean_products(dy, x_hat, POOL)
    dx = rstd * weight * (dy - mean_dy - x_hat * mean_dy_x_hat)
    S = x.shape[2]
    return dx, S * sums(mean_dy_x_hat, SAMPLES), S * sums(mean_dy, SAMPLES)


@instance_norm_backward.loops(dweight=PER_CHANNEL, dbias=PER_CHANNEL, weight=PER_CHANNEL)
def instance_norm_backward_loop(
    dy: Array,
    x: Array,
    weight: Array,
    mean: Array,
    rstd: Array,
    dx: Array,
    dweight: Array,
    dbias: Array,
    zero: float,
    left: Array,
) -> None:
    """One pool after the other: once for both sums, once to write dx."""
    (N, C, S), real = x.shape, x.dtype.type
    for n in range(N):
        left[n] = False
        for c in range(C):
            left[n] |= is_near_the_limits(mean[n, c, 0], rstd[n, c, 0])
        if left[n]:
            continue
        for c in range(C):
            m, r = mean[n, c, 0], rstd[n, c, 0]
            sum_dy = sum_dy_x_hat = zero
            for i in range(S):
                sum_dy += dy[n, c, i]
                sum_dy_x_hat += dy[n, c, i] * ((x[n, c, i] - m) * r)
            w, mean_dy, mean_dy_x_hat = r * weight[0, c, 0], real(sum_dy / S), real(sum_dy_x_hat / S)
            for i in range(S):
                dx[n, c, i] = w * (dy[n, c, i] - mean_dy - (x[n, c, i] - m) * r * mean_dy_x_hat)
            dweight[0, c, 0] += sum_dy_x_hat
            dbias[0, c, 0] += sum_dy


@instance_norm_backward.cuda
def instance_norm_backward_cuda(
    dy: Array, x: Array, weight: Array | None, mean: Array, rstd: Array
) -> tuple[Array, Array, Array]:
    """One kernel for dx and for the sums of every pool; a second one adds them up over the samples."""
    (N, C, S), (dy, x), (weight,) = x.shape, contiguous(dy, x), wide(x, weight)
    dx, parts = namespace(x).empty_like(x), wide_empty(x, 2, N, C)
    shape = teams(S, x, dy, dx, shapes=BACKWARD_SHAPES)
    shared = kept_bytes(shape, 2 * S, x)
    sizes = N * C, C, S, inverse(C)
    args = dy, x, weight, mean, rstd, dx, parts[0], parts[1], *sizes, 1 / S, shared > 0
    blocks = shape.blocks(N * C)
    _kernels.launch("instance_norm_backward", x.dtype, shape.template, blocks, shape.block, args, shared)
    sums = _kernels.sum_columns(parts).reshape(2, 1, C, 1)
    return dx, sums[0], sums[1]


class InstanceNormFunction(Function):
    """y = w·(x - m)·r + b · dx = r·(g - mean(g) - x̂·mean(g·x̂)) with g = w·dy, means over positions

    `update_statistics` is called with the mean and biased variance (N, C, 1) of each pool.
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
        N, C, *space = x.shape
        pools = x.reshape(N, C, math.prod(space))
        weight, bias = (None if w is None else w.reshape(1, C, 1) for w in (weight, bias))
        y, mean, var, rstd = instance_norm_forward(pools, weight, bias, eps)
        update_statistics(mean, var)
        self.saved = pools, weight, mean, rstd
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dweight, dbias = instance_norm_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return dx.reshape(dy.shape), dweight.reshape(-1), dbias.reshape(-1)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel of each sample over its positions, then scale and shift per channel.

    Args:
        input: (N, C, ...) with at least one axis of positions.
        running_mean: (C,), or None; updated from the input's, or used if `use_input_stats` is False.
        running_var: the same for the (unbiased) variance.
        weight: (C,), or None.
        bias: (C,), or None.
        use_input_stats: whether the input's own statistics are used.
        momentum: weight of the new value in the running statistics, a fraction per step.
        eps: added to the variance, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor, or `use_input_stats` is not a bool.
        ValueError: if a vector is not (C,), if the input has no positions or only one, if
            use_input_stats=False is given without running statistics, or if eps is negative.

    Source: Ulyanov, Vedaldi, Lempitsky 2016, arXiv:1607.08022.
    """
    C = check_channels(input, "instance_norm")
    if input.ndim < 3:
        raise ValueError(f"instance_norm takes x (N, C, positions...), got shape {input.shape}")
    check_vectors(input, (C,), running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    check_flags(use_input_stats=use_input_stats)
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    check_eps(eps)
    S = math.prod(input.shape[2:])
    check_pool(input, S, "instance_norm", "a channel needs more than one position")

    def update_statistics(mean: Array, var: Array) -> None:
        if input.array.size and (running_mean is not None or running_var is not None):
            update_running(running_mean, means(mean, SAMPLES)[0], momentum)
            update_running(running_var, means(var, SAMPLES)[0], momentum, S)

    return InstanceNormFunction.apply(input, weight, bias, eps=eps, update_statistics=update_statistics)


class _InstanceNorm(RunningNorm):
    over_the_batch = False

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias)

    def forward(self, input: Tensor) -> Tensor:
        self.check_ndim(input)
        single = isinstance(input, Tensor) and input.ndim == min(self.input_ndims)
        check_channels(input, type(self).__name__, self.num_features, 0 if single else 1)
        if single:
            return self.forward(input.unsqueeze(0)).squeeze(0)
        return instance_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.count_batch() if self.momentum is None else self.momentum,
            self.eps,
        )


class InstanceNorm1d(_InstanceNorm):
    """Instance normalization of (N, C, L) or (C, L); without affine and running statistics by default.

    `momentum` is the weight of the new value in the running statistics, a fraction per step; None
    weighs all batches alike. Raises ValueError if the input does not have `num_features` channels, where
    PyTorch only warns as long as there are no parameters. Source: Ulyanov, Vedaldi, Lempitsky 2016,
    arXiv:1607.08022.
    """

    input_ndims = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Instance normalization of (N, C, H, W) or (C, H, W); see InstanceNorm1d."""

    input_ndims = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalization of (N, C, D, H, W) or (C, D, H, W); see InstanceNorm1d."""

    input_ndims = (4, 5)


_STATISTICS = (Input((3,), differentiable=False), positive(3, differentiable=False))

register(
    name="instance_norm",
    function=instance_norm,
    composed=instance_norm_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((2, 3, 4), None, None, (3,), (3,))),
        Case(((2, 3, 4), None, None, None, None)),
        Case(((2, 3, 2, 3), None, None, (3,), None), {"eps": 1e-3}),
        Case(((2, 3, 2, 3), None, None, None, (3,))),
        Case(((1, 3, 2, 1, 2), None, None, (3,), (3,))),
        Case(((2, 3, 2, 2), *_STATISTICS, (3,), (3,)), {"use_input_stats": False}),
    ),
    errors=(
        ErrorCase(lambda: instance_norm(Tensor(numpy.ones((2, 3)))), ValueError, "positions"),
        ErrorCase(lambda: instance_norm(Tensor(numpy.ones((2, 3, 1)))), ValueError, "more than one position"),
        ErrorCase(
            lambda: instance_norm(Tensor(numpy.ones((2, 3, 4))), use_input_stats=False),
            ValueError,
            "running_mean",
        ),
        ErrorCase(lambda: InstanceNorm2d(3)(Tensor(numpy.ones((2, 4, 5, 5)))), ValueError, "3 channels"),
        ErrorCase(lambda: InstanceNorm1d(3)(Tensor(numpy.ones((2, 3, 5, 5)))), ValueError, "3-d"),
    ),
    kind="normalization",
    title="InstanceNorm",
    paper="Ulyanov, Vedaldi, Lempitsky 2016, arXiv:1607.08022",
    pool="each channel of each sample",
    torch="torch.nn.functional.instance_norm",
    bench=(Case(((32, 64, 32, 32), None, None, (64,), (64,))),),
)
