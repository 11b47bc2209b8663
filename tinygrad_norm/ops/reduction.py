"""Sums, means and variances over one axis, several, or all; products, cumulative sums, log-sum-exp.

A reduction's gradient is spread back over the axes that it took away: `_spread`. Half-precision
numbers are accumulated in float32.
"""

import math
from typing import Any

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..registry import Case, ErrorCase, Input, fixed, register
from .dims import Axes, Dim, Shape, count, kept_shape, normalize_dim, normalize_dims
from .elementwise import sqrt
from .operands import as_float_tensor
from .shape import reshape


def _spread(dy: Any, shape: Shape, axes: Axes) -> Any:
    return namespace(dy).broadcast_to(dy.reshape(kept_shape(shape, axes)), shape)


def _is_half(x: Array) -> bool:
    return x.dtype.itemsize == 2 and x.dtype.kind == "f"


def _wide(x: Array) -> Array:
    return x.astype(numpy.float32) if _is_half(x) else x


class Sum(Function):
    """y = Σ x over `axes` · dx = dy, spread over them"""

    def forward(self, x: Array, *, axes: Axes, keepdim: bool) -> Array:
        self.saved = x.shape, axes
        if x.dtype.kind != "f":
            return x.sum(axes, numpy.int64, keepdims=keepdim)
        y = _wide(x).sum(axes, keepdims=keepdim)
        return y.astype(x.dtype) if _is_half(x) else y

    def backward(self, dy: Array) -> Gradients:
        return _spread(dy, *self.saved)


class Mean(Function):
    """y = Σ x / n over `axes` · dx = dy/n, spread over them"""

    def forward(self, x: Array, *, axes: Axes, keepdim: bool) -> Array:
        n = count(x.shape, axes) or math.nan
        self.saved = x.shape, axes, n
        y = _wide(x).sum(axes, keepdims=keepdim) / n
        return y.astype(x.dtype) if _is_half(x) else y

    def backward(self, dy: Array) -> Gradients:
        shape, axes, n = self.saved
        return _spread(dy / n, shape, axes)


class Var(Function):
    """y = Σ (x - mean(x))² / (n - correction) over `axes` · dx = dy·2·(x - mean(x))/(n - correction)"""

    def forward(self, x: Array, *, axes: Axes, correction: float, keepdim: bool) -> Array:
        divisor = max(count(x.shape, axes) - correction, 0) or math.nan
        self.saved = x, axes, divisor
        centered = self._center(x, axes)
        y = (centered * centered).sum(axes, keepdims=keepdim) / divisor
        return y.astype(x.dtype) if _is_half(x) else y

    @staticmethod
    def _center(x: Array, axes: Axes) -> Array:
        x = _wide(x)
        n = count(x.shape, axes) or math.nan
        return x - x.sum(axes).reshape(kept_shape(x.shape, axes)) / n

    def backward(self, dy: Array) -> Gradients:
        x, axes, divisor = self.saved
        return _spread(dy, x.shape, axes) * self._center(x, axes) * (2 / divisor)


class Prod(Function):
    """y = Π x along `dim` · dx = dy · product of the others, found without dividing by x"""

    def forward(self, x: Array, *, dim: int, keepdim: bool) -> Array:
        self.saved = x, dim
        if x.dtype.kind != "f":
            return x.prod(dim, numpy.int64, keepdims=keepdim)
        y = _wide(x).prod(dim, keepdims=keepdim)
        return y.astype(x.dtype) if _is_half(x) else y

    def backward(self, dy: Array) -> Gradients:
        x, dim = self.saved
        xp = namespace(x)
        last = _wide(x).swapaxes(dim, -1)
        one = xp.ones((*last.shape[:-1], 1), last.dtype)
        before = xp.concatenate([one, last[..., :-1]], -1).cumprod(-1)
        after = xp.concatenate([one, last[..., :0:-1]], -1).cumprod(-1)[..., ::-1]
        return (before * after).swapaxes(dim, -1) * dy.reshape(kept_shape(x.shape, (dim,)))


class Cumsum(Function):
    """y = x₁ + … + x at each place along `dim` · dx = dy from each place on, summed"""

    def forward(self, x: Array, *, dim: int) -> Array:
        self.saved = (dim,)
        if x.dtype.kind != "f":
            return x.cumsum(dim, numpy.int64)
        return _wide(x).cumsum(dim).astype(x.dtype, copy=False)

    def backward(self, dy: Array) -> Gradients:
        (dim,) = self.saved
        xp = namespace(dy)
        return xp.flip(xp.flip(_wide(dy), dim).cumsum(dim), dim)


class LogSumExp(Function):
    """y = log Σ exp(x) over `axes` · dx = dy·exp(x - y), 0 where y = -∞"""

    def forward(self, x: Array, *, axes: Axes, keepdim: bool) -> Array:
        xp = namespace(x)
        wide = _wide(x)
        kept = kept_shape(x.shape, axes)
        top = wide.max(axes, initial=-math.inf).reshape(kept)
        top = xp.where(xp.isfinite(top), top, 0)
        with numpy.errstate(divide="ignore", over="ignore"):
            y = xp.log(xp.exp(wide - top).sum(axes)).reshape(kept) + top
        self.saved = x, y
        return (y if keepdim else y.reshape(_reduced(x.shape, axes))).astype(x.dtype)

    def backward(self, dy: Array) -> Gradients:
        x, y = self.saved
        xp = namespace(x)
        difference = x - xp.where(xp.isfinite(y), y, 0)
        return dy.reshape(y.shape) * xp.exp(xp.where(xp.isfinite(y), difference, 0))


def _reduced(shape: Shape, axes: Axes) -> Shape:
    return tuple([n for i, n in enumerate(shape) if i not in axes])


def sum(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Return the sum over `dim` (all axes if None); bools and integers sum to int64."""
    return Sum.apply(input, axes=normalize_dims(dim, input.ndim), keepdim=keepdim)


def mean(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Return the mean over `dim` (all axes if None); NaN where there is nothing to average.

    Raises:
        TypeError: for integers and bools, whose mean is no integer.
    """
    _refuse_integers("mean", input)
    return Mean.apply(input, axes=normalize_dims(dim, input.ndim), keepdim=keepdim)


def var(
    input: Tensor,
    dim: Dim | bool = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Return the variance over `dim` (all axes if None): Σ (x − mean)² / (n − correction).

    `correction` is 1 if not given; `unbiased` says the same as a bool (True: 1, False: 0). NaN where
    n ≤ correction: no such estimate exists.

    Raises:
        TypeError: for integers and bools; where both `unbiased` and `correction` are given.
    """
    _refuse_integers("var", input)
    if isinstance(dim, bool):  # var(x, False)
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise TypeError("var takes unbiased or correction, not both: unbiased=False is correction=0")
    if correction is None:
        correction = 0 if unbiased is False else 1
    return Var.apply(
        input, axes=normalize_dims(dim, input.ndim), correction=correction, keepdim=keepdim
    )


def std(
    input: Tensor,
    dim: Dim | bool = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Return the square root of `var`, with the same arguments; its gradient is 0 where it is 0."""
    return sqrt(var(input, dim, unbiased, keepdim, correction=correction))


def var_mean(
    input: Tensor,
    dim: Dim | bool = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Return `var` and `mean` over `dim`, with the arguments of `var`."""
    over = None if isinstance(dim, bool) else dim
    return var(input, dim, unbiased, keepdim, correction=correction), mean(input, over, keepdim)


def _refuse_integers(name: str, input: Tensor) -> None:
    if input.array.dtype.kind != "f":
        raise TypeError(f"{name} of {input.dtype} is no {input.dtype}: convert the tensor first, with .float()")


def prod(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return the product over axis `dim` (all axes if None); bools and integers give int64."""
    if dim is None:
        whole = Prod.apply(reshape(input, -1), dim=0, keepdim=False)
        return reshape(whole, (1,) * input.ndim) if keepdim else whole
    axis = normalize_dim(dim, input.ndim)
    return Prod.apply(input, dim=axis, keepdim=keepdim) if input.ndim else prod(input)


def cumsum(input: Tensor, dim: int) -> Tensor:
    """Return the running sum along axis `dim`; bools and integers give int64."""
    axis = normalize_dim(dim, input.ndim)
    return Cumsum.apply(input, dim=axis) if input.ndim else sum(input)


def logsumexp(input: Tensor, dim: Dim, keepdim: bool = False) -> Tensor:
    """Return log Σ exp(input) over `dim`, without overflow; −∞ where every element is −∞."""
    return LogSumExp.apply(as_float_tensor(input), axes=normalize_dims(dim, input.ndim), keepdim=keepdim)
