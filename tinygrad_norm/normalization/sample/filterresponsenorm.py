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
from ...backends.cpu.sums import column_sums
from ...module import Module, Parameter
from ...ops import ones
from ...ops.arguments import as_size
from ...ops.checks import Shape, check_channels, check_eps, check_vectors
from ...registry import Case, ErrorCase, register
from ..batch.fixednorm import as_channels, batch_norm_eval_backward
from ..core.moments import affine
from .rmsnorm import rms_norm_forward


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
    x_hat = x * ((x * x).mean(2, keepdim=True) + eps) ** -0.5
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


@in_blocks("dy", "y", tau=-math.inf)
def _of_z(dy: Channels, y: Channels, tau: PerChannel | None) -> Channels:
    return namespace(dy).where(y <= tau, 0, dy)


@in_blocks("dz", "x", "rstd", "sum_dz_x_hat", weight=1.0)
def _through_rstd(
    dz: Channels, x: Channels, rstd: Array, sum_dz_x_hat: Array, weight: PerChannel | None
) -> Channels:
    return rstd * (weight * dz - x * rstd * (weight * sum_dz_x_hat / x.shape[2]))


@kernel
def filter_response_norm_backward(
    dy: Channels, x: Channels, y: Channels, weight: PerChannel | None, tau: PerChannel | None, rstd: Array
) -> tuple[Channels, Array, Array, Array]:
    """Return dx (N, C, S), dweight, dbias and dtau (C,)."""
    N, C, S = x.shape
    dz = _of_z(dy, y, tau)
    rows = (a.reshape(1, N * C, S) for a in (dz, x))
    rstds = rstd.reshape(1, N * C, 1)
    _, *sums = batch_norm_eval_backward(*rows, None, namespace(x).zeros_like(rstds), rstds)
    sum_dz_x_hat, sum_dz = (s.reshape(N, C) for s in sums)
    dx = _through_rstd(dz, x, rstd, sum_dz_x_hat[..., None], weight)
    zeros = namespace(x).zeros((1, C, 1), rstd.dtype)
    dtau = batch_norm_eval_backward(dy - dz, x, None, zeros, zeros)[2].reshape(C)
    return dx, column_sums(sum_dz_x_hat), column_sums(sum_dz), dtau


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


_x = ones(2, 3, 4)

register(
    name="filter_response_norm",
    function=filter_response_norm,
    composed=filter_response_norm_composed,
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
        ErrorCase(lambda: filter_response_norm(_x, ones(4)), ValueError, "weight"),
        ErrorCase(lambda: filter_response_norm(_x, tau=ones(4)), ValueError, "tau"),
        ErrorCase(lambda: filter_response_norm(_x, eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: FilterResponseNorm2d(3)(_x), ValueError, "4-d"),
        ErrorCase(lambda: FilterResponseNorm2d(4)(_x), ValueError, "4 channels"),
    ),
    kind="normalization",
    title="FilterResponseNorm",
    paper="Singh, Krishnan 2020, arXiv:1911.09737",
    pool="each channel of each sample, no mean; then a learned threshold",
    bench=(Case(((8, 64, 32, 32), (64,), (64,), (64,))),),
)
