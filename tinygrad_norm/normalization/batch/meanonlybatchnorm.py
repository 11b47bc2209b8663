"""Mean-only batch normalization: every channel loses its mean over the batch, and keeps its scale.

    x (N, C, ...)   pool = all samples and positions of one channel, n = x.size / C values
    m = mean(x)   y = x - m + b

In evaluation m is the running mean, which training moves as batchnorm.py does. It goes with weight
normalization, which fixes the scale of x by its weights: then no noise of a batch multiplies, it only adds.

In the code: m mean + rest (see core/deviations.py), b bias; x is (N, C, S). The bodies are those of
fixednorm.py, with variance 1.

Salimans, Kingma 2016, arXiv:1602.07868, section 2.3.

Backward in training, for one channel, from dy = dL/dy:

    db = Σ dy
    straight     ∂x_j/∂x_i = 1 if i = j           dy_i
    through m    ∂m/∂x_i = 1/n, ∂y_j/∂m = -1      -mean(dy)

    dx = dy - mean(dy)

Backward in evaluation: m is a constant, dx = dy.

Insight: the mean path of batch normalization alone. mean(dx) = 0, so a bias right before learns nothing, but
the scale of what comes before still does.
"""

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import upcast
from ...module import Module, Parameter
from ...ops import ones
from ...ops.arguments import as_number, as_size, check_flags
from ...ops.checks import check_channels, check_pool, check_vectors
from ...registry import Case, ErrorCase, Input, register
from ..core.deviations import exact_means
from ..core.running_stats import update_running
from .fixednorm import as_channels, batch_norm_eval_backward, batch_norm_eval_forward


def mean_only_batch_norm_composed(
    input: Tensor,
    running_mean: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
) -> Tensor:
    """Mean-only batch normalization from primitives (without the running update): autograd's gradient."""
    per_channel = (-1, *(1,) * (input.ndim - 2))
    if training or running_mean is None:
        y = input - input.mean((0, *range(2, input.ndim)), keepdim=True)
    else:
        y = input - running_mean.reshape(per_channel)
    return y if bias is None else y + bias.reshape(per_channel)


@in_blocks("dy", "mean_dy", axis=1)
def _less_the_mean(dy: Channels, mean_dy: PerChannel) -> Channels:
    return dy - mean_dy


@kernel
def mean_only_batch_norm_forward(
    x: Channels, bias: PerChannel | None, mean: PerChannel | None
) -> tuple[Channels, PerChannel]:
    """Return y (N, C, S) and the mean (1, C, 1): that of the batch, if none is given."""
    if mean is None and not x.size:
        mean = namespace(x).zeros((1, x.shape[1], 1), x.dtype)
    elif mean is None:
        mean, rest = (s[..., :1] for s in exact_means(upcast(x)))  # repeated, if rows are short
        bias = -rest if bias is None else bias - rest
    y, _ = batch_norm_eval_forward(x, None, bias, mean, namespace(mean).ones_like(mean), 0.0)
    return y, mean


@kernel
def mean_only_batch_norm_backward(
    dy: Channels, mean: PerChannel, training: bool
) -> tuple[Channels, PerChannel]:
    """Return dx (N, C, S) and dbias (1, C, 1)."""
    zero = namespace(mean).zeros_like(mean)
    dx, _, dbias = batch_norm_eval_backward(dy, dy, None, zero, zero + 1)
    n = max(dy.shape[0] * dy.shape[2], 1)
    return _less_the_mean(dy, dbias / n) if training else dx, dbias


class MeanOnlyBatchNormFunction(Function):
    """y = x - m + b · dx = dy - mean(dy), means over each channel; dx = dy if m is given"""

    def forward(
        self, x: Array, bias: Array | None, *, mean: Array | None, update_mean: object = None
    ) -> Array:
        pools, bias, given = as_channels(x, bias, mean)
        y, used = mean_only_batch_norm_forward(pools, bias, given)
        if callable(update_mean):
            update_mean(used)
        self.saved = used, mean is None
        self.pools = pools.shape
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dbias = mean_only_batch_norm_backward(dy.reshape(self.pools), *self.saved)
        return dx.reshape(dy.shape), dbias.reshape(-1)


def mean_only_batch_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
) -> Tensor:
    """Subtract each channel's mean over the batch, then add the bias.

    Args:
        input: (N, C, ...).
        running_mean: (C,); used in evaluation, moved towards the batch's in training. May be None there.
        bias: (C,), or None.
        training: whether the batch's own mean is used, and the running one updated in place.
        momentum: weight of the new value in the running mean, a fraction per step.

    Raises:
        TypeError: if the input is not a floating-point tensor, or `training` is not a bool.
        ValueError: if a vector is not (C,), in evaluation without a running mean, or in training with one
            value per channel.

    Source: Salimans, Kingma 2016, arXiv:1602.07868.
    """
    C = check_channels(input, "mean_only_batch_norm")
    check_vectors(input, (C,), running_mean=running_mean, bias=bias)
    check_flags(training=training)
    if not training:
        if running_mean is None:
            raise ValueError("mean_only_batch_norm in evaluation needs running_mean: pass it")
        return MeanOnlyBatchNormFunction.apply(input, bias, mean=running_mean.array.copy())
    n = input.array.size // max(C, 1)
    check_pool(input, n, "mean_only_batch_norm", "use a larger batch, or call eval()")

    def update_mean(mean: Array) -> None:
        if n:
            update_running(running_mean, mean, momentum)

    return MeanOnlyBatchNormFunction.apply(input, bias, mean=None, update_mean=update_mean)


class MeanOnlyBatchNorm(Module):
    """Mean-only batch normalization of (N, C, ...) with a learned bias (zeros): after weight normalization.

    Training subtracts the batch's means and moves `running_mean`; evaluation uses that. `momentum` is the
    weight of the new value, a fraction per step.

    Source: Salimans, Kingma 2016, arXiv:1602.07868.
    """

    def __init__(self, num_features: int, momentum: float = 0.1, *, bias: bool = True) -> None:
        super().__init__()
        check_flags(bias=bias)
        if not 0 <= as_number(momentum, "momentum") <= 1:
            raise ValueError(f"momentum is the weight of the new value, between 0 and 1, got {momentum}")
        self.num_features, self.momentum = as_size(num_features, "num_features"), momentum
        zeros = numpy.zeros(num_features, numpy.float32)
        self.register_parameter("bias", Parameter(zeros) if bias else None)
        self.register_buffer("running_mean", Tensor(zeros.copy()))

    def forward(self, input: Tensor) -> Tensor:
        check_channels(input, "MeanOnlyBatchNorm", self.num_features)
        return mean_only_batch_norm(input, self.running_mean, self.bias, self.training, self.momentum)

    def extra_repr(self) -> str:
        return f"{self.num_features}, momentum={self.momentum}, bias={self.bias is not None}"


_RUNNING = Input((3,), differentiable=False)

register(
    name="mean_only_batch_norm",
    function=mean_only_batch_norm,
    composed=mean_only_batch_norm_composed,
    parameters=("bias",),
    cases=(
        Case(((4, 3), None, (3,)), {"training": True}),
        Case(((2, 3, 2, 2), None, None), {"training": True}),
        Case(((2, 3, 5), _RUNNING, (3,)), {"training": False}),
        Case(((0, 3), None, (3,)), {"training": True}),
    ),
    errors=(
        ErrorCase(lambda: mean_only_batch_norm(ones(1, 3), training=True), ValueError, "more than one"),
        ErrorCase(lambda: mean_only_batch_norm(ones(2, 3)), ValueError, "running_mean"),
        ErrorCase(lambda: mean_only_batch_norm(ones(2, 3), bias=ones(2), training=True), ValueError, "bias"),
        ErrorCase(lambda: MeanOnlyBatchNorm(3)(ones(2, 4)), ValueError, "3 channels"),
        ErrorCase(lambda: MeanOnlyBatchNorm(3, momentum=2.0), ValueError, "momentum"),
    ),
    kind="normalization",
    title="MeanOnlyBatchNorm",
    paper="Salimans, Kingma 2016, arXiv:1602.07868",
    pool="each channel, over samples and positions; the mean only",
    bench=(Case(((64, 64, 32, 32), None, (64,)), {"training": True}),),
)
