"""Batch normalization: every channel gets mean 0 and variance 1 over the batch.

    x (N, C, ...)   pool = all samples and positions of one channel, n = x.size / C values
    m = mean(x)   v = mean((x - m)²)   r = 1/√(v + eps)   x̂ = (x - m)·r   y = w·x̂ + b

m, v, r, w and b are (C,). In evaluation m and v are constants: the running statistics

    running_mean ← (1 - momentum)·running_mean + momentum·m
    running_var  ← (1 - momentum)·running_var  + momentum·v·n/(n - 1)

which were gathered in training. y is made with the biased variance v, the running one is unbiased;
momentum weighs the new value; momentum=None gives every batch the same weight (1/number of batches).

In the code: m mean, v var, r rstd, x̂ x_hat, w weight, b bias.

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

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cuda.launch import CudaSource, contiguous, teams, wide, wide_empty
from ...backends.cuda.teams import Teams
from ...ops.checks import check_channels, check_pool, check_vectors
from ...registry import Case, ErrorCase, Input, positive, register
from ..core.moments import (
    check_eps,
    fixed_norm_backward,
    fixed_norm_forward,
    pool_norm_backward,
    pool_norm_forward,
    rsqrt,
)
from ..core.running_stats import Gather, RunningNorm, update_running

_kernels = CudaSource(__file__, "../core/moments.cuh")
_COLUMNS = Teams(vector=1, team=1, kept=16)
_PIECES = ((8, 4), (32, 8), (256, 8), (256, 0))


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


_AXES = {2: (0,), 3: (0, 2)}


@kernel
def batch_norm_forward(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array, Array]:
    """Return y, mean, var and rstd: x (N, C, S), weight, bias and the statistics (C, 1); or (N, C), (C,)."""
    return pool_norm_forward(x, weight, bias, _AXES[x.ndim], eps)


def _with_positions(twin: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """Let a twin that was made for x (N, C, S) and vectors (C, 1) take and return (N, C) and (C,) too."""

    @functools.wraps(twin)
    def call(x: Array, *others: Any) -> tuple[Any, ...]:
        if x.ndim == 3:
            return twin(x, *others)
        given = (a[..., None] if isinstance(a, type(x)) else a for a in (x, *others))
        return tuple([None if a is None else a[..., 0] for a in twin(*given)])

    return call


@batch_norm_forward.cuda
@_with_positions
def batch_norm_forward_cuda(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array, Array]:
    """Three kernels: the moments of strips, those of channels, and y."""
    check_eps(eps)
    (N, C, S), (x,), (weight, bias) = x.shape, contiguous(x), wide(x, weight, bias)
    y, each = namespace(x).empty_like(x), C / x.size
    shape, outer, inner = _strips(x, y)
    means, spreads = wide_empty(x, outer, C, inner), wide_empty(x, outer, C, inner)
    mean, var, rstd = (wide_empty(x, C, 1) for _ in range(3))
    launch = functools.partial(_kernels.launch, storage=x.dtype, numbers=shape.template)
    blocks, block, sizes = shape.blocks(means.size), shape.block, (N, C, S)
    launch("strip_moments", blocks=blocks, threads=block, args=(x, means, spreads, *sizes, means.size, each))
    strips = means, spreads, mean, var, rstd, *sizes, outer, inner, each, eps
    launch("batch_norm_moments", blocks=C, threads=256, args=strips)
    normal = x, weight, bias, mean, rstd, y, *sizes
    launch("fixed_norm_forward", blocks=blocks, threads=block, args=normal)
    return y, mean, var, rstd


def _strips(x: Array, *others: Array) -> tuple[Teams, int, int]:
    """Return how threads share the strips of x (N, C, S), and how many there are, as (O, C, I)."""
    N, _, S = x.shape
    if S < 8:
        return _COLUMNS, -(-N // _COLUMNS.kept), S
    shape = teams(S, x, *others, shapes=_PIECES)
    shape = Teams(shape.vector, shape.team, shape.kept or _PIECES[-2][1])
    return shape, N, -(-S // (shape.vector * shape.team * shape.kept))


@kernel
def batch_norm_backward(
    dy: Array, x: Array, weight: Array | None, bias: Array | None, mean: Array, rstd: Array
) -> tuple[Array, Array | None, Array | None]:
    """Return dx (N, C, S), dweight and dbias (C, 1), None where no weight or bias is; or (N, C), (C,)."""
    return pool_norm_backward(dy, x, weight, bias, mean, rstd, _AXES[x.ndim], _AXES[x.ndim])


@batch_norm_backward.cuda
@_with_positions
def batch_norm_backward_cuda(
    dy: Array, x: Array, weight: Array | None, bias: Array | None, mean: Array, rstd: Array
) -> tuple[Array, Array | None, Array | None]:
    """Three kernels: the sums of strips, those of channels, and dx."""
    dy, x = contiguous(dy, x)
    dweight, dbias = _channel_sums(dy, x, mean, rstd)
    dx = _dx(dy, x, weight, mean, rstd, dweight, dbias)
    return dx, None if weight is None else dweight, None if bias is None else dbias


def _channel_sums(dy: Array, x: Array, mean: Array, rstd: Array) -> list[Array]:
    """Return Σ dy·x̂ and Σ dy of every channel, as (C, 1)."""
    N, C, S = x.shape
    shape, outer, inner = _strips(x, dy)
    sums = wide_empty(x, outer, C, inner), wide_empty(x, outer, C, inner)
    blocks, args = shape.blocks(sums[0].size), (dy, x, mean, rstd, *sums, N, C, S, sums[0].size)
    _kernels.launch("strip_sums", x.dtype, shape.template, blocks, shape.block, args)
    of_columns = (_kernels.sum_columns(part.reshape(outer, C * inner)) for part in sums)
    return [part.reshape(C, inner).sum(1, keepdims=True) for part in of_columns]


def _dx(
    dy: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    rstd: Array,
    dweight: Array | None,
    dbias: Array | None,
) -> Array:
    """Return dx; where dweight and dbias are None, the statistics are constants."""
    (N, C, S), (weight,), dx = x.shape, wide(x, weight), namespace(x).empty_like(x)
    shape, outer, inner = _strips(x, dy)
    args = dy, x, weight, mean, rstd, dweight, dbias, dx, N, C, S, C / x.size
    blocks = shape.blocks(outer * C * inner)
    _kernels.launch("batch_norm_backward", x.dtype, shape.template, blocks, shape.block, args)
    return dx


@kernel
def batch_norm_eval_forward(
    x: Array, weight: Array | None, bias: Array | None, mean: Array, var: Array, eps: float
) -> tuple[Array, Array]:
    """Return y and rstd: x (N, C, S), all others (C, 1); or (N, C), (C,)."""
    check_eps(eps)
    rstd = rsqrt(var, eps)
    return fixed_norm_forward(x, weight, bias, mean, rstd), rstd


@batch_norm_eval_forward.cuda
@_with_positions
def batch_norm_eval_forward_cuda(
    x: Array, weight: Array | None, bias: Array | None, mean: Array, var: Array, eps: float
) -> tuple[Array, Array]:
    """One kernel: every entry is read once and written once."""
    check_eps(eps)
    (N, C, S), (x,), rstd = x.shape, contiguous(x), rsqrt(var, eps)
    y, vectors = namespace(x).empty_like(x), wide(x, weight, bias, mean, rstd)
    shape, outer, inner = _strips(x, y)
    blocks, args = shape.blocks(outer * C * inner), (x, *vectors, y, N, C, S)
    _kernels.launch("fixed_norm_forward", x.dtype, shape.template, blocks, shape.block, args)
    return y, rstd


@kernel
def batch_norm_eval_backward(
    dy: Array, x: Array, weight: Array | None, bias: Array | None, mean: Array, rstd: Array
) -> tuple[Array, Array | None, Array | None]:
    """Return dx (N, C, S), dweight and dbias (C, 1), None where no weight or bias is; or (N, C), (C,)."""
    return fixed_norm_backward(dy, x, weight, bias, mean, rstd)


@batch_norm_eval_backward.cuda
@_with_positions
def batch_norm_eval_backward_cuda(
    dy: Array, x: Array, weight: Array | None, bias: Array | None, mean: Array, rstd: Array
) -> tuple[Array, Array | None, Array | None]:
    """One kernel for dx; with weight or bias two more, for the sums of strips and of channels."""
    (dy, x), (mean, rstd) = contiguous(dy, x), wide(x, mean, rstd)
    dx = _dx(dy, x, weight, mean, rstd, None, None)
    if weight is None and bias is None:
        return dx, None, None
    dweight, dbias = _channel_sums(dy, x, mean, rstd)
    return (
        dx,
        None if weight is None else dweight.reshape(weight.shape),
        None if bias is None else dbias.reshape(bias.shape),
    )


class _PerChannel(Function):
    """What training and evaluation share: x (N, C, ...) as (N, C, S) with vectors (C, 1), and back.

    x (N, C) and its vectors (C,) stay as they are.
    """

    def lay_out(self, x: Array, *vectors: Array | None) -> tuple[Array | None, ...]:
        self.shape = x.shape
        if x.ndim == 2:
            return x, *vectors
        pools = x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
        return pools, *[None if v is None else v.reshape(-1, 1) for v in vectors]

    def restore(self, dx: Array, *vectors: Array | None) -> tuple[Array | None, ...]:
        if dx.ndim == 2:
            return dx, *vectors
        return dx.reshape(self.shape), *[None if v is None else v.reshape(-1) for v in vectors]


class BatchNormFunction(_PerChannel):
    """y = w·(x - m)·r + b · dx = r·(g - mean(g) - x̂·mean(g·x̂)) with g = w·dy, means over each channel

    `gather` is called with the batch's mean and biased variance, (C,) or (C, 1).
    """

    def forward(
        self, x: Array, weight: Array | None, bias: Array | None, *, eps: float, gather: Gather
    ) -> Array:
        pools, weight, bias = self.lay_out(x, weight, bias)
        y, mean, var, rstd = batch_norm_forward(pools, weight, bias, eps)
        gather(mean, var)
        self.saved = pools, weight, bias, mean, rstd
        return self.restore(y)[0]

    def backward(self, dy: Array) -> Gradients:
        return self.restore(*batch_norm_backward(dy.reshape(self.saved[0].shape), *self.saved))


class BatchNormEvalFunction(_PerChannel):
    """y = w·(x - mean)·r + b · dx = r·w·dy: mean and r are constants"""

    def forward(
        self, x: Array, weight: Array | None, bias: Array | None, *, mean: Array, var: Array, eps: float
    ) -> Array:
        pools, weight, bias, mean, var = self.lay_out(x, weight, bias, mean, var)
        y, rstd = batch_norm_eval_forward(pools, weight, bias, mean, var, eps)
        self.saved = pools, weight, bias, mean, rstd
        return self.restore(y)[0]

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
    check_vectors(input, (C,), running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm in evaluation needs running_mean and running_var: pass both")
        return BatchNormEvalFunction.apply(
            input, weight, bias, mean=running_mean.array.copy(), var=running_var.array.copy(), eps=eps
        )
    n = len(input) * math.prod(input.shape[2:])
    check_pool(input, n, "batch_norm", "use a larger batch, or call eval()")

    def gather(mean: Array, var: Array) -> None:
        if n:
            update_running(running_mean, mean, momentum)
            update_running(running_var, var, momentum, n)

    return BatchNormFunction.apply(input, weight, bias, eps=eps, gather=gather)


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
