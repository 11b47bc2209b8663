"""Batch renormalization: batch normalization corrected towards the running statistics, in training too.

    x (N, C, ...)   pool = all samples and positions of one channel
    m = mean(x)   v = mean((x - m)²)   x̂ = (x - m)/√(v + eps)
    M, V the running mean and variance, from before this batch   s = √(V + eps)

    r = clip(√(v + eps)/s, 1/rmax, rmax)   d = clip((m - M)/s, -dmax, dmax)
    y = w·(x̂·r + d) + b

Without the limits, x̂·r + d = (x - M)/s: training computes what evaluation does, whatever else is in the
batch. With rmax = 1 and dmax = 0 it is batch normalization. Training starts there, since the running
statistics are wrong at first, and the limits are relaxed later (`RenormSchedule`). In evaluation y is that of
batch normalization; so are the updates of M and V.

In the code: m mean, v var, 1/√(v + eps) rstd, x̂ x_hat, w weight, b bias; all but x and x̂ are (1, C, 1).

Ioffe 2017, arXiv:1702.03275.

Backward. r and d are constants: the gradient does not see that they come from x. With scale = w·r and
shift = w·d + b, y = scale·x̂ + shift is batch normalization, whose three paths are derived in batchnorm.py:

    dx = 1/√(v + eps)·(g - mean(g) - x̂·mean(g·x̂))   with g = dL/dx̂ = w·r·dy

w reaches y through scale and through shift, and the two contributions add up:

    dscale = Σ dy·x̂   dshift = Σ dy      dw = r·dscale + d·dshift      db = dshift

Insight: dx is r times that of batch normalization. While r = √(v + eps)/s, a batch of small variance no
longer has large gradients: they are divided by the running s.
"""

import math
from typing import Any, NamedTuple

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...ops import ones
from ...ops.arguments import as_number, as_size, check_flags
from ...ops.checks import check_channels, check_eps, check_pool, check_vectors
from ...registry import Case, ErrorCase, fixed, register
from ..core.moments import affine, rsqrt, standardized
from ..core.running_stats import RunningNorm, UpdateStatistics, update_both
from .batchnorm import batch_norm_backward, batch_norm_forward
from .fixednorm import BatchNormEvalFunction, as_channels, as_given


def batch_renorm_composed(
    input: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    rmax: float = 3.0,
    dmax: float = 5.0,
) -> Tensor:
    """Batch renormalization from primitives (without the running update): autograd finds the gradient."""
    pool, per_channel = (0, *range(2, input.ndim)), (-1, *(1,) * (input.ndim - 2))
    M, s = running_mean.reshape(per_channel), (running_var.reshape(per_channel) + eps) ** 0.5
    if not training:
        return affine((input - M) / s, weight, bias, per_channel)
    mean = input.mean(pool, keepdim=True).detach()
    var = input.var(pool, correction=0, keepdim=True).detach()
    r = ((var + eps) ** 0.5 / s).clamp(1 / rmax, rmax)
    d = ((mean - M) / s).clamp(-dmax, dmax)
    return affine(standardized(input, pool, eps) * r + d, weight, bias, per_channel)


def _corrections(
    mean: PerChannel, var: PerChannel, M: PerChannel, V: PerChannel, eps: float, rmax: Any, dmax: Any
) -> tuple[PerChannel, PerChannel]:
    """Return r and d: mean and var of the batch, M and V running ones, limits numbers or arrays ()."""
    xp, rs = namespace(mean), rsqrt(V + eps)
    r = xp.minimum(xp.maximum((var + eps) ** 0.5 * rs, 1 / rmax), rmax)
    d = xp.minimum(xp.maximum((mean - M) * rs, -dmax), dmax)
    return r, d.astype(r.dtype, copy=False)  # a kernel's mean has more digits


@in_blocks("x_hat", "scale", "shift", axis=1)
def _scale_and_shift(x_hat: Channels, scale: PerChannel, shift: PerChannel) -> Channels:
    return scale * x_hat + shift


@kernel
def batch_renorm_forward(
    x: Channels,
    weight: PerChannel | None,
    bias: PerChannel | None,
    M: PerChannel,
    V: PerChannel,
    eps: float,
    rmax: Any,
    dmax: Any,
) -> tuple[Channels, PerChannel, PerChannel, PerChannel, PerChannel, PerChannel, PerChannel]:
    """Return y (N, C, S), and mean, var, rstd, scale, r and d (1, C, 1)."""
    x_hat, mean, var, rstd = batch_norm_forward(x, None, None, eps)
    r, d = _corrections(mean, var, M, V, eps, rmax, dmax)
    scale, shift = (r, d) if weight is None else (weight * r, weight * d)
    y = _scale_and_shift(x_hat, scale, shift if bias is None else shift + bias)
    return y, mean, var, rstd, scale, r, d


@kernel
def batch_renorm_backward(
    dy: Channels,
    x: Channels,
    mean: PerChannel,
    rstd: PerChannel,
    scale: PerChannel,
    r: PerChannel,
    d: PerChannel,
) -> tuple[Channels, PerChannel, PerChannel]:
    """Return dx (N, C, S), dweight and dbias (1, C, 1)."""
    dx, dscale, dshift = batch_norm_backward(dy, x, scale, mean, rstd)
    return dx, r * dscale + d * dshift, dshift


class BatchRenormFunction(Function):
    """y = w·(x̂·r + d) + b · dx = r·(that of batch normalization): r and d are constants

    `update_statistics` is called with the batch's mean and biased variance (1, C, 1).
    """

    def forward(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        running: tuple[Array, Array],
        limits: tuple[Any, Any],
        eps: float,
        update_statistics: UpdateStatistics,
    ) -> Array:
        pools, weight, bias, M, V = as_channels(x, weight, bias, *running)
        y, mean, var, *constants = batch_renorm_forward(pools, weight, bias, M, V, eps, *limits)
        update_statistics(mean, var)
        self.saved = pools, mean, *constants
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        return as_given(dy.shape, *batch_renorm_backward(dy.reshape(self.saved[0].shape), *self.saved))


def batch_renorm(
    input: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    rmax: float = 3.0,
    dmax: float = 5.0,
) -> Tensor:
    """Normalize each channel over the batch, corrected towards the running statistics; then scale and shift.

    Args:
        input: (N, C, ...).
        running_mean: (C,); moved towards the batch's in training, after it was used.
        running_var: the same for the (unbiased) variance.
        weight: (C,), or None.
        bias: (C,), or None.
        training: whether the batch's own statistics are used, and the running ones updated in place.
        momentum: weight of the new value in the running statistics, a fraction per step.
        eps: added to the variances, in units of input².
        rmax: the correction of the scale is limited to 1/rmax … rmax; at least 1.
        dmax: the correction of the shift is limited to -dmax … dmax running standard deviations; at least 0.

    Raises:
        TypeError: if the input is not a floating-point tensor, or `training` is not a bool.
        ValueError: if a vector is not (C,), in training with one value per channel, if eps or dmax is
            negative, or if rmax is below 1.

    Source: Ioffe 2017, arXiv:1702.03275.
    """
    check_flags(training=training)
    check_limits(rmax, dmax)
    return _batch_renorm(
        input, running_mean, running_var, weight, bias, training, momentum, eps, (rmax, dmax)
    )


def _batch_renorm(
    input: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    limits: tuple[Any, Any],
) -> Tensor:
    C = check_channels(input, "batch_renorm")
    check_vectors(input, (C,), running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    check_eps(eps)
    running = running_mean.array.copy(), running_var.array.copy()
    if not training:
        mean, var = running
        return BatchNormEvalFunction.apply(input, weight, bias, mean=mean, var=var, eps=eps)
    n = input.array.shape[0] * math.prod(input.array.shape[2:])
    check_pool(input, n, "batch_renorm", "use a larger batch, or call eval()")

    def update_statistics(mean: Array, var: Array) -> None:
        if n and momentum:
            update_both(running_mean, running_var, mean, var, momentum, n)

    return BatchRenormFunction.apply(
        input, weight, bias, running=running, limits=limits, eps=eps, update_statistics=update_statistics
    )


def check_limits(rmax: Any, dmax: Any) -> None:
    """Raise ValueError unless rmax is at least 1 and dmax at least 0."""
    if not as_number(rmax, "rmax") >= 1:
        raise ValueError(f"rmax limits a scale to 1/rmax … rmax: it must be at least 1, got {rmax}")
    if not as_number(dmax, "dmax") >= 0:
        raise ValueError(f"dmax limits a shift to -dmax … dmax: it must be at least 0, got {dmax}")


class RenormSchedule(NamedTuple):
    """When the limits are relaxed, counted in training batches: until `start` there is no correction.

    The limit of r then rises linearly from 1 to rmax at batch `rmax_end`, that of d from 0 to dmax at
    `dmax_end`. The defaults are the paper's, for long trainings on large images.
    """

    start: int = 5_000
    rmax_end: int = 40_000
    dmax_end: int = 25_000

    def limits(self, batches: Array, dtype: Any, rmax: float, dmax: float) -> tuple[Array, Array]:
        """Return both limits after so many `batches`, an array (), as arrays () of `dtype`."""
        shares = ((batches - self.start) / max(end - self.start, 1) for end in self[1:])
        xp = namespace(batches)
        share_r, share_d = (xp.minimum(xp.maximum(share, 0), 1) for share in shares)
        return (1 + (rmax - 1) * share_r).astype(dtype), (dmax * share_d).astype(dtype)


PAPER_SCHEDULE = RenormSchedule()


class _BatchRenorm(RunningNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        rmax: float = 3.0,
        dmax: float = 5.0,
        *,
        schedule: RenormSchedule | None = PAPER_SCHEDULE,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats=True, bias=True)
        check_limits(rmax, dmax)
        if schedule is not None:
            ends = [as_size(n, name, 0) for name, n in schedule._asdict().items()]
            if min(ends[1:]) < ends[0]:
                raise ValueError(f"a schedule must end after its start, got {schedule}")
        self.rmax, self.dmax, self.schedule = rmax, dmax, schedule

    def forward(self, input: Tensor) -> Tensor:
        self.check_ndim(input)
        check_channels(input, type(self).__name__, self.num_features)
        limits: tuple[Any, Any] = self.rmax, self.dmax
        if self.schedule is not None:
            batches, dtype = self.num_batches_tracked.array, self.running_var.array.dtype
            limits = self.schedule.limits(batches, dtype, *limits)
        return _batch_renorm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.count_batch(),
            self.eps,
            limits,
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"rmax={self.rmax}, dmax={self.dmax}, schedule={self.schedule}"
        )


class BatchRenorm1d(_BatchRenorm):
    """Batch renormalization of (N, C) or (N, C, L) with learned weight (ones) and bias (zeros).

    Parameters and buffers are those of BatchNorm1d. The correction by the running statistics is limited by
    rmax and dmax, which `schedule` introduces slowly; None applies them from the first batch on. Choose a
    schedule that fits the length of the training. Source: Ioffe 2017, arXiv:1702.03275.
    """

    input_ndims = (2, 3)


class BatchRenorm2d(_BatchRenorm):
    """Batch renormalization of (N, C, H, W); see BatchRenorm1d."""

    input_ndims = (4,)


class BatchRenorm3d(_BatchRenorm):
    """Batch renormalization of (N, C, D, H, W); see BatchRenorm1d."""

    input_ndims = (5,)


def _ones(N: int) -> tuple[Tensor, Tensor, Tensor]:
    return ones(N, 3), ones(3), ones(3)


# So far from the batch's that r and d are at their limits: constants in finite differences too.
_FAR = fixed([5.0, -1000.0, -3.0]), fixed([1e-4, 1e4, 1e-4])
_TRAINING = {"training": True, "momentum": 0.0}

register(
    name="batch_renorm",
    function=batch_renorm,
    composed=batch_renorm_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((4, 3), *_FAR, (3,), (3,)), _TRAINING),
        Case(((4, 3, 2), *_FAR, (3,), None), {**_TRAINING, "rmax": 1.5, "dmax": 0.5}),
        Case(((2, 3, 2, 2), *_FAR, None, (3,)), {**_TRAINING, "eps": 1e-3}),
        Case(((2, 3, 2, 1, 2), *_FAR, None, None), _TRAINING),
        Case(((4, 3), *_FAR, (3,), (3,)), {**_TRAINING, "rmax": 1.0, "dmax": 0.0}),
        Case(((4, 3), *_FAR, (3,), (3,))),
        Case(((0, 3), *_FAR, (3,), (3,)), _TRAINING),
    ),
    errors=(
        ErrorCase(lambda: batch_renorm(*_ones(1), training=True), ValueError, "more than one"),
        ErrorCase(lambda: batch_renorm(*_ones(2), rmax=0.5), ValueError, "at least 1, got 0.5"),
        ErrorCase(lambda: batch_renorm(*_ones(2), dmax=-1.0), ValueError, "at least 0, got -1.0"),
        ErrorCase(lambda: batch_renorm(*_ones(2), weight=ones(2)), ValueError, "weight"),
        ErrorCase(lambda: BatchRenorm1d(3)(ones(2, 4)), ValueError, "3 channels"),
        ErrorCase(lambda: BatchRenorm2d(3)(ones(2, 3)), ValueError, "4-d"),
        ErrorCase(lambda: BatchRenorm1d(3, rmax=0.0), ValueError, "rmax"),
        ErrorCase(
            lambda: BatchRenorm1d(3, schedule=RenormSchedule(10, 5, 20)), ValueError, "end after its start"
        ),
    ),
    kind="normalization",
    title="BatchRenorm",
    paper="Ioffe 2017, arXiv:1702.03275",
    pool="each channel, over samples and positions; corrected by running statistics",
    bench=(Case(((64, 64, 32, 32), fixed(numpy.zeros(64)), fixed(numpy.ones(64)), (64,), (64,)), _TRAINING),),
)
