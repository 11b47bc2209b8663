"""LogitNorm: logits of a fixed length, so that cross-entropy cannot be made small by making them longer.

    z (..., C)   n = ‖z‖   y = z/(τ·(n + eps))

τ is a temperature that is not learned. Cross-entropy of y trains; eps has the unit of z and is outside the
root.

In the code: r = 1/n rnorm, n·k = 1/(1 + eps·r) share, τ tau, ẑ = z/n z_hat.

Wei et al. 2022, arXiv:2205.09310.

Backward, for one row, from dy = dL/dy. With k = 1/(n + eps) there are two paths from z_i to y_j = z_j·k/τ:

    straight     ∂z_j/∂z_i = 1 if i = j             k/τ·dy_i
    through n    ∂n/∂z_i = ẑ_i, ∂k/∂n = -k²         -k²/τ·ẑ_i·Σ dy·z = -k/τ·(n·k)·ẑ_i·Σ dy·ẑ

    dx = k/τ·(dy - n·k·ẑ·Σ dy·ẑ)

Insight: for eps = 0 dx has no part along z, and the gradient of cross-entropy, which pulls a right answer
longer for ever, only turns it. Without that the confidence of a network grows after all its answers are
right.
"""

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Column, Rows, kernel
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import is_half
from ...backends.cpu.sums import row_sum_products
from ...backends.float_info import finfo
from ...module import Module
from ...ops import ones
from ...ops.arguments import as_number
from ...ops.checks import check_eps, check_input, check_rows
from ...registry import Case, ErrorCase, register
from .normalize import normalize_forward


def logit_norm_composed(input: Tensor, tau: float = 0.04, eps: float = 1e-7) -> Tensor:
    """LogitNorm from primitives: autograd finds the gradient."""
    length = (input * input).sum(-1, keepdim=True).sqrt()
    return input / (tau * (length + eps))


@in_blocks("z_hat", "scale")
def _scaled(z_hat: Rows, scale: Column) -> Rows:
    return z_hat * scale


@kernel
def logit_norm_forward(z: Rows, tau: float, eps: float) -> tuple[Rows, Rows, Column]:
    """Return y and ẑ (N, C), and r (N, 1), for z (N, C). ẑ of zeros is 0."""
    least = 1024 * float(finfo(numpy.float32 if is_half(z) else z.dtype).tiny)
    z_hat, rnorm = normalize_forward(z, 2.0, least)
    return _scaled(z_hat, 1 / (1 + eps * rnorm) / tau), z_hat, rnorm


@kernel
@in_blocks("dy", "z_hat", "rnorm")
def logit_norm_backward(dy: Rows, z_hat: Rows, rnorm: Column, tau: float, eps: float) -> Rows:
    """Return dx (N, C)."""
    share = 1 / (1 + eps * rnorm)
    return rnorm * share / tau * (dy - share * z_hat * row_sum_products(dy, z_hat))


class LogitNormFunction(Function):
    """y = z/(τ·(n + eps)), n = ‖z‖ · dx = k/τ·(dy - n·k·ẑ·Σ dy·ẑ), k = 1/(n + eps)"""

    def forward(self, z: Array, *, tau: float, eps: float) -> Array:
        rows = z.reshape(-1, z.shape[-1]) if z.size else z.reshape(0, z.shape[-1])
        y, z_hat, rnorm = logit_norm_forward(rows, tau, eps)
        self.saved = z_hat, rnorm, tau, eps
        return y.reshape(z.shape)

    def backward(self, dy: Array) -> Gradients:
        return logit_norm_backward(dy.reshape(self.saved[0].shape), *self.saved).reshape(dy.shape)


def logit_norm(input: Tensor, tau: float = 0.04, eps: float = 1e-7) -> Tensor:
    """Return input/(tau·(‖input‖ + eps)) along the last axis: logits of length 1/tau.

    Args:
        input: (..., C), logits.
        tau: the temperature; the probability of a class is at most 1/(1 + (C - 1)·exp(-√2/tau)).
        eps: added to the length, in units of the input. Without it, zeros would have no gradient.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if tau or eps is not positive.

    Source: Wei et al. 2022, arXiv:2205.09310.
    """
    check_input(input, "logit_norm")
    check_rows(input, input.shape[-1:], eps, "logit_norm")
    tau = as_number(tau, "tau")
    if not (tau > 0 and eps > 0):
        raise ValueError(f"tau and eps of logit_norm must be positive, got {tau} and {eps}")
    return LogitNormFunction.apply(input, tau=tau, eps=float(eps))


class LogitNorm(Module):
    """logit_norm as a layer before a cross-entropy. Source: Wei et al. 2022, arXiv:2205.09310."""

    def __init__(self, tau: float = 0.04, eps: float = 1e-7) -> None:
        super().__init__()
        check_eps(eps)
        self.tau, self.eps = as_number(tau, "tau"), eps

    def forward(self, input: Tensor) -> Tensor:
        return logit_norm(input, self.tau, self.eps)

    def extra_repr(self) -> str:
        return f"tau={self.tau}, eps={self.eps}"


register(
    name="logit_norm",
    function=logit_norm,
    composed=logit_norm_composed,
    cases=(
        Case(((4, 5),)),
        Case(((2, 3, 4),), {"tau": 1.0, "eps": 0.5}),
        Case(((2, 33),), {"tau": 0.5}),
        Case(((0, 4),)),
    ),
    errors=(
        ErrorCase(lambda: logit_norm(ones(2, 3).long()), TypeError, "floating-point"),
        ErrorCase(lambda: logit_norm(ones(2, 3), 0.0), ValueError, "must be positive, got 0.0"),
        ErrorCase(lambda: logit_norm(ones(2, 3), eps=0.0), ValueError, "must be positive"),
        ErrorCase(lambda: LogitNorm("1"), TypeError, "tau"),  # type: ignore[arg-type]
    ),
    kind="normalization",
    title="LogitNorm",
    paper="Wei et al. 2022, arXiv:2205.09310",
    pool="each vector along the last axis, no mean",
    bench=(Case(((4096, 1000),)),),
)
