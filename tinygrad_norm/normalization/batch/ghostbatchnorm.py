"""Ghost batch normalization: every slice of a large batch is normalized as a batch of its own.

    x (N, C, ...)   slice k = samples k·G … (k + 1)·G - 1, the last one may be smaller; G = ghost_batch_size
    y = w·(x - m)·r + b   with m and r of the slice's own samples and positions, per channel

w and b are (C,): one affine for all slices. What differs from batch normalization is only the pool; y and dx
of a slice, in training and in evaluation, are those of batchnorm.py and fixednorm.py. The running statistics
take in one slice after the other.

Hoffer, Hubara, Soudry 2017, arXiv:1705.08741.

Backward. No slice sees another, so the three paths of batchnorm.py stay within each; w and b reach all of
them, and the chain rule adds up:

    dx = r·w·(dy - db_k/n - x̂·dw_k/n)      dw = Σ_k dw_k      db = Σ_k db_k

Insight: the noise in m and r belongs to the slice's size, not to the batch's, and that noise regularizes: a
large batch generalizes like small ones again.
"""

import math
from collections.abc import Iterator

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, kernel, namespace
from ...ops import cat, ones
from ...ops.arguments import as_size, check_flags
from ...ops.checks import check_channels, check_eps, check_pool, check_vectors
from ...registry import Case, ErrorCase, Input, positive, register
from ..core.running_stats import RunningNorm, UpdateStatistics, update_both
from .batchnorm import batch_norm, batch_norm_backward, batch_norm_composed, batch_norm_forward
from .fixednorm import as_channels, as_given


def ghost_batch_norm_composed(
    input: Tensor,
    ghost_batch_size: int,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Ghost batch normalization from primitives (without the running update)."""
    running = running_mean, running_var
    if not training or not len(input):
        return batch_norm_composed(input, *running, weight, bias, training, eps)
    parts = input.split(ghost_batch_size)
    return cat([batch_norm_composed(part, None, None, weight, bias, True, eps) for part in parts])


def _slices(N: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, N, size))


@kernel
def ghost_batch_norm_forward(
    x: Channels, weight: PerChannel | None, bias: PerChannel | None, size: int, eps: float
) -> tuple[Channels, list[PerChannel], list[PerChannel], list[PerChannel]]:
    """Return y (N, C, S), and for each slice mean, var and rstd (1, C, 1)."""
    parts = [batch_norm_forward(x[at], weight, bias, eps) for at in _slices(len(x), size)]
    ys, means, variances, rstds = map(list, zip(*parts, strict=True))
    return namespace(x).concatenate(ys), means, variances, rstds


@kernel
def ghost_batch_norm_backward(
    dy: Channels,
    x: Channels,
    weight: PerChannel | None,
    size: int,
    means: list[PerChannel],
    rstds: list[PerChannel],
) -> tuple[Channels, PerChannel, PerChannel]:
    """Return dx (N, C, S), dweight and dbias (1, C, 1)."""
    parts = [
        batch_norm_backward(dy[at], x[at], weight, mean, rstd)
        for at, mean, rstd in zip(_slices(len(x), size), means, rstds, strict=True)
    ]
    dxs, dweights, dbiases = zip(*parts, strict=True)
    return namespace(x).concatenate(dxs), sum(dweights), sum(dbiases)


class GhostBatchNormFunction(Function):
    """y = w·(x - m)·r + b · dx = r·(g - mean(g) - x̂·mean(g·x̂)) with g = w·dy, means over slice and channel

    `update_statistics` is called with the mean and the biased variance (1, C, 1) of each slice.
    """

    def forward(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        size: int,
        eps: float,
        update_statistics: UpdateStatistics,
    ) -> Array:
        pools, weight, bias = as_channels(x, weight, bias)
        y, means, variances, rstds = ghost_batch_norm_forward(pools, weight, bias, size, eps)
        for mean, var in zip(means, variances, strict=True):
            update_statistics(mean, var)
        self.saved = pools, weight, size, means, rstds
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        return as_given(dy.shape, *ghost_batch_norm_backward(dy.reshape(self.saved[0].shape), *self.saved))


def ghost_batch_norm(
    input: Tensor,
    ghost_batch_size: int,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel over each slice of the batch, then scale and shift.

    Args:
        input: (N, C, ...).
        ghost_batch_size: the samples of a slice; the last slice may be smaller.
        running_mean: (C,); used in evaluation, moved towards each slice's in training. May be None there.
        running_var: the same for the (unbiased) variance.
        weight: (C,), or None.
        bias: (C,), or None.
        training: whether each slice's own statistics are used, and the running ones updated in place.
        momentum: weight of a slice's value in the running statistics, a fraction per slice.
        eps: added to the variance, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor, or `training` is not a bool.
        ValueError: if a vector is not (C,), if the size is below 1, in evaluation without running
            statistics, in training if a slice has one value per channel, or if eps is negative.

    Source: Hoffer, Hubara, Soudry 2017, arXiv:1705.08741.
    """
    C = check_channels(input, "ghost_batch_norm")
    size = as_size(ghost_batch_size, "ghost_batch_size")
    check_flags(training=training)
    if not training or not len(input):
        return batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    check_vectors(input, (C,), running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    check_eps(eps)
    N, positions = len(input), math.prod(input.shape[2:])
    last = N % size or min(size, N)
    if last < min(size, N):
        advice = f"the last slice has {last} of {N} samples: use a batch of full slices"
    else:
        advice = "use a larger ghost_batch_size, or call eval()"
    check_pool(input, last * positions, "ghost_batch_norm", advice)
    sizes = iter([len(range(N)[at]) * positions for at in _slices(N, size)])

    def update_statistics(mean: Array, var: Array) -> None:
        n = next(sizes)
        if n:
            update_both(running_mean, running_var, mean, var, momentum, n)

    return GhostBatchNormFunction.apply(
        input, weight, bias, size=size, eps=float(eps), update_statistics=update_statistics
    )


class _GhostBatchNorm(RunningNorm):
    def __init__(
        self,
        num_features: int,
        ghost_batch_size: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias)
        self.ghost_batch_size = as_size(ghost_batch_size, "ghost_batch_size")

    def forward(self, input: Tensor) -> Tensor:
        self.check_ndim(input)
        check_channels(input, type(self).__name__, self.num_features)
        return ghost_batch_norm(
            input,
            self.ghost_batch_size,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.count_batch(),
            self.eps,
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, ghost_batch_size={self.ghost_batch_size}"


class GhostBatchNorm1d(_GhostBatchNorm):
    """Ghost batch normalization of (N, C) or (N, C, L), in slices of `ghost_batch_size` samples.

    Parameters, buffers and evaluation are those of BatchNorm1d; a batch counts once for `momentum=None`, and
    the running statistics are updated once per slice. Source: Hoffer, Hubara, Soudry 2017, arXiv:1705.08741.
    """

    input_ndims = (2, 3)


class GhostBatchNorm2d(_GhostBatchNorm):
    """Ghost batch normalization of (N, C, H, W); see GhostBatchNorm1d."""

    input_ndims = (4,)


class GhostBatchNorm3d(_GhostBatchNorm):
    """Ghost batch normalization of (N, C, D, H, W); see GhostBatchNorm1d."""

    input_ndims = (5,)


_STATISTICS = (Input((3,), differentiable=False), positive(3, differentiable=False))
_TRAINING = {"training": True}

register(
    name="ghost_batch_norm",
    function=ghost_batch_norm,
    composed=ghost_batch_norm_composed,
    inputs=("input", "running_mean", "running_var", "weight", "bias"),
    parameters=("weight", "bias"),
    cases=(
        Case(((6, 3), None, None, (3,), (3,)), {**_TRAINING, "ghost_batch_size": 3}),
        Case(((7, 3), None, None, (3,), None), {**_TRAINING, "ghost_batch_size": 5, "eps": 1e-3}),
        Case(((4, 3), None, None, None, (3,)), {**_TRAINING, "ghost_batch_size": 9}),
        Case(((5, 3, 2), None, None, None, None), {**_TRAINING, "ghost_batch_size": 2}),
        Case(((4, 3, 2, 2), None, None, (3,), (3,)), {**_TRAINING, "ghost_batch_size": 1}),
        Case(((2, 3, 2, 1, 2), None, None, (3,), (3,)), {**_TRAINING, "ghost_batch_size": 1}),
        Case(((4, 3, 2), *_STATISTICS, (3,), (3,)), {"ghost_batch_size": 3}),
        Case(((0, 3), None, None, (3,), (3,)), {**_TRAINING, "ghost_batch_size": 3}),
    ),
    errors=(
        ErrorCase(lambda: ghost_batch_norm(ones(4, 3), 3, training=True), ValueError, "1 of 4 samples"),
        ErrorCase(lambda: ghost_batch_norm(ones(4, 3), 1, training=True), ValueError, "larger ghost_batch"),
        ErrorCase(lambda: ghost_batch_norm(ones(4, 3), 0, training=True), ValueError, "ghost_batch_size"),
        ErrorCase(lambda: ghost_batch_norm(ones(4, 3), 2), ValueError, "running_mean"),
        ErrorCase(
            lambda: ghost_batch_norm(ones(4, 3), 2, weight=ones(2), training=True), ValueError, "weight"
        ),
        ErrorCase(lambda: GhostBatchNorm1d(3, 2)(ones(4, 4)), ValueError, "3 channels"),
        ErrorCase(lambda: GhostBatchNorm2d(3, 2)(ones(4, 3)), ValueError, "4-d"),
    ),
    kind="normalization",
    title="GhostBatchNorm",
    paper="Hoffer, Hubara, Soudry 2017, arXiv:1705.08741",
    pool="each channel, over positions and the samples of one slice of the batch",
    bench=(Case(((64, 64, 32, 32), None, None, (64,), (64,)), {**_TRAINING, "ghost_batch_size": 16}),),
)
