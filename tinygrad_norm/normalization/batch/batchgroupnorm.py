"""Joint batch and group normalization: a pool is a group of channels of a group of samples.

    x (N, C, ...)   P groups of n = N/P samples, G groups of C/G channels
    pool = the samples of one group, the channels of one group, and all positions
    m = mean(x)   v = mean((x - m)²)   r = 1/√(v + eps)   x̂ = (x - m)·r   y = w·x̂ + b

m, v and r are (P, G); w and b are (C,). P = N is group normalization, and P = 1 with G = C is batch
normalization. What differs from both is only the pool: with the n samples of a group beside its channels, as
x (P, G, n·C/G, S), it is the one of groupnorm.py. In evaluation m and v are the running statistics (G,), the
means over the batches and their P groups of samples.

Summers, Dinneen 2020, arXiv:1906.03548.

Backward, as in groupnorm.py: every x_i moves every x̂_j of its pool on three paths (straight, through m,
through r), and their contributions add up:

    dx = r·(g - mean(g) - x̂·mean(g·x̂)) with g = w·dy
    dw = Σ dy·x̂   db = Σ dy   over samples and positions

In evaluation only the straight path is left: dx = r·w·dy.

Insight: a batch too small for good statistics of one channel still has enough values in a group of channels.
"""

import math
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...module import Parameter
from ...ops import ones
from ...ops.arguments import as_size, check_flags
from ...ops.checks import check_channels, check_eps, check_pool, check_vectors
from ...registry import Case, ErrorCase, Input, positive, register
from ..core.moments import affine, standardized, var_of
from ..core.running_stats import RunningNorm, UpdateStatistics, update_both
from ..sample.groupnorm import check_groups, group_norm_backward, group_norm_forward
from .fixednorm import BatchNormEvalFunction


def batch_group_norm_composed(
    input: Tensor,
    num_groups: int,
    sample_groups: int = 1,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Joint batch and group normalization from primitives (without the running update)."""
    (N, C), G, P = input.shape[:2], num_groups, sample_groups
    x = input.reshape(P, N // P, G, C // G, math.prod(input.shape[2:]))
    if training or running_mean is None or running_var is None:
        x_hat = standardized(x, (1, 3, 4), eps)
    else:
        mean, var = running_mean.reshape(G, 1, 1), running_var.reshape(G, 1, 1)
        x_hat = (x - mean) * (var + eps) ** -0.5
    return affine(x_hat.reshape(input.shape), weight, bias, (C, *(1,) * (input.ndim - 2)))


def _as_pools(x: Array, P: int, G: int) -> Array:
    """Return x (N, C, ...) as (P, G, n·C/G, S)."""
    N, C, *space = x.shape
    parts = x.reshape(P, N // P, G, C // G, math.prod(space)).swapaxes(1, 2)
    return parts.reshape(P, G, N // P * (C // G), math.prod(space))


def _as_given(pools: Array, shape: tuple[int, ...]) -> Array:
    """Return what `_as_pools` made of an array of `shape` in that shape."""
    (P, G, _, S), (N, C, *_) = pools.shape, shape
    return pools.reshape(P, G, N // P, C // G, S).swapaxes(1, 2).reshape(shape)


@kernel
def batch_group_norm_forward(
    x: Array, weight: Array | None, bias: Array | None, P: int, G: int, eps: float
) -> tuple[Array, ...]:
    """Return y (N, C, ...), and mean, var and rstd (P, G, 1, 1); weight and bias are (C,)."""
    pools, n = _as_pools(x, P, G), len(x) // P
    wide = [None if v is None else _for_samples(v, G, n) for v in (weight, bias)]
    y, mean, rstd = group_norm_forward(pools, *wide, eps)
    return _as_given(y, x.shape), mean, var_of(rstd, eps), rstd


@kernel
def batch_group_norm_backward(
    dy: Array, x: Array, weight: Array | None, P: int, G: int, mean: Array, rstd: Array
) -> tuple[Array, Array, Array]:
    """Return dx (N, C, ...), dweight and dbias (C,)."""
    n = len(x) // P
    wide = None if weight is None else _for_samples(weight, G, n)
    pools, dys = _as_pools(x, P, G), _as_pools(dy, P, G)
    dx, *sums = group_norm_backward(dys, pools, wide, mean, rstd)
    dweight, dbias = (s.reshape(G, n, x.shape[1] // G).sum(1).reshape(-1) for s in sums)
    return _as_given(dx, x.shape), dweight, dbias


def _for_samples(vector: Array, G: int, n: int) -> Array:
    """Return a vector (C,) as (1, G, n·C/G, 1): once for each of the n samples of a pool."""
    channels = len(vector) // G
    repeated = namespace(vector).broadcast_to(vector.reshape(G, 1, channels), (G, n, channels))
    return repeated.reshape(1, G, n * channels, 1)


class BatchGroupNormFunction(Function):
    """y = w·(x - m)·r + b · dx = r·(g - mean(g) - x̂·mean(g·x̂)) with g = w·dy, means over each pool

    `update_statistics` is called with the means of m and of the biased v over the groups of samples, (G,).
    """

    def forward(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        groups: tuple[int, int],
        eps: float,
        update_statistics: UpdateStatistics,
    ) -> Array:
        y, mean, var, rstd = batch_group_norm_forward(x, weight, bias, *groups, eps)
        update_statistics(mean.mean(0).reshape(-1), var.mean(0).reshape(-1))
        self.saved = x, weight, *groups, mean, rstd
        return y

    def backward(self, dy: Array) -> Gradients:
        return batch_group_norm_backward(dy, *self.saved)


def batch_group_norm(
    input: Tensor,
    num_groups: int,
    sample_groups: int = 1,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each group of channels over each group of samples, then scale and shift per channel.

    Args:
        input: (N, C, ...).
        num_groups: G, a divisor of C.
        sample_groups: P, a divisor of N; only training uses it.
        running_mean: (G,); used in evaluation, moved towards the batch's in training. May be None there.
        running_var: the same for the (unbiased) variance.
        weight: (C,), or None.
        bias: (C,), or None.
        training: whether the batch's own statistics are used, and the running ones updated in place.
        momentum: weight of the new value in the running statistics, a fraction per step.
        eps: added to the variance, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor, or `training` is not a bool.
        ValueError: if G does not divide C, or in training P does not divide N; if a vector has another shape;
            in evaluation without running statistics; in training with one value per pool; if eps is negative.

    Source: Summers, Dinneen 2020, arXiv:1906.03548.
    """
    C = check_channels(input, "batch_group_norm")
    check_groups(num_groups, C)
    check_flags(training=training)
    check_vectors(input, (num_groups,), running_mean=running_mean, running_var=running_var)
    check_vectors(input, (C,), weight=weight, bias=bias)
    check_eps(eps)
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_group_norm in evaluation needs running_mean and running_var: pass both")
        mean, var = (_per_channel(running.array, C) for running in (running_mean, running_var))
        return BatchNormEvalFunction.apply(input, weight, bias, mean=mean, var=var, eps=eps)
    N = len(input)
    if N % as_size(sample_groups, "sample_groups"):
        raise ValueError(f"sample_groups ({sample_groups}) must divide the number of samples ({N})")
    n = input.array.size // (sample_groups * num_groups)
    check_pool(input, n, "batch_group_norm", "use fewer groups, a larger batch, or call eval()", "pool")

    def update_statistics(mean: Array, var: Array) -> None:
        if n:
            update_both(running_mean, running_var, mean, var, momentum, n)

    groups = sample_groups, num_groups
    return BatchGroupNormFunction.apply(
        input, weight, bias, groups=groups, eps=float(eps), update_statistics=update_statistics
    )


def _per_channel(running: Array, C: int) -> Array:
    """Return a copy of running statistics (G,) as (C,)."""
    return namespace(running).repeat(running, C // max(len(running), 1))


class BatchGroupNorm2d(RunningNorm):
    """Joint batch and group normalization of (N, C, H, W) with learned weight (ones) and bias (zeros) (C,).

    The buffers running_mean and running_var are (num_groups,). `sample_groups` must divide the number of
    samples of a training batch. Source: Summers, Dinneen 2020, arXiv:1906.03548.
    """

    input_ndims = (4,)
    over_the_batch = False

    def __init__(
        self,
        num_features: int,
        num_groups: int,
        sample_groups: int = 1,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
    ) -> None:
        check_groups(num_groups, as_size(num_features, "num_features"))
        super().__init__(num_groups, eps, momentum, affine, track_running_stats=True, bias=True)
        self.num_features, self.num_groups = num_features, num_groups
        self.sample_groups = as_size(sample_groups, "sample_groups")
        ones = numpy.ones(num_features, numpy.float32)
        self.weight: Any = Parameter(ones) if affine else None
        self.bias: Any = Parameter(ones * 0) if affine else None

    def forward(self, input: Tensor) -> Tensor:
        self.check_ndim(input)
        check_channels(input, "BatchGroupNorm2d", self.num_features)
        return batch_group_norm(
            input,
            self.num_groups,
            self.sample_groups,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.count_batch(),
            self.eps,
        )

    def is_affine_in_evaluation(self) -> bool:
        return False

    def extra_repr(self) -> str:
        groups = f"num_groups={self.num_groups}, sample_groups={self.sample_groups}"
        return f"{self.num_features}, {groups}, eps={self.eps}, momentum={self.momentum}"


_STATISTICS = (Input((2,), differentiable=False), positive(2, differentiable=False))
_TRAINING = {"training": True, "num_groups": 2}

register(
    name="batch_group_norm",
    function=batch_group_norm,
    composed=batch_group_norm_composed,
    inputs=("input", "running_mean", "running_var", "weight", "bias"),
    parameters=("weight", "bias"),
    cases=(
        Case(((4, 4, 3), None, None, (4,), (4,)), {**_TRAINING, "sample_groups": 2}),
        Case(((4, 6, 2, 2), None, None, (6,), None), {**_TRAINING, "sample_groups": 1, "eps": 1e-3}),
        Case(((3, 4, 2), None, None, None, (4,)), {**_TRAINING, "sample_groups": 3}),
        Case(((4, 4), None, None, None, None), {"training": True, "num_groups": 4, "sample_groups": 1}),
        Case(((2, 4, 2, 1, 2), None, None, (4,), (4,)), _TRAINING),
        Case(((3, 4, 2), *_STATISTICS, (4,), (4,)), {"num_groups": 2}),
        Case(((0, 4, 2), None, None, (4,), (4,)), _TRAINING),
    ),
    errors=(
        ErrorCase(lambda: batch_group_norm(ones(4, 3), 2, training=True), ValueError, "divide the number of"),
        ErrorCase(lambda: batch_group_norm(ones(4, 4), 2, 3, training=True), ValueError, "samples (4)"),
        ErrorCase(lambda: batch_group_norm(ones(2, 2), 2, 2, training=True), ValueError, "more than one"),
        ErrorCase(lambda: batch_group_norm(ones(2, 2), 2), ValueError, "running_mean"),
        ErrorCase(lambda: batch_group_norm(ones(2, 4), 2, 1, ones(4), ones(4)), ValueError, "running_mean"),
        ErrorCase(lambda: BatchGroupNorm2d(4, 3), ValueError, "divide"),
        ErrorCase(lambda: BatchGroupNorm2d(4, 2)(ones(2, 6, 2, 2)), ValueError, "4 channels"),
        ErrorCase(lambda: BatchGroupNorm2d(4, 2)(ones(2, 4)), ValueError, "4-d"),
    ),
    kind="normalization",
    title="BatchGroupNorm",
    paper="Summers, Dinneen 2020, arXiv:1906.03548",
    pool="each group of channels, over positions and a group of samples",
    bench=(
        Case(
            ((32, 64, 32, 32), None, None, (64,), (64,)),
            {"training": True, "num_groups": 32, "sample_groups": 8},
        ),
    ),
)
