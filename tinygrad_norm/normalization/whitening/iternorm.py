"""Iterative normalization: decorrelated batch normalization whose inverse root is a few matrix products.

    x (N, C, ...)   groups of d channels, each with n values: all samples and positions
    m = mean(x)   c = x - m   Σ = c·cᵀ/n + eps·I   t = tr Σ   Σ_N = Σ/t
    P_0 = I   for k = 1 … T: P_k = 1.5·P_(k-1) - 0.5·P_(k-1)³·Σ_N   W = P_T/√t   y = w·W·c + b

The eigenvalues of Σ_N are at most 1, so P_k tends to Σ_N^(-½), the directions of large variance first: with a
small T those of small variance are only in part whitened. T = 5 is not meant to reach the end, and more than
that is no better: near it rounding errors grow from step to step, and at T = 16 little else may be left.

What is shared with the other forms, and evaluation, with averages of m and W, is in channelgroups.py.

Huang, Zhou, Zhu, Liu, Shao 2019, arXiv:1904.03441.

Backward, from dy = dL/dy, with dẑ = w·dy and dW = dẑ·cᵀ. The iteration is run backward; every P_k is a
polynomial of Σ_N, so it is symmetric and commutes with Σ_N. From dP = dW/√t, for k = T … 1 and P = P_(k-1):

    dΣ_N += -0.5·P³·dP      H = dP·Σ_N      dP ← 1.5·dP - 0.5·(H·P² + P·H·P + P²·H)

and through the trace, in W and in Σ_N, and the covariance, through x straight and through m:

    dt = -0.5·⟨dW, W⟩/t - ⟨dΣ_N, Σ_N⟩/t      dΣ = sym(dΣ_N)/t + dt·I
    dc = W·dẑ + (2/n)·dΣ·c      dx = dc - mean(dc)

Insight: at its end, W is Σ^(-½), whatever t was: the nearer the iteration is to its end, the smaller is the
part of t. It can be forgotten without notice: dx is then wrong by a fraction of a percent, or less, and only
a test to many digits sees it.
"""

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, kernel, namespace
from ...ops import eye, ones
from ...ops.arguments import as_size
from ...registry import Case, ErrorCase, Input, register
from .channelgroups import (
    GroupWhitening,
    UpdateWhitening,
    as_pools,
    check_whitening,
    covariance,
    in_evaluation,
    input_gradient,
    parameter_gradients,
    updates,
    whitened,
    whitening_composed,
)
from .symmetricmatrix import symmetric


def iter_norm_composed(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_wm: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    num_groups: int = 1,
    T: int = 5,
    eps: float = 1e-5,
) -> Tensor:
    """Iterative normalization from primitives (without the running update): autograd finds the gradients."""

    def inverse_root(S: Tensor) -> Tensor:
        P = one = eye(S.shape[-1], dtype=S.dtype)
        trace = (S * one).sum((1, 2), keepdim=True)
        for _ in range(T):
            P = 1.5 * P - 0.5 * (P @ P @ P @ (S / trace))
        return P * trace**-0.5

    running = None if training or running_mean is None or running_wm is None else (running_mean, running_wm)
    return whitening_composed(input, running, weight, bias, num_groups, eps, inverse_root)


@kernel
def iter_norm_forward(
    x: Channels, weight: Array | None, bias: Array | None, groups: int, T: int, eps: float
) -> tuple[Channels, Array, Array, Array, list[Array], Array, Array, Array]:
    """Return y (N, C, S), mean (C,), c/s (G, d, n), its W, P_0 … P_(T-1), Σ_N (G, d, d), 1/t and s."""
    centered, S, _, mean, scale = covariance(x, groups, eps)
    xp, one = namespace(S), namespace(S).eye(S.shape[1], dtype=S.dtype)
    trace = (S * one).sum((1, 2), keepdims=True)
    rtrace = xp.where(trace == 0, 0, 1 / xp.where(trace == 0, 1, trace))
    S = S * rtrace
    P = xp.zeros_like(S) + one
    before = []
    for _ in range(T):
        before.append(P)
        P = 1.5 * P - 0.5 * (P @ P @ P @ S)
    W = P * rtrace**0.5
    return whitened(x, centered, W, weight, bias), mean, centered, W, before, S, rtrace, scale


@kernel
def iter_norm_backward(
    dy: Channels,
    centered: Array,
    weight: Array | None,
    W: Array,
    before: list[Array],
    S: Array,
    rtrace: Array,
    scale: Array,
) -> tuple[Channels, Array, Array]:
    """Return dx (N, C, S), dweight and dbias (C,)."""
    dz, dW, dweight, dbias = parameter_gradients(dy, centered, W, weight)
    dP, dS = dW * rtrace**0.5, namespace(S).zeros_like(S)
    for P in reversed(before):
        P2, H = P @ P, dP @ S
        dS = dS - 0.5 * (P2 @ P @ dP)
        dP = 1.5 * dP - 0.5 * (H @ P2 + P @ H @ P + P2 @ H)
    dtrace = -rtrace * (0.5 * dW * W + dS * S).sum((1, 2), keepdims=True)
    dS = symmetric(dS) * rtrace + dtrace * namespace(S).eye(S.shape[1], dtype=S.dtype)
    return input_gradient(dy, dz, centered, W, dS, scale), dweight, dbias


class IterNormFunction(Function):
    """y = w·W·c + b, W = P_T/√t, c = x - m · dx = dc - mean(dc), dc = W·dẑ + (2/n)·dΣ·c

    `update_statistics` is called with the batch's mean (C,) and W (G, d, d).
    """

    def forward(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        groups: int,
        T: int,
        eps: float,
        update_statistics: UpdateWhitening,
    ) -> Array:
        y, mean, *found = iter_norm_forward(as_pools(x), weight, bias, groups, T, eps)
        centered, W, before, S, rtrace, scale = found
        update_statistics(mean, W / scale)
        self.saved = centered, weight, W, before, S, rtrace, scale
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dweight, dbias = iter_norm_backward(as_pools(dy), *self.saved)
        return dx.reshape(dy.shape), dweight, dbias


def iter_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_wm: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    num_groups: int = 1,
    T: int = 5,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Whiten each group of channels over the batch, as far as T iterations do, then scale and shift.

    Args:
        input: (N, C, ...).
        running_mean: (C,); used in evaluation, moved towards the batch's in training. May be None there.
        running_wm: (num_groups, d, d) with d = C/num_groups, the same for the whitening matrix.
        weight: (C,), or None.
        bias: (C,), or None.
        training: whether the batch's own statistics are used, and the running ones updated in place.
        num_groups: how many groups of neighbouring channels.
        T: the iterations, at least 1.
        momentum: weight of the new value in the running statistics, a fraction per step.
        eps: added to the diagonal of the (biased) covariance, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor, `training` is not a bool, or T no integer.
        ValueError: if a shape is wrong, if num_groups does not divide C, in evaluation without running
            statistics, in training with one value per channel, if T is below 1, or if eps is negative.

    Source: Huang, Zhou, Zhu, Liu, Shao 2019, arXiv:1904.03441.
    """
    running = running_mean, running_wm
    check_whitening("iter_norm", input, *running, weight, bias, training, num_groups, eps)
    steps = as_size(T, "T")
    if not training:
        return in_evaluation(input, *running, weight, bias)
    options = {"groups": num_groups, "T": steps, "eps": float(eps)}
    return IterNormFunction.apply(
        input, weight, bias, **options, update_statistics=updates(input, *running, momentum)
    )


class IterNorm(GroupWhitening):
    """Iterative normalization of (N, C, ...), with T iterations, in groups of channels.

    Name, order and defaults are those of its authors' code, without `num_channels` and `dim`. So is
    evaluation: it uses running averages of the mean and of the whitening matrix (`running_wm`), which is not
    the whitening matrix of an average covariance. Source: Huang, Zhou, Zhu, Liu, Shao 2019, arXiv:1904.03441.
    """

    def __init__(
        self,
        num_features: int,
        num_groups: int = 1,
        T: int = 5,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__(num_features, num_groups, eps, momentum, affine, track_running_stats)
        self.T = as_size(T, "T")

    def forward(self, input: Tensor) -> Tensor:
        self.check_input(input)
        statistics, momentum = self.statistics()
        return iter_norm(input, *statistics, self.num_groups, self.T, momentum, self.eps)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, T={self.T}"


_STATISTICS = (Input((4,), differentiable=False), Input((2, 2, 2), differentiable=False))
_TRAINING = {"training": True}

register(
    name="iter_norm",
    function=iter_norm,
    composed=iter_norm_composed,
    inputs=("input", "running_mean", "running_wm", "weight", "bias"),
    parameters=("weight", "bias"),
    cases=(
        Case(((8, 3), None, None, (3,), (3,)), _TRAINING),
        Case(((4, 4, 2, 3), None, None, (4,), None), {**_TRAINING, "num_groups": 2, "T": 1, "eps": 1e-2}),
        Case(((3, 5), None, None, None, (5,)), {**_TRAINING, "T": 3}),
        Case(((2, 4, 3), *_STATISTICS, (4,), (4,)), {"num_groups": 2}),
        Case(((0, 3), None, None, (3,), (3,)), _TRAINING),
    ),
    errors=(
        ErrorCase(lambda: iter_norm(ones(1, 3), training=True), ValueError, "more than one"),
        ErrorCase(lambda: iter_norm(ones(2, 3)), ValueError, "running_wm"),
        ErrorCase(lambda: iter_norm(ones(2, 3), training=True, num_groups=2), ValueError, "divide"),
        ErrorCase(lambda: iter_norm(ones(2, 3), training=True, T=0), ValueError, "T must be"),
        ErrorCase(lambda: iter_norm(ones(2, 3), weight=ones(2), training=True), ValueError, "weight"),
        ErrorCase(lambda: iter_norm(ones(2, 3, dtype=int)), TypeError, "floating-point"),
        ErrorCase(lambda: IterNorm(3)(ones(4, 4)), ValueError, "3 channels"),
        ErrorCase(lambda: IterNorm(4, 3), ValueError, "divide"),
    ),
    kind="normalization",
    title="IterNorm",
    paper="Huang, Zhou, Zhu, Liu, Shao 2019, arXiv:1904.03441",
    pool="each group of channels, over samples and positions: one covariance",
    bench=(Case(((64, 64, 16, 16), None, None, (64,), (64,)), {**_TRAINING, "num_groups": 4}),),
)
