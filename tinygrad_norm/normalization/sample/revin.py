"""Reversible instance normalization: a series loses its level and scale before a model, and gets them back.

    x (N, T, C)   μ = mean(x) over T   σ = √(mean((x - μ)²) + eps)   x̂ = (x - μ)/σ
    h = w·x̂ + b                the first end: what the model receives
    o (N, T', C)               what the model makes of h
    q = w + eps²   y = σ·(o - b)/q + μ      the second end

μ and σ are one number per instance and channel, w and b are (C,). The published code detaches μ and σ: they
are constants in the backward, at both ends. eps² keeps q from 0 while w > 0; without w, q = 1.

In the code: μ mean, σ std, 1/σ rstd, x̂ x_hat, w weight, b bias; x is (1, N·C, T), every channel of every
instance a channel of one batch, so the bodies are those of batchnorm.py and fixednorm.py: the backward runs
them on x̂, whose mean is 0 and deviation 1, with the weight w/σ.

Kim et al. 2022 (ICLR, code ts-kim/RevIN); instance normalization: Ulyanov et al. 2016, arXiv:1607.08022.

Backward of the second end, from dy = dL/dy. It is elementwise, σ and μ are shared by the steps of a channel:

    do = dy·σ/q      dw = -Σ dy·σ·(o - b)/q²      db = -Σ dy·σ/q
    dσ = Σ dy·(o - b)/q      dμ = Σ dy            the last two only if μ and σ are not detached

Backward of the first end, from dh = dL/dh, with g := dL/dx̂ = w·dh; w and b get the sum of both ends:

    dw = Σ dh·x̂      db = Σ dh

Detached, the straight path alone is left:

    dx = g/σ

Else x also moves μ and σ. Within h these are the three paths of batchnorm.py; and dμ and dσ come back from
the second end, with ∂μ/∂x_i = 1/T and ∂σ/∂x_i = (x_i - μ)/(T·σ) = x̂_i/T:

    dx = (g - mean(g) - x̂·mean(g·x̂))/σ + (dμ + x̂·dσ)/T

Insight: whatever the model is, f(a·x + c) = a·f(x) + c for a > 0, as far as eps is small: level and scale of
a series are not learned, so they may change. The detached dx is another one than the true one, but dw, db and
the gradients of the model are the same: it counts only if something before this layer learns.
"""

import math
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...module import Module, Parameter
from ...ops import ones
from ...ops.arguments import as_size, check_flags
from ...ops.checks import check_channels, check_eps, check_pool, check_same_dtype, check_vectors
from ...registry import Case, ErrorCase, positive, register
from ..batch.batchnorm import batch_norm_backward, batch_norm_forward
from ..batch.fixednorm import batch_norm_eval_backward, batch_norm_eval_forward
from ..core.moments import affine, std_of


def reversible_instance_norm_composed(
    input: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    detach: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """The first end from primitives: autograd finds the gradient."""
    axes = tuple(range(1, input.ndim - 1))
    mean = input.mean(axes, keepdim=True)
    std = (((input - mean) ** 2).mean(axes, keepdim=True) + eps) ** 0.5
    if detach:
        mean, std = mean.detach(), std.detach()
    return affine((input - mean) / std, weight, bias), mean, std


def reversible_instance_denorm_composed(
    input: Tensor,
    mean: Tensor,
    std: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """The second end from primitives: autograd finds the gradient."""
    if bias is not None:
        input = input - bias
    if weight is not None:
        input = input / (weight + eps * eps)
    return input * std + mean


def _as_pools(x: Array) -> Channels:
    """Return x (N, ..., C) as (1, N·C, T)."""
    N, *steps, C = x.shape
    return x.reshape(N, math.prod(steps), C).swapaxes(1, 2).reshape(1, N * C, math.prod(steps))


def _as_series(pools: Channels, shape: tuple[int, ...]) -> Array:
    """Return pools (1, N·C, T) as x (N, ..., C) of this shape; of statistics, T is 1."""
    N, *_, C = shape
    return pools.reshape(N, C, pools.shape[2]).swapaxes(1, 2).reshape(shape)


def _per_pool(vector: Array | None, N: int) -> Any:
    """Return a vector (C,) as (1, N·C, 1): once for each instance."""
    if vector is None:
        return None
    return namespace(vector).broadcast_to(vector, (N, *vector.shape)).reshape(1, -1, 1)


def _per_channel(sums: PerChannel, C: int) -> Array:
    """Return sums (1, N·C, 1) as (C,), added up over the instances."""
    return sums.reshape(-1, C).sum(0)


@in_blocks("x_hat", "weight", "bias", axis=1, weight=1.0, bias=0.0)
def _scaled_and_shifted(x_hat: Channels, weight: PerChannel | None, bias: PerChannel | None) -> Channels:
    return weight * x_hat + bias


@in_blocks("dx", "x_hat", "dmean", "dstd", axis=1)
def _through_statistics(dx: Channels, x_hat: Channels, dmean: PerChannel, dstd: PerChannel) -> Channels:
    return dx + (dmean + x_hat * dstd) / x_hat.shape[2]


@kernel
def reversible_instance_norm_forward(
    x: Channels, weight: PerChannel | None, bias: PerChannel | None, eps: float
) -> tuple[Channels, Channels, PerChannel, PerChannel]:
    """Return h and x̂ (1, N·C, T), and mean and 1/σ (1, N·C, 1); weight and bias are (1, N·C, 1)."""
    x_hat, mean, _, rstd = batch_norm_forward(x, None, None, eps)
    h = x_hat if weight is None and bias is None else _scaled_and_shifted(x_hat, weight, bias)
    return h, x_hat, mean, rstd


@kernel
def reversible_instance_norm_backward(
    dh: Channels, x_hat: Channels, scale: PerChannel, dmean: PerChannel, dstd: PerChannel
) -> tuple[Channels, PerChannel, PerChannel]:
    """Return dx (1, N·C, T), dweight and dbias (1, N·C, 1); scale is w/σ."""
    zero = namespace(scale).zeros_like(scale)
    dx, dweight, dbias = batch_norm_backward(dh, x_hat, scale, zero, zero + 1)
    return _through_statistics(dx, x_hat, dmean, dstd), dweight, dbias


@kernel
def detached_instance_norm_backward(
    dh: Channels, x_hat: Channels, scale: PerChannel
) -> tuple[Channels, PerChannel, PerChannel]:
    """Return dx (1, N·C, T), dweight and dbias (1, N·C, 1); scale is w/σ."""
    zero = namespace(scale).zeros_like(scale)
    return batch_norm_eval_backward(dh, x_hat, scale, zero, zero + 1)


@kernel
def reversible_instance_denorm_forward(
    o: Channels, mean: PerChannel, std: PerChannel, q: PerChannel | float, bias: PerChannel
) -> Channels:
    """Return y (1, N·C, T'): a fixed normalization of o, with mean b and weight σ/q; all are (1, N·C, 1)."""
    y, _ = batch_norm_eval_forward(o, std / q, mean, bias, namespace(std).ones_like(std), 0.0)
    return y


@kernel
def reversible_instance_denorm_backward(
    dy: Channels, o: Channels, std: PerChannel, q: PerChannel | float, bias: PerChannel
) -> tuple[Channels, PerChannel, PerChannel, PerChannel, PerChannel]:
    """Return do (1, N·C, T'), and dmean, dstd, dweight and dbias (1, N·C, 1)."""
    scale, one = std / q, namespace(std).ones_like(std)
    do, dscale, dmean = batch_norm_eval_backward(dy, o, scale, bias, one)
    return do, dmean, dscale / q, -dscale * scale / q, -dmean * scale


class ReversibleInstanceNormFunction(Function):
    """h = w·(x - μ)/σ + b · dx = (g - mean(g) - x̂·mean(g·x̂))/σ + (dμ + x̂·dσ)/T with g = w·dh"""

    def forward(
        self, x: Array, weight: Array | None, bias: Array | None, *, eps: float
    ) -> tuple[Array, Array, Array]:
        N, *_, C = x.shape
        pools, weight, bias = _as_pools(x), _per_pool(weight, N), _per_pool(bias, N)
        h, x_hat, mean, rstd = reversible_instance_norm_forward(pools, weight, bias, eps)
        self.saved = x_hat, rstd if weight is None else weight * rstd
        self.shape, shape = x.shape, (N, *(1,) * (x.ndim - 2), C)
        mean, std = (_as_series(s.astype(rstd.dtype, copy=False), shape) for s in (mean, std_of(rstd)))
        return _as_series(h, x.shape), mean, std

    def backward(self, *dys: Any) -> Gradients:
        dh, *of_statistics = dys
        of_statistics = [d.reshape(1, -1, 1) for d in of_statistics]
        return self._as_given(*reversible_instance_norm_backward(_as_pools(dh), *self.saved, *of_statistics))

    def _as_given(self, dx: Array, dweight: Array, dbias: Array) -> Gradients:
        C = self.shape[-1]
        return _as_series(dx, self.shape), _per_channel(dweight, C), _per_channel(dbias, C)


class DetachedInstanceNormFunction(ReversibleInstanceNormFunction):
    """h = w·(x - μ)/σ + b · dx = w·dh/σ: μ and σ are constants"""

    constants = (1, 2)

    def backward(self, *dys: Any) -> Gradients:
        return self._as_given(*detached_instance_norm_backward(_as_pools(dys[0]), *self.saved))


class ReversibleInstanceDenormFunction(Function):
    """y = σ·(o - b)/q + μ · do = dy·σ/q, dw = -Σ dy·σ·(o - b)/q², dσ = Σ dy·(o - b)/q, with q = w + eps²"""

    def forward(
        self,
        o: Array,
        mean: Array,
        std: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        eps: float,
    ) -> Array:
        N = o.shape[0]
        pools, mean, std = _as_pools(o), mean.reshape(1, -1, 1), std.reshape(1, -1, 1)
        q = 1.0 if weight is None else _per_pool(weight, N) + weight.dtype.type(eps * eps)
        bias = namespace(std).zeros_like(std) if bias is None else _per_pool(bias, N)
        self.saved = pools, std, q, bias
        return _as_series(reversible_instance_denorm_forward(pools, mean, std, q, bias), o.shape)

    def backward(self, dy: Array) -> Gradients:
        do, dmean, dstd, dweight, dbias = reversible_instance_denorm_backward(_as_pools(dy), *self.saved)
        N, *steps, C = dy.shape
        shape = N, *(1,) * len(steps), C
        vectors = (_per_channel(d, C) for d in (dweight, dbias))
        return _as_series(do, dy.shape), dmean.reshape(shape), dstd.reshape(shape), *vectors


def _check_series(input: Tensor, eps: float, name: str, **vectors: Tensor | None) -> int:
    C = check_channels(input, name, axis=-1)
    if input.ndim < 3:
        raise ValueError(f"{name} takes series (N, T, C) with at least 3 axes, got shape {input.shape}")
    check_vectors(input, (C,), **vectors)
    check_eps(eps)
    return C


def reversible_instance_norm(
    input: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    detach: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize each channel of each series over its steps; return the result, the mean and the deviation.

    Args:
        input: (N, T, C), or with more axes of steps, (N, ..., C).
        weight: (C,), or None.
        bias: (C,), or None.
        eps: added to the variance, in units of input².
        detach: whether mean and deviation are constants in the backward, as in the published code and, by
            default, in `RevIN`; False is the gradient of the function itself.

    Returns:
        The normalized series, of the input's shape; its mean and √(variance + eps), (N, 1, C), which
        `reversible_instance_denorm` takes. For half types these are float32.

    Raises:
        TypeError: if the input is not a floating-point tensor, or `detach` is not a bool.
        ValueError: if the input has less than 3 axes or a single step, if a vector is not (C,), or if eps is
            negative.

    Source: Kim et al. 2022, ICLR; github.com/ts-kim/RevIN.
    """
    name = "reversible_instance_norm"
    _check_series(input, eps, name, weight=weight, bias=bias)
    check_flags(detach=detach)
    steps = math.prod(input.shape[1:-1])
    check_pool(input, steps, name, "a series of one step has no variance", "channel of a series")
    function = DetachedInstanceNormFunction if detach else ReversibleInstanceNormFunction
    return function.apply(input, weight, bias, eps=float(eps))


def reversible_instance_denorm(
    input: Tensor,
    mean: Tensor,
    std: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Undo the weight and bias of `reversible_instance_norm`, and give each series its scale and level back.

    Args:
        input: (N, T, C), or (N, ..., C); the number of steps may be another one than that of the series that
            was normalized.
        mean: the mean that `reversible_instance_norm` returned, (N, 1, C).
        std: the deviation that it returned.
        weight: (C,), as it was given there, or None. Near 0, y is as good as infinite.
        bias: (C,), as it was given there, or None.
        eps: as it was given there; eps² is added to weight.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if the input has less than 3 axes, or a shape does not fit; if eps is negative.

    Source: Kim et al. 2022, ICLR; github.com/ts-kim/RevIN.
    """
    name = "reversible_instance_denorm"
    C = _check_series(input, eps, name, weight=weight, bias=bias)
    shape = input.shape[0], *(1,) * (input.ndim - 2), C
    check_vectors(input, shape, mean=mean, std=std)
    check_same_dtype(name, mean, std=std)
    return ReversibleInstanceDenormFunction.apply(input, mean, std, weight, bias, eps=float(eps))


class RevIN(Module):
    """Reversible instance normalization of series (N, T, C): `forward(x, "norm")`, a model, then "denorm".

    The layer keeps the mean and deviation of the last series that it normalized, and "denorm" gives them back
    to the outputs, whose number of steps may differ; a copy of the layer starts without. The parameters are
    `weight` (ones) and `bias` (zeros), which both ends use; the published code calls them affine_weight and
    affine_bias.

    Args:
        num_features: C, the channels of a series.
        eps: added to the variance, in units of input².
        affine: whether there are parameters.
        detach: whether mean and deviation are constants in the backward, as published. That changes only what
            goes back to the input, so it counts if something before this layer learns.

    Source: Kim et al. 2022, ICLR; github.com/ts-kim/RevIN.
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, affine: bool = True, *, detach: bool = True
    ) -> None:
        super().__init__()
        check_flags(affine=affine, detach=detach)
        check_eps(eps)
        self.num_features, self.eps = as_size(num_features, "num_features"), eps
        self.affine, self.detach = affine, detach
        ones = numpy.ones(num_features, numpy.float32)
        self.register_parameter("weight", Parameter(ones) if affine else None)
        self.register_parameter("bias", Parameter(ones * 0) if affine else None)
        self.statistics: tuple[Tensor, Tensor] | None = None

    def forward(self, input: Tensor, mode: str) -> Tensor:
        """Normalize the series ("norm"), or give the outputs of a model the last statistics ("denorm").

        Raises:
            ValueError: if mode is neither.
            RuntimeError: for "denorm" before any "norm".
        """
        check_channels(input, "RevIN", self.num_features, axis=-1)
        if mode == "norm":
            y, *statistics = reversible_instance_norm(input, self.weight, self.bias, self.eps, self.detach)
            self.statistics = statistics[0], statistics[1]
            return y
        if mode != "denorm":
            raise ValueError(f'RevIN has the modes "norm" and "denorm", got {mode!r}')
        if self.statistics is None:
            raise RuntimeError(
                'RevIN has no statistics to give back: call it with mode "norm" on the inputs of the model '
                'before "denorm" on its outputs'
            )
        return reversible_instance_denorm(input, *self.statistics, self.weight, self.bias, self.eps)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "statistics": None}

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, affine={self.affine}, detach={self.detach}"


def _of(*shapes: tuple[int, ...]) -> Any:
    return [ones(*shape) for shape in shapes]


_CODE = "Kim et al. 2022, ICLR"

register(
    name="reversible_instance_norm",
    function=reversible_instance_norm,
    composed=reversible_instance_norm_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((2, 5, 3), (3,), (3,))),
        Case(((2, 2, 3, 2), (2,), None), {"eps": 1e-2}),
        Case(((3, 4, 2), None, None)),
        Case(((0, 3, 2), (2,), (2,))),
    ),
    errors=(
        ErrorCase(lambda: reversible_instance_norm(ones(2, 3)), ValueError, "at least 3 axes"),
        ErrorCase(lambda: reversible_instance_norm(ones(2, 1, 3)), ValueError, "more than one"),
        ErrorCase(lambda: reversible_instance_norm(*_of((2, 4, 3), (4,))), ValueError, "weight"),
        ErrorCase(lambda: reversible_instance_norm(ones(2, 4, 3, dtype=int)), TypeError, "floating-point"),
        ErrorCase(lambda: RevIN(3)(ones(2, 4, 2), "norm"), ValueError, "3 channels"),
        ErrorCase(lambda: RevIN(3)(ones(2, 4, 3), "back"), ValueError, "'back'"),
        ErrorCase(lambda: RevIN(3)(ones(2, 4, 3), "denorm"), RuntimeError, "no statistics"),
    ),
    kind="normalization",
    title="RevIN",
    paper=_CODE,
    pool="each channel of each series, over its steps; undone after the model",
    bench=(Case(((64, 256, 32), (32,), (32,))),),
)

register(
    name="reversible_instance_denorm",
    function=reversible_instance_denorm,
    composed=reversible_instance_denorm_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((2, 5, 3), (2, 1, 3), positive(2, 1, 3), positive(3), (3,))),
        Case(((2, 2, 3, 2), (2, 1, 1, 2), positive(2, 1, 1, 2), positive(2), None), {"eps": 0.1}),
        Case(((3, 4, 2), (3, 1, 2), positive(3, 1, 2), None, None)),
        Case(((0, 3, 2), (0, 1, 2), (0, 1, 2), (2,), (2,))),
    ),
    errors=(
        ErrorCase(
            lambda: reversible_instance_denorm(*_of((2, 4, 3), (2, 3), (2, 3))), ValueError, "mean has shape"
        ),
        ErrorCase(
            lambda: reversible_instance_denorm(*_of((2, 4, 3), (2, 1, 3), (2, 1, 3), (4,))),
            ValueError,
            "weight",
        ),
        ErrorCase(
            lambda: reversible_instance_denorm(ones(2, 4, 3), ones(2, 1, 3), ones(2, 1, 3).double()),
            TypeError,
            "std",
        ),
    ),
    kind="normalization",
    title="RevIN, the way back",
    paper=_CODE,
    pool="none: the statistics that RevIN took away",
    bench=(Case(((64, 256, 32), (64, 1, 32), positive(64, 1, 32), positive(32), (32,))),),
)
