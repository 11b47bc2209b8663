"""Batch normalization in evaluation: the statistics of each channel are constants, gathered in training.

    x (N, C, ...)   r = 1/√(v + eps)   x̂ = (x - m)·r   y = w·x̂ + b = w·r·(x - m) + b

m, v, r, w and b are (C,). Training, the paper and the derivation are in batchnorm.py.

In the code: m mean, v var, r rstd, x̂ x_hat, w weight, b bias; x is (N, C, S) with S positions.

Backward, from dy = dL/dy:

    db = Σ dy      dw = Σ dy·x̂      dx = r·w·dy
"""

import math
from pathlib import Path
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...backends import Array, Channels, PerChannel, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.pool_loops import kept
from ...backends.cpu.sums import channel_sum_products, channel_sums, repeat_vectors
from ...backends.cuda.launch import CudaSource
from ...ops.checks import Shape
from ..core.moments import rsqrt
from ..core.strips import ChannelKernels
from .shortrows import attach_short_rows, eval_short_rows, eval_short_rows_backward

channel_kernels = ChannelKernels(
    CudaSource(str(Path(__file__).with_name("batchnorm")), "../core/moments.cuh", "../core/strips.cuh")
)
PER_CHANNEL = kept(1)
FORWARD_SHAPES = dict.fromkeys(("rstd", "weight", "bias"), PER_CHANNEL)
BACKWARD_SHAPES = dict.fromkeys(("dweight", "dbias", "weight"), PER_CHANNEL)


@kernel
@in_blocks("x", "weight", "bias", "mean", "var", axis=1, weight=1.0, bias=0.0)
@repeat_vectors
def batch_norm_eval_forward(
    x: Channels,
    weight: PerChannel | None,
    bias: PerChannel | None,
    mean: PerChannel,
    var: PerChannel,
    eps: float,
) -> tuple[Channels, PerChannel]:
    """Return y (N, C, S) and rstd (1, C, 1); weight, bias, mean and var are (1, C, 1)."""
    rstd = rsqrt(var + eps)
    return weight * rstd * (x - mean) + bias, rstd


@batch_norm_eval_forward.loops(**FORWARD_SHAPES)
def batch_norm_eval_forward_loop(
    x: Channels,
    weight: PerChannel,
    bias: PerChannel,
    mean: PerChannel,
    var: PerChannel,
    eps: float,
    y: Channels,
    rstd: PerChannel,
    start: int,
    stop: int,
) -> None:
    """One channel after the other, once."""
    (N, _, S), real = x.shape, x.dtype.type
    for c in range(start, stop):
        std = numpy.sqrt(var[0, c, 0] + eps)
        rstd[0, c, 0] = real(1 / std) if std != 0 else real(0)
    for c in range(start, stop):
        w, m, b = weight[0, c, 0] * rstd[0, c, 0], mean[0, c, 0], bias[0, c, 0]
        for n in range(N):
            for i in range(S):
                y[n, c, i] = w * (x[n, c, i] - m) + b


attach_short_rows(batch_norm_eval_forward, eval_short_rows, FORWARD_SHAPES)


@batch_norm_eval_forward.cuda
def batch_norm_eval_forward_cuda(
    x: Channels,
    weight: PerChannel | None,
    bias: PerChannel | None,
    mean: PerChannel,
    var: PerChannel,
    eps: float,
) -> tuple[Array, Array]:
    """One kernel: every entry is read once and written once."""
    rstd = rsqrt(var + eps)
    return channel_kernels.normalized(x, weight, bias, mean, rstd), rstd


@kernel
@in_blocks("dy", "x", "weight", "mean", "rstd", axis=1, weight=1.0)
@repeat_vectors
def batch_norm_eval_backward(
    dy: Channels, x: Channels, weight: PerChannel | None, mean: PerChannel, rstd: PerChannel
) -> tuple[Channels, PerChannel, PerChannel]:
    """Return dx (N, C, S), dweight and dbias (1, C, 1)."""
    x_hat = (x - mean) * rstd
    return rstd * weight * dy, channel_sum_products(dy, x_hat), channel_sums(dy)


@batch_norm_eval_backward.loops(**BACKWARD_SHAPES)
def batch_norm_eval_backward_loop(
    dy: Channels,
    x: Channels,
    weight: PerChannel,
    mean: PerChannel,
    rstd: PerChannel,
    dx: Channels,
    dweight: PerChannel,
    dbias: PerChannel,
    zero: float,
    start: int,
    stop: int,
) -> None:
    """One channel after the other, once."""
    N, _, S = x.shape
    for c in range(start, stop):
        m, r = mean[0, c, 0], rstd[0, c, 0]
        w = r * weight[0, c, 0]
        dw = db = 0.0
        for n in range(N):
            s = s_x_hat = zero
            for i in range(S):
                s += dy[n, c, i]
                s_x_hat += dy[n, c, i] * ((x[n, c, i] - m) * r)
                dx[n, c, i] = w * dy[n, c, i]
            db += s
            dw += s_x_hat
        dweight[0, c, 0], dbias[0, c, 0] = dw, db


attach_short_rows(batch_norm_eval_backward, eval_short_rows_backward, BACKWARD_SHAPES)


@batch_norm_eval_backward.cuda
def batch_norm_eval_backward_cuda(
    dy: Channels, x: Channels, weight: PerChannel | None, mean: PerChannel, rstd: PerChannel
) -> tuple[Channels, PerChannel, PerChannel]:
    """One kernel for dx and the sums of strips, and one for the sums of channels."""
    dx = namespace(x).empty(x.shape, x.dtype)
    sums = channel_kernels.sums(dy, x, mean, rstd, dx, weight)
    return dx, sums[0], sums[1]


def as_channels(x: Array, *vectors: Array | None) -> list[Any]:
    """Return x (N, C, ...) as (N, C, S), and vectors (C,) as (1, C, 1)."""
    N, C, *space = x.shape
    return [
        x.reshape(N, C, math.prod(space)),
        *[None if v is None else v.reshape(1, C, 1) for v in vectors],
    ]


def as_given(shape: Shape, dx: Array, dweight: Array, dbias: Array) -> Gradients:
    """Return the gradients of x, in its `shape`, and of vectors (C,)."""
    return dx.reshape(shape), dweight.reshape(-1), dbias.reshape(-1)


class BatchNormEvalFunction(Function):
    """y = w·(x - mean)·r + b · dx = r·w·dy: mean and r are constants"""

    def forward(
        self, x: Array, weight: Array | None, bias: Array | None, *, mean: Array, var: Array, eps: float
    ) -> Array:
        pools, weight, bias, mean, var = as_channels(x, weight, bias, mean, var)
        y, rstd = batch_norm_eval_forward(pools, weight, bias, mean, var, eps)
        self.saved = pools, weight, mean, rstd
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        return as_given(dy.shape, *batch_norm_eval_backward(dy.reshape(self.saved[0].shape), *self.saved))
