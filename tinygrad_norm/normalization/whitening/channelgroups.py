"""Whitening over the batch: what its forms share, which differ in how they find W = Σ^(-½).

    x (N, C, ...)   groups of d channels, each with n values: all samples and positions
    m = mean(x)   c = x - m   Σ = c·cᵀ/n + eps·I (d, d)   W = Σ^(-½), symmetric   ẑ = W·c   y = w·ẑ + b

w, b and m are (C,). In evaluation m and W are constants, gathered in training: running_mean, and running_wm,
the average of the batches' whitening matrices, not the whitening matrix of an average.

In the code: c/s is `centered`, with a power of two s, `scale`, that is about the size of the group: squares
of its numbers neither overflow nor vanish. Σ and W are those of c/s.

Backward, from dy = dL/dy. All that dy has to say about W, w and Σ is in one small matrix, M = dy·cᵀ (d, d):

    db = Σ dy      dw_i = Σ_j W_ij·M_ij      dẑ = w·dy      dW = w·M

c reaches ẑ straight and through Σ, where dΣ is symmetric and is what a form derives from dW:

    dc = W·dẑ + (2/n)·dΣ·c      dx = dc - mean(dc)

Backward in evaluation: m and W are constants, dx = Wᵀ·dẑ; a loaded W need not be symmetric.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, kernel, namespace, to_numpy
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.sums import increment, means, sums
from ...module import Module, Parameter
from ...ops import eye
from ...ops.arguments import as_number, as_size, check_flags
from ...ops.checks import check_channels, check_eps, check_pool, check_vectors
from ...ops.dims import Shape
from ..batch.fixednorm import batch_norm_eval_forward
from ..core.magnitudes import scales_of_rows
from ..core.moments import affine
from ..core.running_stats import update_running

Covariance = tuple[Array, Array, Array, Array, Array]
"""c/s (G, d, n), its Σ (G, d, d), eps/s² (G, 1, 1), m (C,), and s (G, 1, 1)."""

UpdateWhitening = Callable[[Array, Array], None]
"""Called with the mean (C,) and the whitening matrices (G, d, d) of a training batch."""


def as_groups(x: Channels, groups: int) -> Array:
    """Return x (N, C, S) as (G, d, N·S)."""
    (N, _, S), d = x.shape, x.shape[1] // groups
    return upcast(x).reshape(N, groups, d, S).transpose(1, 2, 0, 3).reshape(groups, d, N * S)


def as_samples(z: Array, shape: Shape) -> Array:
    """Return z (G, d, N·S) as (N, C, S), the inverse of `as_groups`."""
    N, C, S = shape
    return z.reshape(C, N, S).swapaxes(0, 1)


def covariance(x: Channels, groups: int, eps: float) -> Covariance:
    """Return the centered groups of x (N, C, S) and their covariances."""
    xp, c = namespace(x), as_groups(x, groups)
    mean = means(c, (2,))
    c = c - mean
    rest = means(c, (2,))  # of a mean that was rounded, large beside the deviations
    c = c - rest
    scale = scales_of_rows(c.reshape(groups, math.prod(c.shape[1:])))
    if eps:
        scale = xp.maximum(scale, math.ldexp(1.0, math.frexp(math.sqrt(eps))[1]))
    scale = scale[:, None, None].astype(c.dtype)
    c, least = c / scale, (eps / scale) / scale
    S = c @ c.swapaxes(1, 2) / max(c.shape[2], 1) + least * xp.eye(c.shape[1], dtype=c.dtype)
    return c, S, least, (mean + rest).reshape(-1), scale


def whitened(x: Channels, centered: Array, W: Array, weight: Array | None, bias: Array | None) -> Channels:
    """Return y = w·W·c + b (N, C, S); the affine is that of fixednorm.py, with mean 0 and rstd 1."""
    xp, z = namespace(x), as_samples(W @ centered, x.shape)
    if weight is not None or bias is not None:
        mean = xp.zeros((1, x.shape[1], 1), z.dtype)
        weight, bias = (None if v is None else upcast(v).reshape(mean.shape) for v in (weight, bias))
        z, _ = batch_norm_eval_forward(z, weight, bias, mean, mean + 1, 0.0)
    return downcast(z, x)


def parameter_gradients(
    dy: Channels, centered: Array, W: Array, weight: Array | None
) -> tuple[Array, Array, Array, Array]:
    """Return dẑ (G, d, n), dW (G, d, d), dw and db (C,)."""
    G, d, _ = centered.shape
    g = as_groups(dy, G)
    M = g @ centered.swapaxes(1, 2)
    dweight, dbias = (W * M).sum(2).reshape(-1), sums(g, (2,)).reshape(-1)
    if weight is None:
        return g, M, dweight, dbias
    w = upcast(weight).reshape(G, d, 1)
    return w * g, w * M, dweight, dbias


def input_gradient(dy: Channels, dz: Array, centered: Array, W: Array, dS: Array, scale: Array) -> Channels:
    """Return dx (N, C, S), for a symmetric dΣ (G, d, d) of c/s."""
    dc = W @ dz + (dS * (2 / max(centered.shape[2], 1))) @ centered
    return downcast(as_samples((dc - means(dc, (2,))) / scale, dy.shape), dy)


@kernel
def whitening_eval_forward(
    x: Channels, weight: Array | None, bias: Array | None, mean: Array, W: Array
) -> tuple[Channels, Array]:
    """Return y (N, C, S) and the centered groups (G, d, n), for a mean (C,) and W (G, d, d)."""
    centered = as_groups(x, len(W)) - upcast(mean).reshape(len(W), -1, 1)
    return whitened(x, centered, W, weight, bias), centered


@kernel
def whitening_eval_backward(
    dy: Channels, centered: Array, weight: Array | None, W: Array
) -> tuple[Channels, Array, Array]:
    """Return dx (N, C, S), dweight and dbias (C,)."""
    dz, _, dweight, dbias = parameter_gradients(dy, centered, W, weight)
    return downcast(as_samples(W.swapaxes(1, 2) @ dz, dy.shape), dy), dweight, dbias


def whitening_composed(
    input: Tensor,
    running: tuple[Tensor, Tensor] | None,
    weight: Tensor | None,
    bias: Tensor | None,
    groups: int,
    eps: float = 0.0,
    inverse_root: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Whitening from primitives, with running statistics or, given Σ → Σ^(-½), those of the batch."""
    N, C, *space = input.shape
    S = math.prod(space)
    x = input.reshape(N, groups, C // groups, S).permute(1, 2, 0, 3).reshape(groups, C // groups, N * S)
    if running is not None:
        z = running[1] @ (x - running[0].reshape(groups, C // groups, 1))
    else:
        assert inverse_root is not None
        centered = x - x.mean(2, keepdim=True)
        one = eye(C // groups, dtype=input.dtype)
        z = inverse_root(centered @ centered.transpose(1, 2) / max(N * S, 1) + eps * one) @ centered
    z = z.reshape(C, N, S).transpose(0, 1).reshape(input.shape)
    return affine(z, weight, bias, (-1, *(1,) * len(space)))


class WhiteningEvalFunction(Function):
    """y = w·W·(x - m) + b · dx = Wᵀ·(w·dy): m and W are constants"""

    def forward(self, x: Array, weight: Array | None, bias: Array | None, *, mean: Array, W: Array) -> Array:
        pools = as_pools(x)
        y, centered = whitening_eval_forward(pools, weight, bias, mean, upcast(W))
        self.saved = centered, weight, upcast(W)
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dweight, dbias = whitening_eval_backward(as_pools(dy), *self.saved)
        return dx.reshape(dy.shape), dweight, dbias


def as_pools(x: Array) -> Channels:
    """Return x (N, C, ...) as (N, C, S)."""
    return x.reshape(*x.shape[:2], math.prod(x.shape[2:]))


def check_whitening(
    name: str,
    input: Tensor,
    running_mean: Tensor | None,
    running_wm: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    num_groups: int,
    eps: float,
) -> None:
    """Check what the functions take; see there for what is raised."""
    C = check_channels(input, name)
    check_vectors(input, (C,), running_mean=running_mean, weight=weight, bias=bias)
    check_flags(training=training)
    check_eps(eps)
    d = channels_per_group(C, num_groups)
    check_vectors(input, (num_groups, d, d), running_wm=running_wm)
    if training:
        pool = len(input) * math.prod(input.shape[2:])
        check_pool(input, pool, name, "use a larger batch, or call eval()")
    elif running_mean is None or running_wm is None:
        raise ValueError(f"{name} in evaluation needs running_mean and running_wm: pass both")


def channels_per_group(channels: int, num_groups: int) -> int:
    """Return how many channels a group has.

    Raises:
        ValueError: if there are fewer groups than 1, or groups of different sizes.
    """
    num_groups = as_size(num_groups, "num_groups")
    if channels % num_groups:
        raise ValueError(f"num_groups must divide the number of channels, {channels}, got {num_groups}")
    return channels // num_groups


def in_evaluation(
    input: Tensor, running_mean: Any, running_wm: Any, weight: Tensor | None, bias: Tensor | None
) -> Tensor:
    """Whiten with running statistics, as they are now."""
    mean, W = running_mean.array.copy(), running_wm.array.copy()
    return WhiteningEvalFunction.apply(input, weight, bias, mean=mean, W=W)


def updates(
    input: Tensor, running_mean: Tensor | None, running_wm: Tensor | None, momentum: float
) -> UpdateWhitening:
    """Return a function that moves both running statistics towards those of a batch, in place."""

    def update(mean: Array, W: Array) -> None:
        if input.array.size:
            update_running(running_mean, mean, momentum)
            update_running(running_wm, W, momentum)

    return update


class GroupWhitening(Module):
    """Base of the layers that whiten groups of channels over the batch.

    Parameters weight (C,) ones and bias (C,) zeros; buffers running_mean (C,) zeros, running_wm (G, d, d)
    identities, num_batches_tracked int64 0-d. A subclass says how many axes its input may have.
    """

    input_ndims: ClassVar[tuple[int, ...]] = (2, 3, 4, 5)

    def __init__(
        self,
        num_features: int,
        num_groups: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
    ) -> None:
        super().__init__()
        check_flags(affine=affine, track_running_stats=track_running_stats)
        self.num_features = as_size(num_features, "num_features")
        d = channels_per_group(num_features, num_groups)
        check_eps(eps)
        if momentum is not None and not 0 <= as_number(momentum, "momentum") <= 1:
            raise ValueError(f"momentum is the weight of the new value, between 0 and 1, got {momentum}")
        self.num_groups, self.eps, self.momentum = num_groups, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        ones = numpy.ones(num_features, numpy.float32)
        identities = numpy.tile(numpy.eye(d, dtype=numpy.float32), (num_groups, 1, 1))
        self.register_parameter("weight", Parameter(ones) if affine else None)
        self.register_parameter("bias", Parameter(ones * 0) if affine else None)
        tracked = track_running_stats
        self.register_buffer("running_mean", Tensor(ones * 0) if tracked else None)
        self.register_buffer("running_wm", Tensor(identities) if tracked else None)
        self.register_buffer("num_batches_tracked", Tensor(numpy.array(0)) if tracked else None)

    def reset_running_stats(self) -> None:
        """Forget what was gathered: mean 0, identities, no batches."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_wm.copy_(eye(self.running_wm.shape[-1], dtype=self.running_wm.dtype))
            self.num_batches_tracked.zero_()

    def is_affine_in_evaluation(self) -> bool:
        """Return False: evaluation mixes the channels of a group."""
        return False

    def check_input(self, input: Tensor) -> None:
        """Raise ValueError unless the input has the axes and the channels that this layer takes."""
        check_channels(input, type(self).__name__, self.num_features)
        if input.ndim not in self.input_ndims:
            expected = " or ".join(f"{n}-d" for n in self.input_ndims)
            raise ValueError(f"{type(self).__name__} takes a {expected} input, got shape {input.shape}")

    def statistics(self) -> tuple[tuple[Any, Any, Any, Any, bool], float]:
        """Return what the functions take before num_groups, and momentum; count a batch of training."""
        training, momentum = self.training or not self.track_running_stats, 0.0
        if self.training and self.track_running_stats:
            increment(self.num_batches_tracked.array)
            count = self.num_batches_tracked.array
            momentum = 1 / float(to_numpy(count)) if self.momentum is None else self.momentum
        return (self.running_mean, self.running_wm, self.weight, self.bias, training), momentum

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, num_groups={self.num_groups}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, track_running_stats={self.track_running_stats}"
        )
