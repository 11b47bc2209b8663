"""Batch-instance normalization: a learned mix, for each channel, of BatchNorm and InstanceNorm.

    x (N, C, ...)   x̂ of BatchNorm: the mean and variance of one channel over samples and positions
    z of InstanceNorm: x with those of one channel of one sample
    y = w·(ρ·x̂ + (1 - ρ)·z) + b

ρ, w and b are (C,), ρ between 0 and 1. In evaluation x̂ is made with running statistics, z as in training.

In the code: ρ gate, B of_x_hat, I of_z, w weight, b bias; x is (N, C, S) as in batchnorm.py.

Nam, Kim 2018, arXiv:1805.07925.

Backward, from dy = dL/dy. The affine and the gate are shared by a channel:

    B = Σ dy·x̂      I = Σ dy·z      dw = ρ·B + (1 - ρ)·I      dρ = w·(B - I)      db = Σ dy

The gradients of x̂ and z are ρ·w·dy and (1 - ρ)·w·dy, and x reaches y through both. With the cores of
batchnorm.py and instancenorm.py, each with its own pool,

    core(g, x̂) = r·(g - mean(g) - x̂·mean(g·x̂))

    dx = core_batch(ρ·w·dy, x̂) + core_instance((1 - ρ)·w·dy, z)

and in evaluation the first is r·ρ·w·dy.

Insight: ρ = 1 keeps how a sample differs from the batch, its contrast and brightness in a channel, and ρ = 0
throws it away. The gradient of ρ asks which of the two goes along with dy.
"""

import math
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.grad_mode import no_grad
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, kernel
from ...backends.cpu.half import upcast
from ...module import Parameter
from ...ops import ones
from ...ops.arguments import check_flags
from ...ops.checks import check_channels, check_eps, check_pool, check_vectors
from ...registry import Case, ErrorCase, Input, positive, register, uniform
from ..core.moments import affine
from ..core.running_stats import RunningNorm, UpdateStatistics, update_both
from ..sample.instancenorm import (
    instance_norm_backward,
    instance_norm_composed,
    instance_norm_forward,
)
from .batchnorm import batch_norm_backward, batch_norm_composed, batch_norm_forward
from .fixednorm import as_channels, batch_norm_eval_backward, batch_norm_eval_forward


def batch_instance_norm_composed(
    input: Tensor,
    gate: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    eps: float = 1e-5,
) -> Tensor:
    """Batch-instance normalization from primitives (without the running update)."""
    per_channel = (-1, *(1,) * (input.ndim - 2))
    x_hat = batch_norm_composed(input, running_mean, running_var, None, None, training, eps)
    z = instance_norm_composed(input, eps=eps)
    rho = gate.reshape(per_channel)
    return affine(rho * x_hat + (1 - rho) * z, weight, bias, per_channel)


def _shares(weight: PerChannel | None, gate: PerChannel) -> tuple[PerChannel, PerChannel]:
    """Return the weights ρ·w of BatchNorm and (1 - ρ)·w of InstanceNorm."""
    gate = upcast(gate)
    return (gate, 1 - gate) if weight is None else (weight * gate, weight * (1 - gate))


@kernel
def batch_instance_norm_forward(
    x: Channels,
    gate: PerChannel,
    weight: PerChannel | None,
    bias: PerChannel | None,
    running: tuple[PerChannel, PerChannel] | None,
    eps: float,
) -> tuple[Channels, PerChannel, PerChannel, PerChannel, Array, Array]:
    """Return y (N, C, S); mean, var and rstd of the batch (1, C, 1), mean and rstd of samples (N, C, 1).

    gate, weight and bias are (1, C, 1). In evaluation, `running` are mean and var, constants.
    """
    of_batch, of_sample = _shares(weight, gate)
    if running is None:
        y, mean, var, rstd = batch_norm_forward(x, of_batch, bias, eps)
    else:
        mean, var = running
        y, rstd = batch_norm_eval_forward(x, of_batch, bias, mean, var, eps)
    z, sample_mean, _, sample_rstd = instance_norm_forward(x, of_sample, None, eps)
    return y + z, mean, var, rstd, sample_mean, sample_rstd


@kernel
def batch_instance_norm_backward(
    dy: Channels,
    x: Channels,
    gate: PerChannel,
    weight: PerChannel | None,
    mean: PerChannel,
    rstd: PerChannel,
    sample_mean: Array,
    sample_rstd: Array,
    training: bool,
) -> tuple[Channels, PerChannel, PerChannel, PerChannel]:
    """Return dx (N, C, S), dgate, dweight and dbias (1, C, 1)."""
    of_batch, of_sample = _shares(weight, gate)
    backward = batch_norm_backward if training else batch_norm_eval_backward
    dx, of_x_hat, dbias = backward(dy, x, of_batch, mean, rstd)
    dx_of_sample, of_z, _ = instance_norm_backward(dy, x, of_sample, sample_mean, sample_rstd)
    dgate = of_x_hat - of_z if weight is None else weight * (of_x_hat - of_z)
    return dx + dx_of_sample, dgate, gate * of_x_hat + (1 - gate) * of_z, dbias


class BatchInstanceNormFunction(Function):
    """y = w·(ρ·x̂ + (1 - ρ)·z) + b · dx = core(ρ·w·dy, x̂) + core((1 - ρ)·w·dy, z), each over its own pool"""

    def forward(
        self,
        x: Array,
        gate: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        eps: float,
        running: tuple[Array, Array] | None,
        update_statistics: UpdateStatistics,
    ) -> Array:
        pools, gate, weight, bias = as_channels(x, gate, weight, bias)
        vectors: Any = running and tuple([array.reshape(1, -1, 1) for array in running])
        y, mean, var, *rest = batch_instance_norm_forward(pools, gate, weight, bias, vectors, eps)
        if running is None:
            update_statistics(mean, var)
        self.saved = pools, gate, weight, mean, *rest, running is None
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, *vectors = batch_instance_norm_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return dx.reshape(dy.shape), *[vector.reshape(-1) for vector in vectors]


def batch_instance_norm(
    input: Tensor,
    gate: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return gate·BatchNorm(input) + (1 - gate)·InstanceNorm(input), scaled and shifted per channel.

    Args:
        input: (N, C, ...) with more than one position.
        gate: (C,), meant to be between 0 and 1; not clipped here.
        running_mean: (C,), of BatchNorm; as in `batch_norm`.
        running_var: (C,), of BatchNorm; as in `batch_norm`.
        weight: (C,), or None.
        bias: (C,), or None.
        training: whether BatchNorm uses the batch's own statistics, and updates the running ones in place.
        momentum: weight of the new value in the running statistics, a fraction per step.
        eps: added to both variances, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor, or `training` is not a bool.
        ValueError: if a vector is not (C,), in evaluation without running statistics, if a channel has one
            position, or if eps is negative.

    Source: Nam, Kim 2018, arXiv:1805.07925.
    """
    C = check_channels(input, "batch_instance_norm")
    vectors = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    check_vectors(input, (C,), gate=gate, **vectors)
    check_flags(training=training)
    check_eps(eps)
    S = math.prod(input.shape[2:])
    check_pool(
        input, S, "batch_instance_norm", "a channel needs more than one position", "channel of a sample"
    )
    running = None
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError(
                "batch_instance_norm in evaluation needs running_mean and running_var: pass both"
            )
        running = running_mean.array.copy(), running_var.array.copy()

    def update_statistics(mean: Array, var: Array) -> None:
        if input.array.size:
            update_both(running_mean, running_var, mean, var, momentum, len(input) * S)

    return BatchInstanceNormFunction.apply(
        input, gate, weight, bias, eps=float(eps), running=running, update_statistics=update_statistics
    )


class BatchInstanceNorm2d(RunningNorm):
    """Batch-instance normalization of (N, C, H, W), with a learned gate (C,) of ones: BatchNorm at first.

    Call `clip_gate_()` after each step of the optimizer, as the authors do: the gate stays between 0 and 1.
    Or once, `optimizer.register_step_post_hook(lambda *_: layer.clip_gate_())`. Weight, bias, momentum and
    buffers are as in BatchNorm2d. Source: Nam, Kim 2018, arXiv:1805.07925.
    """

    input_ndims = (4,)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias=True)
        self.gate = Parameter(numpy.ones(num_features, numpy.float32))

    @no_grad()
    def clip_gate_(self) -> None:
        """Set gates below 0 to 0 and gates above 1 to 1."""
        self.gate.clamp_(0, 1)

    def forward(self, input: Tensor) -> Tensor:
        self.check_ndim(input)
        check_channels(input, "BatchInstanceNorm2d", self.num_features)
        return batch_instance_norm(
            input,
            self.gate,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.count_batch(),
            self.eps,
        )

    def is_affine_in_evaluation(self) -> bool:
        return False


_GATES = uniform(0.0, 1.0, 3)
_STATISTICS = (Input((3,), differentiable=False), positive(3, differentiable=False))

register(
    name="batch_instance_norm",
    function=batch_instance_norm,
    composed=batch_instance_norm_composed,
    parameters=("gate", "weight", "bias"),
    cases=(
        Case(((2, 3, 2, 3), _GATES, None, None, (3,), (3,)), {"training": True}),
        Case(((3, 3, 4), _GATES, None, None, None, (3,)), {"training": True, "eps": 1e-2}),
        Case(((2, 3, 4), _GATES, *_STATISTICS, (3,), None)),
        Case(((0, 3, 4), _GATES, None, None, (3,), (3,)), {"training": True}),
    ),
    errors=(
        ErrorCase(lambda: batch_instance_norm(ones(2, 3, dtype=int), ones(3)), TypeError, "floating-point"),
        ErrorCase(lambda: batch_instance_norm(ones(2, 3, 2), ones(3)), ValueError, "running_mean"),
        ErrorCase(lambda: batch_instance_norm(ones(2, 3, 2), ones(2)), ValueError, "gate has shape (2,)"),
        ErrorCase(
            lambda: batch_instance_norm(ones(2, 3, 1), ones(3), training=True), ValueError, "more than one"
        ),
        ErrorCase(lambda: BatchInstanceNorm2d(3, eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: BatchInstanceNorm2d(3)(ones(2, 3, 4)), ValueError, "4-d"),
    ),
    kind="normalization",
    title="BatchInstanceNorm",
    paper="Nam, Kim 2018, arXiv:1805.07925",
    pool="each channel over the batch, and each channel of each sample; mixed by a gate",
    bench=(Case(((8, 64, 32, 32), uniform(0.0, 1.0, 64), None, None, (64,), (64,)), {"training": True}),),
)
