"""Group normalization: the channels of a sample are normalized in groups.

    x (N, C, ...)   pool = the C/G channels of one group and all positions of one sample
    m = mean(x)   v = mean((x - m)²)   r = 1/√(v + eps)   x̂ = (x - m)·r   y = w·x̂ + b = w·r·(x - m) + b

m, v and r are (N, G): one number per sample and group. w and b are (C,): per channel, not per group.

In the code: m mean, r rstd, x̂ x_hat, w weight, b bias; x is (N, G, C/G, S) with S positions.

Wu, He 2018, arXiv:1803.08494.

Backward, from dy = dL/dy. The affine part is elementwise, and samples and positions share its parameters:

    db = Σ dy      dw = Σ dy·x̂      over samples and positions      g := dL/dx̂ = w·dy

Every x_i moves every x̂_j of its pool of n values, so by the chain rule dL/dx_i = Σ_j g_j·∂x̂_j/∂x_i. With
x̂_j = (x_j - m)·r there are three paths from x_i to x̂_j, and their contributions add up:

    straight     ∂x_j/∂x_i = 1 if i = j                     r·g_i
    through m    ∂m/∂x_i = 1/n, ∂x̂_j/∂m = -r                -r·mean(g)
    through r    ∂v/∂x_i = (2/n)·(x_i - m), ∂r/∂v = -r³/2    -r·x̂_i·mean(g·x̂)

    (m also enters v, but Σ_j (x_j - m) = 0, so r does not move with m.)

    dx = r·(g - mean(g) - x̂·mean(g·x̂))

w is one number for all positions of a channel, so the means over a pool are sums over its channels:

    mean(g) = Σ_c w·(Σ_s dy)/n      mean(g·x̂) = Σ_c w·(Σ_s dy·x̂)/n

and the inner sums, added up over the samples, are db and dw. With r multiplied out,

    dx = r·w·dy - r·mean(g) - r·mean(g·x̂)·x̂

Insight: G = 1 pools like LayerNorm over (C, H, W), but with an affine per channel; G = C is
InstanceNorm. The paper's default is 32 groups, not 32 channels per group.
"""

import math

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.pool_loops import kept
from ...backends.cpu.sums import mean_products, means, sum_products, sums
from ...backends.cuda.launch import CudaSource, contiguous, inverse, kept_bytes, teams, wide, wide_empty
from ...backends.cuda.teams import Teams
from ...module import Module, Parameter
from ...ops.arguments import as_size, check_flags
from ...ops.checks import check_channels, check_eps, check_pool, check_vectors
from ...registry import Case, ErrorCase, register
from ..batch.shortrows import attach_short_rows
from ..core.exactness import (
    exact_for_any_scale,
    exact_near_the_limits,
    is_near_the_limits,
    loses_digits,
)
from ..core.moments import affine, standardized
from .shortgroups import short_groups, short_groups_backward

_kernels = CudaSource(__file__, "../core/moments.cuh")
POOL = (2, 3)  # of x (N, G, C/G, S): the channels of a group, and their positions
SAMPLES, CHANNELS, POSITIONS = (0,), (2,), (3,)
PER_POOL, PER_CHANNEL = kept(0, 1), kept(1, 2)
FORWARD_SHAPES = {"mean": PER_POOL, "rstd": PER_POOL, "weight": PER_CHANNEL, "bias": PER_CHANNEL}
BACKWARD_SHAPES = dict.fromkeys(("dweight", "dbias", "weight"), PER_CHANNEL)


def group_norm_composed(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Group normalization from primitives: autograd finds the gradient."""
    N, C = input.shape[:2]
    x = input.reshape(N, num_groups, input.numel() // max(N * num_groups, 1))
    x_hat = standardized(x, (-1,), eps).reshape(input.shape)
    return affine(x_hat, weight, bias, (C, *(1,) * (input.ndim - 2)))


@kernel
@in_blocks("x", weight=1.0, bias=0.0)
@exact_for_any_scale(POOL, "mean", "rstd")
def group_norm_forward(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """Return y (N, G, C/G, S), mean and rstd (N, G, 1, 1); weight and bias are (1, G, C/G, 1)."""
    mean = means(x, POOL)
    centered = x - mean
    rstd = (mean_products(centered, centered, POOL) + eps) ** -0.5
    return weight * rstd * centered + bias, mean, rstd


@group_norm_forward.loops(**FORWARD_SHAPES)
def group_norm_forward_loop(
    x: Array,
    weight: Array,
    bias: Array,
    eps: float,
    y: Array,
    mean: Array,
    rstd: Array,
    zero: float,
    left: Array,
) -> None:
    """One pool after the other: twice to find m and v, once to write y."""
    (N, G, channels, S), real = x.shape, x.dtype.type
    for n in range(N):
        left[n] = False
        for g in range(G):
            total = 0.0
            for c in range(channels):
                s = zero
                for i in range(S):
                    s += x[n, g, c, i]
                total += s
            m = real(total / (channels * S))
            total = 0.0
            for c in range(channels):
                s = zero
                for i in range(S):
                    s += (x[n, g, c, i] - m) * (x[n, g, c, i] - m)
                total += s
            r = real(1 / numpy.sqrt(real(total / (channels * S)) + eps))
            for c in range(channels):
                w, b = weight[0, g, c, 0] * r, bias[0, g, c, 0]
                for i in range(S):
                    y[n, g, c, i] = w * (x[n, g, c, i] - m) + b
            mean[n, g, 0, 0], rstd[n, g, 0, 0] = m, r
            left[n] |= loses_digits(m, r)


attach_short_rows(group_norm_forward, short_groups, FORWARD_SHAPES)


@group_norm_forward.cuda
def group_norm_forward_cuda(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, ...]:
    """One kernel: every pool is read once and written once."""
    _, G, _, S = x.shape
    sizes = *x.shape[1:], inverse(G), inverse(S)
    return _kernels.forward_pools("group_norm_forward", x, (weight, bias), 2, sizes, eps, run=S)


@kernel
@in_blocks("dy", "x", "mean", "rstd", add=True, weight=1.0)
@exact_near_the_limits(POOL)
def group_norm_backward(
    dy: Array, x: Array, weight: Array | None, mean: Array, rstd: Array
) -> tuple[Array, Array, Array]:
    """Return dx (N, G, C/G, S), dweight and dbias (1, G, C/G, 1)."""
    x_hat = (x - mean) * rstd
    sum_dy, sum_dy_x_hat = sums(dy, POSITIONS), sum_products(dy, x_hat, POSITIONS)
    n = x.shape[2] * x.shape[3]
    mean_g, mean_g_x_hat = sums(weight * sum_dy, CHANNELS) / n, sums(weight * sum_dy_x_hat, CHANNELS) / n
    dx = rstd * weight * dy - rstd * mean_g - rstd * mean_g_x_hat * x_hat
    return dx, sums(sum_dy_x_hat, SAMPLES), sums(sum_dy, SAMPLES)


@group_norm_backward.loops(**BACKWARD_SHAPES)
def group_norm_backward_loop(
    dy: Array,
    x: Array,
    weight: Array,
    mean: Array,
    rstd: Array,
    dx: Array,
    dweight: Array,
    dbias: Array,
    zero: float,
    left: Array,
) -> None:
    """One pool after the other: once for all sums, once to write dx."""
    (N, G, channels, S), real = x.shape, x.dtype.type
    for n in range(N):
        left[n] = False
        for g in range(G):
            left[n] |= is_near_the_limits(mean[n, g, 0, 0], rstd[n, g, 0, 0])
        if left[n]:
            continue
        for g in range(G):
            m, r = mean[n, g, 0, 0], rstd[n, g, 0, 0]
            sum_g = sum_g_x_hat = 0.0
            for c in range(channels):
                sum_dy = sum_dy_x_hat = zero
                for i in range(S):
                    sum_dy += dy[n, g, c, i]
                    sum_dy_x_hat += dy[n, g, c, i] * ((x[n, g, c, i] - m) * r)
                sum_g += weight[0, g, c, 0] * sum_dy
                sum_g_x_hat += weight[0, g, c, 0] * sum_dy_x_hat
                dweight[0, g, c, 0] += sum_dy_x_hat
                dbias[0, g, c, 0] += sum_dy
            mean_g, mean_g_x_hat = real(sum_g / (channels * S)), real(sum_g_x_hat / (channels * S))
            for c in range(channels):
                w = weight[0, g, c, 0]
                for i in range(S):
                    x_hat = (x[n, g, c, i] - m) * r
                    dx[n, g, c, i] = r * (w * dy[n, g, c, i] - mean_g - x_hat * mean_g_x_hat)


attach_short_rows(group_norm_backward, short_groups_backward, BACKWARD_SHAPES)


def _backward_teams(itemsize: int) -> tuple[int, ...]:
    """Return how many threads a pool may have: enough for four packs each, or the most.

    1024 threads have 64 registers each: enough for float32 only.
    """
    return (32, 128, 256, 512, 1024) if itemsize == 4 else (32, 128, 256, 512)


@group_norm_backward.cuda
def group_norm_backward_cuda(
    dy: Array, x: Array, weight: Array | None, mean: Array, rstd: Array
) -> tuple[Array, Array, Array]:
    """One kernel for dx and for the sums of every channel; a second one adds them up over the samples."""
    (N, G, channels, S), (dy, x), (weight,) = x.shape, contiguous(dy, x), wide(x, weight)
    D, dx, parts = channels * S, namespace(x).empty_like(x), wide_empty(x, 2, N, G * channels)
    vector, sizes_of_teams = teams(S, x, dy, dx).vector, _backward_teams(x.itemsize)
    team = next((team for team in sizes_of_teams if 4 * vector * team >= D), sizes_of_teams[-1])
    shape = Teams(vector, team, 0)
    lanes = min(shape.team, 1 << (max(S // vector // 2, 1)).bit_length() - 1)
    shared = kept_bytes(shape, shape.per_block * 2 * D, x)
    sizes = N * G, G, channels, S, inverse(G), inverse(S), lanes
    args = dy, x, weight, mean, rstd, dx, parts[0], parts[1], *sizes, 1 / D, shared > 0
    blocks, numbers = shape.blocks(N * G), (vector, shape.team)
    _kernels.launch("group_norm_backward", x.dtype, numbers, blocks, shape.block, args, shared)
    sums = _kernels.sum_columns(parts).reshape(2, 1, G, channels, 1)
    return dx, sums[0], sums[1]


class GroupNormFunction(Function):
    """y = w·(x - m)·r + b · dx = r·(g - mean(g) - x̂·mean(g·x̂)) with g = w·dy, means over each group"""

    def forward(
        self, x: Array, weight: Array | None, bias: Array | None, *, num_groups: int, eps: float
    ) -> Array:
        N, C, *space = x.shape
        pools = x.reshape(N, num_groups, C // num_groups, math.prod(space))
        weight, bias = (None if w is None else w.reshape(1, *pools.shape[1:3], 1) for w in (weight, bias))
        y, mean, rstd = group_norm_forward(pools, weight, bias, eps)
        self.saved = pools, weight, mean, rstd
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dweight, dbias = group_norm_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return dx.reshape(dy.shape), dweight.reshape(-1), dbias.reshape(-1)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each group of channels of each sample, then scale and shift per channel.

    Args:
        input: (N, C, ...).
        num_groups: G, a divisor of C.
        weight: (C,), or None.
        bias: (C,), or None.
        eps: added to the variance, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if G does not divide C, if weight or bias is not (C,), if eps is negative, or if the only
            sample has one value in each group.

    Source: Wu, He 2018, arXiv:1803.08494.
    """
    C = check_channels(input, "group_norm")
    check_groups(num_groups, C)
    check_vectors(input, (C,), weight=weight, bias=bias)
    check_eps(eps)
    if input.array.size == num_groups:  # as PyTorch, which takes groups of one value in several samples
        advice = "use fewer groups, or more samples or positions"
        check_pool(input, 1, "group_norm", advice, "group")
    return GroupNormFunction.apply(input, weight, bias, num_groups=num_groups, eps=eps)


def check_groups(num_groups: int, num_channels: int) -> None:
    """Raise ValueError unless the number of groups divides the number of channels."""
    if as_size(num_channels, "num_channels", 0) % as_size(num_groups, "num_groups"):
        raise ValueError(f"num_groups ({num_groups}) must divide the number of channels ({num_channels})")


class GroupNorm(Module):
    """Group normalization with learned weight (ones) and, unless without `bias`, bias (zeros) per channel.

    Takes and returns (N, num_channels, ...). Source: Wu, He 2018, arXiv:1803.08494.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_flags(affine=affine, bias=bias)
        check_groups(num_groups, num_channels)
        check_eps(eps)
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        ones = numpy.ones(num_channels, numpy.float32)
        self.register_parameter("weight", Parameter(ones) if affine else None)
        self.register_parameter("bias", Parameter(ones * 0) if affine and bias else None)

    def forward(self, input: Tensor) -> Tensor:
        check_channels(input, "GroupNorm", self.num_channels)
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


register(
    name="group_norm",
    function=group_norm,
    composed=group_norm_composed,
    inputs=("input", "weight", "bias"),
    parameters=("weight", "bias"),
    cases=(
        Case(((2, 4, 3, 2), (4,), (4,)), {"num_groups": 2}),
        Case(((2, 4, 3, 2), None, None), {"num_groups": 4}),
        Case(((1, 4), None, None), {"num_groups": 1}),
        Case(((2, 4, 3, 2), (4,), None), {"num_groups": 1}),
        Case(((2, 6, 3), (6,), (6,)), {"num_groups": 3, "eps": 1e-3}),
        Case(((3, 6), (6,), (6,)), {"num_groups": 2}),
        Case(((2, 2, 2, 2, 2), (2,), (2,)), {"num_groups": 1}),
        Case(((2, 4, 7, 7), (4,), (4,)), {"num_groups": 2}),
        Case(((0, 4, 3), (4,), (4,)), {"num_groups": 2}),
    ),
    errors=(
        ErrorCase(lambda: group_norm(Tensor(numpy.ones((2, 3))), 2), ValueError, "divide"),
        ErrorCase(lambda: group_norm(Tensor(numpy.ones(3)), 1), ValueError, "at least 2 axes"),
        ErrorCase(
            lambda: group_norm(Tensor(numpy.ones((2, 4))), 2, Tensor(numpy.ones(2))), ValueError, "weight"
        ),
        ErrorCase(lambda: GroupNorm(3, 4), ValueError, "divide"),
        ErrorCase(
            lambda: group_norm(Tensor(numpy.ones((1, 2, 1))), 2),
            ValueError,
            "more than one value per group",
        ),
        ErrorCase(lambda: GroupNorm(2, 4)(Tensor(numpy.ones((2, 6)))), ValueError, "4 channels"),
    ),
    kind="normalization",
    title="GroupNorm",
    paper="Wu, He 2018, arXiv:1803.08494",
    pool="each group of channels of each sample",
    torch="torch.nn.functional.group_norm",
    bench=(
        Case(((32, 64, 32, 32), (64,), (64,)), {"num_groups": 32}),
        Case(((8, 32, 16, 16), (32,), (32,)), {"num_groups": 8}),
    ),
)
