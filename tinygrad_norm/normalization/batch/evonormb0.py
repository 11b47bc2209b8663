"""EvoNorm-B0: x over the larger of two deviations, of the batch and of the sample; found by a search.

    x (N, C, ...)   s² = v_b + eps, v_b the variance of one channel over samples and positions, n values
    p² = v_i + eps, v_i the variance of one channel of one sample over its S positions
    D = max(s, u·x + p)   t = x/D   y = w·t + b

The bend of max is the only nonlinearity: no activation follows. u, w and b are (C,). The mean is not
subtracted. In evaluation v_b is the running variance, a constant; v_i is always the sample's own.

In the code: u v (as in timm), s batch_std, p sample_std, D divisor, w weight, b bias; x is (N, C, S).

Liu, Brock, Simonyan, Le 2020, arXiv:2004.02967.

Backward, from dy = dL/dy. The affine is shared by all positions of a channel:

    dw = Σ dy·t      db = Σ dy      g := dL/dt = w·dy      dL/dD = -g·t/D

dL/dD goes to the larger side: q is dL/dD where that is u·x + p, else 0, and l = dL/dD - q. Then u takes

    du = Σ q·x

and x has four paths, as ∂p/∂x_i = (x_i - m_i)/(S·p) and ∂s/∂x_i = (x_i - m_b)/(n·s), m their means:

    straight     g/D
    through u·x  u·q
    through p    (x - m_i)/p · mean(q) over the sample's positions
    through s    (x - m_b)/s · mean(l) over the batch; none in evaluation

    dx = g/D + u·q + (x - m_i)/p·mean(q) + (x - m_b)/s·mean(l)

Insight: where u·x + p wins, t has the slope of x/(u·x + p), which bends toward 1/u: a large x saturates.
The batch only sets the least divisor.
"""

import math

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.sums import means, sum_products, sums
from ...module import Module, Parameter
from ...ops import ones
from ...ops.arguments import as_number, as_size, check_flags
from ...ops.checks import check_channels, check_eps, check_pool, check_vectors
from ...registry import Case, ErrorCase, positive, register
from ..core.moments import affine, std_of
from ..core.running_stats import update_running
from ..sample.instancenorm import instance_norm_forward
from .batchnorm import POOL, batch_norm_forward
from .fixednorm import as_channels

POSITIONS = (2,)


def evo_norm_b0_composed(
    input: Tensor,
    running_var: Tensor | None,
    v: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    eps: float = 1e-3,
) -> Tensor:
    """EvoNorm-B0 from primitives (without the running update): autograd finds the gradients."""
    N, C, *space = input.shape
    x = input.reshape(N, C, math.prod(space))
    by_pool = []
    for pool in (POOL, POSITIONS):
        centered = x - x.mean(pool, keepdim=True)
        by_pool.append(((centered * centered).mean(pool, keepdim=True) + eps).sqrt())
    batch_std, sample_std = by_pool
    if not training and running_var is not None:
        batch_std = (running_var.reshape(1, C, 1) + eps).sqrt()
    divisor = batch_std.maximum(v.reshape(C, 1) * x + sample_std)
    return affine(x / divisor, weight, bias, (C, 1)).reshape(input.shape)


def _divisor(x: Channels, v: PerChannel, batch_std: PerChannel, sample_std: Array) -> Channels:
    return namespace(x).maximum(batch_std, v * x + sample_std)


@in_blocks("x", "sample_std", weight=1.0, bias=0.0)
def _divided(
    x: Channels,
    v: PerChannel,
    weight: PerChannel | None,
    bias: PerChannel | None,
    batch_std: PerChannel,
    sample_std: Array,
) -> Channels:
    return weight * (x / _divisor(x, v, batch_std, sample_std)) + bias


@kernel
def evo_norm_b0_forward(
    x: Channels,
    v: PerChannel,
    weight: PerChannel | None,
    bias: PerChannel | None,
    running_var: PerChannel | None,
    eps: float,
) -> tuple[Channels, PerChannel, PerChannel, PerChannel, Array, Array]:
    """Return y (N, C, S); mean, var and std of the batch (1, C, 1), mean and std of samples (N, C, 1).

    v, weight and bias are (1, C, 1). A running variance is the batch's in evaluation; its mean is then 0.
    """
    if running_var is None:
        _, mean, var, rstd = batch_norm_forward(x, None, None, eps)
        std = std_of(rstd)
    else:
        mean, var, std = running_var * 0, running_var, (running_var + eps) ** 0.5
    _, sample_mean, _, sample_rstd = instance_norm_forward(x, None, None, eps)
    sample_std = std_of(sample_rstd)
    return _divided(x, v, weight, bias, std, sample_std), mean, var, std, sample_mean, sample_std


@kernel
@in_blocks("dy", "x", "v", "weight", "mean", "std", "sample_mean", "sample_std", axis=1, weight=1.0)
def evo_norm_b0_backward(
    dy: Channels,
    x: Channels,
    v: PerChannel,
    weight: PerChannel | None,
    mean: PerChannel,
    std: PerChannel,
    sample_mean: Array,
    sample_std: Array,
    training: bool,
) -> tuple[Channels, PerChannel, PerChannel, PerChannel]:
    """Return dx (N, C, S), dv, dweight and dbias (1, C, 1)."""
    divisor, g = _divisor(x, v, std, sample_std), weight * dy
    t = x / divisor
    ddivisor = -(g * t / divisor)
    q = ddivisor * (divisor > std)
    dx = g / divisor + v * q + (x - sample_mean) / sample_std * means(q, POSITIONS)
    if training:
        dx = dx + (x - mean) / std * means(ddivisor - q, POOL)
    return dx, sum_products(q, x, POOL), sum_products(dy, t, POOL), sums(dy, POOL)


class EvoNormB0Function(Function):
    """y = w·x/D + b, D = max(s, u·x + p) · dx = g/D + u·q + (x - m_i)/p·mean(q) + (x - m_b)/s·mean(l)

    With g = w·dy, and q the part of -g·x/D² where u·x + p is the larger side, l the rest.
    """

    def forward(
        self,
        x: Array,
        v: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        eps: float,
        running_var: Array | None,
        update_statistics: object,
    ) -> Array:
        pools, v, weight, bias = as_channels(x, v, weight, bias)
        running = None if running_var is None else running_var.reshape(1, -1, 1)
        y, mean, var, *stds = evo_norm_b0_forward(pools, v, weight, bias, running, eps)
        if running is None:
            update_statistics(var)  # type: ignore[operator]
        self.saved = pools, v, weight, mean, *stds, running is None
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, *vectors = evo_norm_b0_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return dx.reshape(dy.shape), *[vector.reshape(-1) for vector in vectors]


def evo_norm_b0(
    input: Tensor,
    running_var: Tensor | None,
    v: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-3,
) -> Tensor:
    """Return input over max(std of the batch, v·input + std of the sample), scaled and shifted.

    Args:
        input: (N, C, ...) with more than one position.
        running_var: (C,), the (unbiased) variance of the batches, used in evaluation, and moved in training.
        v: (C,).
        weight: (C,), or None.
        bias: (C,), or None.
        training: whether the variance of the batch is its own, and the running one updated in place.
        momentum: weight of the new value in the running variance, a fraction per step.
        eps: added to both variances, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor, or `training` is not a bool.
        ValueError: if a vector is not (C,), in evaluation without a running variance, if a channel has one
            position, or if eps is negative.

    Source: Liu, Brock, Simonyan, Le 2020, arXiv:2004.02967.
    """
    C = check_channels(input, "evo_norm_b0")
    check_vectors(input, (C,), running_var=running_var, v=v, weight=weight, bias=bias)
    check_flags(training=training)
    check_eps(eps)
    S = math.prod(input.shape[2:])
    check_pool(input, S, "evo_norm_b0", "a channel needs more than one position", "channel of a sample")
    if not training and running_var is None:
        raise ValueError("evo_norm_b0 in evaluation needs running_var: pass it")

    def update_statistics(var: Array) -> None:
        if input.array.size:
            update_running(running_var, var, momentum, len(input) * S)

    running = None if training or running_var is None else running_var.array.copy()
    return EvoNormB0Function.apply(
        input, v, weight, bias, eps=float(eps), running_var=running, update_statistics=update_statistics
    )


class EvoNorm2dB0(Module):
    """EvoNorm-B0 of (N, C, H, W), a normalization and its activation: no ReLU follows it. As timm's.

    The parameters are `weight` (ones), `bias` (zeros) and `v` (ones), the buffer is `running_var` (ones), all
    (num_features,). `momentum` is the weight of the new value, a fraction per step. With `apply_act=False`
    only weight and bias are used, as in timm. Source: Liu, Brock, Simonyan, Le 2020, arXiv:2004.02967.
    """

    def __init__(
        self, num_features: int, apply_act: bool = True, momentum: float = 0.1, eps: float = 1e-3
    ) -> None:
        super().__init__()
        check_flags(apply_act=apply_act)
        check_eps(eps)
        if not 0 <= as_number(momentum, "momentum") <= 1:
            raise ValueError(f"momentum is the weight of the new value, between 0 and 1, got {momentum}")
        self.num_features = as_size(num_features, "num_features")
        self.apply_act, self.momentum, self.eps = apply_act, momentum, eps
        one = numpy.ones(num_features, numpy.float32)
        self.weight, self.bias = Parameter(one), Parameter(one * 0)
        self.register_parameter("v", Parameter(one.copy()) if apply_act else None)
        self.register_buffer("running_var", Tensor(one.copy()))

    def forward(self, input: Tensor) -> Tensor:
        check_channels(input, "EvoNorm2dB0", self.num_features)
        if input.ndim != 4:
            raise ValueError(f"EvoNorm2dB0 takes a 4-d input (N, C, H, W), got shape {input.shape}")
        if not self.apply_act:
            return affine(input, self.weight, self.bias, (-1, 1, 1))
        return evo_norm_b0(
            input, self.running_var, self.v, self.weight, self.bias, self.training, self.momentum, self.eps
        )

    def extra_repr(self) -> str:
        return f"{self.num_features}, apply_act={self.apply_act}, momentum={self.momentum}, eps={self.eps}"


register(
    name="evo_norm_b0",
    function=evo_norm_b0,
    composed=evo_norm_b0_composed,
    parameters=("v", "weight", "bias"),
    cases=(
        Case(((2, 3, 2, 3), None, (3,), (3,), (3,)), {"training": True}),
        Case(((3, 2, 4), None, (2,), None, (2,)), {"training": True, "eps": 1e-2}),
        Case(((2, 3, 4), positive(3, differentiable=False), (3,), (3,), None)),
        Case(((0, 3, 4), None, (3,), (3,), (3,)), {"training": True}),
    ),
    errors=(
        ErrorCase(lambda: evo_norm_b0(ones(2, 3, dtype=int), None, ones(3)), TypeError, "floating-point"),
        ErrorCase(lambda: evo_norm_b0(ones(2, 3, 2), None, ones(3)), ValueError, "running_var"),
        ErrorCase(lambda: evo_norm_b0(ones(2, 3, 2), ones(3), ones(2)), ValueError, "v has shape (2,)"),
        ErrorCase(lambda: evo_norm_b0(ones(2, 3, 1), ones(3), ones(3)), ValueError, "more than one"),
        ErrorCase(lambda: evo_norm_b0(ones(2, 3, 2), ones(3), ones(3), eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: EvoNorm2dB0(3, momentum=2.0), ValueError, "momentum"),
        ErrorCase(lambda: EvoNorm2dB0(3)(ones(2, 3, 4)), ValueError, "4-d"),
    ),
    kind="normalization",
    title="EvoNormB0",
    paper="Liu, Brock, Simonyan, Le 2020, arXiv:2004.02967",
    pool="each channel over the batch, and each channel of each sample, no mean: the larger deviation",
    bench=(Case(((8, 64, 32, 32), None, (64,), (64,), (64,)), {"training": True}),),
)
