"""MABN: small batches divide by the root mean square of several of them, and so does their gradient.

    x (N, C, ...)   a = mean(x²) of one channel over samples and positions, n values
    A = mean of a over this batch and the K - 1 before   r = 1/√(A + eps)   z = x·r
    ρ = √(A + eps)/√(V + eps), between 1/5 and 5, V the running mean of A      y = w·ρ·z + b

There is no mean: the weights of the layer before are to be centered instead, as centered_weight_norm and
WSConv2d do. In the first batches a is used for A, and until the thousandth ρ is 1. In evaluation y = w·x/√(V
+ eps) + b.

In the code: a square, A of_buffer, r rstd, ρ renorm, w weight, b bias; x is (N, C, S) as in batchnorm.py.

Yan, Wan, Zhang, Zhang, Wei, Sun 2020, arXiv:2001.06838.

Backward, from dy = dL/dy. ρ is a constant. All of a channel share the affine:

    dw = Σ dy·ρ·z      db = Σ dy      g := dL/dz = w·ρ·dy

With A = a, the two paths of rmsnorm.py over this pool give r·(g - z·mean(g·z)), exactly. With statistics of
several batches, the mean of g·z is that of the last K batches as well:

    dx = r·(g - z·P)      P = mean of mean(g·z) over this batch and the K - 1 before

This is an approximation: the other batches were normalized by other weights.

Insight: of the four statistics of BatchNorm, two in forward and two in backward, those of the gradient vary
the most from batch to batch. Without a mean only two are left, and both can be averaged.
"""

from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, host_can_read, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import upcast
from ...backends.cpu.sums import increment, mean_products
from ...module import Module, Parameter
from ...ops import ones
from ...ops.arguments import as_number, as_size, check_flags
from ...ops.checks import check_channels, check_eps, check_vectors
from ...registry import Case, ErrorCase, positive, register
from ..core.moments import affine, rsqrt
from .batchnorm import POOL
from .fixednorm import (
    BatchNormEvalFunction,
    as_channels,
    batch_norm_eval_backward,
)

LIMIT, FROM = 5.0, 1000  # ρ is between 1/LIMIT and LIMIT, and 1 in the first batches


def moving_average_batch_norm_composed(
    input: Tensor,
    running_var: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.02,
    eps: float = 1e-5,
) -> Tensor:
    """MABN in warm-up or in evaluation, from primitives, without the running update."""
    per_channel = (-1, *(1,) * (input.ndim - 2))
    square = running_var.reshape(per_channel)
    if training:
        square = (input * input).mean((0, *range(2, input.ndim)), keepdim=True)
    return affine(input * (square + eps) ** -0.5, weight, bias, per_channel)


def _mean_squares(x: Channels) -> PerChannel:
    """Return mean(x²) of each channel (1, C, 1), in float64: no square of float32 overflows there."""
    wide = x.astype(numpy.float64)
    return mean_products(wide, wide, POOL)


@in_blocks("x", "scale", "bias", "rstd", axis=1, bias=0.0)
def _normalized(x: Channels, scale: PerChannel, bias: PerChannel | None, rstd: PerChannel) -> Channels:
    return scale * (x * rstd) + bias


@in_blocks("dx", "x", "rstd", "projection", axis=1)
def _projected(dx: Channels, x: Channels, rstd: PerChannel, projection: PerChannel) -> Channels:
    return dx - rstd * (x * rstd) * projection


@kernel
def moving_average_batch_norm_backward(
    dy: Channels,
    x: Channels,
    weight: PerChannel | None,
    renorm: PerChannel,
    rstd: PerChannel,
    others: Any,
    warming_up: Any,
) -> tuple[Channels, PerChannel, PerChannel, PerChannel]:
    """Return dx (N, C, S), dweight and dbias (1, C, 1), and mean(g·z) of this batch (1, C, 1).

    `others` takes that and returns its mean over the batches.
    """
    scale = renorm if weight is None else weight * renorm
    mean = rstd * 0
    dx, sum_dy_z, dbias = batch_norm_eval_backward(dy, x, scale, mean, rstd)
    own = scale * sum_dy_z / max(x.shape[0] * x.shape[2], 1)
    projection = _chosen(warming_up, own, others(own))
    return _projected(dx, x, rstd, projection), renorm * sum_dy_z, dbias, own


class MovingAverageBatchNormFunction(Function):
    """y = w·ρ·x·r + b · dx = r·(g - z·P) with g = w·ρ·dy, P the mean of mean(g·z) over the last batches

    `buffers` are tensors (K, C) for mean(x²) and mean(g·z), or None; `slot` is the place of this batch.
    """

    def forward(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        running_var: Tensor,
        buffers: tuple[Tensor | None, Tensor | None],
        slot: Any,
        warming_up: Any,
        renorms: Any,
        momentum: float,
        eps: float,
    ) -> Array:
        pools = as_channels(x, weight, bias)
        square = _mean_squares(pools[0])
        squares, self.products = buffers
        of_buffer = _chosen(warming_up, square, _with(squares, square, slot))
        running = running_var.array.reshape(1, -1, 1).astype(square.dtype)
        ratio = ((of_buffer + eps) / (running + eps)) ** 0.5
        renorm = _chosen(renorms, ratio.clip(1 / LIMIT, LIMIT), namespace(x).ones_like(ratio)).astype(
            upcast(x).dtype
        )
        scale = renorm if weight is None else upcast(pools[1]) * renorm
        rstd = rsqrt(of_buffer + eps).astype(renorm.dtype)
        y = _normalized(pools[0], scale, pools[2], rstd)
        if momentum and x.size:
            _write(squares, square, slot)
            mixed = (1 - momentum) * running + momentum * of_buffer
            running_var.array[...] = mixed.reshape(-1)
            running_var.mark_written()
        self.saved = pools[0], pools[1], renorm, rstd
        self.state = slot, warming_up, bool(momentum)
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        slot, warming_up, moves = self.state
        pools = self.saved[0]
        dx, dweight, dbias, own = moving_average_batch_norm_backward(
            dy.reshape(pools.shape), *self.saved, lambda own: _with(self.products, own, slot), warming_up
        )
        if moves and pools.size and not self.backward_ran:  # once, also if it is differentiated again
            _write(self.products, own, slot)
        return dx.reshape(dy.shape), dweight.reshape(-1), dbias.reshape(-1)


def _chosen(condition: Any, a: Array, b: Array) -> Array:
    if isinstance(condition, bool):
        return a if condition else b
    return namespace(a).where(condition, a, b)


def _placed(buffer: Tensor, own: Array, slot: Any) -> Array:
    """Return the buffer (K, C) with `own` at the place `slot`."""
    is_here = (namespace(own).arange(len(buffer)) == slot)[:, None]
    return namespace(own).where(is_here, own.reshape(1, -1), buffer.array)


def _with(buffer: Tensor | None, own: Array, slot: Any) -> Array:
    """Return the mean of the buffer with `own` in it, of own's shape."""
    if buffer is None:
        return own
    return _placed(buffer, own, slot).mean(0).reshape(own.shape).astype(own.dtype)


def _write(buffer: Tensor | None, own: Array, slot: Any) -> None:
    if buffer is not None:
        buffer.array[...] = _placed(buffer, own, slot)
        buffer.mark_written()


def moving_average_batch_norm(
    input: Tensor,
    running_var: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.02,
    eps: float = 1e-5,
    buffer_x2: Tensor | None = None,
    buffer_gz: Tensor | None = None,
    slot: Any = 0,
    warming_up: Any = True,
    renorms: Any = False,
) -> Tensor:
    """Divide each channel by its root mean square over several batches, then scale and shift.

    In warm-up the gradient is exact; after it, an approximation, which also changes `buffer_gz` in the first
    backward pass of each forward. With momentum 0, and in evaluation, nothing is changed.

    Args:
        input: (N, C, ...).
        running_var: (C,), V: the running mean square.
        weight: (C,), or None.
        bias: (C,), or None.
        training: whether the batches' mean squares are used, and the running values updated in place.
        momentum: weight of the new value in running_var, a fraction per step: 1 - that of the authors.
        eps: added to mean squares, in units of input².
        buffer_x2: (K, C), the mean squares of the last K batches; None is this batch alone.
        buffer_gz: (K, C), their mean(g·z).
        slot: the row of the buffers for this batch: an int, or an integer array ().
        warming_up: whether the batch's own values are used: a bool, or an array ().
        renorms: whether the output is corrected by ρ: a bool, or an array ().

    Raises:
        TypeError: if the input is not a floating-point tensor, or `training` is not a bool. ValueError: if a
        vector is not (C,), a buffer not (K, C), eps is negative, or momentum is not between 0
            and 1.

    Source: Yan, Wan, Zhang, Zhang, Wei, Sun 2020, arXiv:2001.06838.
    """
    C = check_channels(input, "moving_average_batch_norm")
    check_vectors(input, (C,), running_var=running_var, weight=weight, bias=bias)
    check_flags(training=training)
    check_eps(eps)
    _check_momentum(momentum)
    for buffer in (buffer_x2, buffer_gz):
        if buffer is not None and (buffer.ndim != 2 or buffer.shape[1] != C):
            raise ValueError(f"the buffers of moving_average_batch_norm are (K, {C}), got {buffer.shape}")
    if not training:
        var = running_var.array.copy()
        return BatchNormEvalFunction.apply(input, weight, bias, mean=var * 0, var=var, eps=float(eps))
    return MovingAverageBatchNormFunction.apply(
        input,
        weight,
        bias,
        running_var=running_var,
        buffers=(buffer_x2, buffer_gz),
        slot=slot,
        warming_up=warming_up,
        renorms=renorms,
        momentum=float(momentum),
        eps=float(eps),
    )


def _check_momentum(momentum: float) -> None:
    if not 0 <= as_number(momentum, "momentum") <= 1:
        raise ValueError(f"momentum is the weight of the new value, between 0 and 1, got {momentum}")


class MABN2d(Module):
    """MABN of (N, channels, H, W) in batches of B, which are to behave as one of real_B.

    Parameters `weight` (ones) and `bias` (zeros); buffers `running_var` (ones), (channels,), `buffer_x2` and
    `buffer_gz` (zeros), (real_B/B, channels), and `num_batches_tracked`. The layer before should have
    centered weights and no bias. The gradient is exact in warm-up, then approximate. Arguments as the
    authors', but for `momentum`, the weight of the new value. Source: Yan, Wan, Zhang, Zhang, Wei, Sun 2020,
    arXiv:2001.06838.
    """

    def __init__(
        self,
        channels: int,
        B: int,
        real_B: int,
        eps: float = 1e-5,
        momentum: float = 0.02,
        warmup_iters: int = 100,
    ) -> None:
        super().__init__()
        check_eps(eps)
        _check_momentum(momentum)
        self.channels, size = as_size(channels, "channels"), as_size(B, "B")
        self.buffer_size, rest = divmod(as_size(real_B, "real_B"), size)
        if rest or not self.buffer_size:
            raise ValueError(f"real_B must be a multiple of B, got B={B} and real_B={real_B}")
        self.eps, self.momentum = eps, momentum
        self.warmup_iters = as_size(warmup_iters, "warmup_iters", 0)
        one = numpy.ones(self.channels, numpy.float32)
        self.weight, self.bias = Parameter(one), Parameter(one * 0)
        self.register_buffer("running_var", Tensor(one.copy()))
        for name in ("buffer_x2", "buffer_gz"):
            self.register_buffer(name, Tensor(numpy.zeros((self.buffer_size, self.channels), numpy.float32)))
        self.register_buffer("num_batches_tracked", Tensor(numpy.array(0)))

    running_var: Tensor

    def forward(self, input: Tensor) -> Tensor:
        check_channels(input, "MABN2d", self.channels)
        if input.ndim != 4:
            raise ValueError(f"MABN2d takes a 4-d input (N, C, H, W), got shape {input.shape}")
        if not self.training:
            return moving_average_batch_norm(input, self.running_var, self.weight, self.bias, eps=self.eps)
        batches = self.num_batches_tracked.array
        increment(batches)
        count = int(batches) if host_can_read(batches) else batches
        return moving_average_batch_norm(
            input,
            self.running_var,
            self.weight,
            self.bias,
            True,
            self.momentum,
            self.eps,
            self.buffer_x2,
            self.buffer_gz,
            count % self.buffer_size,
            count <= max(self.buffer_size, self.warmup_iters - 1),
            count > max(FROM, self.warmup_iters),
        )

    def extra_repr(self) -> str:
        return f"{self.channels}, eps={self.eps}, momentum={self.momentum}, batches={self.buffer_size}"


_WARM_UP = {"training": True, "momentum": 0.0}
_VAR = positive(3, differentiable=False)

register(
    name="moving_average_batch_norm",
    function=moving_average_batch_norm,
    composed=moving_average_batch_norm_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((2, 3, 2, 3), _VAR, (3,), (3,)), _WARM_UP),
        Case(((4, 3), _VAR, None, (3,)), {**_WARM_UP, "eps": 1e-2}),
        Case(((2, 3, 4), _VAR, (3,), None)),
    ),
    errors=(
        ErrorCase(lambda: moving_average_batch_norm(ones(2, 3).long(), ones(3)), TypeError, "floating-point"),
        ErrorCase(lambda: moving_average_batch_norm(ones(2, 3), ones(2)), ValueError, "running_var"),
        ErrorCase(
            lambda: moving_average_batch_norm(ones(2, 3), ones(3), buffer_x2=ones(3)), ValueError, "(K, 3)"
        ),
        ErrorCase(lambda: moving_average_batch_norm(ones(2, 3), ones(3), eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: MABN2d(3, 2, 5), ValueError, "multiple of B"),
        ErrorCase(lambda: MABN2d(3, 2, 4, momentum=2.0), ValueError, "momentum"),
        ErrorCase(lambda: MABN2d(3, 2, 4)(ones(2, 3, 4)), ValueError, "4-d"),
    ),
    kind="normalization",
    title="MABN",
    paper="Yan, Wan, Zhang, Zhang, Wei, Sun 2020, arXiv:2001.06838",
    pool="each channel over this batch and those before, no mean",
    bench=(Case(((8, 64, 32, 32), positive(64, differentiable=False), (64,), (64,)), _WARM_UP),),
)
