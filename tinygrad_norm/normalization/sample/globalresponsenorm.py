"""Global response normalization: every channel is amplified by its length, relative to the other channels'.

    x (N, C, ...)   G_c = ‖x_c‖₂ over the positions of one channel of one sample   M = mean_c(G_c) + eps
    N_c = G_c/M     y = w·x·N + b + x

w and b are (C,), zeros at first, so a new layer is the identity. The pool is a whole sample, in two steps:
positions to lengths, then channels to their mean.

In the code: N response, 1/G rnorm (as in normalize.py, which finds it), w weight, b bias.

Woo, Debnath, Hu, Chen, Liu, Kweon, Xie 2023, arXiv:2301.00808; there the channels are the last axis.

Backward, from dy = dL/dy, for one sample. With x̂ = x/G, which has length 1, and two sums over positions,

    s_c = Σ dy·x̂      Σ dy·x = s_c·G_c      dw = Σsamples s·G·N      db = Σ dy

there are two paths from x to y, and the second splits, as each G is also in the M of all channels:

    straight     ∂y/∂x = 1 + w·N                                 (1 + w·N)·dy
    through N    with a_c := dL/dN_c = w_c·s_c·G_c and ∂G_c/∂x = x/G_c = x̂
      own G      ∂N_c/∂G_c = 1/M                                 a_c/M·x̂ = p_c·x̂, p_c := w_c·s_c·N_c
      M          ∂N_j/∂G_c = -G_j/M²/C, for every channel j      -mean_j(a_j·G_j)/M²·x̂ = -mean_j(p_j·N_j)·x̂

    dx = (1 + w·N)·dy + x̂·(p - mean_c(p·N))

For a channel of zeros x̂ is 0: y does not move with the direction in which it leaves 0, to first order.

Insight: the second term is along x̂: it makes a channel longer or shorter, and the mean of p·N that it takes
out says at whose cost. Channels compete, pixels do not.
"""

import math

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.sums import column_sums, row_mean_products, row_means
from ...backends.cuda.launch import accumulator_dtype
from ...backends.float_info import finfo
from ...module import Module, Parameter
from ...ops import ones
from ...ops.arguments import as_size, check_flags
from ...ops.checks import check_channels, check_eps, check_vectors
from ...registry import Case, ErrorCase, register
from ..batch.fixednorm import PER_CHANNEL, as_channels, as_given, batch_norm_eval_backward
from ..vector.normalize import normalize_forward


def global_response_norm_composed(
    input: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-6,
    channels_last: bool = False,
) -> Tensor:
    """Global response normalization from primitives: autograd finds the gradients."""
    x = input.movedim(-1, 1) if channels_last else input
    N, C, *space = x.shape
    G = x.reshape(N, C, math.prod(space)).norm(2, 2)
    response = G / (G.mean(1, keepdim=True) + eps)
    if weight is not None:
        response = weight * response
    y = x * (1 + response).reshape(N, C, *[1] * len(space))
    if bias is not None:
        y = y + bias.reshape(C, *[1] * len(space))
    return y.movedim(1, -1) if channels_last else y


@in_blocks("rnorm")
def _responses(rnorm: Array, eps: float) -> Array:
    """Return N (N, C)."""
    G = 1 / rnorm
    return G / (row_means(G) + eps)


@kernel
@in_blocks("x", "response", weight=1.0, bias=0.0)
def amplified_forward(
    x: Channels, response: Array, weight: PerChannel | None, bias: PerChannel | None
) -> Channels:
    """Return y (N, C, S), for response (N, C, 1), weight and bias (1, C, 1)."""
    return (1 + weight * response) * x + bias


@amplified_forward.loops(weight=PER_CHANNEL, bias=PER_CHANNEL)
def amplified_forward_loop(
    x: Channels, response: Array, weight: PerChannel, bias: PerChannel, y: Channels
) -> None:
    """One channel of one sample after the other, once."""
    (N, C, S), one = x.shape, x.dtype.type(1)
    for n in range(N):
        for c in range(C):
            s, b = one + weight[0, c, 0] * response[n, c, 0], bias[0, c, 0]
            for i in range(S):
                y[n, c, i] = s * x[n, c, i] + b


@kernel
def global_response_norm_forward(
    x: Channels, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Channels, Array, Array]:
    """Return y (N, C, S), response and rnorm (N, C, 1), for weight and bias (1, C, 1)."""
    N, C, S = x.shape
    least = float(finfo(accumulator_dtype(x)).tiny)  # of a channel of zeros
    rnorm = normalize_forward(x.reshape(N * C, S), 2.0, least)[1].reshape(N, C)
    response = _responses(rnorm, eps)[..., None]
    return amplified_forward(x, response, weight, bias), response, rnorm[..., None]


@in_blocks("along", "response", "rnorm", add=True, weight=1.0)
def _response_gradients(
    along: Array, response: Array, rnorm: Array, weight: Array | None
) -> tuple[Array, Array]:
    """Return p - mean(p·N) (N, C) and dweight (C,), for along = s (N, C)."""
    p = weight * along * response
    return p - row_mean_products(p, response), column_sums(along / rnorm * response)


@kernel
@in_blocks("dy", "x", "response", "rnorm", "through", weight=1.0)
def both_paths_backward(
    dy: Channels, x: Channels, response: Array, rnorm: Array, through: Array, weight: PerChannel | None
) -> Channels:
    """Return dx (N, C, S), for through = p - mean(p·N) (N, C, 1)."""
    return (1 + weight * response) * dy + x * rnorm * through


@both_paths_backward.loops(weight=PER_CHANNEL)
def both_paths_backward_loop(
    dy: Channels,
    x: Channels,
    response: Array,
    rnorm: Array,
    through: Array,
    weight: PerChannel,
    dx: Channels,
) -> None:
    """One channel of one sample after the other, once."""
    (N, C, S), one = x.shape, x.dtype.type(1)
    for n in range(N):
        for c in range(C):
            s, r, q = one + weight[0, c, 0] * response[n, c, 0], rnorm[n, c, 0], through[n, c, 0]
            for i in range(S):
                dx[n, c, i] = s * dy[n, c, i] + x[n, c, i] * r * q


@kernel
def global_response_norm_backward(
    dy: Channels, x: Channels, weight: Array | None, response: Array, rnorm: Array
) -> tuple[Channels, Array, Array]:
    """Return dx (N, C, S), dweight and dbias (C,)."""
    N, C, _ = x.shape
    rows = (a.reshape(1, N * C, a.shape[2]) for a in (dy, x))
    rnorms = rnorm.reshape(1, N * C, 1)
    _, *sums = batch_norm_eval_backward(*rows, None, namespace(x).zeros_like(rnorms), rnorms)
    along, dbias = (s.reshape(N, C) for s in sums)
    vector = None if weight is None else weight.reshape(C)
    through, dweight = _response_gradients(along, response[..., 0], rnorm[..., 0], vector)
    return (
        both_paths_backward(dy, x, response, rnorm, through[..., None], weight),
        dweight,
        column_sums(dbias),
    )


class GlobalResponseNormFunction(Function):
    """y = w·x·N + b + x, N = G/(mean(G) + eps) · dx = (1 + w·N)·dy + x̂·(p - mean(p·N)), p = w·N·Σ dy·x̂"""

    def forward(self, x: Array, weight: Array | None, bias: Array | None, *, eps: float) -> Array:
        pools, weight, bias = as_channels(x, weight, bias)
        y, *statistics = global_response_norm_forward(pools, weight, bias, eps)
        self.saved = pools, weight, *statistics
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        pools = dy.reshape(self.saved[0].shape)
        return as_given(dy.shape, *global_response_norm_backward(pools, *self.saved))


def global_response_norm(
    input: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-6,
    channels_last: bool = False,
) -> Tensor:
    """Add to each channel weight times itself times its length relative to the mean length, and bias.

    Args:
        input: (N, C, ...), or (N, ..., C) with `channels_last`; with at least one position.
        weight: (C,), or None for 1.
        bias: (C,), or None for 0.
        eps: added to the mean length, in units of the input.
        channels_last: whether the channels are the last axis.

    Raises:
        TypeError: if the input is not a floating-point tensor, or channels_last is not a bool.
        ValueError: if the input has less than 2 axes or no positions, if weight or bias is not (C,), or if
            eps is negative.

    Source: Woo et al. 2023, arXiv:2301.00808.
    """
    check_flags(channels_last=channels_last)
    check_channels(input, "global_response_norm")
    x = input.movedim(-1, 1) if channels_last else input
    C = x.shape[1]
    check_vectors(input, (C,), weight=weight, bias=bias)
    check_eps(eps)
    if 0 in x.shape[2:]:
        raise ValueError(f"global_response_norm takes an input with positions, got shape {input.shape}")
    y = GlobalResponseNormFunction.apply(x, weight, bias, eps=float(eps))
    return y.movedim(1, -1) if channels_last else y


class GlobalResponseNorm(Module):
    """Global response normalization of (N, dim, ...), or (N, ..., dim) with `channels_last`.

    The parameters `weight` and `bias` (dim,) are zeros: a new layer is the identity.
    Source: Woo et al. 2023, arXiv:2301.00808.
    """

    def __init__(self, dim: int, eps: float = 1e-6, channels_last: bool = False) -> None:
        super().__init__()
        check_eps(eps)
        check_flags(channels_last=channels_last)
        self.dim, self.eps, self.channels_last = as_size(dim, "dim"), eps, channels_last
        self.weight = Parameter(numpy.zeros(dim, numpy.float32))
        self.bias = Parameter(numpy.zeros(dim, numpy.float32))

    def forward(self, input: Tensor) -> Tensor:
        check_channels(input, "GlobalResponseNorm", self.dim, -1 if self.channels_last else 1)
        return global_response_norm(input, self.weight, self.bias, self.eps, self.channels_last)

    def extra_repr(self) -> str:
        return f"{self.dim}, eps={self.eps}, channels_last={self.channels_last}"


register(
    name="global_response_norm",
    function=global_response_norm,
    composed=global_response_norm_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((2, 3, 4, 5), (3,), (3,))),
        Case(((2, 3, 4), (3,), None), {"eps": 0.5}),
        Case(((2, 3, 4), None, (3,))),
        Case(((3, 4), None, None)),
        Case(((2, 4, 5, 3), (3,), (3,)), {"channels_last": True}),
        Case(((1, 2, 2, 3, 2), (2,), (2,))),
        Case(((2, 3, 33), (3,), (3,)), {"eps": 0.0}),
        Case(((0, 3, 4), (3,), (3,))),
    ),
    errors=(
        ErrorCase(lambda: global_response_norm(ones(2, 3, dtype=int)), TypeError, "floating-point"),
        ErrorCase(lambda: global_response_norm(ones(3)), ValueError, "2 axes"),
        ErrorCase(lambda: global_response_norm(ones(2, 3, 0)), ValueError, "positions"),
        ErrorCase(lambda: global_response_norm(ones(2, 3, 4), ones(4)), ValueError, "weight"),
        ErrorCase(
            lambda: global_response_norm(ones(2, 3, 4), ones(3), channels_last=True), ValueError, "weight"
        ),
        ErrorCase(lambda: global_response_norm(ones(2, 3, 4), eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: global_response_norm(ones(2, 3, 4), channels_last=1), TypeError, "channels_last"),  # type: ignore[arg-type]
        ErrorCase(lambda: GlobalResponseNorm(4)(ones(2, 3, 4)), ValueError, "4 channels"),
        ErrorCase(lambda: GlobalResponseNorm(3, channels_last=True)(ones(2, 3, 4)), ValueError, "axis -1"),
    ),
    kind="normalization",
    title="GlobalResponseNorm",
    paper="Woo et al. 2023, arXiv:2301.00808",
    pool="each sample: positions to the length of a channel, channels to the mean length",
    bench=(Case(((8, 64, 32, 32), (64,), (64,))),),
)
