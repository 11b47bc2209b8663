"""Deviations of channels: mean|x - m| and max|x - m| over the samples and positions of x (N, C, S).

The mean is kept in two parts, mean and rest, since (x - mean) - rest keeps its digits if the mean is large
beside the deviation. Forward and backward compute it alike, also in lpbatchnorm.cu, so backward finds the
entries with |x - m| = max|x - m| by comparing.
"""

import math
from typing import Any

from ...backends import Array, Channels, PerChannel, namespace
from ...backends.cpu.loop_helpers import helper
from ...backends.cpu.sums import channel_means, channel_sums
from ...backends.cuda.launch import CudaSource, contiguous, wide, wide_empty
from ...backends.float_info import finfo
from .strips import strips_of


@helper
def centered(x: Any, mean: Any, rest: Any) -> Any:
    """Return x - m, of numbers in a loop or of arrays."""
    return (x - mean) - rest


@helper
def rest_of(origin: Any, shift: Any, mean: Any) -> Any:
    """Return what rounding leaves of origin + shift, whose rounded sum is `mean`."""
    return (origin - mean) + shift


def exact_means(x: Channels) -> tuple[PerChannel, PerChannel]:
    """Return mean and rest of each channel, from differences from its first value."""
    origin = x[:1, :, :1]
    shift = channel_means(x - origin)
    mean = origin + shift
    return mean, rest_of(origin, shift, mean)


def deviations(z: Channels, p: float) -> PerChannel:
    """Return mean|z| of each channel for p = 1, max|z| for p = ∞."""
    return channel_means(abs(z)) if p == 1 else abs(z).max((0, 2), keepdims=True)


def slopes(z: Channels, deviation: PerChannel, p: float) -> Channels:
    """Return n·∂deviation/∂z of channels with n values; for p = ∞, ties share it."""
    sign = namespace(z).sign(z)
    if p == 1:
        return sign
    s = sign * (abs(z) == deviation)
    return s * (z.shape[0] * z.shape[2] / namespace(z).maximum(channel_sums(abs(s)), 1))


def inverse_deviations(d: PerChannel, eps: float) -> PerChannel:
    """Return 1/√(d² + eps), at most the largest number, and 0 for 1/0: no deviation, and no eps."""
    xp, most = namespace(d), finfo(d.dtype).max
    divisor = xp.hypot(d, d.dtype.type(math.sqrt(eps)))
    inverse = xp.minimum(1 / xp.where(divisor == 0, 1, divisor), most)
    return xp.where(divisor == 0, 0, inverse).astype(d.dtype, copy=False)


class DeviationKernels:
    """The launches of lpbatchnorm.cu over the strips of x (N, C, S). Vectors are (1, C, 1)."""

    def __init__(self, source: CudaSource) -> None:
        self.source = source

    def statistics(self, x: Array, p: float, factor: float, eps: float) -> list[Array]:
        """Return mean, rest, deviation and 1/√((factor·deviation)² + eps) of every channel, by four kernels.

        These are for the shifts of strips from the first value, of channels, and for the deviations of both.
        """
        (x,), (_, C, S), strips = contiguous(x), x.shape, strips_of(x)
        sizes, largest = (*strips.arguments, strips.count, C / x.size), p == math.inf
        parts = wide_empty(x, strips.outer * strips.inner, C)
        strips.launch(self.source, "strip_shifts", x, parts, *sizes)
        shift = self.source.sum_columns(parts)
        strips.launch(self.source, "strip_deviations", x, shift, parts, *sizes, largest)
        found = [wide_empty(x, 1, C, 1) for _ in range(4)]
        args = x, shift, parts, *found, len(parts), C, S, factor, math.sqrt(eps), largest
        self.source.launch("channel_deviations", x.dtype, (), -(-C // 32), 1024, args)
        return found

    def normalized(
        self, x: Array, weight: Array | None, bias: Array | None, mean: Array, rest: Array, rstd: Array
    ) -> Array:
        """Return weight·(x - m)·rstd + bias, by one kernel."""
        (x,), vectors = contiguous(x), wide(x, weight, bias, mean, rest, rstd)
        y = namespace(x).empty_like(x)
        strips = strips_of(x, y)
        strips.launch(self.source, "lp_batch_norm_forward", x, *vectors, y, *strips.arguments)
        return y

    def gradients(
        self, dy: Array, x: Array, weight: Array | None, statistics: Any, p: float, factor: float
    ) -> tuple[Array, Array, Array]:
        """Return dx, Σ dy·x̂ and Σ dy of every channel, by three kernels."""
        (dy, x), (weight, *statistics), C = contiguous(dy, x), wide(x, weight, *statistics), x.shape[1]
        dx, largest, strips = namespace(x).empty_like(x), p == math.inf, strips_of(x, dy)
        P, sizes = strips.outer * strips.inner, strips.arguments
        parts = wide_empty(x, 4, P, C)
        args = dy, x, *statistics, parts, *sizes, strips.count, P, largest
        strips.launch(self.source, "strip_slopes", *args)
        sums = self.source.sum_columns(parts)
        args = dy, x, weight, *statistics, sums, dx, *sizes, C / x.size, factor, largest
        strips.launch(self.source, "lp_batch_norm_backward", *args)
        return dx, sums[0].reshape(1, C, 1), sums[1].reshape(1, C, 1)
