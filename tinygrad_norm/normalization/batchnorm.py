"""Batch normalization: every channel gets mean 0 and variance 1 over the batch.

    x (N, C, ...)   pool = all samples and positions of one channel, n = x.size / C values
    m = mean(x)   v = mean((x - m)²)   r = 1/√(v + eps)   x̂ = (x - m)·r   y = w·x̂ + b

m, v, r, w and b are (C,). In evaluation m and v are constants: the running statistics

    running_mean ← (1 - momentum)·running_mean + momentum·m
    running_var  ← (1 - momentum)·running_var  + momentum·v·n/(n - 1)

which were gathered in training. y is made with the biased variance v, the running one is unbiased;
momentum weighs the new value; momentum=None gives every batch the same weight (1/number of batches).

Ioffe, Szegedy 2015, arXiv:1502.03167.

Backward in training, for one channel, from dy = dL/dy:

    db = Σ dy      dw = Σ dy·x̂      g := dL/dx̂ = w·dy

    straight   r·g
    through m  Σg·(-r)·(1/n)                      = -r·mean(g)
    through r  Σ(g·(x-m)) · (-r³/2) · (2/n)·(x-m) = -r·x̂·mean(g·x̂)

    dx = r·(g - mean(g) - x̂·mean(g·x̂))

Backward in evaluation: nothing flows through constants, dx = r·g.

Insight: w is one number per pool, so mean(g) = w·db/n and mean(g·x̂) = w·dw/n: the two parameter
gradients are exactly what dx needs. And mean(dx) = 0: a bias right before the layer learns nothing.
"""

import math

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, kernel
from ..registry import Case, ErrorCase, Input, positive, register
from .checks import check_channels, check_pool, check_vector
from .moments import fixed_norm_backward, fixed_norm_forward, pool_norm_backward, pool_norm_forward, rsqrt
from .running import RunningNorm, unbiased, update_running


def batch_norm_composed(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    eps: float = 1e-5,
) -> Tensor:
    """Batch normalization from primitives (without the running update): autograd finds the gradient."""
    axes = (0, *range(2, input.ndim))
    per_channel = (-1, *(1,) * (input.ndim - 2))
    if training or running_mean is None or running_var is None:
        centered = input - input.mean(axes, keepdim=True)
        var = (centered * centered).mean(axes, keepdim=True)
    else:
        centered = input - running_mean.reshape(per_channel)
        var = running_var.reshape(per_channel)
    y = centered * (var + eps) ** -0.5
    y = y if weight is None else y * weight.reshape(per_channel)
    return y if bias is None else y + bias.reshape(per_channel)


@kernel
def batch_norm_forward(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array, Array]:
    """Return y, mean, var and rstd: x (N, C, S), weight, bias and the statistics (1, C, 1)."""
    return pool_norm_forward(x, weight, bias, (0, 2), eps)


@kernel
def batch_norm_backward(
    dy: Array, x: Array, weight: Array | None, bias: Array | None, mean: Array, rstd: Array
) -> tuple[Array, Array | None, Array | None]:
    """Return dx (N, C, S), dweight and dbias (1, C, 1), None where there is no weight or bias."""
    return pool_norm_backward(dy, x, weight, bias, mean, rstd, (0, 2), (0, 2))


@kernel
def batch_norm_eval_forward(
    x: Array, weight: Array | None, bias: Array | None, mean: Array, var: Array, eps: float
) -> tuple[Array, Array]:
    """Return y and rstd: x (N, C, S), all others (1, C, 1)."""
    rstd = rsqrt(var, eps)
    return fixed_norm_forward(x, weight, bias, mean, rstd), rstd


@kernel
def batch_norm_eval_backward(
    dy: Array, x: Array, weight: Array | None, bias: Array | None, mean: Array, rstd: Array
) -> tuple[Array, Array | None, Array | None]:
    """Return dx (N, C, S), dweight and dbias (1, C, 1), None where there is no weight or bias."""
    return fixed_norm_backward(dy, x, weight, bias, mean, rstd)


class _PerChannel(Function):
    """What training and evaluation share: x as (N, C, S), vectors (C,) as (1, C, 1), and back."""

    def lay_out(self, x: Array, *vectors: Array | None) -> list[Array | None]:
        self.shape = x.shape
        pools = x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
        return [pools, *(None if v is None else v.reshape(1, -1, 1) for v in vectors)]

    def restore(self, dx: Array, *vectors: Array | None) -> tuple[Array | None, ...]:
        return dx.reshape(self.shape), *(None if v is None else v.reshape(-1) for v in vectors)


class BatchNormFunction(_PerChannel):
    """y = w·(x - m)·r + b · dx = r·(g - mean(g) - x̂·mean(g·x̂)) with g = w·dy, means over each channel

    Returns y and the batch's mean and biased variance (C,), through which no gradient flows.
    """

    constants = (1, 2)

    def forward(
        self, x: Array, weight: Array | None, bias: Array | None, *, eps: float
    ) -> tuple[Array, Array, Array]:
        pools, weight, bias = self.lay_out(x, weight, bias)
        y, mean, var, rstd = batch_norm_forward(pools, weight, bias, eps)
        self.saved = pools, weight, bias, mean, rstd
        return y.reshape(x.shape), mean.reshape(-1), var.reshape(-1)

    def backward(self, dy: Array, *_: None) -> Gradients:
        return self.restore(*batch_norm_backward(dy.reshape(self.saved[0].shape), *self.saved))


class BatchNormEvalFunction(_PerChannel):
    """y = w·(x - mean)·r + b · dx = r·w·dy: mean and r are constants"""

    def forward(
        self, x: Array, weight: Array | None, bias: Array | None, *, mean: Array, var: Array, eps: float
    ) -> Array:
        pools, weight, bias, mean, var = self.lay_out(x, weight, bias, mean, var)
        y, rstd = batch_norm_eval_forward(pools, weight, bias, mean, var, eps)
        self.saved = pools, weight, bias, mean, rstd
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        return self.restore(*batch_norm_eval_backward(dy.reshape(self.saved[0].shape), *self.saved))


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel over the batch, then scale and shift.

    Args:
        input: (N, C, ...).
        running_mean: (C,); used in evaluation, moved towards the batch's in training. May be None there.
        running_var: the same for the (unbiased) variance.
        weight: (C,), or None.
        bias: (C,), or None.
        training: whether the batch's own statistics are used, and the running ones updated in place.
        momentum: weight of the new value in the running statistics, a fraction per step.
        eps: added to the variance, in units of input².

    Raises:
        TypeError: for an input that is no floating-point tensor.
        ValueError: for vectors that are not (C,), for evaluation without running statistics, and for
            training with one value per channel, whose variance is always 0.

    Source: Ioffe, Szegedy 2015, arXiv:1502.03167.
    """
    C = check_channels(input, "batch_norm")
    vectors = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for name, vector in vectors.items():
        check_vector(vector, name, (C,))
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm in evaluation needs running_mean and running_var: pass both")
        return BatchNormEvalFunction.apply(
            input, weight, bias, mean=running_mean.array, var=running_var.array, eps=eps
        )
    n = input.array.size // C
    check_pool(input, n, "batch_norm", "use a larger batch, or call eval()")
    y, mean, var = BatchNormFunction.apply(input, weight, bias, eps=eps)
    if n:
        update_running(running_mean, mean.array, momentum)
        update_running(running_var, unbiased(var.array, n), momentum)
    return y


class _BatchNorm(RunningNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias)

    def forward(self, input: Tensor) -> Tensor:
        self.check_ndim(input)
        check_channels(input, type(self).__name__, self.num_features)
        return batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.count_batch(),
            self.eps,
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalization of (N, C) or (N, C, L) with learned weight (ones) and bias (zeros).

    Training uses the batch's statistics and gathers running ones; evaluation uses those, or the
    batch's again where `track_running_stats` is off. `momentum` is the weight of the new value, a
    fraction per step; None weighs all batches alike. Source: Ioffe, Szegedy 2015, arXiv:1502.03167.
    """

    input_ndims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalization of (N, C, H, W); see BatchNorm1d."""

    input_ndims = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalization of (N, C, D, H, W); see BatchNorm1d."""

    input_ndims = (5,)


_STATISTICS = (Input((3,), differentiable=False), positive(3, differentiable=False))

register(
    name="batch_norm",
    function=batch_norm,
    composed=batch_norm_composed,
    cases=(
        Case(((4, 3), None, None, (3,), (3,)), {"training": True}),
        Case(((4, 3), None, None, None, None), {"training": True}),
        Case(((4, 3, 2), None, None, (3,), None), {"training": True, "eps": 1e-3}),
        Case(((4, 3, 2), None, None, None, (3,)), {"training": True}),
        Case(((2, 3, 2, 2), None, None, (3,), (3,)), {"training": True}),
        Case(((2, 3, 2, 1, 2), None, None, (3,), (3,)), {"training": True}),
        Case(((4, 3), *_STATISTICS, (3,), (3,)), {"training": False}),
        Case(((2, 3, 2, 2), *_STATISTICS, (3,), (3,)), {"training": False, "eps": 1e-3}),
        Case(((1, 3), *_STATISTICS, None, None), {"training": False}),
        Case(((0, 3), *_STATISTICS, (3,), (3,)), {"training": False}),
    ),
    errors=(
        ErrorCase(lambda: batch_norm(Tensor(numpy.ones((1, 3))), training=True), ValueError, "more than one"),
        ErrorCase(lambda: batch_norm(Tensor(numpy.ones((2, 3)))), ValueError, "running_mean"),
        ErrorCase(lambda: batch_norm(Tensor(numpy.ones(3)), training=True), ValueError, "at least 2 axes"),
        ErrorCase(
            lambda: batch_norm(Tensor(numpy.ones((2, 3))), weight=Tensor(numpy.ones(2)), training=True),
            ValueError,
            "weight",
        ),
        ErrorCase(lambda: BatchNorm1d(3)(Tensor(numpy.ones((2, 4)))), ValueError, "3 channels"),
        ErrorCase(lambda: BatchNorm2d(3)(Tensor(numpy.ones((2, 3)))), ValueError, "4-d"),
        ErrorCase(lambda: BatchNorm1d(3, momentum=2.0), ValueError, "momentum"),
        ErrorCase(lambda: BatchNorm1d(0), ValueError, "num_features"),
    ),
    kind="normalization",
    title="BatchNorm",
    paper="Ioffe, Szegedy 2015, arXiv:1502.03167",
    pool="each channel, over samples and positions",
    torch="torch.nn.functional.batch_norm",
    bench=tuple(
        Case((shape, None, None, shape[1:2], shape[1:2]), {"training": True})
        for shape in ((64, 128), (256, 128), (128, 16, 8, 8), (64, 64, 32, 32))
    ),
)
