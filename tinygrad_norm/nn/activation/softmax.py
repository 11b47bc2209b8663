"""Softmax: positive numbers that sum to 1, in the ratio of their exponentials.

    x (..., D, ...), along one axis   m = max x   e = exp(x - m)   y = e/Σe

m cancels out; it is there so that the largest exponential is 1 and nothing overflows. Its logarithm and
the softmax of -x are

    log_softmax(x) = x - m - log Σ exp(x - m)      softmin(x) = softmax(-x)

Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs".

Backward, for one row, from dy = dL/dy; m is constant, as y does not depend on it:

    softmax       ∂y_i/∂x_k = y_i·(1[i = k] - y_k)      dx_k = y_k·(dy_k - Σ dy·y)
    log_softmax   ∂y_i/∂x_k = 1[i = k] - exp(y_k)       dx_k = dy_k - exp(y_k)·Σ dy

Insight: Σ dx = 0 in both: adding a constant to a row changes nothing, so no gradient points there.

A row of nothing but -∞ has no largest entry: its softmax is NaN, as PyTorch's is. Attention, which
masks with -∞, takes care of such rows itself.
"""

import math
from typing import Any

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.blocks import largest, row_dots, row_maxima, row_sums, run, smallest
from ...backends.cpu.half import downcast, upcast
from ...backends.cuda.launch import CudaSource, contiguous, kept_bytes, teams
from ...backends.cuda.teams import BACKWARD_SHAPES
from ...module import Module
from ...ops import ones
from ...ops.checks import check_input
from ...ops.dims import normalize_dim, with_numpy_names
from ...ops.reduction import largest_or_0
from ...registry import Case, ErrorCase, register, uniform

_kernels = CudaSource(__file__)


def softmax_composed(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Softmax from primitives: autograd finds the gradient."""
    x = input if dtype is None else input.to(dtype)
    e = (x - x.amax(dim, keepdim=True).detach()).exp()
    return e / e.sum(dim, keepdim=True)


def log_softmax_composed(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Log-softmax from primitives: autograd finds the gradient."""
    x = input if dtype is None else input.to(dtype)
    z = x - x.amax(dim, keepdim=True).detach()
    return z - z.exp().sum(dim, keepdim=True).log()


def softmin_composed(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Softmin from primitives: autograd finds the gradient."""
    return softmax_composed(-input, dim, dtype=dtype)


def lay_out(x: Array, dim: int) -> Array:
    """Return x (..., D, ...) with D on axis `dim` as (N, D), or as (N, D, S) where axes follow."""
    if x.ndim == 2 and dim == 1:
        return x
    N, D, S = math.prod(x.shape[:dim]), x.shape[dim] if x.ndim else 1, math.prod(x.shape[dim + 1 :])
    return x.reshape(N, D) if S == 1 else x.reshape(N, D, S)


def total(x: Array) -> Array:
    """Return Σ x over axis 1, which stays with size 1."""
    return row_sums(x) if x.ndim == 2 else x.sum(1, keepdims=True)


def inner(a: Array, b: Array) -> Array:
    """Return Σ a·b over axis 1, which stays with size 1."""
    return row_dots(a, b) if a.ndim == 2 else (a * b).sum(1, keepdims=True)


def maxima(x: Array) -> Array:
    """Return max x over axis 1, which stays with size 1; 0 where that axis is empty."""
    return row_maxima(x) if x.ndim == 2 and x.size else largest_or_0(x, (1,), True)


_HARMLESS = 1e-10, 1e30  # sums of exponentials that neither overflowed nor lost a part that counts


@kernel
def softmax_forward(x: Array) -> Array:
    """Return y: x and y (N, D) or (N, D, S), softmax over axis 1.

    First without m: that the sums are neither huge nor tiny is found out faster than every row's maximum.
    """
    return downcast(run(_softmax_rows, (upcast(x),))[0], x)


def _softmax_rows(x: Array, out: Array | None) -> tuple[Array]:
    xp, (least, most) = namespace(x), _HARMLESS
    y = xp.exp(x, out=out)
    sums = total(y)
    if x.size and not (least < smallest(sums) and largest(sums) < most):
        y = xp.exp(xp.subtract(x, maxima(x), out=y), out=y)
        sums = total(y)
    y *= xp.reciprocal(sums)
    return (y,)


@softmax_forward.cuda
def softmax_forward_cuda(x: Array) -> Array:
    """One kernel: every row is read once and written once."""
    return _forward("softmax_forward", x)


@kernel
def softmax_backward(dy: Array, y: Array) -> Array:
    """Return dx, of the shape of dy and y: (N, D) or (N, D, S)."""
    return run(_softmax_rows_backward, (upcast(dy), upcast(y)))[0]


def _softmax_rows_backward(dy: Array, y: Array, out: Array | None) -> tuple[Array]:
    dx = namespace(dy).subtract(dy, inner(dy, y), out=out)
    dx *= y
    return (dx,)


@softmax_backward.cuda
def softmax_backward_cuda(dy: Array, y: Array) -> Array:
    """One kernel: dy and y are read once, dx is written once."""
    return _backward("softmax_backward", dy, y)


@kernel
def log_softmax_forward(x: Array) -> Array:
    """Return y: x and y (N, D) or (N, D, S), log-softmax over axis 1."""
    return downcast(run(_log_softmax_rows, (upcast(x),))[0], x)


def _log_softmax_rows(x: Array, out: Array | None) -> tuple[Array]:
    xp = namespace(x)
    y = xp.subtract(x, maxima(x), out=out)
    y -= xp.log(total(xp.exp(y)))
    return (y,)


@log_softmax_forward.cuda
def log_softmax_forward_cuda(x: Array) -> Array:
    """One kernel: every row is read once and written once."""
    return _forward("log_softmax_forward", x)


@kernel
def log_softmax_backward(dy: Array, y: Array) -> Array:
    """Return dx, of the shape of dy and y: (N, D) or (N, D, S)."""
    return run(_log_softmax_rows_backward, (upcast(dy), upcast(y)))[0]


def _log_softmax_rows_backward(dy: Array, y: Array, out: Array | None) -> tuple[Array]:
    xp = namespace(dy)
    dx = xp.exp(y, out=out)
    dx *= total(dy)
    return (xp.subtract(dy, dx, out=dx),)


@log_softmax_backward.cuda
def log_softmax_backward_cuda(dy: Array, y: Array) -> Array:
    """One kernel: dy and y are read once, dx is written once."""
    return _backward("log_softmax_backward", dy, y)


def as_rows(x: Array) -> Array:
    """Return x (N, D) or (N, D, S) as contiguous rows (N·S, D)."""
    rows = x if x.ndim == 2 else x.swapaxes(1, 2).reshape(-1, x.shape[1])
    return contiguous(rows)[0]


def from_rows(rows: Array, shape: tuple[int, ...]) -> Array:
    """Return what `as_rows` made of an array of that shape in its old shape, contiguous."""
    if len(shape) == 2:
        return rows
    N, D, S = shape
    return contiguous(rows.reshape(N, S, D).swapaxes(1, 2))[0]


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
    """Return exp(input)/Σ exp(input) along axis `dim`; a row of nothing but -∞ gives NaN.

    Args:
        input: any shape.
        dim: the axis along which the result sums to 1.
        dtype: the dtype to convert the input to first.

    Raises:
        TypeError: if the input is not a floating-point tensor, or dim is not an int.
        IndexError: if the axis does not exist.

    Source: Bridle 1990.
    """
    x = input if dtype is None else input.to(dtype)
    return SoftmaxFunction.apply(x, dim=_axis(x, dim, "softmax"))


@with_numpy_names
def log_softmax(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Return the logarithm of softmax(input, dim), without ever taking the logarithm of 0.

    Args:
        input: any shape.
        dim: the axis along which the exponentials of the result sum to 1.
        dtype: the dtype to convert the input to first.

    Raises:
        TypeError: if the input is not a floating-point tensor, or dim is not an int.
        IndexError: if the axis does not exist.
    """
    x = input if dtype is None else input.to(dtype)
    return LogSoftmaxFunction.apply(x, dim=_axis(x, dim, "log_softmax"))


def softmin(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Return softmax(-input, dim): the smallest entry gets the most.

    Args:
        input: any shape.
        dim: the axis along which the result sums to 1.
        dtype: the dtype to convert the input to first.

    Raises:
        TypeError: if the input is not a floating-point tensor, or dim is not an int.
        IndexError: if the axis does not exist.
    """
    x = input if dtype is None else input.to(dtype)
    axis = _axis(x, dim, "softmin")
    return SoftmaxFunction.apply(-x, dim=axis)


def _axis(x: Tensor, dim: int, name: str) -> int:
    check_input(x, name)
    if not isinstance(dim, int):
        raise TypeError(f"{name} needs the axis along which it sums to 1: pass dim as an int, got {dim!r}")
    return normalize_dim(dim, x.ndim)


class _AlongDim(Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_AlongDim):
    """softmax as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        return softmax(input, self.dim)


class LogSoftmax(_AlongDim):
    """log_softmax as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        return log_softmax(input, self.dim)


class Softmin(_AlongDim):
    """softmin as a layer."""

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
    """Register one of the three, which are checked on the same cases."""
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
