"""Negative log likelihoods of a normal and of a Poisson distribution, elementwise, in nats.

    normal    y = ½·(log v + (x - t)²/v)       x a mean, v its variance, at least eps
    Poisson   y = exp(x) - t·x                 exp(x) the rate
              y = x - t·log(x + eps)           x the rate

Each leaves out what depends on t alone, or on nothing; `full` adds it: ½·log(2π) to the normal, and to the
Poisson, where t > 1, Stirling's approximation of log t!,

    S(t) = t·log t - t + ½·log(2π·t)

Backward, from the derivative of each formula, with e = x - t:

    normal    dx = dy·e/v             dt = -dx              dv = dy·½·(1 - e²/v)/v
    Poisson   dx = dy·(exp(x) - t)    dt = dy·(S'(t) - x)             S'(t) = log t + ½/t
              dx = dy·(1 - t/(x + eps))    dt = dy·(S'(t) - log(x + eps))

without S' if S is left out. As in PyTorch, v clamped at eps still gets the gradient that it would have at
eps: a variance that is too small can grow again.

Insight: dv is 0 where v = e². A network that gives x and v learns v as the square of its own error.
"""

import math
from typing import Any

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, host_can_read, namespace
from ...backends.cpu.half import downcast, upcast
from ...backends.cuda.deferred import check_all_later
from ...module import Module
from ...ops import full as full_tensor
from ...ops import ones, where
from ...ops.arguments import as_number, check_flags
from ...ops.broadcast import unbroadcast
from ...ops.checks import check_input
from ...registry import Case, ErrorCase, positive, register, uniform
from .elementwise_loss import ElementwiseLossFunction, check_pair, pair_errors, reduced
from .loss_reduction import REDUCTIONS, check_reduction, reduce_losses, reduce_losses_backward

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def gaussian_nll_loss_composed(
    input: Tensor,
    target: Tensor,
    var: Tensor,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """Gaussian likelihood from primitives: autograd finds the gradient."""
    v = var + (var.clamp(min=eps) - var).detach()
    return reduced(0.5 * (v.log() + (input - target).square() / v) + full * _HALF_LOG_2PI, reduction)


class GaussianNLLFunction(Function):
    """y = ½·(log v + e²/v), reduced, e = x - t · dx = dy·e/v, dt = -dx, dv = dy·½·(1 - e²/v)/v"""

    def forward(self, x: Array, t: Array, var: Array, *, full: bool, eps: float, reduction: str) -> Array:
        xp = namespace(x)
        v, e = xp.maximum(upcast(var), eps), upcast(x) - upcast(t)
        losses = 0.5 * (xp.log(v) + e * e / v) + full * _HALF_LOG_2PI
        self.saved = e, v, x.shape, t.shape, var.shape, losses.shape, reduction
        return downcast(reduce_losses(losses, reduction, max(losses.size, 1)), x)

    def backward(self, dy: Array) -> Gradients:
        e, v, x_shape, t_shape, var_shape, shape, reduction = self.saved
        dlosses = reduce_losses_backward(upcast(dy), reduction, shape, math.prod(shape) or 1)
        dx, dv = dlosses * e / v, None
        if self.needs[2]:
            dv = unbroadcast(dlosses * 0.5 * (1 - e * e / v) / v, var_shape)
        return (
            unbroadcast(dx, x_shape) if self.needs[0] else None,
            unbroadcast(-dx, t_shape) if self.needs[1] else None,
            dv,
        )


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """Return the negative log likelihood of targets under normal distributions.

    Args:
        input: the means, of any shape.
        target: of a shape that broadcasts with it.
        var: the variances: of the input's shape, or without its last axis, or with size 1 there; or a number.
        full: add the constant ½·log(2π).
        eps: the smallest variance, in units of var.
        reduction: "none", "mean" or "sum".

    Raises:
        TypeError: if an input is not a floating-point tensor, or an option has a wrong type.
        ValueError: if a variance is negative, eps is not positive, a shape does not fit, or the reduction is
            unknown.

    Source: Nix, Weigend 1994.
    """
    name = "gaussian_nll_loss"
    check_reduction(reduction, name)
    check_flags(full=full)
    check_input(input, name)
    check_input(target, f"{name} as its target")
    if not as_number(eps, "eps") > 0:
        raise ValueError(f"eps is the smallest variance: it must be positive, got {eps}")
    if not isinstance(var, Tensor):
        var = full_tensor(input.shape, as_number(var, "var"), dtype=input.dtype)
    check_input(var, f"{name} as its variance")
    if input.ndim and var.shape == input.shape[:-1] and var.shape != input.shape:
        var = var.unsqueeze(-1)
    elif var.shape != input.shape and var.shape != (*input.shape[:-1], 1):
        raise ValueError(
            f"{name} takes a variance of the input's shape {input.shape}, or without its last axis, got "
            f"{var.shape}"
        )
    return GaussianNLLFunction.apply(
        input, target, _not_negative(var), full=full, eps=eps, reduction=reduction
    )


def _not_negative(var: Any) -> Tensor:
    """Return var; raise ValueError if an entry is negative, on a GPU when the host next reads an array."""
    array, message = var.array, "var of gaussian_nll_loss must not be negative"
    if not host_can_read(array):
        check_all_later(~(array < 0), message)
    elif (array < 0).any():
        raise ValueError(f"{message}, got {array.min()}")
    return var


def poisson_nll_loss_composed(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    *,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """Poisson likelihood from primitives: autograd finds the gradient."""
    losses = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        t = target.clamp(min=1)
        stirling = t * t.log() - t + 0.5 * t.log() + _HALF_LOG_2PI
        losses = losses + where(target > 1, stirling, 0)
    return reduced(losses, reduction)


class PoissonNLLFunction(ElementwiseLossFunction):
    """y = exp(x) - t·x, or x - t·log(x + eps), reduced · dx = dy·(exp(x) - t), or dy·(1 - t/(x + eps))

    dt = dy·(S'(t) - x), or dy·(S'(t) - log(x + eps)); S(t) is added to y and S' counts where `full` and t > 1
    """

    def value(self, x: Array, t: Array, *, log_input: bool, full: bool, eps: float) -> Array:
        xp = namespace(x)
        losses = xp.exp(x) - t * x if log_input else x - t * xp.log(x + eps)
        if full:
            log_t = xp.log(xp.maximum(t, 1))
            losses = losses + xp.where(t > 1, t * log_t - t + 0.5 * log_t + _HALF_LOG_2PI, 0)
        return losses

    def slopes(self, x: Array, t: Array, *, log_input: bool, full: bool, eps: float) -> tuple[Array, Array]:
        xp = namespace(x)
        dx, dt = (xp.exp(x) - t, -x) if log_input else (1 - t / (x + eps), -xp.log(x + eps))
        if full:
            above = xp.maximum(t, 1)
            dt = dt + xp.where(t > 1, xp.log(above) + 0.5 / above, 0)
        return dx, dt


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    *,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """Return the negative log likelihood of counts under Poisson distributions.

    Args:
        input: logarithms of the rates, of any shape; with log_input=False, the rates.
        target: the counts, of the same shape.
        log_input: whether the input is a logarithm.
        full: add Stirling's approximation of log target! where target > 1.
        eps: added to the rates before their logarithm is taken.
        reduction: "none", "mean" or "sum".

    Raises:
        TypeError: if an input is not a floating-point tensor, or an option has a wrong type.
        ValueError: if the shapes differ, or the reduction is unknown.
    """
    check_reduction(reduction, "poisson_nll_loss")
    check_flags(log_input=log_input, full=full)
    check_pair(input, target, "poisson_nll_loss")
    options = {"log_input": log_input, "full": full, "eps": as_number(eps, "eps")}
    return PoissonNLLFunction.apply(input, target, reduction=reduction, **options)


class GaussianNLLLoss(Module):
    """gaussian_nll_loss as a layer. Source: Nix, Weigend 1994."""

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__()
        check_reduction(reduction, "GaussianNLLLoss")
        check_flags(full=full)
        self.full, self.eps, self.reduction = full, as_number(eps, "eps"), reduction

    def forward(self, input: Tensor, target: Tensor, var: Tensor | float) -> Tensor:
        return gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class PoissonNLLLoss(Module):
    """poisson_nll_loss as a layer."""

    def __init__(
        self, log_input: bool = True, full: bool = False, *, eps: float = 1e-8, reduction: str = "mean"
    ) -> None:
        super().__init__()
        check_reduction(reduction, "PoissonNLLLoss")
        check_flags(log_input=log_input, full=full)
        self.log_input, self.full = log_input, full
        self.eps, self.reduction = as_number(eps, "eps"), reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return poisson_nll_loss(
            input, target, self.log_input, self.full, eps=self.eps, reduction=self.reduction
        )


register(
    name="gaussian_nll_loss",
    function=gaussian_nll_loss,
    composed=gaussian_nll_loss_composed,
    cases=(
        *(Case(((3, 4), (3, 4), positive(3, 4)), {"reduction": reduction}) for reduction in REDUCTIONS),
        Case(((3, 4), (3, 1), positive(3, 1)), {"full": True}),
        Case(((), (), positive())),
        Case(((0, 4), (0, 4), positive(0, 4)), {"reduction": "sum"}),
    ),
    errors=(
        ErrorCase(
            lambda: gaussian_nll_loss(ones(2), ones(2), -ones(2)), ValueError, "not be negative, got -1"
        ),
        ErrorCase(lambda: gaussian_nll_loss(ones(2), ones(2), ones(3)), ValueError, "without its last axis"),
        ErrorCase(lambda: gaussian_nll_loss(ones(2), ones(2), ones(2), eps=0), ValueError, "positive, got 0"),
        ErrorCase(lambda: gaussian_nll_loss(ones(2), ones(2).long(), ones(2)), TypeError, "floating-point"),
        ErrorCase(
            lambda: gaussian_nll_loss(ones(2), ones(2), ones(2), reduction="avg"), ValueError, "'none'"
        ),
    ),
    kind="loss",
    title="Gaussian likelihood",
    paper="Nix, Weigend 1994",
    torch="torch.nn.functional.gaussian_nll_loss",
)
_COUNTS = uniform(1.2, 6.0, 3, 4)
register(
    name="poisson_nll_loss",
    function=poisson_nll_loss,
    composed=poisson_nll_loss_composed,
    cases=(
        *(Case(((3, 4), positive(3, 4)), {"reduction": reduction}) for reduction in REDUCTIONS),
        Case(((3, 4), _COUNTS), {"full": True}),
        Case((positive(3, 4), uniform(0.1, 0.9, 3, 4)), {"full": True, "log_input": False, "eps": 0.1}),
        Case((positive(), positive()), {"log_input": False}),
        Case(((0, 4), (0, 4)), {"reduction": "sum"}),
    ),
    errors=pair_errors(poisson_nll_loss),
    kind="loss",
    title="Poisson likelihood",
    torch="torch.nn.functional.poisson_nll_loss",
)
