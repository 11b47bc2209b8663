"""Group normalization: the channels of a sample are normalized in groups.

    x (N, C, ...)   pool = the C/G channels of one group and all positions of one sample
    m = mean(x)   r = 1/√(mean((x - m)²) + eps)   x̂ = (x - m)·r   y = w·x̂ + b

m and r are (N, G): one number per sample and group. w and b are (C,): per channel, not per group.

In the code: m mean, r rstd, x̂ x_hat, w weight, b bias.

Wu, He 2018, arXiv:1803.08494.

Backward, for one pool, from dy = dL/dy:

    db = Σ dy      dw = Σ dy·x̂      over samples and positions      g := dL/dx̂ = w·dy

    straight   r·g
    through m  -r·mean(g)
    through r  -r·x̂·mean(g·x̂)

    dx = r·(g - mean(g) - x̂·mean(g·x̂))

The paths are derived in moments.py. w differs between the channels of one pool, so mean(g) cannot be
had from db, as in batch normalization: it has to be taken over w·dy.

Insight: G = 1 pools like LayerNorm over (C, H, W), but with an affine per channel; G = C is
InstanceNorm. The paper's default is 32 groups, not 32 channels per group.
"""

import math

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cuda.launch import CudaSource, contiguous, kept_bytes, teams, wide, wide_empty
from ...module import Module, Parameter
from ...ops.arguments import as_size
from ...ops.checks import check_channels, check_vectors
from ...registry import Case, ErrorCase, register
from ..core.moments import check_eps, pool_norm_backward, pool_norm_forward

_kernels = CudaSource(__file__, "../core/moments.cuh")


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
    centered = x - x.mean(-1, keepdim=True)
    y = (centered * ((centered * centered).mean(-1, keepdim=True) + eps) ** -0.5).reshape(input.shape)
    per_channel = (C, *(1,) * (input.ndim - 2))
    y = y if weight is None else y * weight.reshape(per_channel)
    return y if bias is None else y + bias.reshape(per_channel)


@kernel
def group_norm_forward(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """Return y, mean and rstd: x (N, G, C/G, S), weight and bias (1, G, C/G, 1), the others (N, G, 1, 1)."""
    y, mean, _, rstd = pool_norm_forward(x, weight, bias, (2, 3), eps)
    return y, mean, rstd


@group_norm_forward.cuda
def group_norm_forward_cuda(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """One kernel: every pool is read once and written once."""
    check_eps(eps)
    (N, G, channels, S), (x,), (weight, bias) = x.shape, contiguous(x), wide(x, weight, bias)
    D, y = channels * S, namespace(x).empty_like(x)
    mean, rstd = wide_empty(x, N, G, 1, 1), wide_empty(x, N, G, 1, 1)
    shape = teams(D, x, y, run=S)
    shared = kept_bytes(shape, D, x)
    args = x, weight, bias, y, mean, rstd, N * G, G, channels, S, 1 / D, eps, shared > 0
    blocks = shape.blocks(N * G)
    _kernels.launch("group_norm_forward", x.dtype, shape.template, blocks, shape.block, args, shared)
    return y, mean, rstd


@kernel
def group_norm_backward(
    dy: Array, x: Array, weight: Array | None, bias: Array | None, mean: Array, rstd: Array
) -> tuple[Array, Array | None, Array | None]:
    """Return dx (N, G, C/G, S), dweight and dbias (1, G, C/G, 1), or None."""
    return pool_norm_backward(dy, x, weight, bias, mean, rstd, (2, 3), (3,))


@group_norm_backward.cuda
def group_norm_backward_cuda(
    dy: Array, x: Array, weight: Array | None, bias: Array | None, mean: Array, rstd: Array
) -> tuple[Array, Array | None, Array | None]:
    """One kernel for dx and for the sums of every channel; a second one adds them up over the samples."""
    (N, G, channels, S), (dy, x), (wide_weight,) = x.shape, contiguous(dy, x), wide(x, weight)
    dx = namespace(x).empty_like(x)
    sums_dy_x_hat, sums_dy = wide_empty(x, N, G * channels), wide_empty(x, N, G * channels)
    vector, team = teams(S, x, dy).vector, 256 if channels < 8 and S >= 256 else 32
    args = dy, x, wide_weight, mean, rstd, dx, sums_dy_x_hat, sums_dy, G, channels, S, 1 / (channels * S)
    _kernels.launch("group_norm_backward", x.dtype, (vector, team), N * G, 256, args)
    dweight = None if weight is None else _kernels.sum_columns(sums_dy_x_hat).reshape(weight.shape)
    return dx, dweight, None if bias is None else _kernels.sum_columns(sums_dy).reshape(bias.shape)


class GroupNormFunction(Function):
    """y = w·(x - m)·r + b · dx = r·(g - mean(g) - x̂·mean(g·x̂)) with g = w·dy, means over each group"""

    def forward(
        self, x: Array, weight: Array | None, bias: Array | None, *, num_groups: int, eps: float
    ) -> Array:
        N, C, *space = self.shape = x.shape
        affine = 1, num_groups, C // num_groups, 1
        pools = x.reshape(N, num_groups, C // num_groups, math.prod(space))
        weight, bias = (None if w is None else w.reshape(affine) for w in (weight, bias))
        y, mean, rstd = group_norm_forward(pools, weight, bias, eps)
        self.saved = pools, weight, bias, mean, rstd
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        pools = self.saved[0]
        dx, *affine = group_norm_backward(dy.reshape(pools.shape), *self.saved)
        dweight, dbias = (None if d is None else d.reshape(self.shape[1]) for d in affine)
        return dx.reshape(self.shape), dweight, dbias


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
        TypeError: for an input that is no floating-point tensor.
        ValueError: where G does not divide C, or weight or bias is not (C,).

    Source: Wu, He 2018, arXiv:1803.08494.
    """
    C = check_channels(input, "group_norm")
    check_groups(num_groups, C)
    check_vectors(input, (C,), weight=weight, bias=bias)
    return GroupNormFunction.apply(input, weight, bias, num_groups=num_groups, eps=eps)


def check_groups(num_groups: int, num_channels: int) -> None:
    """Refuse a number of groups that does not divide the number of channels."""
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
    cases=(
        Case(((2, 4, 3, 2), (4,), (4,)), {"num_groups": 2}),
        Case(((2, 4, 3, 2), None, None), {"num_groups": 4}),
        Case(((2, 4, 3, 2), (4,), None), {"num_groups": 1}),
        Case(((2, 6, 3), (6,), (6,)), {"num_groups": 3, "eps": 1e-3}),
        Case(((3, 6), (6,), (6,)), {"num_groups": 2}),
        Case(((2, 2, 2, 2, 2), (2,), (2,)), {"num_groups": 1}),
        Case(((0, 4, 3), (4,), (4,)), {"num_groups": 2}),
    ),
    errors=(
        ErrorCase(lambda: group_norm(Tensor(numpy.ones((2, 3))), 2), ValueError, "divide"),
        ErrorCase(lambda: group_norm(Tensor(numpy.ones(3)), 1), ValueError, "at least 2 axes"),
        ErrorCase(
            lambda: group_norm(Tensor(numpy.ones((2, 4))), 2, Tensor(numpy.ones(2))), ValueError, "weight"
        ),
        ErrorCase(lambda: GroupNorm(3, 4), ValueError, "divide"),
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
