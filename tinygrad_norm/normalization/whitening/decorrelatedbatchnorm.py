"""Decorrelated batch normalization: over the batch, the channels of a group get mean 0 and the covariance I.

    x (N, C, ...)   groups of d channels, each with n values: all samples and positions
    m = mean(x)   c = x - m   Σ = c·cᵀ/n + eps·I = U·Λ·Uᵀ   W = Σ^(-½) = U·Λ^(-½)·Uᵀ   y = w·W·c + b

Of all matrices that whiten (every rotation of W does), W = Σ^(-½) changes x the least: it is "ZCA". What is
shared with the other forms, and evaluation, with averages of m and W, is in channelgroups.py.

In the code: Λ values, U vectors, Λ^(-½) roots.

Huang, Yang, Lang, Deng 2018, arXiv:1804.08450.

Backward, from dy = dL/dy, with dẑ = w·dy and dW = dẑ·cᵀ. By the formula of Löwner (symmetricmatrix.py) for
f(λ) = 1/√λ, in which no difference of eigenvalues is left,

    dΣ = U·(K∘(Uᵀ·sym(dW)·U))·Uᵀ      K_ij = -1/(√λi·√λj·(√λi + √λj))

c reaches y straight and through Σ, and x reaches c straight and through m:

    dc = W·dẑ + (2/n)·dΣ·c      dx = dc - mean(dc)

Insight: whitening is said to have an unstable gradient, as eigenvectors of equal eigenvalues turn freely. So
they do, but W does not turn with them: only its eigenvectors are unstable, and dx need not pass through them.
With d = 1 it is batch normalization.
"""

from typing import ClassVar

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, kernel
from ...ops import ones
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
from .symmetricmatrix import (
    differences_of_inverse_roots,
    eigen,
    gradient_through,
    inverse_root_composed,
    inverse_roots,
    with_eigenvalues,
)


def decorrelated_batch_norm_composed(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_wm: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    num_groups: int = 1,
    eps: float = 1e-5,
) -> Tensor:
    """Decorrelated batch normalization from primitives (without the running update)."""
    running = None if training or running_mean is None or running_wm is None else (running_mean, running_wm)
    return whitening_composed(input, running, weight, bias, num_groups, eps, inverse_root_composed)


@kernel
def decorrelated_batch_norm_forward(
    x: Channels, weight: Array | None, bias: Array | None, groups: int, eps: float
) -> tuple[Channels, Array, Array, Array, Array, Array, Array]:
    """Return y (N, C, S), mean (C,), c/s (G, d, n), its W, eigenvectors (G, d, d) and roots (G, d), and s."""
    centered, S, least, mean, scale = covariance(x, groups, eps)
    values, vectors = eigen(S)
    roots = inverse_roots(values, least[:, 0])
    W = with_eigenvalues(vectors, roots)
    return whitened(x, centered, W, weight, bias), mean, centered, W, vectors, roots, scale


@kernel
def decorrelated_batch_norm_backward(
    dy: Channels, centered: Array, weight: Array | None, W: Array, vectors: Array, roots: Array, scale: Array
) -> tuple[Channels, Array, Array]:
    """Return dx (N, C, S), dweight and dbias (C,)."""
    dz, dW, dweight, dbias = parameter_gradients(dy, centered, W, weight)
    dS = gradient_through(vectors, differences_of_inverse_roots(roots), dW)
    return input_gradient(dy, dz, centered, W, dS, scale), dweight, dbias


def _composed(x: Tensor, weight: Tensor, bias: Tensor, *, groups: int, eps: float, **_: object) -> Tensor:
    return decorrelated_batch_norm_composed(x, None, None, weight, bias, True, groups, eps)


class DecorrelatedBatchNormFunction(Function):
    """y = w·Σ^(-½)·c + b, c = x - m · dx = dc - mean(dc), dc = W·dẑ + (2/n)·dΣ·c, dΣ = U(K∘Uᵀ·dW·U)Uᵀ

    `update_statistics` is called with the batch's mean (C,) and W (G, d, d).
    """

    composed = staticmethod(_composed)  # recorded arrays have no eigenvectors

    def forward(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        groups: int,
        eps: float,
        update_statistics: UpdateWhitening,
    ) -> Array:
        found = decorrelated_batch_norm_forward(as_pools(x), weight, bias, groups, eps)
        y, mean, centered, W, vectors, roots, scale = found
        update_statistics(mean, W / scale)
        self.saved = centered, weight, W, vectors, roots, scale
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dweight, dbias = decorrelated_batch_norm_backward(as_pools(dy), *self.saved)
        return dx.reshape(dy.shape), dweight, dbias


def decorrelated_batch_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_wm: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    num_groups: int = 1,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Whiten each group of channels over the batch by Σ^(-½), then scale and shift each channel.

    Args:
        input: (N, C, ...). With fewer values than channels in a group, what has no variance stays 0.
        running_mean: (C,); used in evaluation, moved towards the batch's in training. May be None there.
        running_wm: (num_groups, d, d) with d = C/num_groups, the same for Σ^(-½).
        weight: (C,), or None.
        bias: (C,), or None.
        training: whether the batch's own statistics are used, and the running ones updated in place.
        num_groups: how many groups of neighbouring channels; with C groups it is batch normalization.
        momentum: weight of the new value in the running statistics, a fraction per step.
        eps: added to the diagonal of the (biased) covariance, in units of input². With 0, a direction without
            variance stays 0.

    Raises:
        TypeError: if the input is not a floating-point tensor, or `training` is not a bool.
        ValueError: if a shape is wrong, if num_groups does not divide C, in evaluation without running
            statistics, in training with one value per channel, or if eps is negative.

    Source: Huang, Yang, Lang, Deng 2018, arXiv:1804.08450.
    """
    running = running_mean, running_wm
    name = "decorrelated_batch_norm"
    check_whitening(name, input, *running, weight, bias, training, num_groups, eps)
    if not training:
        return in_evaluation(input, *running, weight, bias)
    options = {"groups": num_groups, "eps": float(eps)}
    return DecorrelatedBatchNormFunction.apply(
        input, weight, bias, **options, update_statistics=updates(input, *running, momentum)
    )


class DecorrelatedBatchNorm1d(GroupWhitening):
    """Decorrelated batch normalization of (N, C) or (N, C, L), in groups of channels.

    Evaluation uses running averages of the mean and of the whitening matrix Σ^(-½) (`running_wm`), as
    Chainer's layer of this name does; the inverse root of an average covariance would be another matrix.
    Source: Huang, Yang, Lang, Deng 2018, arXiv:1804.08450.
    """

    input_ndims: ClassVar[tuple[int, ...]] = (2, 3)

    def __init__(
        self,
        num_features: int,
        num_groups: int = 1,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__(num_features, num_groups, eps, momentum, affine, track_running_stats)

    def forward(self, input: Tensor) -> Tensor:
        self.check_input(input)
        statistics, momentum = self.statistics()
        return decorrelated_batch_norm(input, *statistics, self.num_groups, momentum, self.eps)


class DecorrelatedBatchNorm2d(DecorrelatedBatchNorm1d):
    """Decorrelated batch normalization of (N, C, H, W); see DecorrelatedBatchNorm1d.

    Whitening and colouring (Siarohin, Sangineto, Sebe 2018, arXiv:1806.00420) is this layer with affine=False
    and a Conv2d(C, C, 1, groups=num_groups) behind it.
    """

    input_ndims = (4,)


_STATISTICS = (Input((4,), differentiable=False), Input((2, 2, 2), differentiable=False))
_TRAINING = {"training": True}

register(
    name="decorrelated_batch_norm",
    function=decorrelated_batch_norm,
    composed=decorrelated_batch_norm_composed,
    inputs=("input", "running_mean", "running_wm", "weight", "bias"),
    parameters=("weight", "bias"),
    cases=(
        Case(((12, 3), None, None, (3,), (3,)), _TRAINING),
        Case(((4, 4, 2, 3), None, None, (4,), None), {**_TRAINING, "num_groups": 2, "eps": 1e-2}),
        Case(((9, 3), None, None, None, (3,)), {**_TRAINING, "num_groups": 3}),
        Case(((5, 2, 2), None, None, None, None), {**_TRAINING, "eps": 0.3}),
        Case(((2, 4, 3), *_STATISTICS, (4,), (4,)), {"num_groups": 2}),
        Case(((0, 3), None, None, (3,), (3,)), _TRAINING),
    ),
    errors=(
        ErrorCase(lambda: decorrelated_batch_norm(ones(1, 3), training=True), ValueError, "more than one"),
        ErrorCase(lambda: decorrelated_batch_norm(ones(2, 3)), ValueError, "running_wm"),
        ErrorCase(
            lambda: decorrelated_batch_norm(ones(2, 3), training=True, num_groups=2), ValueError, "divide"
        ),
        ErrorCase(
            lambda: decorrelated_batch_norm(ones(2, 3), running_wm=ones(3, 3)), ValueError, "(1, 3, 3)"
        ),
        ErrorCase(lambda: decorrelated_batch_norm(ones(2, 3, dtype=int)), TypeError, "floating-point"),
        ErrorCase(lambda: DecorrelatedBatchNorm1d(3)(ones(4, 4)), ValueError, "3 channels"),
        ErrorCase(lambda: DecorrelatedBatchNorm2d(3)(ones(4, 3)), ValueError, "4-d"),
        ErrorCase(lambda: DecorrelatedBatchNorm1d(4, 3), ValueError, "divide"),
        ErrorCase(lambda: DecorrelatedBatchNorm1d(4, eps=-1.0), ValueError, "eps"),
    ),
    kind="normalization",
    title="DecorrelatedBatchNorm",
    paper="Huang, Yang, Lang, Deng 2018, arXiv:1804.08450",
    pool="each group of channels, over samples and positions: one covariance",
    bench=(Case(((64, 64, 16, 16), None, None, (64,), (64,)), {**_TRAINING, "num_groups": 4}),),
)
