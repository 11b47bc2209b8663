"""The differentiable functions of tensors, attached to Tensor as methods and operators."""

from collections.abc import Callable
from typing import Any

from ..autograd.tensor import Tensor
from .arithmetic import add, div, matmul, mul, neg, pow, sub
from .casting import astype
from .comparison import (
    all,
    any,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    eq,
    ge,
    gt,
    isfinite,
    isinf,
    isnan,
    le,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    ne,
)
from .creation import (
    arange,
    eye,
    full,
    full_like,
    ones,
    ones_like,
    rand,
    rand_like,
    randn,
    randn_like,
    tensor,
    zeros,
    zeros_like,
)
from .dtypes import bool, float16, float32, float64, int64
from .elementwise import (
    abs,
    clamp,
    cos,
    exp,
    expm1,
    log,
    log1p,
    maximum,
    minimum,
    reciprocal,
    rsqrt,
    sigmoid,
    sign,
    sin,
    sqrt,
    square,
    tanh,
)
from .extremes import amax, amin, argmax, argmin, max, min
from .indexing import getitem, masked_fill, tril, triu, where
from .joining import cat, stack
from .reduction import cumsum, logsumexp, mean, prod, std, sum, var, var_mean
from .shape import (
    broadcast_to,
    expand,
    flatten,
    moveaxis,
    movedim,
    permute,
    reshape,
    squeeze,
    swapaxes,
    transpose,
    unflatten,
    unsqueeze,
    view,
)

_METHODS: tuple[Callable[..., Any], ...] = (
    *(abs, add, div, mul, neg, pow, sub, matmul, astype),
    *(all, any, eq, ge, gt, isfinite, isinf, isnan, le, lt, ne),
    *(logical_and, logical_not, logical_or, logical_xor),
    *(clamp, cos, exp, expm1, log, log1p, maximum, minimum, reciprocal, rsqrt, sigmoid, sign, sin),
    *(sqrt, square, tanh),
    *(amax, amin, argmax, argmin, cumsum, logsumexp, max, mean, min, prod, std, sum, var, var_mean),
    *(flatten, movedim, squeeze, swapaxes, transpose, unflatten, unsqueeze),
    *(masked_fill, tril, triu),
)

_SIZES_AS_ARGUMENTS = (broadcast_to, expand, permute, reshape)
"""Functions of a tuple that as methods also take its entries one by one: x.reshape(2, 3)."""


def _taking_sizes(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Tensor, *sizes: Any, **named: Any) -> Any:
        if not sizes:
            return function(self, **named) if named else function(self, ())
        return function(self, sizes[0] if len(sizes) == 1 else sizes)

    method.__name__, method.__doc__ = function.__name__, function.__doc__
    return method


def _reflected(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Tensor, other: Any) -> Tensor:
        return function(other, self)

    return method


_OPERATORS = {
    "add": add,
    "sub": sub,
    "mul": mul,
    "truediv": div,
    "pow": pow,
    "matmul": matmul,
    "and": bitwise_and,
    "or": bitwise_or,
    "xor": bitwise_xor,
}


def _comparing(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Tensor, other: Any) -> Any:
        if other is None or isinstance(other, str):
            return NotImplemented
        return function(self, other)

    return method


def _transposed(self: Tensor) -> Tensor:
    return permute(self, tuple(range(self.ndim))[::-1])


def _matrix_transposed(self: Tensor) -> Tensor:
    if self.ndim < 2:
        raise ValueError(f".mT needs a matrix, or several: got shape {self.shape}")
    return transpose(self, -2, -1)


def _attach() -> None:
    for function in _METHODS:
        setattr(Tensor, function.__name__, function)
    for function in _SIZES_AS_ARGUMENTS:
        setattr(Tensor, function.__name__, _taking_sizes(function))
    for name, function in _OPERATORS.items():
        setattr(Tensor, f"__{name}__", function)
        setattr(Tensor, f"__r{name}__", _reflected(function))
    for function in (eq, ne, lt, le, gt, ge):
        setattr(Tensor, f"__{function.__name__}__", _comparing(function))
    Tensor.view = Tensor.reshape
    Tensor.moveaxis = movedim
    Tensor.swapaxes = Tensor.swapdims = transpose
    Tensor.where = lambda self, condition, other: where(condition, self, other)
    Tensor.T = property(_transposed)
    Tensor.mT = property(_matrix_transposed)
    Tensor.__neg__ = neg
    Tensor.__abs__ = abs
    Tensor.__invert__ = bitwise_not
    Tensor.__getitem__ = getitem


_attach()
