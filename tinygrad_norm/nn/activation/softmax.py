"""Softmax: positive numbers that sum to 1, in the ratio of their exponentials.

    x (..., D, ...), along one axis   e = exp(x)   y = e/Σe

A constant added to a row of x cancels out in y. So m = max x may be subtracted: the largest exponential is
then 1, and nothing overflows. The guard `exact_for_any_offset` runs the body again on x - m if Σe is too
large or too small. That is rare, so it is cheaper than finding every m first. The logarithm of the softmax,
and the softmax of -x, are

    log_softmax(x) = z - log Σ exp(z),  z = x - m      softmin(x) = softmax(-x)

Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs".

In the code: Σe total.

Backward, for one row, from dy = dL/dy. x_k reaches every y_i of its row: y_k through its own exponential, and
all of them through the sum. By the chain rule these contributions add up, dx_k = Σ_i dy_i·∂y_i/∂x_k. y does
not depend on m, so m counts as a constant:

    softmax       ∂y_i/∂x_k = y_i·(1[i = k] - y_k)      dx_k = y_k·(dy_k - Σ_i dy_i·y_i)
    log_softmax   ∂y_i/∂x_k = 1[i = k] - exp(y_k)       dx_k = dy_k - exp(y_k)·Σ_i dy_i

Path by path, where softmin is the softmax of -x:

    straight    y_k·dy_k in softmax, dy_k in log_softmax, -y_k·dy_k in softmin
    through Σe  -y_k·Σ_i dy_i·y_i in softmax, -exp(y_k)·Σ_i dy_i in log_softmax, y_k·Σ_i dy_i·y_i in softmin

so that, with sums over each row,

    softmax       dx = y·(dy - Σ dy·y)
    log_softmax   dx = dy - exp(y)·Σ dy

Insight: Σ dx = 0 in both: adding a constant to a row changes nothing, so no gradient points there.

A row with only -∞ has no finite maximum: its softmax is NaN, as in PyTorch. Attention, which masks with -∞,
handles such rows itself.
"""

from typing import Any

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.loop_math import exp_of_negative, larger, log
from ...backends.cuda.launch import CudaSource, kept_bytes, teams
from ...backends.cuda.teams import BACKWARD_SHAPES
from ...module import Module
from ...ops import ones
from ...ops.checks import check_input
from ...ops.dims import normalize_dim, with_numpy_names
from ...registry import Case, ErrorCase, register, uniform
from . import softmax_columns
from .softmax_axis import (
    EXACT_SUMS,
    HIGHEST,
    as_rows,
    axis_maxima,
    axis_sums,
    exact_for_any_offset,
    from_rows,
    lay_out,
    log_share,
)

_kernels = CudaSource(__file__)


def softmax_composed(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Softmax from primitives: autograd finds the gradient."""
    x = input if dtype is None else input.to(dtype)
    e = (x - x.amax(dim, keepdim=True).detach()).exp()
    total = e.sum(dim, keepdim=True)
    return e / total


def log_softmax_composed(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Log-softmax from primitives: autograd finds the gradient."""
    x = input if dtype is None else input.to(dtype)
    z = x - x.amax(dim, keepdim=True).detach()
    total = z.exp().sum(dim, keepdim=True)
    return z - total.log()


def softmin_composed(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Softmin from primitives: autograd finds the gradient."""
    return softmax_composed(-input, dim, dtype=dtype)


@kernel
@in_blocks("x")
@exact_for_any_offset
def softmax_forward(x: Array) -> tuple[Array, Array]:
    """Return y: x and y (N, D) or (N, D, S), softmax over axis 1. The guard needs Σe as well."""
    e = namespace(x).exp(x)
    sums = axis_sums(e)
    return e / sums, sums


@softmax_forward.loops()
def softmax_forward_loop(x: Array, y: Array, zero: float) -> None:
    """One row after the other: once for e and Σe, once to divide; with m only if Σe calls for it."""
    (N, D), real = x.shape, x.dtype.type
    low, high, highest = real(EXACT_SUMS[0]), real(EXACT_SUMS[1]), real(HIGHEST)
    for n in range(N):
        s = zero
        for i in range(D):
            e = exp_of_negative(highest if x[n, i] > highest else x[n, i])
            y[n, i] = e
            s += e
        if not low < s < high:
            m = x[n, 0]
            for i in range(D):
                m = larger(m, x[n, i])
            s = zero
            for i in range(D):
                e = exp_of_negative(x[n, i] - m)
                y[n, i] = e
                s += e
        share = real(1 / s)
        for i in range(D):
            y[n, i] *= share


softmax_columns.attach(softmax_forward, softmax_columns.softmax_forward_loop)


@softmax_forward.cuda
def softmax_forward_cuda(x: Array) -> Array:
    """One kernel: every row is read once and written once."""
    return _forward("softmax_forward", x)


@kernel
@in_blocks("dy", "y")
def softmax_backward(dy: Array, y: Array) -> Array:
    """Return dx, of the shape of dy and y: (N, D) or (N, D, S)."""
    return y * (dy - axis_sums(dy * y))


@softmax_backward.loops()
def softmax_backward_loop(dy: Array, y: Array, dx: Array, zero: float) -> None:
    """One row after the other: once for Σ dy·y, once to write dx."""
    (N, D), real = y.shape, y.dtype.type
    for n in range(N):
        s = zero
        for i in range(D):
            s += dy[n, i] * y[n, i]
        sum_dy_y = real(s)
        for i in range(D):
            dx[n, i] = y[n, i] * (dy[n, i] - sum_dy_y)


softmax_columns.attach(softmax_backward, softmax_columns.softmax_backward_loop)


@softmax_backward.cuda
def softmax_backward_cuda(dy: Array, y: Array) -> Array:
    """One kernel: dy and y are read once, dx is written once."""
    return _backward("softmax_backward", dy, y)


@kernel
@in_blocks("x")
def log_softmax_forward(x: Array) -> Array:
    """Return y: x and y (N, D) or (N, D, S), log-softmax over axis 1."""
    xp = namespace(x)
    z = x - axis_maxima(x)
    return z - xp.log(axis_sums(xp.exp(z)))


@log_softmax_forward.loops()
def log_softmax_forward_loop(x: Array, y: Array, zero: float) -> None:
    """One row after the other: once to find m, once for Σ exp(x - m), once to write y."""
    (N, D), real = x.shape, x.dtype.type
    for n in range(N):
        m = x[n, 0]
        for i in range(D):
            m = larger(m, x[n, i])
        s = zero
        for i in range(D):
            s += exp_of_negative(x[n, i] - m)
        log_s = log(real(s))
        for i in range(D):
            y[n, i] = log_share(x[n, i], m, log_s)


softmax_columns.attach(log_softmax_forward, softmax_columns.log_softmax_forward_loop)


@log_softmax_forward.cuda
def log_softmax_forward_cuda(x: Array) -> Array:
    """One kernel: every row is read once and written once."""
    return _forward("log_softmax_forward", x)


@kernel
@in_blocks("dy", "y")
def log_softmax_backward(dy: Array, y: Array) -> Array:
    """Return dx, of the shape of dy and y: (N, D) or (N, D, S)."""
    return dy - namespace(dy).exp(y) * axis_sums(dy)


@log_softmax_backward.loops()
def log_softmax_backward_loop(dy: Array, y: Array, dx: Array, zero: float) -> None:
    """One row after the other: once for Σ dy, once to write dx."""
    (N, D), real = y.shape, y.dtype.type
    for n in range(N):
        s = zero
        for i in range(D):
            s += dy[n, i]
        sum_dy = real(s)
        for i in range(D):
            dx[n, i] = dy[n, i] - exp_of_negative(y[n, i]) * sum_dy


softmax_columns.attach(log_softmax_backward, softmax_columns.log_softmax_backward_loop)


@log_softmax_backward.cuda
def log_softmax_backward_cuda(dy: Array, y: Array) -> Array:
    """One kernel: dy and y are read once, dx is written once."""
    return _backward("log_softmax_backward", dy, y)


def _forward(name: str, x: Array) -> Array:
    rows = as_rows(x)
    (N, D), y = rows.shape, namespace(x).empty_like(rows)
    shape = teams(D, rows, y)
    shared = kept_bytes(shape, D, rows)
    args = rows, y, N, D, shared > 0
    _kernels.launch(name, rows.dtype, shape.template, shape.blocks(N), shape.block, args, shared)
    return from_rows(y, x.shape)


def _backward(name: str, dy: Array, y: Array) -> Array:
    dy_rows, rows = as_rows(dy), as_rows(y)
    (N, D), dx = rows.shape, namespace(y).empty_like(rows)
    shape = teams(D, rows, dy_rows, shapes=BACKWARD_SHAPES)
    _kernels.launch(name, rows.dtype, shape.template, shape.blocks(N), shape.block, (dy_rows, rows, dx, N, D))
    return from_rows(dx, y.shape)


class SoftmaxFunction(Function):
    """y = exp(x - max x)/Σ exp(x - max x) · dx = y·(dy - Σ dy·y)"""

    def forward(self, x: Array, *, dim: int) -> Array:
        y = softmax_forward(lay_out(x, dim)).reshape(x.shape)
        self.saved = y, dim
        return y

    def backward(self, dy: Array) -> Gradients:
        y, dim = self.saved
        return softmax_backward(lay_out(dy, dim), lay_out(y, dim)).reshape(dy.shape)


class LogSoftmaxFunction(Function):
    """y = x - max x - log Σ exp(x - max x) · dx = dy - exp(y)·Σ dy"""

    def forward(self, x: Array, *, dim: int) -> Array:
        y = log_softmax_forward(lay_out(x, dim)).reshape(x.shape)
        self.saved = y, dim
        return y

    def backward(self, dy: Array) -> Gradients:
        y, dim = self.saved
        return log_softmax_backward(lay_out(dy, dim), lay_out(y, dim)).reshape(dy.shape)


@with_numpy_names
def softmax(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Return exp(input)/Σ exp(input) along axis `dim`; a row with only -∞ gives NaN.

    Backward: dx = y·(dy - Σ dy·y). Derived path by path in tinygrad_norm/nn/activation/softmax.py.

    Args:
        input: any shape.
        dim: the axis along which the result sums to 1.
        dtype: the dtype to which the input is converted first.

    Raises:
        TypeError: if the input is not a floating-point tensor, or dim is not an int.
        IndexError: if the axis does not exist.

    Source: Bridle 1990.
    """
    x = input if dtype is None else input.to(dtype)
    return SoftmaxFunction.apply(x, dim=_axis(x, dim, "softmax"))


@with_numpy_names
def log_softmax(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Return the logarithm of softmax(input, dim), without taking the logarithm of 0.

    Backward: dx = dy - exp(y)·Σ dy.

    Args:
        input: any shape.
        dim: the axis along which the exponentials of the result sum to 1.
        dtype: the dtype to which the input is converted first.

    Raises:
        TypeError: if the input is not a floating-point tensor, or dim is not an int.
        IndexError: if the axis does not exist.
    """
    x = input if dtype is None else input.to(dtype)
    return LogSoftmaxFunction.apply(x, dim=_axis(x, dim, "log_softmax"))


def softmin(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Return softmax(-input, dim): the smallest entry gets the largest result.

    Args:
        input: any shape.
        dim: the axis along which the result sums to 1.
        dtype: the dtype to which the input is converted first.

    Raises:
        TypeError: if the input is not a floating-point tensor, or dim is not an int.
        IndexError: if the axis does not exist.
    """
    x = input if dtype is None else input.to(dtype)
    axis = _axis(x, dim, "softmin")
    return SoftmaxFunction.apply(-x, dim=axis)


def _axis(x: Tensor, dim: int, name: str) -> int:
    check_input(x, name)
    if not hasattr(dim, "__index__"):
        raise TypeError(f"{name} needs the axis along which it sums to 1: pass dim as an int, got {dim!r}")
    return normalize_dim(dim, x.ndim)


class _AlongDim(Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_AlongDim):
    """softmax as a layer: y = exp(x)/Σ exp(x) along axis `dim`, of x's shape."""

    def forward(self, input: Tensor) -> Tensor:
        return softmax(input, self.dim)


class Softmax2d(Module):
    """softmax over the channels of (N, C, H, W) or (C, H, W), at every place."""

    def forward(self, input: Tensor) -> Tensor:
        check_input(input, "Softmax2d")
        if input.ndim not in (3, 4):
            raise ValueError(f"Softmax2d takes (N, C, H, W) or (C, H, W), got shape {input.shape}")
        return softmax(input, -3)


class LogSoftmax(_AlongDim):
    """log_softmax as a layer: y = x - log Σ exp(x) along axis `dim`, of x's shape."""

    def forward(self, input: Tensor) -> Tensor:
        return log_softmax(input, self.dim)


class Softmin(_AlongDim):
    """softmin as a layer: y = exp(-x)/Σ exp(-x) along axis `dim`, of x's shape."""

    def forward(self, input: Tensor) -> Tensor:
        return softmin(input, self.dim)


_CASES = (
    Case(((3, 4),), {"dim": 1}),
    Case(((3, 4),), {"dim": 0}),
    Case(((2, 3, 4),), {"dim": -2}),
    Case(((4,),), {"dim": -1}),
    Case(((),), {"dim": 0}),
    Case(((3, 1),), {"dim": 1}),
    Case(((0, 3),), {"dim": 1}),
    Case((uniform(-5, 5, 3, 4),), {"dim": 1}),
)
_BENCH = tuple(Case((shape,), {"dim": -1}) for shape in ((64, 64), (512, 768), (4096, 1024)))


def _register(function: Any, composed: Any) -> None:
    """Register softmax, log_softmax or softmin, which share their cases."""
    register(
        name=function.__name__,
        function=function,
        composed=composed,
        cases=_CASES,
        errors=(
            ErrorCase(lambda: function(ones(2, 3), 2), IndexError, "out of range"),
            ErrorCase(lambda: function(ones(2, 3), None), TypeError, "pass dim"),
            ErrorCase(lambda: function(ones(2, 3, dtype=int), 1), TypeError, "floating-point"),
        ),
        paper="Bridle 1990",
        torch=f"torch.nn.functional.{function.__name__}",
        bench=_BENCH,
    )


_register(softmax, softmax_composed)
_register(log_softmax, log_softmax_composed)
_register(softmin, softmin_composed)
