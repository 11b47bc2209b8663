"""Sums, means and variances over one axis, several, or all; products along one.

The gradient of a reduction is broadcast back over the reduced axes: `_broadcast_back`. Half-precision
numbers are accumulated in float32.
"""

import math
from typing import Any

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, host_can_read, namespace
from ..backends.cpu.half import downcast, is_half, upcast
from ..backends.cpu.sums import total
from ..backends.float_info import finfo
from ..registry import Case, ErrorCase, fixed, register, uniform
from .arguments import as_flag, as_number, check_flags
from .broadcast import stretch
from .casting import astype
from .dims import Axes, Dim, Shape, count, kept_shape, normalize_dim, normalize_dims, with_numpy_names
from .elementwise import sqrt
from .operands import as_float_tensor, as_tensor
from .shape import reshape


def _broadcast_back(dy: Any, shape: Shape, axes: Axes) -> Any:
    return stretch(dy.reshape(kept_shape(shape, axes)), shape)


def largest_or_0(x: Array, axes: Axes, keepdim: bool) -> Array:
    """Return the largest elements over `axes`, 0 where there are none."""
    return x.max(axes, keepdims=keepdim) if count(x.shape, axes) else x.sum(axes, keepdims=keepdim)


class Sum(Function):
    """y = Σ x over `axes` · dx = dy, broadcast over them"""

    def forward(self, x: Array, *, axes: Axes, keepdim: bool) -> Array:
        self.saved, self.axes = (x.shape,), axes
        if x.dtype.kind in "bui":
            return x.sum(axes, numpy.int64, keepdims=keepdim)
        return downcast(total(upcast(x), axes, keepdim), x)

    def backward(self, dy: Array) -> Gradients:
        return _broadcast_back(dy, self.saved[0], self.axes)


class Mean(Function):
    """y = Σ x / n over `axes` · dx = dy/n, broadcast over them"""

    def forward(self, x: Array, *, axes: Axes, keepdim: bool) -> Array:
        n = count(x.shape, axes)
        self.saved, self.axes = (x.shape, n), axes
        return downcast(total(upcast(x), axes, keepdim) / n, x)

    def backward(self, dy: Array) -> Gradients:
        shape, n = self.saved
        return _broadcast_back(dy / n, shape, self.axes)


class Var(Function):
    """y = Σ (x - mean(x))² / (n - `correction`) over `axes` · dx = dy·2·(x - mean(x))/(n - correction)

    Without a degree of freedom, n <= correction, the divisor is 0 as in PyTorch, y is ∞ or NaN, and dx is
    NaN.
    """

    def forward(self, x: Array, *, axes: Axes, correction: float, keepdim: bool) -> Array:
        divisor = max(count(x.shape, axes) - correction, 0)
        self.saved, self.axes, self.correction = (x, divisor), axes, correction
        centered = self._center(upcast(x), axes)
        return downcast(total(centered * centered, axes, keepdim) / divisor, x)

    @staticmethod
    def _center(x: Array, axes: Axes) -> Array:
        return x - total(x, axes).reshape(kept_shape(x.shape, axes)) / count(x.shape, axes)

    def backward(self, dy: Array) -> Gradients:
        x, divisor = self.saved
        scale = 2 / divisor if divisor else math.nan
        return _broadcast_back(dy * scale, x.shape, self.axes) * self._center(upcast(x), self.axes)


class Prod(Function):
    """y = Π x along `dim` · dx = dy · product of the others: y/x, but where y is 0, tiny or infinite"""

    def forward(self, x: Array, *, dim: int, keepdim: bool) -> Array:
        dtype = numpy.int64 if x.dtype.kind in "biu" else None
        y = upcast(x).prod(dim, dtype, keepdims=keepdim)
        self.saved, self.dim = (x, y), dim
        return downcast(y, x)

    def backward(self, dy: Array) -> Gradients:
        x, y = self.saved
        kept = kept_shape(x.shape, (self.dim,))
        x, y = upcast(x), y.reshape(kept)
        if host_can_read(y):
            magnitude = abs(y)
            if ((magnitude > finfo(x.dtype).tiny) & (magnitude < math.inf)).all():
                return y / x * dy.reshape(kept)
        return dy.reshape(kept) * self._others(x.swapaxes(self.dim, -1)).swapaxes(self.dim, -1)

    @staticmethod
    def _others(x: Array) -> Array:
        """Return, for every element of a row, the product of the others."""
        xp = namespace(x)
        before, after = xp.ones_like(x), xp.ones_like(x)
        before[..., 1:] = x[..., :-1].cumprod(-1)
        after[..., :-1] = x[..., :0:-1].cumprod(-1)[..., ::-1]
        return before * after


class LogSumExp(Function):
    """y = log Σ exp(x) over `axes` · dx = dy·exp(x - y), 0 where y = -∞"""

    def forward(self, x: Array, *, axes: Axes, keepdim: bool) -> Array:
        y = downcast(self._stable(upcast(x), axes, keepdim), x)
        self.saved, self.axes = (x, y), axes
        return y

    @staticmethod
    def _stable(x: Array, axes: Axes, keepdim: bool) -> Array:
        xp = namespace(x)
        largest = largest_or_0(x, axes, keepdim)
        largest = xp.where(xp.isfinite(largest), largest, 0)
        shifted = xp.exp(x - largest.reshape(kept_shape(x.shape, axes)))
        return xp.log(total(shifted, axes, keepdim)) + largest

    def backward(self, dy: Array) -> Gradients:
        x, y = self.saved
        xp = namespace(dy)
        kept = kept_shape(x.shape, self.axes)
        p = xp.exp(upcast(x) - xp.where(y == -math.inf, 0, y).reshape(kept))
        return dy.reshape(kept) * p


@with_numpy_names
def sum(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the sum over `dim` (all axes if None); bools and integers sum to int64.

    With a `dtype`, the input is converted first, and the result has it.
    """
    if keepdim is not False and keepdim is not True:
        keepdim = as_flag(keepdim, "keepdim")
    if dtype is not None:
        return astype(sum(astype(input, dtype), dim, keepdim), dtype)
    x = as_tensor(input)
    return Sum.apply(x, axes=normalize_dims(dim, x.ndim), keepdim=keepdim)


@with_numpy_names
def mean(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the mean over `dim` (all axes if None); NaN if there are no elements.

    With a `dtype`, the input is converted first.

    Raises:
        RuntimeError: if `input`, or `dtype`, is not floating-point.
    """
    if keepdim is not False and keepdim is not True:
        keepdim = as_flag(keepdim, "keepdim")
    x = _floating("mean", input if dtype is None else astype(input, dtype))
    return Mean.apply(x, axes=normalize_dims(dim, x.ndim), keepdim=keepdim)


@with_numpy_names
def var(
    input: Tensor,
    dim: Dim | bool = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Return the variance over `dim` (all axes if None): Σ (x − mean)² / (n − correction).

    `correction` is 1 by default; `unbiased=False` is the same as `correction=0`. The variance of fewer than
    correction + 1 numbers is ∞, or NaN if they are equal, and its gradient is NaN.

    Raises:
        RuntimeError: if `input` is not a floating-point tensor.
        TypeError: if both `unbiased` and `correction` are given, correction is not a number, or a flag is
            not a bool.
    """
    if keepdim is not False and keepdim is not True:
        keepdim = as_flag(keepdim, "keepdim")
    x = _floating("var", input)
    if isinstance(dim, bool | numpy.bool_):  # PyTorch's var(x, unbiased)
        dim, unbiased = None, bool(dim)
    if unbiased is not None:
        check_flags(unbiased=unbiased)
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    elif unbiased is not None:
        raise TypeError("give unbiased or correction, not both: unbiased=False is correction=0")
    axes = normalize_dims(dim, x.ndim)
    return Var.apply(x, axes=axes, correction=as_number(correction, "correction"), keepdim=keepdim)


@with_numpy_names
def std(
    input: Tensor,
    dim: Dim | bool = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Return the square root of `var`, with the same arguments; where it is 0, so is its gradient."""
    x = _floating("std", input)
    wide = x.astype(numpy.float32) if is_half(x.array) else x  # a variance may overflow a half
    return sqrt(var(wide, dim, unbiased, keepdim, correction=correction)).astype(x.dtype)


@with_numpy_names
def var_mean(
    input: Tensor,
    dim: Dim | bool = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Return `var` and `mean`, with the arguments of `var`."""
    mean_dim = None if isinstance(dim, bool | numpy.bool_) else dim
    return var(input, dim, unbiased, keepdim, correction=correction), mean(input, mean_dim, keepdim)


def _floating(name: str, input: Any) -> Tensor:
    x = as_tensor(input)
    if x.array.dtype.kind != "f":
        raise RuntimeError(f"{name} of a tensor of {x.dtype}: convert it first, with .float()")
    return x


@with_numpy_names
def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the product along axis `dim` (of all elements if None); bools and integers give int64.

    With a `dtype`, the input is converted first, and the result has it.
    """
    if keepdim is not False and keepdim is not True:
        keepdim = as_flag(keepdim, "keepdim")
    if dtype is not None:
        return astype(prod(astype(input, dtype), dim, keepdim), dtype)
    x = as_tensor(input)
    axis = None if dim is None else normalize_dim(dim, x.ndim)
    if axis is None or not x.ndim:
        whole = Prod.apply(reshape(x, x.numel()), dim=0, keepdim=False)
        return reshape(whole, (1,) * x.ndim) if keepdim else whole
    return Prod.apply(x, dim=axis, keepdim=keepdim)


@with_numpy_names
def logsumexp(input: Tensor, dim: Dim, keepdim: bool = False) -> Tensor:
    """Return log Σ exp(input) over `dim`, without overflow; −∞ where every element is −∞."""
    if keepdim is not False and keepdim is not True:
        keepdim = as_flag(keepdim, "keepdim")
    x = as_float_tensor(input)
    return LogSumExp.apply(x, axes=normalize_dims(dim, x.ndim), keepdim=keepdim)


_OVER_AXES = (
    Case(((2, 3, 4),)),
    Case(((2, 3, 4),), {"dim": 1}),
    Case(((2, 3, 4),), {"dim": (0, -1), "keepdim": True}),
    Case(((),)),
)
_EMPTY = Case(((0, 3),), {"dim": 0})
_DEVIATIONS = (
    *_OVER_AXES[:3],
    Case(((4, 3),), {"dim": 0, "correction": 0}),
    Case(((4, 3),), {"dim": 0, "unbiased": False}),
    Case(((2, 0),), {"dim": 0}),
)


def _error_cases(function: Any) -> tuple[ErrorCase, ...]:
    return (
        ErrorCase(lambda: function(Tensor(numpy.arange(3)), 0), RuntimeError, "with .float()"),
        ErrorCase(lambda: function(Tensor(numpy.ones(3)), 1), IndexError, "dim 1 is out of range"),
        ErrorCase(lambda: function(Tensor(numpy.ones(3)), (0, -1)), ValueError, "twice"),
        ErrorCase(lambda: function(Tensor(numpy.ones(3)), 0.5), TypeError, "dim must be an int"),
    )


register(
    name="sum",
    function=sum,
    composed=None,
    cases=(*_OVER_AXES, _EMPTY),
    errors=_error_cases(sum)[1:],
    kind="primitive",
    torch="torch.sum",
)
register(
    name="mean",
    function=mean,
    composed=None,
    cases=(*_OVER_AXES, Case(((2, 0),), {"dim": 0})),
    errors=_error_cases(mean),
    kind="primitive",
    torch="torch.mean",
)
register(
    name="var",
    function=var,
    composed=None,
    cases=_DEVIATIONS,
    errors=(
        *_error_cases(var),
        ErrorCase(lambda: var(Tensor(numpy.ones(3)), 0, False, correction=0), TypeError, "not both"),
    ),
    kind="primitive",
    torch="torch.var",
)
register(
    name="std",
    function=std,
    composed=None,
    cases=_DEVIATIONS,
    errors=_error_cases(std),
    kind="primitive",
    torch="torch.std",
)
register(
    name="var_mean",
    function=var_mean,
    composed=None,
    cases=_DEVIATIONS,
    errors=_error_cases(var_mean),
    kind="primitive",
    torch="torch.var_mean",
)
register(
    name="prod",
    function=prod,
    composed=None,
    cases=(
        Case(((2, 3),)),
        Case(((2, 3, 2),), {"dim": 1}),
        Case(((2, 3),), {"dim": -1, "keepdim": True}),
        Case((fixed([[0.0, 2.0, 3.0], [0.0, 0.0, 3.0], [-1.0, 2.0, 0.5]], True),), {"dim": 1}),
        Case(((2, 0),), {"dim": 1}),
        Case(((),)),
    ),
    errors=(
        ErrorCase(lambda: prod(Tensor(1.0), 1), IndexError, "dim 1 is out of range"),
        ErrorCase(lambda: prod(Tensor([[1.0]]), (0, 1)), TypeError, "dim must be an int"),  # type: ignore[arg-type]
    ),
    kind="primitive",
    torch="torch.prod",
    bench=(Case((uniform(0.6, 1.45, 512, 768),), {"dim": 1}),),
)
register(
    name="logsumexp",
    function=logsumexp,
    composed=None,
    cases=(
        Case(((2, 3),), {"dim": 1}),
        Case(((2, 3, 4),), {"dim": (0, 2), "keepdim": True}),
        Case((fixed([[1000.0, 1000.0], [-1000.0, 0.0]], True),), {"dim": 1}),
        _EMPTY,
    ),
    errors=(ErrorCase(lambda: logsumexp(Tensor([1.0]), 1), IndexError, "dim 1 is out of range"),),
    kind="primitive",
    torch="torch.logsumexp",
)
