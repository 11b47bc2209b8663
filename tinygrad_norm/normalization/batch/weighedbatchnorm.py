"""Inference example weighing: batch normalization whose evaluation also counts the sample itself.

    x (N, C, ...)   M, V running mean and variance (C,), gathered in training as batchnorm.py does
    m, v            mean and variance of one channel of one sample over its n positions, (N, C)
    μ  = α·m + (1 - α)·M                    E[x]  of a mixture: the sample with weight α, the training data
    σ² = α·(v + m²) + (1 - α)·(V + M²) - μ²   E[x²] - E[x]² of the same mixture
       = α·v + (1 - α)·V + α·(1 - α)·(m - M)²    without its cancellation; never negative
    r = 1/√(σ² + eps)   x̂ = (x - μ)·r   y = w·x̂ + b

α is the inference weight. α = 0 is batch normalization, α = 1 instance normalization. Training is that of
batch normalization; α is chosen afterwards, on validation data, also for a network that is trained already.

In the code: α alpha, μ mu, r rstd; x is (N, C, S) with S = n positions, statistics are (N, C, 1). μ is not
subtracted from x, whose mean may be large. `own` is the instance normalization of the sample, and

    x̂ = ratio·own + offset      ratio = r·√(v + eps)      offset = r·(m - μ) = r·(1 - α)·(m - M)

Summers, Dinneen 2020, arXiv:1906.03548.

Backward in evaluation, from dy = dL/dy, with g := dL/dx̂ = w·dy. M and V are constants, so x_i reaches x̂_j on
the three paths of batchnorm.py, two of them with the share α of the sample in the mixture:

    straight     ∂x_j/∂x_i = 1 if i = j                               r·g_i
    through μ    ∂μ/∂x_i = α/n, ∂x̂_j/∂μ = -r                          -α·r·mean(g)
    through r    ∂σ²/∂x_i = (2α/n)·(x_i - μ), ∂r/∂σ² = -r³/2           -α·r·x̂_i·mean(g·x̂)

    (∂σ²/∂x_i from E[x²]: 2·x_i·α/n, less ∂μ²/∂x_i = 2·μ·α/n.)

    dx = r·(g - α·mean(g) - α·x̂·mean(g·x̂))      dw = Σ dy·x̂      db = Σ dy

Insight: in training a sample is part of its own statistics, in evaluation it is not. α lets it be again.
"""

import math

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...ops import ones
from ...ops.arguments import as_number
from ...ops.checks import check_channels, check_eps, check_pool, check_vectors
from ...registry import Case, ErrorCase, Input, positive, register
from ..core.moments import affine, rsqrt, std_of, var_of
from ..core.running_stats import RunningNorm
from .batchnorm import batch_norm, batch_norm_composed, batch_norm_forward
from .fixednorm import as_channels, batch_norm_eval_backward


def weighed_batch_norm_composed(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    inference_weight: float = 0.0,
) -> Tensor:
    """Inference example weighing from primitives, by E[x] and E[x²]: autograd finds the gradient."""
    if training or not inference_weight or running_mean is None or running_var is None:
        return batch_norm_composed(input, running_mean, running_var, weight, bias, training, eps)
    alpha, per_channel, space = inference_weight, (-1, *(1,) * (input.ndim - 2)), tuple(range(2, input.ndim))
    M, V = running_mean.reshape(per_channel), running_var.reshape(per_channel)
    mean, square = (z.mean(space, keepdim=True) if space else z for z in (input, input * input))
    mu = alpha * mean + (1 - alpha) * M
    var = alpha * square + (1 - alpha) * (V + M * M) - mu * mu
    rstd = (var + eps) ** -0.5
    return affine((input - mu) * rstd, weight, bias, per_channel)


@in_blocks("own", "ratio", "offset", weight=1.0, bias=0.0)
def _mixed(
    own: Channels, ratio: Channels, offset: Channels, weight: PerChannel | None, bias: PerChannel | None
) -> Channels:
    return weight * (ratio * own + offset) + bias


@in_blocks("dy", "own", "ratio", "offset", "rstd", "mean_dy", "mean_dy_x_hat", weight=1.0)
def _subtract_means(
    dy: Channels,
    own: Channels,
    ratio: Channels,
    offset: Channels,
    rstd: Channels,
    mean_dy: Channels,
    mean_dy_x_hat: Channels,
    weight: PerChannel | None,
) -> Channels:
    return rstd * weight * (dy - mean_dy - (ratio * own + offset) * mean_dy_x_hat)


@kernel
def weighed_batch_norm_forward(
    x: Channels,
    weight: PerChannel | None,
    bias: PerChannel | None,
    M: PerChannel,
    V: PerChannel,
    alpha: float,
    eps: float,
) -> tuple[Channels, Channels, Channels, Channels, Channels]:
    """Return y (N, C, S), (x - m)/√(v + eps), and r·√(v + eps), r·(m - μ) and r (N, C, 1).

    weight, bias, M and V are (1, C, 1). v is taken from 1/√(v + eps), and the few numbers of a mixture are in
    float64: squares do not overflow.
    """
    N, C, S = x.shape
    own, mean, _, own_rstd = batch_norm_forward(x.reshape(1, N * C, S), None, None, eps)
    m, own_r, M, V = (s.astype("float64").reshape(-1, C, 1) for s in (mean, own_rstd, M, V))
    var = alpha * var_of(own_r, eps) + (1 - alpha) * V + alpha * (1 - alpha) * (m - M) ** 2
    r = rsqrt(var + eps)
    ratio, offset, rstd = (
        s.astype(own_rstd.dtype) for s in (r * std_of(own_r), r * ((1 - alpha) * (m - M)), r)
    )
    own = own.reshape(x.shape)
    return _mixed(own, ratio, offset, weight, bias), own, ratio, offset, rstd


@kernel
def weighed_batch_norm_backward(
    dy: Channels,
    weight: PerChannel | None,
    own: Channels,
    ratio: Channels,
    offset: Channels,
    rstd: Channels,
    alpha: float,
) -> tuple[Channels, PerChannel, PerChannel]:
    """Return dx (N, C, S), dweight and dbias (1, C, 1)."""
    (N, C, S), zero = dy.shape, namespace(rstd).zeros((1, rstd.size, 1), rstd.dtype)
    rows = (a.reshape(1, N * C, S) for a in (dy, own))
    _, dweights, dbiases = batch_norm_eval_backward(*rows, None, zero, zero + 1)
    dbiases = dbiases.reshape(N, C, 1)
    dweights = ratio * dweights.reshape(N, C, 1) + offset * dbiases
    means = dbiases * (alpha / S), dweights * (alpha / S)
    dx = _subtract_means(dy, own, ratio, offset, rstd, *means, weight)
    return dx, dweights.sum(0, keepdims=True), dbiases.sum(0, keepdims=True)


class WeighedBatchNormFunction(Function):
    """y = w·(x - μ)·r + b · dx = r·(g - α·mean(g) - α·x̂·mean(g·x̂)) with g = w·dy, means over positions"""

    def forward(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        running: tuple[Array, Array],
        alpha: float,
        eps: float,
    ) -> Array:
        pools, weight, bias, M, V = as_channels(x, weight, bias, *running)
        y, *saved = weighed_batch_norm_forward(pools, weight, bias, M, V, alpha, eps)
        self.saved = weight, *saved, alpha
        self.pools = pools.shape
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dweight, dbias = weighed_batch_norm_backward(dy.reshape(self.pools), *self.saved)
        return dx.reshape(dy.shape), dweight.reshape(-1), dbias.reshape(-1)


def weighed_batch_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    inference_weight: float = 0.0,
) -> Tensor:
    """Batch normalization; in evaluation, the sample's own statistics count with `inference_weight`.

    Args:
        input: (N, C, ...), in evaluation with positions, (N, C, L), (N, C, H, W) or (N, C, D, H, W).
        running_mean: (C,); used in evaluation, moved towards the batch's in training. May be None there.
        running_var: the same for the (unbiased) variance.
        weight: (C,), or None.
        bias: (C,), or None.
        training: whether the batch's own statistics are used, and the running ones updated in place.
        momentum: weight of the new value in the running statistics, a fraction per step.
        eps: added to the variance, in units of input².
        inference_weight: α, from 0 (batch normalization) to 1 (instance normalization).

    Raises:
        TypeError: if the input is not a floating-point tensor, or `training` is not a bool.
        ValueError: if a vector is not (C,), if α is not between 0 and 1, or above 0 in evaluation of channels
            with one position, and as `batch_norm` does.

    Source: Summers, Dinneen 2020, arXiv:1906.03548.
    """
    check_inference_weight(inference_weight)
    if training or not inference_weight or running_mean is None or running_var is None:
        return batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    C = check_channels(input, "weighed_batch_norm")
    check_vectors(input, (C,), running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    check_eps(eps)
    check_pool(
        input,
        math.prod(input.shape[2:]),
        "weighed_batch_norm",
        "an inference_weight needs positions, a sample of one value has no variance",
    )
    if not input.array.size:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    running = running_mean.array.copy(), running_var.array.copy()
    return WeighedBatchNormFunction.apply(
        input, weight, bias, running=running, alpha=float(inference_weight), eps=float(eps)
    )


def check_inference_weight(inference_weight: float) -> None:
    """Raise ValueError unless an inference weight is between 0 and 1."""
    if not 0 <= as_number(inference_weight, "inference_weight") <= 1:
        raise ValueError(f"inference_weight must be between 0 and 1, got {inference_weight}")


class _WeighedBatchNorm(RunningNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        *,
        inference_weight: float = 0.0,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats=True, bias=True)
        check_inference_weight(inference_weight)
        self.inference_weight = inference_weight

    def forward(self, input: Tensor) -> Tensor:
        self.check_ndim(input)
        check_channels(input, type(self).__name__, self.num_features)
        return weighed_batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.count_batch(),
            self.eps,
            self.inference_weight,
        )

    def is_affine_in_evaluation(self) -> bool:
        return not self.inference_weight

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, inference_weight={self.inference_weight}"


class WeighedBatchNorm1d(_WeighedBatchNorm):
    """BatchNorm1d for (N, C, L) whose evaluation counts the sample itself with `inference_weight`.

    Training, parameters and buffers are those of BatchNorm1d, whose state it loads. Set `inference_weight`
    after training to the value with the best validation figures. Source: Summers, Dinneen 2020,
    arXiv:1906.03548.
    """

    input_ndims = (3,)


class WeighedBatchNorm2d(_WeighedBatchNorm):
    """BatchNorm2d for (N, C, H, W) whose evaluation counts the sample itself; see WeighedBatchNorm1d."""

    input_ndims = (4,)


_STATISTICS = (Input((3,), differentiable=False), positive(3, differentiable=False))

register(
    name="weighed_batch_norm",
    function=weighed_batch_norm,
    composed=weighed_batch_norm_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((2, 3, 5), *_STATISTICS, (3,), (3,)), {"inference_weight": 0.3}),
        Case(((2, 3, 2, 2), *_STATISTICS, (3,), None), {"inference_weight": 0.9, "eps": 1e-3}),
        Case(((2, 3, 2, 1, 2), *_STATISTICS, None, (3,)), {"inference_weight": 1.0}),
        Case(((1, 3, 4), *_STATISTICS, None, None), {"inference_weight": 0.5}),
        Case(((2, 3), *_STATISTICS, (3,), (3,)), {"inference_weight": 0.0}),
        Case(((4, 3, 2), None, None, (3,), (3,)), {"training": True, "inference_weight": 0.5}),
        Case(((0, 3, 2), *_STATISTICS, (3,), (3,)), {"inference_weight": 0.5}),
    ),
    errors=(
        ErrorCase(
            lambda: weighed_batch_norm(ones(2, 3, 2), ones(3), ones(3), inference_weight=1.5),
            ValueError,
            "between 0 and 1, got 1.5",
        ),
        ErrorCase(
            lambda: weighed_batch_norm(ones(2, 3), ones(3), ones(3), inference_weight=0.5),
            ValueError,
            "needs positions",
        ),
        ErrorCase(
            lambda: weighed_batch_norm(ones(2, 3, 2), inference_weight=0.5), ValueError, "running_mean"
        ),
        ErrorCase(lambda: WeighedBatchNorm2d(3, inference_weight=-0.1), ValueError, "between 0 and 1"),
        ErrorCase(lambda: WeighedBatchNorm2d(3)(ones(2, 4, 2, 2)), ValueError, "3 channels"),
        ErrorCase(lambda: WeighedBatchNorm1d(3)(ones(2, 3)), ValueError, "3-d"),
    ),
    kind="normalization",
    title="WeighedBatchNorm",
    paper="Summers, Dinneen 2020, arXiv:1906.03548",
    pool="each channel over the training data, and over the sample's positions with a weight",
    bench=(
        Case(
            (
                (64, 64, 32, 32),
                Input((64,), differentiable=False),
                positive(64, differentiable=False),
                (64,),
                (64,),
            ),
            {"inference_weight": 0.3},
        ),
    ),
)
