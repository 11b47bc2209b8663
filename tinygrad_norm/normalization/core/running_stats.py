"""Running statistics: averages over the training batches, which evaluation uses.

The functions stay pure: they return the statistics of their input. This module updates the running averages.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy

from ...autograd.tensor import Tensor
from ...backends import Array, kernel, to_numpy
from ...backends.cpu.loops import Loop
from ...backends.cpu.pool_loops import fits_a_loop, plain
from ...backends.cpu.sums import increment, scalar
from ...backends.cuda.launch import CudaSource, wide, written_or_given
from ...module import Module, Parameter
from ...ops.arguments import as_number, as_size, check_flags
from ...ops.checks import check_eps

_kernels = CudaSource(__file__)

UpdateStatistics = Callable[[Array, Array], None]
"""Called with the mean and the biased variance of a training batch."""


def update_running(running: Tensor | None, value: Array, momentum: float, n: float = 0) -> None:
    """Move `running` towards `value` in place: running ← (1 - momentum)·running + momentum·value.

    With `n`, value is the biased variance of n values and counts n/(n - 1) times: unbiased.
    """
    if running is not None:
        array, momentum = running.array, as_number(momentum, "momentum")
        array *= scalar(1 - momentum, array)
        array += value.reshape(array.shape) * scalar(momentum * n / (n - 1) if n > 1 else momentum, value)
        running.mark_written()


@kernel
def move_statistics(
    mean: Array, var: Array, new_mean: Array, new_var: Array, kept: float, gain: float, gain_var: float
) -> None:
    """What two calls of `update_running` do, on contiguous vectors (C,) of two dtypes, old and new."""
    for running, new, weight in ((mean, new_mean, gain), (var, new_var, gain_var)):
        running *= scalar(kept, running)
        running += new * scalar(weight, new)


def running_loop(
    mean: Array, var: Array, new_mean: Array, new_var: Array, kept: float, gain: float, gain_var: float
) -> None:
    """Channel by channel."""
    real = mean.dtype.type
    a, b, c = real(kept), real(gain), real(gain_var)
    for i in range(mean.size):
        mean[i] = a * mean[i] + b * new_mean[i]
        var[i] = a * var[i] + c * new_var[i]


_loop = Loop(running_loop)


@move_statistics.cpu
def move_statistics_cpu(
    mean: Array, var: Array, new_mean: Array, new_var: Array, kept: float, gain: float, gain_var: float
) -> Any:
    """One loop instead of six operations."""
    if not (fits_a_loop(mean, var, new_mean, new_var) and mean.flags.carray and var.flags.carray):
        return NotImplemented
    return _loop(mean, var, plain(new_mean), plain(new_var), kept, gain, gain_var)


@move_statistics.cuda
def move_statistics_cuda(
    mean: Array, var: Array, new_mean: Array, new_var: Array, kept: float, gain: float, gain_var: float
) -> None:
    """One kernel instead of six operations."""
    C, new = mean.size, (*written_or_given(mean, new_mean), *wide(mean, new_var))
    args = mean, var, *new, C, kept, gain, gain_var
    _kernels.launch("move_statistics", mean.dtype, (), -(-C // 256), 256, args)


def update_both(
    running_mean: Tensor | None,
    running_var: Tensor | None,
    mean: Array,
    var: Array,
    momentum: float,
    n: float,
) -> None:
    """Move both running statistics towards the mean and the biased variance of n values, in place."""
    if running_mean is not None and running_var is not None:
        old_mean, old_var = running_mean.array, running_var.array
        if old_mean.dtype == old_var.dtype and old_mean.flags.c_contiguous and old_var.flags.c_contiguous:
            momentum = as_number(momentum, "momentum")
            gain_var = momentum * n / (n - 1) if n > 1 else momentum
            new = mean.reshape(-1), var.reshape(-1)
            move_statistics(old_mean, old_var, *new, 1 - momentum, momentum, gain_var)
            running_mean.mark_written()
            running_var.mark_written()
            return
    update_running(running_mean, mean, momentum)
    update_running(running_var, var, momentum, n)


class RunningNorm(Module):
    """Base of the normalizations with per-channel affine and running statistics.

    Buffers as PyTorch's: running_mean (C,) zeros, running_var (C,) ones, num_batches_tracked int64 0-d;
    all None without `track_running_stats`. A subclass says how many axes its input may have, and whether its
    statistics are over the batch.
    """

    input_ndims: ClassVar[tuple[int, ...]] = ()
    over_the_batch: ClassVar[bool] = True  # the statistics are those of a channel over all samples

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        bias: bool,
    ) -> None:
        super().__init__()
        check_flags(affine=affine, track_running_stats=track_running_stats, bias=bias)
        num_features = as_size(num_features, "num_features")
        check_eps(eps)
        if momentum is not None and not 0 <= as_number(momentum, "momentum") <= 1:
            raise ValueError(f"momentum is the weight of the new value, between 0 and 1, got {momentum}")
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        ones = numpy.ones(num_features, numpy.float32)
        self.register_parameter("weight", Parameter(ones) if affine else None)
        self.register_parameter("bias", Parameter(ones * 0) if affine and bias else None)
        tracked = track_running_stats
        self.register_buffer("running_mean", Tensor(ones * 0) if tracked else None)
        self.register_buffer("running_var", Tensor(ones.copy()) if tracked else None)
        self.register_buffer("num_batches_tracked", Tensor(numpy.array(0)) if tracked else None)

    def reset_running_stats(self) -> None:
        """Forget what was gathered: mean 0, variance 1, no batches."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def is_affine_in_evaluation(self) -> bool:
        """Return whether evaluation is weight·(x - running_mean)/√(running_var + eps) + bias per channel."""
        return True

    def count_batch(self) -> float:
        """Count one more training batch; return the weight of its statistics in the running average."""
        if not (self.training and self.track_running_stats):
            return 0.0
        increment(self.num_batches_tracked.array)
        if self.momentum is not None:
            return self.momentum
        return 1 / float(to_numpy(self.num_batches_tracked.array))

    def check_ndim(self, input: Tensor) -> None:
        """Raise ValueError unless the input has a number of axes that this layer takes."""
        if isinstance(input, Tensor) and input.ndim not in self.input_ndims:
            expected = " or ".join(f"{n}-d" for n in self.input_ndims)
            raise ValueError(
                f"{type(self).__name__} takes a {expected} input, got shape {input.shape} ({input.ndim}-d)"
            )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )
