"""Synchronized batch normalization: the batch lies in shards, one per process, and is normalized as one.

    x (N, C, ...)   shard i: N_i of the samples, n_i = N_i·S values per channel, S positions
    n = Σ n_i   m = Σ n_i·m_i/n   M2 = Σ M2_i + Σ n_i·(m_i - m)²   r = 1/√(M2/n + eps)   y = w·(x - m)·r + b

m_i is the mean of shard i, M2_i = Σ (x - m_i)². Every process sends one buffer, (n_i, m_i, √M2_i); from all
of them each has m and r, and normalizes its own shard. Both sums of M2 are sums of squares: nothing cancels,
as it would in E[x²] - m². The root is sent because it overflows no sooner than x itself. m_i is sent as two
numbers, rounded and what rounding took from it: for values of 1e4 ± 1e-2 that is 5 % of the deviation.

In the code: m mean + rest, r rstd, x̂ x_hat, w weight, b bias; √M2 is the spread.

Peng et al. 2017, arXiv:1711.07240; BatchNorm: Ioffe, Szegedy 2015, arXiv:1502.03167; the joint moments: Chan,
Golub, LeVeque 1979.

Backward, from dy = dL/dy, with L the sum of the losses of all processes. y of every shard depends on every x
through m and r, as in BatchNorm, so the paths are those of BatchNorm with sums over all shards:

    db = Σ dy      dw = Σ dy·x̂      (sum over a shard, then over shards)

    dx = r·w·(dy - db/n - x̂·dw/n)

Every process again sends one buffer, its part of (db, dw).

Insight: two sums per channel are all that processes have to tell each other, forward and backward, however
large the batch is; and the two of the backward are the parameters' gradients.
"""

import math
from collections.abc import Sequence
from typing import Self

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...distributed.group import Group
from ...distributed.world import default_group
from ...module import Module
from ...ops.checks import check_channels, check_eps, check_pool, check_vectors
from ...registry import Case, ErrorCase, register
from ..core.running_stats import update_both
from .acrossprocesses import batch_norm_across_processes
from .batchnorm import _BatchNorm, batch_norm_composed
from .shardmoments import inverse_deviation, joint_moments, shard_moments, shard_sums

Shards = tuple[int, ...]


def sync_batch_norm_composed(
    input: Tensor,
    shards: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Batch normalization of the joined batch from primitives: autograd finds the gradient."""
    return batch_norm_composed(input, None, None, weight, bias, True, eps)


@kernel
@in_blocks("x", "weight", "bias", axis=1, weight=1.0, bias=0.0)
def sync_batch_norm_forward(
    x: Channels, weight: PerChannel | None, bias: PerChannel | None, shards: Shards, eps: float
) -> tuple[Array, Array, Array, Array]:
    """Return y (N, C, S), mean, rest and rstd (1, C, 1); weight and bias are (1, C, 1)."""
    sent = namespace(x).stack([shard_moments(shard) for shard in _split(x, shards)])
    mean, rest, std = joint_moments(sent)
    rstd = inverse_deviation(std, eps)
    x_hat = (x - mean - rest) * rstd
    return weight * x_hat + bias, mean, rest, rstd


@kernel
@in_blocks("dy", "x", "weight", "mean", "rest", "rstd", axis=1, weight=1.0)
def sync_batch_norm_backward(
    dy: Channels,
    x: Channels,
    weight: PerChannel | None,
    mean: PerChannel,
    rest: PerChannel,
    rstd: PerChannel,
    shards: Shards,
) -> tuple[Array, Array, Array]:
    """Return dx (N, C, S), dweight and dbias (1, C, 1)."""
    x_hat = (x - mean - rest) * rstd
    sent = namespace(x).stack(
        [shard_sums(*shard) for shard in zip(_split(dy, shards), _split(x_hat, shards), strict=True)]
    )
    dbias, dweight = sent.sum(0)
    n = x.shape[0] * x.shape[2]
    dx = rstd * weight * (dy - dbias / n - x_hat * (dweight / n))
    return dx, dweight, dbias


def _split(x: Array, shards: Shards) -> list[Array]:
    return namespace(x).split(x, numpy.cumsum(shards)[:-1].tolist())


class SyncBatchNormFunction(Function):
    """y = w·(x - m)·r + b · dx = r·w·(dy - mean(dy) - x̂·mean(dy·x̂)), means over all shards"""

    def forward(
        self, x: Array, weight: Array | None, bias: Array | None, *, shards: Shards, eps: float
    ) -> Array:
        pools = x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
        weight, bias = (None if v is None else v.reshape(1, -1, 1) for v in (weight, bias))
        y, *statistics = sync_batch_norm_forward(pools, weight, bias, shards, eps)
        self.saved = pools, weight, *statistics, shards
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dweight, dbias = sync_batch_norm_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return dx.reshape(dy.shape), dweight.reshape(-1), dbias.reshape(-1)


def sync_batch_norm(
    input: Tensor,
    shards: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel over a batch that lies in shards, touching one shard at a time.

    Between the shards go only the buffers that processes would exchange: it is the algorithm, in one
    process.

    Args:
        input: (N, C, ...), the shards one after the other.
        shards: the samples of each process; some may have none.
        weight: (C,), or None.
        bias: (C,), or None.
        eps: added to the variance, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if the shards do not add up to the batch, if a vector is not (C,), or if there is only one
            value per channel.

    Source: Peng et al. 2017, arXiv:1711.07240.
    """
    C = check_channels(input, "sync_batch_norm")
    check_vectors(input, (C,), weight=weight, bias=bias)
    check_eps(eps)
    shards = tuple(shards)
    if min(shards, default=-1) < 0 or sum(shards) != input.shape[0]:
        raise ValueError(f"shards must be sizes that add up to the {input.shape[0]} samples, got {shards}")
    n = input.array.size // C if C else 0
    if n == 0:
        raise ValueError(f"sync_batch_norm needs values to normalize, got shape {input.shape}")
    check_pool(input, n, "sync_batch_norm", "use a larger batch")
    return SyncBatchNormFunction.apply(input, weight, bias, shards=shards, eps=float(eps))


class SyncBatchNorm(_BatchNorm):
    """Batch normalization of (N, C, ...) over the batches of all processes; see BatchNorm1d.

    In training, the processes of `process_group` exchange the moments of their batches, which may differ in
    size and be empty; all of them must call the layer. The running statistics stay equal on all of them. A
    single process computes what BatchNorm does, for any number of axes. Source: Peng et al. 2017,
    arXiv:1711.07240.

    Args:
        process_group: from `tn.distributed.init()`; default: all processes.

    Raises:
        TypeError: if process_group is not a group.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Group | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias=bias)
        if process_group is not None and not isinstance(process_group, Group):
            raise TypeError(
                "process_group must be what tn.distributed.init() returns, or None for all processes, got "
                f"{process_group!r}"
            )
        self.process_group = process_group

    def forward(self, input: Tensor) -> Tensor:
        group = default_group() if self.process_group is None else self.process_group
        if group.size == 1 or not self.training:
            return super().forward(input)
        check_channels(input, type(self).__name__, self.num_features)
        momentum = self.count_batch()

        def update_statistics(mean: Array, var: Array) -> None:
            update_both(self.running_mean, self.running_var, mean, var, momentum, 0)

        return batch_norm_across_processes(input, self.weight, self.bias, self.eps, group, update_statistics)

    def check_ndim(self, input: Tensor) -> None:
        """Leave it to the check of channels: any input (N, C, ...) will do."""

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Group | None = None) -> Module:
        """Replace every BatchNorm in `module`, and the module itself if it is one; return it.

        The new layers have the parameters and buffers of the old ones, not copies.

        Raises:
            TypeError: if process_group is not a group.
        """
        converted = module
        if isinstance(module, _BatchNorm):
            converted = cls._from(module, process_group)
        for name, child in module.named_children():
            converted.register_module(name, cls.convert_sync_batchnorm(child, process_group))
        return converted

    @classmethod
    def _from(cls, norm: _BatchNorm, process_group: Group | None) -> Self:
        made = cls(
            norm.num_features,
            norm.eps,
            norm.momentum,
            norm.affine,
            norm.track_running_stats,
            process_group,
            bias=norm.bias is not None,
        )
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            setattr(made, name, getattr(norm, name))
        return made.train(norm.training)


def _ones(*shape: int) -> Tensor:
    return Tensor(numpy.ones(shape))


register(
    name="sync_batch_norm",
    function=sync_batch_norm,
    composed=sync_batch_norm_composed,
    inputs=("input", "weight", "bias"),
    parameters=("weight", "bias"),
    cases=(
        Case(((6, 3), (3,), (3,)), {"shards": (4, 2)}),
        Case(((6, 3), None, None), {"shards": (1, 1, 4)}),
        Case(((5, 3, 2), (3,), None), {"shards": (0, 3, 2), "eps": 1e-3}),
        Case(((4, 2, 2, 2), None, (2,)), {"shards": (1, 3)}),
        Case(((4, 2), (2,), (2,)), {"shards": (4,)}),
    ),
    errors=(
        ErrorCase(lambda: sync_batch_norm(_ones(4, 3), (2, 3)), ValueError, "add up to the 4 samples"),
        ErrorCase(lambda: sync_batch_norm(_ones(4, 3), (5, -1)), ValueError, "add up"),
        ErrorCase(lambda: sync_batch_norm(_ones(4, 3), ()), ValueError, "add up"),
        ErrorCase(lambda: sync_batch_norm(_ones(1, 3), (1, 0)), ValueError, "more than one"),
        ErrorCase(lambda: sync_batch_norm(_ones(0, 3), (0, 0)), ValueError, "needs values"),
        ErrorCase(lambda: sync_batch_norm(_ones(4, 3), (4,), _ones(2)), ValueError, "weight"),
        ErrorCase(lambda: sync_batch_norm(_ones(4, 3), (4,), eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: SyncBatchNorm(3)(_ones(3)), ValueError, "at least 2 axes"),
        ErrorCase(
            lambda: SyncBatchNorm(3, process_group="world"),  # type: ignore[arg-type]
            TypeError,
            "process_group must be",
        ),
    ),
    kind="normalization",
    title="SyncBatchNorm",
    paper="Peng et al. 2017, arXiv:1711.07240",
    pool="each channel, over the batches of all processes",
)
