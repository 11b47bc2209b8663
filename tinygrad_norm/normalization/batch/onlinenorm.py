"""Online normalization: statistics of the samples before this one, and a control process in the backward.

    x (N, C, ...)   for one channel and sample t, with mean m_t and variance v_t over its positions:
    y = z_t = (x_t - μ)·r   r = 1/√(σ² + eps)   with μ and σ² of all samples before, and then
    σ² ← α·σ² + (1 - α)·v_t + α·(1 - α)·(m_t - μ)²      μ ← α·μ + (1 - α)·m_t      α = alpha_fwd

A batch is a sequence of samples, so its size does not matter: 1 is enough. In evaluation μ and σ² stay.

In the code: μ mean, σ² var, r rstd, ν control_v, υ control_u; x is (N, C, S) with S positions. What there is
of each channel or sample is kept in float64: z may be far from size 1 until the statistics have caught up,
and float32 could not hold its square, or a variance.

Chiley et al. 2019, arXiv:1905.05894.

Backward, from dy = dL/dy. With the statistics of other samples, a sample has the straight path alone, r·dy:
what BatchNorm's two other paths would take out of it, its parts along 1 and along z, would stay. They cannot
be taken out at one sample without bias, so two numbers per channel carry what was left, and a little of it is
taken out of each sample, with κ = 1 - alpha_bkw:

    dx = r·(dy - κ·ν·z) - κ·υ

and then, with means over the positions of the sample and g = dy - κ·ν·z,

    ν ← ν + mean(g·z)      υ ← υ + mean(dx)

This is not the derivative of y: it is meant to be right on average.

Insight: ν and υ stay bounded only if the means that they add up are 0 in the long run. So mean(dx) and
mean(g·z) go to 0 over many samples, as they are in every batch with BatchNorm.
"""

from collections.abc import Callable
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import upcast
from ...backends.cpu.sums import mean_products, means
from ...module import Module, Parameter
from ...ops import cat, ones
from ...ops.arguments import as_number, as_size, check_flags
from ...ops.checks import check_channels, check_eps, check_vectors
from ...registry import Case, ErrorCase, Input, positive, register
from ..core.moments import affine, rsqrt, std_of
from ..sample.instancenorm import instance_norm_forward
from .fixednorm import BatchNormEvalFunction, as_channels, batch_norm_eval_forward

POSITIONS = (2,)


def online_norm_composed(
    input: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    training: bool = False,
    alpha_fwd: float = 0.999,
    alpha_bkw: float = 1.0,
    eps: float = 1e-5,
) -> Tensor:
    """Online normalization from primitives, sample by sample: exact gradients, which is alpha_bkw = 1."""
    per_channel = (1, -1, *(1,) * (input.ndim - 2))
    mean, var = running_mean.reshape(per_channel), running_var.reshape(per_channel)
    if not training or alpha_fwd == 1 or len(input) == 0:
        return (input - mean) * (var + eps) ** -0.5
    space, normalized = tuple(range(2, input.ndim)), []
    for t in range(len(input)):
        x = input[t : t + 1]
        normalized.append((x - mean) * (var + eps) ** -0.5)
        m = x.mean(space, keepdim=True).detach()
        v = ((x - m) ** 2).mean(space, keepdim=True).detach()
        var = alpha_fwd * var + (1 - alpha_fwd) * v + alpha_fwd * (1 - alpha_fwd) * (m - mean) ** 2
        mean = mean + (1 - alpha_fwd) * (m - mean)
    return cat(normalized)


def _before(
    m: Array, v: Array, mean: PerChannel, var: PerChannel, alpha: float
) -> tuple[Array, Array, PerChannel, PerChannel]:
    """Return the mean and variance before each sample (N, C, 1), and those after the last, in float64."""
    means_before, vars_before = [], []
    for t in range(len(m)):
        means_before.append(mean)
        vars_before.append(var)
        step = m[t : t + 1] - mean
        var = alpha * var + (1 - alpha) * v[t : t + 1] + alpha * (1 - alpha) * step * step
        mean = mean + (1 - alpha) * step
    join = namespace(m).concatenate
    return join(means_before, 0), join(vars_before, 0), mean, var


@kernel
def online_norm_forward(
    x: Channels, mean: PerChannel, var: PerChannel, alpha: float, eps: float
) -> tuple[Channels, Array, PerChannel, PerChannel]:
    """Return z (N, C, S), r (N, C, 1), and the mean and variance after the last sample (1, C, 1)."""
    (N, C, S), xp = x.shape, namespace(x)
    mean, var = mean.astype(numpy.float64), var.astype(numpy.float64)
    before_mean, before_var = (xp.broadcast_to(a, (N, C, 1)) for a in (mean, var))
    if alpha < 1 and N:
        _, m, v, rstd = instance_norm_forward(x, None, None, eps)
        v = xp.where(v < 1e30, v, std_of(rstd.astype(numpy.float64)) ** 2)  # or float32 could not hold it
        before_mean, before_var, mean, var = _before(m, v, mean, var, alpha)
    rows, flat, wide = (1, N * C, S), (1, N * C, 1), upcast(x[:0]).dtype
    before_mean, rstd = (
        xp.ascontiguousarray(a.astype(wide)).reshape(flat) for a in (before_mean, rsqrt(before_var + eps))
    )
    z, _ = batch_norm_eval_forward(x.reshape(rows), rstd, None, before_mean, xp.ones_like(rstd), 0.0)
    return z.reshape(x.shape), rstd.reshape(N, C, 1), mean, var


@in_blocks("dy", "z", "rstd", "v", "u")
def _controlled(dy: Channels, z: Channels, rstd: Array, v: Array, u: Array, kappa: float) -> Channels:
    return rstd * (dy - kappa * v * z) - kappa * u


@in_blocks("dy", "rstd")
def _straight(dy: Channels, rstd: Array) -> Channels:
    return rstd * dy


@kernel
def online_norm_backward(
    dy: Channels, z: Channels, rstd: Array, u: PerChannel, v: PerChannel, kappa: float
) -> tuple[Channels, PerChannel, PerChannel]:
    """Return dx (N, C, S), and the controls u and v (1, C, 1) after the last sample."""
    if not kappa or not len(dy):
        return _straight(dy, rstd), u, v
    g, wide, u, v = (a.astype(numpy.float64) for a in (dy, z, u, v))
    along_z, squares = mean_products(g, wide, POSITIONS), mean_products(wide, wide, POSITIONS)
    along_1, of_z = means(g, POSITIONS), means(wide, POSITIONS)
    us, vs = [], []
    for t in range(len(dy)):
        us.append(u)
        vs.append(v)
        one = slice(t, t + 1)
        u = u + (rstd[one] * (along_1[one] - kappa * v * of_z[one]) - kappa * u)
        v = v + (along_z[one] - kappa * v * squares[one])
    join = namespace(dy).concatenate
    before_v, before_u = (join(a, 0).astype(rstd.dtype) for a in (vs, us))
    return _controlled(dy, z, rstd, before_v, before_u, kappa), u, v


class OnlineNormFunction(Function):
    """y = (x - μ)·r · dx = r·(dy - κ·ν·z) - κ·υ, sample by sample; μ, r, ν, υ of those before

    `update_statistics` is called in forward with μ and σ² after the batch; `update_controls` in the first
    backward, with υ and ν.
    """

    def forward(
        self,
        x: Array,
        *,
        running: tuple[Array, Array],
        controls: tuple[Array, Array],
        alpha_fwd: float,
        kappa: float,
        eps: float,
        update_statistics: Callable[[Array, Array], None],
        update_controls: Callable[[Array, Array], None],
    ) -> Array:
        pools, mean, var, u, v = as_channels(x, *running, *controls)
        z, rstd, mean, var = online_norm_forward(pools, mean, var, alpha_fwd, eps)
        update_statistics(mean, var)
        self.saved = z, rstd, upcast(u), upcast(v), kappa
        self.update_controls = update_controls
        return z.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, u, v = online_norm_backward(dy.reshape(self.saved[0].shape), *self.saved)
        if not self.backward_ran:  # once, also if it is differentiated again
            self.update_controls(u, v)
        return (dx.reshape(dy.shape),)


def online_norm(
    input: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    control_u: Tensor | None = None,
    control_v: Tensor | None = None,
    training: bool = False,
    alpha_fwd: float = 0.999,
    alpha_bkw: float = 0.99,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel of each sample by the statistics of the samples before.

    The gradient in training is not the derivative: see tinygrad_norm/normalization/batch/onlinenorm.py. The
    first backward pass of a forward in training also changes the controls. With alpha_fwd = 1 and alpha_bkw
    = 1, nothing moves, and the gradient is exact.

    Args:
        input: (N, C, ...).
        running_mean: (C,), moved in training, after each sample.
        running_var: (C,), moved in training, after each sample.
        control_u: (C,), what was left of gradients along 1; None starts at 0 in each batch.
        control_v: (C,), what was left of gradients along the output; None starts at 0 in each batch.
        training: whether the statistics and controls move.
        alpha_fwd: the share of the statistics that a sample leaves as they are.
        alpha_bkw: 1 minus the share of the controls that is taken out of the gradient of a sample.
        eps: added to the variance, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor, or `training` is not a bool.
        ValueError: if a vector is not (C,), a decay is not between 0 and 1, or eps is negative.

    Source: Chiley et al. 2019, arXiv:1905.05894.
    """
    C = check_channels(input, "online_norm")
    controls = {"control_u": control_u, "control_v": control_v}
    check_vectors(input, (C,), running_mean=running_mean, running_var=running_var, **controls)
    check_flags(training=training)
    check_eps(eps)
    _check_decays(alpha_fwd, alpha_bkw)
    mean, var = running_mean.array.copy(), running_var.array.copy()
    if not training:
        return BatchNormEvalFunction.apply(input, None, None, mean=mean, var=var, eps=float(eps))

    def update(tensors: tuple[Tensor | None, Tensor | None]) -> Callable[[Array, Array], None]:
        def write(*arrays: Array) -> None:
            for tensor, array in zip(tensors, arrays, strict=True):
                if tensor is not None:
                    tensor.array[...] = array.reshape(tensor.shape)
                    tensor.mark_written()

        return write

    nothing = mean * 0
    return OnlineNormFunction.apply(
        input,
        running=(mean, var),
        controls=tuple([nothing if c is None else c.array.copy() for c in (control_u, control_v)]),
        alpha_fwd=float(alpha_fwd),
        kappa=1 - float(alpha_bkw),
        eps=float(eps),
        update_statistics=update((running_mean, running_var) if alpha_fwd < 1 else (None, None)),
        update_controls=update((control_u, control_v) if alpha_bkw < 1 else (None, None)),
    )


def _check_decays(*decays: float) -> None:
    for alpha in decays:
        if not 0 <= as_number(alpha, "alpha") <= 1:
            raise ValueError(f"alpha_fwd and alpha_bkw are decays, between 0 and 1, got {alpha}")


class OnlineNorm2d(Module):
    """Online normalization of (N, C, H, W), scaled, shifted, clamped to ±clamp_val; for batches of any size.

    Parameters `weight` (ones) and `bias` (zeros); buffers `running_mean`, `control_u`, `control_v` (zeros)
    and `running_var` (ones), all (num_features,). alpha_fwd and alpha_bkw are shares kept per sample, not
    per batch. The clamp guards against statistics that have not caught up. Names and defaults as the
    authors'. Source: Chiley et al. 2019, arXiv:1905.05894.
    """

    def __init__(
        self,
        num_features: int,
        alpha_fwd: float = 0.999,
        alpha_bkw: float = 0.99,
        eps: float = 1e-5,
        affine: bool = True,
        clamp_val: float = 5.0,
    ) -> None:
        super().__init__()
        check_flags(affine=affine)
        check_eps(eps)
        _check_decays(alpha_fwd, alpha_bkw)
        if not as_number(clamp_val, "clamp_val") > 0:
            raise ValueError(f"clamp_val must be positive, got {clamp_val}")
        self.num_features = as_size(num_features, "num_features")
        self.alpha_fwd, self.alpha_bkw, self.eps, self.clamp_val = alpha_fwd, alpha_bkw, eps, clamp_val
        one = numpy.ones(num_features, numpy.float32)
        self.register_parameter("weight", Parameter(one) if affine else None)
        self.register_parameter("bias", Parameter(one * 0) if affine else None)
        for name, start in (("running_mean", 0), ("running_var", 1), ("control_u", 0), ("control_v", 0)):
            self.register_buffer(name, Tensor(one * start))

    running_mean: Tensor
    running_var: Tensor
    control_u: Any
    control_v: Any

    def forward(self, input: Tensor) -> Tensor:
        check_channels(input, "OnlineNorm2d", self.num_features)
        if input.ndim != 4:
            raise ValueError(f"OnlineNorm2d takes a 4-d input (N, C, H, W), got shape {input.shape}")
        z = online_norm(
            input,
            self.running_mean,
            self.running_var,
            self.control_u,
            self.control_v,
            self.training,
            self.alpha_fwd,
            self.alpha_bkw,
            self.eps,
        )
        y = affine(z, self.weight, self.bias, (-1, 1, 1))
        return y.clamp(-self.clamp_val, self.clamp_val)

    def extra_repr(self) -> str:
        return f"{self.num_features}, alpha_fwd={self.alpha_fwd}, alpha_bkw={self.alpha_bkw}, eps={self.eps}"


_STATISTICS = Input((3,), differentiable=False), positive(3, differentiable=False)
_STILL = {"training": True, "alpha_fwd": 1.0, "alpha_bkw": 1.0}  # nothing moves: an exact gradient

register(
    name="online_norm",
    function=online_norm,
    composed=online_norm_composed,
    inputs=("input", "running_mean", "running_var"),
    cases=(
        Case(((2, 3, 2, 3), *_STATISTICS), _STILL),
        Case(((3, 3), *_STATISTICS), {**_STILL, "eps": 1e-2}),
        Case(((2, 3, 4), *_STATISTICS)),
        Case(((0, 3, 4), *_STATISTICS), _STILL),
    ),
    errors=(
        ErrorCase(lambda: online_norm(ones(2, 3).long(), ones(3), ones(3)), TypeError, "floating-point"),
        ErrorCase(lambda: online_norm(ones(2, 3), ones(2), ones(3)), ValueError, "running_mean"),
        ErrorCase(lambda: online_norm(ones(2, 3), ones(3), ones(3), alpha_fwd=2.0), ValueError, "got 2.0"),
        ErrorCase(lambda: online_norm(ones(2, 3), ones(3), ones(3), eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: OnlineNorm2d(3, clamp_val=0.0), ValueError, "clamp_val"),
        ErrorCase(lambda: OnlineNorm2d(3)(ones(2, 3, 4)), ValueError, "4-d"),
    ),
    kind="normalization",
    title="OnlineNorm",
    paper="Chiley et al. 2019, arXiv:1905.05894",
    pool="each channel, over the samples before this one",
    bench=(
        Case(
            ((8, 64, 32, 32), Input((64,), differentiable=False), positive(64, differentiable=False)),
            {"training": True},
        ),
    ),
)
