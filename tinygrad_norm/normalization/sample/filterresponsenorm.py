"""Filter response normalization: RMS normalization of single channels, and a unit with a learned threshold.

    x (N, C, ...)   r = 1/√(mean(x²) + eps) over the S positions of one channel of one sample   x̂ = x·r
    z = w·x̂ + b     y = max(z, τ)

w, b and τ are (C,). As rows (N·C, S), r and x̂ are those of rmsnorm.py. What differs is the affine, one number
per channel, and τ: without a mean to subtract, x̂ may be far from 0, where a ReLU would be dead or linear.

In the code: r rstd, x̂ x_hat, w weight, b bias, τ tau.

Singh, Krishnan 2020, arXiv:1911.09737.

Backward, from dy = dL/dy. An entry of y comes from z or from τ; at a tie it counts as τ's:

    dz = dy where z > τ, else 0      dτ = Σ dy where z ≤ τ

    dw = Σ dz·x̂      db = Σ dz      over samples and positions      g := dL/dx̂ = w·dz

and then the two paths of rmsnorm.py, straight and through r:

    dx = r·(g - x̂·mean(g·x̂))

with mean(g·x̂) = w·Σ dz·x̂/S of the row, which the sum for dw passes by.

Insight: dx has no component along x̂, for eps = 0: a channel cannot get larger in one sample than in another.
But it can be off center, so it is τ that chooses what counts as no response.
"""

import math

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.sums import column_sums, sum_products, sums
from ...module import Module, Parameter
from ...ops import ones
from ...ops.arguments import as_size
from ...ops.checks import Shape, check_channels, check_eps, check_vectors
from ...registry import Case, ErrorCase, register
from ..batch.fixednorm import PER_CHANNEL, as_channels, channel_kernels
from ..core.moments import affine
from .rmsnorm import rms_norm_forward

POSITIONS = (2,)


def filter_response_norm_composed(
    input: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    tau: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Filter response normalization from primitives: autograd finds the gradients."""
    N, C, *space = input.shape
    x = input.reshape(N, C, math.prod(space))
    rstd = ((x * x).mean(2, keepdim=True) + eps) ** -0.5
    x_hat = x * rstd
    z = affine(x_hat, weight, bias, (C, 1))
    if tau is None:
        return z.reshape(input.shape)
    tau = tau.reshape(C, 1)
    return tau.where(z <= tau, z).reshape(input.shape)


@in_blocks("x_hat", weight=1.0, bias=0.0, tau=-math.inf)
def _thresholded(
    x_hat: Channels, weight: PerChannel | None, bias: PerChannel | None, tau: PerChannel | None
) -> Channels:
    return namespace(x_hat).maximum(weight * x_hat + bias, tau)


@kernel
def filter_response_norm_forward(
    x: Channels, weight: PerChannel | None, bias: PerChannel | None, tau: PerChannel | None, eps: float
) -> tuple[Channels, Array]:
    """Return y (N, C, S) and rstd (N, C, 1), for weight, bias and tau (1, C, 1)."""
    N, C, S = x.shape
    x_hat, rstd = rms_norm_forward(x.reshape(N * C, S), None, eps)
    return _thresholded(x_hat.reshape(x.shape), weight, bias, tau), rstd.reshape(N, C, 1)


def _VECTOR(shape: Shape) -> Shape:
    return shape[1:2]


_SHAPES = dict.fromkeys(("dweight", "dbias", "dtau"), _VECTOR) | dict.fromkeys(("weight", "tau"), PER_CHANNEL)


@kernel
@in_blocks("dy", "x", "y", "rstd", add=True, weight=1.0, tau=-math.inf)
def filter_response_norm_backward(
    dy: Channels, x: Channels, y: Channels, weight: PerChannel | None, tau: PerChannel | None, rstd: Array
) -> tuple[Channels, Array, Array, Array]:
    """Return dx (N, C, S), dweight, dbias and dtau (C,)."""
    x_hat, below = x * rstd, y <= tau
    dz, dy_below = namespace(x).where(below, 0, dy), namespace(x).where(below, dy, 0)
    sum_dz_x_hat = sum_products(dz, x_hat, POSITIONS)
    dx = rstd * (weight * dz - x_hat * (weight * sum_dz_x_hat / x.shape[2]))
    by_row = sum_dz_x_hat, sums(dz, POSITIONS), sums(dy_below, POSITIONS)
    dweight, dbias, dtau = (column_sums(s[..., 0]) for s in by_row)
    return dx, dweight, dbias, dtau


@filter_response_norm_backward.loops(**_SHAPES)
def filter_response_norm_backward_loop(
    dy: Channels,
    x: Channels,
    y: Channels,
    weight: PerChannel,
    tau: PerChannel,
    rstd: Array,
    dx: Channels,
    dweight: Array,
    dbias: Array,
    dtau: Array,
    zero: float,
) -> None:
    """One channel of one sample after the other: once for all sums, once to write dx."""
    (N, C, S), real = x.shape, x.dtype.type
    nothing = real(0)
    for n in range(N):
        for c in range(C):
            r, w, threshold = rstd[n, c, 0], weight[0, c, 0], tau[0, c, 0]
            sum_dz_x_hat = sum_dz = sum_below = zero
            for i in range(S):
                below = y[n, c, i] <= threshold
                dz = nothing if below else dy[n, c, i]
                sum_dz_x_hat += dz * (x[n, c, i] * r)
                sum_dz += dz
                sum_below += dy[n, c, i] if below else nothing
            mean_g_x_hat = real(w * sum_dz_x_hat / S)
            for i in range(S):
                dz = nothing if y[n, c, i] <= threshold else dy[n, c, i]
                dx[n, c, i] = r * (w * dz - x[n, c, i] * r * mean_g_x_hat)
            dweight[c] += sum_dz_x_hat
            dbias[c] += sum_dz
            dtau[c] += sum_below


@filter_response_norm_backward.cuda
def filter_response_norm_backward_cuda(
    dy: Channels, x: Channels, y: Channels, weight: PerChannel | None, tau: PerChannel | None, rstd: Array
) -> tuple[Channels, Array, Array, Array]:
    """The sums of channels, with every row as a channel, and of channels for dτ; the rest is elementwise."""
    N, C, S = x.shape
    xp, wide = namespace(x), upcast(x)
    below = y <= (-math.inf if tau is None else tau)
    dz, rows, rstds = xp.where(below, 0, dy), (1, N * C, S), rstd.reshape(1, N * C, 1)
    by_row = channel_kernels.sums(dz.reshape(rows), x.reshape(rows), xp.zeros_like(rstds), rstds)
    sum_dz_x_hat = by_row[0].reshape(N, C, 1)
    g, mean_g_x_hat = upcast(dz), sum_dz_x_hat / S
    if weight is not None:
        g, mean_g_x_hat = weight * g, weight * mean_g_x_hat
    dx = downcast(rstd * (g - wide * rstd * mean_g_x_hat), dy)
    dweight_dbias = channel_kernels.source.sum_columns(by_row.reshape(2, N, C))
    nothing = xp.zeros((1, C, 1), rstd.dtype)
    dtau = channel_kernels.sums(xp.where(below, dy, 0), x, nothing, nothing)[1]
    return dx, dweight_dbias[0], dweight_dbias[1], dtau.reshape(C)


class FilterResponseNormFunction(Function):
    """y = max(w·x·r + b, τ) · dx = r·(g - x̂·mean(g·x̂)) with g = w·dy where y > τ, means over each row"""

    def forward(
        self, x: Array, weight: Array | None, bias: Array | None, tau: Array | None, *, eps: float
    ) -> Array:
        pools, weight, bias, tau = as_channels(x, weight, bias, tau)
        y, rstd = filter_response_norm_forward(pools, weight, bias, tau, eps)
        self.saved = pools, y, weight, tau, rstd
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        shape: Shape = self.saved[0].shape
        dx, *vectors = filter_response_norm_backward(dy.reshape(shape), *self.saved)
        return dx.reshape(dy.shape), *vectors


def filter_response_norm(
    input: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    tau: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Divide each channel of each sample by its root mean square, scale, shift; return at least tau.

    Args:
        input: (N, C, ...). With one position per channel only the sign is left of it, as far as eps is small.
        weight: (C,), or None.
        bias: (C,), or None.
        tau: (C,), the thresholds; None is no threshold.
        eps: added to the mean square, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if a vector is not (C,), or if eps is negative.

    Source: Singh, Krishnan 2020, arXiv:1911.09737.
    """
    C = check_channels(input, "filter_response_norm")
    check_vectors(input, (C,), weight=weight, bias=bias, tau=tau)
    check_eps(eps)
    return FilterResponseNormFunction.apply(input, weight, bias, tau, eps=float(eps))


class FilterResponseNorm2d(Module):
    """Filter response normalization of (N, C, H, W) with the thresholded linear unit: no ReLU follows it.

    The parameters are `weight` (ones), `bias` and `tau` (zeros), all (num_features,).
    Source: Singh, Krishnan 2020, arXiv:1911.09737.
    """

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        check_eps(eps)
        self.num_features, self.eps = as_size(num_features, "num_features"), eps
        self.weight = Parameter(numpy.ones(num_features, numpy.float32))
        self.bias = Parameter(numpy.zeros(num_features, numpy.float32))
        self.tau = Parameter(numpy.zeros(num_features, numpy.float32))

    def forward(self, input: Tensor) -> Tensor:
        check_channels(input, "FilterResponseNorm2d", self.num_features)
        if input.ndim != 4:
            raise ValueError(f"FilterResponseNorm2d takes a 4-d input (N, C, H, W), got shape {input.shape}")
        return filter_response_norm(input, self.weight, self.bias, self.tau, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}"


register(
    name="filter_response_norm",
    function=filter_response_norm,
    composed=filter_response_norm_composed,
    parameters=("weight", "bias", "tau"),
    cases=(
        Case(((2, 3, 4, 5), (3,), (3,), (3,))),
        Case(((2, 3, 4), (3,), None, (3,)), {"eps": 0.5}),
        Case(((2, 3, 4), None, (3,), None)),
        Case(((3, 4, 2), None, None, (4,))),
        Case(((1, 2, 2, 3, 2), (2,), (2,), (2,))),
        Case(((2, 3, 33), (3,), (3,), (3,))),
        Case(((0, 3, 4), (3,), (3,), (3,))),
    ),
    errors=(
        ErrorCase(lambda: filter_response_norm(ones(2, 3, dtype=int)), TypeError, "floating-point"),
        ErrorCase(lambda: filter_response_norm(ones(3)), ValueError, "2 axes"),
        ErrorCase(lambda: filter_response_norm(ones(2, 3, 4), ones(4)), ValueError, "weight"),
        ErrorCase(lambda: filter_response_norm(ones(2, 3, 4), tau=ones(4)), ValueError, "tau"),
        ErrorCase(lambda: filter_response_norm(ones(2, 3, 4), eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: FilterResponseNorm2d(3)(ones(2, 3, 4)), ValueError, "4-d"),
        ErrorCase(lambda: FilterResponseNorm2d(4)(ones(2, 3, 4)), ValueError, "4 channels"),
    ),
    kind="normalization",
    title="FilterResponseNorm",
    paper="Singh, Krishnan 2020, arXiv:1911.09737",
    pool="each channel of each sample, no mean; then a learned threshold",
    bench=(Case(((8, 64, 32, 32), (64,), (64,), (64,))),),
)
