"""Instance normalization: every channel of every sample gets mean 0 and variance 1 over its positions.

    x (N, C, ...)   pool = the S positions of one channel of one sample
    m = mean(x)   r = 1/√(mean((x - m)²) + eps)   x̂ = (x - m)·r   y = w·x̂ + b

m and r are (N, C); w and b are (C,). With `track_running_stats`, the means over the batch of m and of
the unbiased variance are remembered, and evaluation uses those as BatchNorm does.

In the code: m mean, r rstd, x̂ x_hat, w weight, b bias.

Ulyanov, Vedaldi, Lempitsky 2016, arXiv:1607.08022.

Backward, for one pool, from dy = dL/dy:

    db = Σ dy      dw = Σ dy·x̂      over samples and positions      g := dL/dx̂ = w·dy

    straight   r·g
    through m  -r·mean(g)
    through r  -r·x̂·mean(g·x̂)

    dx = r·(g - mean(g) - x̂·mean(g·x̂))

The paths are derived in moments.py.

Insight: it erases the contrast and brightness of a channel, sample by sample, which is why style
transfer wants it; it is GroupNorm with one channel per group.
"""

import math

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cuda.launch import CudaSource, contiguous, kept_bytes, teams, wide, wide_empty
from ...backends.cuda.teams import BACKWARD_SHAPES
from ...ops.checks import check_channels, check_pool, check_vectors
from ...registry import Case, ErrorCase, Input, positive, register
from ..batch.batchnorm import batch_norm, batch_norm_composed
from ..core.moments import check_eps, pool_norm_backward, pool_norm_forward
from ..core.running_stats import Gather, RunningNorm, update_running

_kernels = CudaSource(__file__, "../core/moments.cuh")


def instance_norm_composed(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    eps: float = 1e-5,
) -> Tensor:
    """Instance normalization from primitives (without the running update): autograd finds the gradient."""
    if not use_input_stats:
        return batch_norm_composed(input, running_mean, running_var, weight, bias, False, eps)
    axes = tuple(range(2, input.ndim))
    centered = input - input.mean(axes, keepdim=True)
    y = centered * ((centered * centered).mean(axes, keepdim=True) + eps) ** -0.5
    per_channel = (-1, *(1,) * len(axes))
    y = y if weight is None else y * weight.reshape(per_channel)
    return y if bias is None else y + bias.reshape(per_channel)


@kernel
def instance_norm_forward(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array, Array]:
    """Return y, mean, var and rstd: x (N, C, S), weight and bias (1, C, 1), the statistics (N, C, 1)."""
    return pool_norm_forward(x, weight, bias, (2,), eps)


@instance_norm_forward.cuda
def instance_norm_forward_cuda(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array, Array]:
    """One kernel: every pool is read once and written once."""
    check_eps(eps)
    (N, C, S), (x,), (weight, bias) = x.shape, contiguous(x), wide(x, weight, bias)
    y = namespace(x).empty_like(x)
    mean, var, rstd = (wide_empty(x, N, C, 1) for _ in range(3))
    shape = teams(S, x, y)
    shared = kept_bytes(shape, S, x)
    args = x, weight, bias, y, mean, var, rstd, N * C, C, S, 1 / S, eps, shared > 0
    blocks = shape.blocks(N * C)
    _kernels.launch("instance_norm_forward", x.dtype, shape.template, blocks, shape.block, args, shared)
    return y, mean, var, rstd


@kernel
def instance_norm_backward(
    dy: Array, x: Array, weight: Array | None, bias: Array | None, mean: Array, rstd: Array
) -> tuple[Array, Array | None, Array | None]:
    """Return dx (N, C, S), dweight and dbias (1, C, 1), None where there is no weight or bias."""
    return pool_norm_backward(dy, x, weight, bias, mean, rstd, (2,), (2,))


@instance_norm_backward.cuda
def instance_norm_backward_cuda(
    dy: Array, x: Array, weight: Array | None, bias: Array | None, mean: Array, rstd: Array
) -> tuple[Array, Array | None, Array | None]:
    """One kernel for dx and for the sums of every pool; a second one adds them up over the samples."""
    (N, C, S), (dy, x), (wide_weight,) = x.shape, contiguous(dy, x), wide(x, weight)
    shape = teams(S, x, dy, shapes=BACKWARD_SHAPES)
    dx, sums_dy_x_hat, sums_dy = namespace(x).empty_like(x), wide_empty(x, N, C), wide_empty(x, N, C)
    args = dy, x, wide_weight, mean, rstd, dx, sums_dy_x_hat, sums_dy, N * C, C, S, 1 / S
    blocks = shape.blocks(N * C)
    _kernels.launch("instance_norm_backward", x.dtype, shape.template, blocks, shape.block, args)
    dweight = None if weight is None else _kernels.sum_columns(sums_dy_x_hat).reshape(weight.shape)
    return dx, dweight, None if bias is None else _kernels.sum_columns(sums_dy).reshape(bias.shape)


class InstanceNormFunction(Function):
    """y = w·(x - m)·r + b · dx = r·(g - mean(g) - x̂·mean(g·x̂)) with g = w·dy, means over positions

    `gather` is called with the mean and biased variance (N, C, 1) of each pool.
    """

    def forward(
        self, x: Array, weight: Array | None, bias: Array | None, *, eps: float, gather: Gather
    ) -> Array:
        N, C, *space = self.shape = x.shape
        pools = x.reshape(N, C, math.prod(space))
        weight, bias = (None if w is None else w.reshape(1, C, 1) for w in (weight, bias))
        y, mean, var, rstd = instance_norm_forward(pools, weight, bias, eps)
        gather(mean, var)
        self.saved = pools, weight, bias, mean, rstd
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        pools = self.saved[0]
        dx, *affine = instance_norm_backward(dy.reshape(pools.shape), *self.saved)
        return dx.reshape(self.shape), *(None if d is None else d.reshape(-1) for d in affine)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel of each sample over its positions, then scale and shift per channel.

    Args:
        input: (N, C, ...) with at least one axis of positions.
        running_mean: (C,), or None; moved towards the input's, or used where `use_input_stats` is off.
        running_var: the same for the (unbiased) variance.
        weight: (C,), or None.
        bias: (C,), or None.
        use_input_stats: whether the input's own statistics are used.
        momentum: weight of the new value in the running statistics, a fraction per step.
        eps: added to the variance, in units of input².

    Raises:
        TypeError: for an input that is no floating-point tensor.
        ValueError: for vectors that are not (C,), for an input without positions or with only one, and
            for use_input_stats=False without running statistics.

    Source: Ulyanov, Vedaldi, Lempitsky 2016, arXiv:1607.08022.
    """
    C = check_channels(input, "instance_norm")
    if input.ndim < 3:
        raise ValueError(f"instance_norm takes x (N, C, positions...), got shape {input.shape}")
    check_vectors(input, (C,), running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    S = math.prod(input.shape[2:])
    check_pool(input, S, "instance_norm", "a channel needs more than one position")

    def gather(mean: Array, var: Array) -> None:
        if input.array.size and (running_mean is not None or running_var is not None):
            update_running(running_mean, mean.mean(0), momentum)
            update_running(running_var, var.mean(0), momentum, S)

    return InstanceNormFunction.apply(input, weight, bias, eps=eps, gather=gather)


class _InstanceNorm(RunningNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias)

    def forward(self, input: Tensor) -> Tensor:
        self.check_ndim(input)
        single = isinstance(input, Tensor) and input.ndim == min(self.input_ndims)
        check_channels(input, type(self).__name__, self.num_features, 0 if single else 1)
        if single:
            return self.forward(input.unsqueeze(0)).squeeze(0)
        return instance_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.count_batch() if self.momentum is None else self.momentum,
            self.eps,
        )


class InstanceNorm1d(_InstanceNorm):
    """Instance normalization of (N, C, L) or (C, L); without affine and running statistics by default.

    `momentum` is the weight of the new value in the running statistics, a fraction per step; None
    weighs all batches alike. Another number of channels than `num_features` is refused, where PyTorch
    only warns as long as nothing is learned. Source: Ulyanov, Vedaldi, Lempitsky 2016, arXiv:1607.08022.
    """

    input_ndims = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Instance normalization of (N, C, H, W) or (C, H, W); see InstanceNorm1d."""

    input_ndims = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalization of (N, C, D, H, W) or (C, D, H, W); see InstanceNorm1d."""

    input_ndims = (4, 5)


_STATISTICS = (Input((3,), differentiable=False), positive(3, differentiable=False))

register(
    name="instance_norm",
    function=instance_norm,
    composed=instance_norm_composed,
    cases=(
        Case(((2, 3, 4), None, None, (3,), (3,))),
        Case(((2, 3, 4), None, None, None, None)),
        Case(((2, 3, 2, 3), None, None, (3,), None), {"eps": 1e-3}),
        Case(((2, 3, 2, 3), None, None, None, (3,))),
        Case(((1, 3, 2, 1, 2), None, None, (3,), (3,))),
        Case(((2, 3, 2, 2), *_STATISTICS, (3,), (3,)), {"use_input_stats": False}),
    ),
    errors=(
        ErrorCase(lambda: instance_norm(Tensor(numpy.ones((2, 3)))), ValueError, "positions"),
        ErrorCase(lambda: instance_norm(Tensor(numpy.ones((2, 3, 1)))), ValueError, "more than one position"),
        ErrorCase(
            lambda: instance_norm(Tensor(numpy.ones((2, 3, 4))), use_input_stats=False),
            ValueError,
            "running_mean",
        ),
        ErrorCase(lambda: InstanceNorm2d(3)(Tensor(numpy.ones((2, 4, 5, 5)))), ValueError, "3 channels"),
        ErrorCase(lambda: InstanceNorm1d(3)(Tensor(numpy.ones((2, 3, 5, 5)))), ValueError, "3-d"),
    ),
    kind="normalization",
    title="InstanceNorm",
    paper="Ulyanov, Vedaldi, Lempitsky 2016, arXiv:1607.08022",
    pool="each channel of each sample",
    torch="torch.nn.functional.instance_norm",
    bench=(Case(((32, 64, 32, 32), None, None, (64,), (64,))),),
)
