"""SyncBatchNorm across processes: each has one shard, and a group carries the buffers.

The formulas are those of syncbatchnorm.py. Forward is one message, in which every process gets the moments of
all shards; backward is one, which adds up (Σ dy, Σ dy·x̂). The gradients of weight and bias stay the sums over
the own shard: data parallelism adds them up with all other gradients.
"""

import math
from typing import Any

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, namespace, to_numpy
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import upcast
from ...distributed.group import Group
from ..core.running_stats import UpdateStatistics
from .shardmoments import inverse_deviation, joint_moments, shard_moments, shard_sums


@in_blocks("x", "mean", "rest", "rstd", "weight", "bias", axis=1, weight=1.0, bias=0.0)
def _normalized(
    x: Channels, mean: Array, rest: Array, rstd: Array, weight: PerChannel | None, bias: PerChannel | None
) -> Channels:
    return weight * ((x - mean - rest) * rstd) + bias


@in_blocks("dy", "x", "mean", "rest", "rstd", "weight", "dbias", "dweight", axis=1, weight=1.0)
def _gradient(
    dy: Channels,
    x: Channels,
    mean: Array,
    rest: Array,
    rstd: Array,
    weight: PerChannel | None,
    dbias: Array,
    dweight: Array,
    n: Any,
) -> Channels:
    x_hat = (x - mean - rest) * rstd
    return rstd * weight * (dy - dbias / n - x_hat * (dweight / n))


class SyncBatchNormAcrossProcessesFunction(Function):
    """y = w·(x - m)·r + b · dx = r·w·(dy - mean(dy) - x̂·mean(dy·x̂)), means over all processes

    `update_statistics` is called with mean and unbiased variance (1, C, 1) of the whole batch.
    """

    def forward(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        eps: float,
        group: Group,
        update_statistics: UpdateStatistics,
    ) -> Array:
        pools = x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
        weight, bias = (None if v is None else v.reshape(1, -1, 1) for v in (weight, bias))
        sent = group.all_gather(shard_moments(upcast(pools)))
        n = sent[:, 0, 0, 0].sum()
        if pools.shape[0] * pools.shape[2] <= 1 and float(to_numpy(n)) <= 1:
            raise ValueError(
                "SyncBatchNorm needs more than one value per channel in the batches of all processes "
                "together: use a larger batch, or call eval()"
            )
        mean, rest, std = joint_moments(sent)
        rstd = inverse_deviation(std, eps)
        update_statistics(mean + rest, std * std * (n / namespace(sent).maximum(n - 1, 1)))
        self.saved = pools, mean, rest, rstd, weight, n
        self.group = group
        return _normalized(pools, mean, rest, rstd, weight, bias).reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        pools, mean, rest, rstd, weight, n = self.saved
        shape, dy = dy.shape, dy.reshape(pools.shape)
        sums = shard_sums(upcast(dy), (upcast(pools) - mean - rest) * rstd)
        dbias, dweight = sums.reshape(2, -1).copy()
        self.group.all_reduce(sums)
        dx = _gradient(dy, pools, mean, rest, rstd, weight, sums[0], sums[1], n)
        return dx.reshape(shape), dweight, dbias


def batch_norm_across_processes(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    group: Group,
    update_statistics: UpdateStatistics,
) -> Tensor:
    """Normalize each channel of `input` (N, C, ...) over the batches of all processes of `group`."""
    return SyncBatchNormAcrossProcessesFunction.apply(
        input, weight, bias, eps=eps, group=group, update_statistics=update_statistics
    )
