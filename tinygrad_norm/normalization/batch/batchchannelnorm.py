"""Batch-channel normalization: batch normalization, and then group normalization of what it returns.

    z = BatchNorm(x)    y = w·x̂ + b  with  x̂ = GroupNorm(z) over each group of channels of each sample

x is (N, C, ...). Both have an affine per channel. In evaluation z uses the running statistics; the second
normalization has none.

Qiao, Wang, Liu, Shen, Yuille 2019, arXiv:1903.10520.

Backward, by the chain rule through z: with dz = r·(g - mean(g) - x̂·mean(g·x̂)), g = w·dy, over the pools of
groupnorm.py,

    dx = what batchnorm.py makes of dz

so there is nothing to derive, and nothing to fuse: the pools of the two differ, and each pass needs all
results of the one before.

Insight: group normalization alone lets a channel of its group come to lie at one side of 0 for all samples,
and a ReLU behind it switches the channel off. Batch normalization keeps every channel on both sides; group
normalization keeps what follows right if the batch is small.
"""

from typing import Any

import numpy

from ...autograd.tensor import Tensor
from ...module import Parameter
from ...ops import ones
from ...ops.checks import check_channels
from ...registry import Case, ErrorCase, Input, positive, register
from ..core.running_stats import RunningNorm
from ..sample.groupnorm import check_groups, group_norm, group_norm_composed
from .batchnorm import batch_norm, batch_norm_composed


def batch_channel_norm_composed(
    input: Tensor,
    num_groups: int,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    group_weight: Tensor | None = None,
    group_bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch-channel normalization from primitives (without the running update)."""
    z = batch_norm_composed(input, running_mean, running_var, weight, bias, training, eps)
    return group_norm_composed(z, num_groups, group_weight, group_bias, eps)


def batch_channel_norm(
    input: Tensor,
    num_groups: int,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    group_weight: Tensor | None = None,
    group_bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel over the batch, then each group of channels of each sample.

    Args:
        input: (N, C, ...).
        num_groups: G, a divisor of C.
        running_mean: (C,), of the first normalization; as in `batch_norm`.
        running_var: (C,), of the first normalization; as in `batch_norm`.
        weight: (C,), of the first normalization, or None.
        bias: (C,), of the first normalization, or None.
        group_weight: (C,), of the second normalization, or None.
        group_bias: (C,), of the second normalization, or None.
        training: whether the batch's own statistics are used, and the running ones updated in place.
        momentum: weight of the new value in the running statistics, a fraction per step.
        eps: added to both variances, in units of input².

    Raises:
        TypeError, ValueError: as `batch_norm` and `group_norm` do.

    Source: Qiao, Wang, Liu, Shen, Yuille 2019, arXiv:1903.10520.
    """
    z = batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    return group_norm(z, num_groups, group_weight, group_bias, eps)


class BatchChannelNorm2d(RunningNorm):
    """Batch-channel normalization of (N, C, H, W) in `num_groups` groups of channels.

    Has weight, bias, group_weight and group_bias (C,), ones and zeros at first; buffers as BatchNorm2d.
    Source: Qiao, Wang, Liu, Shen, Yuille 2019, arXiv:1903.10520.
    """

    input_ndims = (4,)

    def __init__(
        self,
        num_features: int,
        num_groups: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats=True, bias=True)
        check_groups(num_groups, num_features)
        self.num_groups = num_groups
        ones = numpy.ones(num_features, numpy.float32)
        self.group_weight: Any = Parameter(ones) if affine else None
        self.group_bias: Any = Parameter(ones * 0) if affine else None

    def forward(self, input: Tensor) -> Tensor:
        self.check_ndim(input)
        check_channels(input, "BatchChannelNorm2d", self.num_features)
        return batch_channel_norm(
            input,
            self.num_groups,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.group_weight,
            self.group_bias,
            self.training,
            self.count_batch(),
            self.eps,
        )

    def is_affine_in_evaluation(self) -> bool:
        return False

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, num_groups={self.num_groups}"


_STATISTICS = (Input((4,), differentiable=False), positive(4, differentiable=False))
_TRAINING = {"training": True, "num_groups": 2}

register(
    name="batch_channel_norm",
    function=batch_channel_norm,
    composed=batch_channel_norm_composed,
    inputs=("input", "running_mean", "running_var", "weight", "bias", "group_weight", "group_bias"),
    parameters=("weight", "bias", "group_weight", "group_bias"),
    cases=(
        Case(((3, 4, 2, 2), None, None, (4,), (4,), (4,), (4,)), _TRAINING),
        Case(((4, 4, 3), None, None, None, (4,), (4,), None), {**_TRAINING, "eps": 1e-3}),
        Case(((4, 4), None, None, None, None, None, None), {"training": True, "num_groups": 1}),
        Case(((2, 4, 3), *_STATISTICS, (4,), (4,), (4,), (4,)), {"num_groups": 2}),
        Case(((0, 4, 2), None, None, (4,), (4,), (4,), (4,)), _TRAINING),
    ),
    errors=(
        ErrorCase(lambda: batch_channel_norm(ones(4, 4), 3, training=True), ValueError, "divide"),
        ErrorCase(lambda: batch_channel_norm(ones(1, 4), 2, training=True), ValueError, "more than one"),
        ErrorCase(lambda: batch_channel_norm(ones(4, 4), 2), ValueError, "running_mean"),
        ErrorCase(
            lambda: batch_channel_norm(ones(4, 4), 2, group_weight=ones(2), training=True),
            ValueError,
            "weight",
        ),
        ErrorCase(lambda: BatchChannelNorm2d(4, 3), ValueError, "divide"),
        ErrorCase(lambda: BatchChannelNorm2d(4, 2)(ones(2, 4)), ValueError, "4-d"),
    ),
    kind="normalization",
    title="BatchChannelNorm",
    paper="Qiao et al. 2019, arXiv:1903.10520",
    pool="each channel over the batch, then each group of channels of each sample",
    bench=(Case(((32, 64, 32, 32), None, None, *((64,),) * 4), {"training": True, "num_groups": 32}),),
)
