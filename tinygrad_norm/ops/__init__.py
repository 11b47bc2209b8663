"""The differentiable functions of tensors, and the table that makes them methods and operators."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.tensor import Tensor
from . import derivatives, recorded
from .aliases import (
    absolute,
    addcdiv,
    addcmul,
    aminmax,
    argwhere,
    asarray,
    column_stack,
    divide,
    dstack,
    empty,
    empty_like,
    hstack,
    is_tensor,
    lerp,
    logspace,
    masked_select,
    meshgrid,
    multiply,
    negative,
    nonzero,
    numel,
    positive,
    ravel,
    repeat_interleave,
    std_mean,
    subtract,
    swapdims,
    t,
    tensor_split,
    true_divide,
    unfold,
    vstack,
)
from .arithmetic import add, div, mul, neg, pow, sub
from .bases import exp2, log2, log10, logaddexp
from .casting import astype
from .comparison import (
    all,
    allclose,
    any,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    eq,
    equal,
    ge,
    gt,
    isclose,
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
from .contraction import einsum
from .counting import bincount, unique, unique_consecutive
from .creation import (
    arange,
    as_tensor,
    eye,
    from_numpy,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    tensor,
    zeros,
    zeros_like,
)
from .cumulative import cumsum
from .cumulative_products import cumprod, logcumsumexp
from .diagonals import diag, diagonal, trace
from .dtypes import bool, float16, float32, float64, int32, int64
from .elementwise import (
    clone,
    contiguous,
    cos,
    exp,
    expm1,
    log,
    log1p,
    reciprocal,
    rsqrt,
    sigmoid,
    sin,
    sqrt,
    square,
    tanh,
)
from .error_function import erf, erfc
from .extremes import amax, amin, argmax, argmin, max, min
from .indexing import gather, getitem, index_select, take_along_dim
from .inplace import IN_PLACE
from .joining import cat, chunk, flip, repeat, roll, split, stack, tile, unbind
from .kinks import abs, clamp, maximum, minimum, sign
from .linalg import bmm, matmul, mm, outer
from .masking import masked_fill, tril, triu, where
from .modulo import floor_divide, fmod, remainder
from .norms import norm
from .operands import is_operand
from .order_statistics import kthvalue, median, nanmedian, nanquantile, quantile
from .products import addmm, addmv, baddbmm, cross, inner, kron, tensordot
from .reduction import logsumexp, mean, prod, std, sum, var, var_mean
from .rounding import ceil, copysign, floor, frac, nan_to_num, round, trunc
from .sampling import OVERWRITING, bernoulli, multinomial
from .scatter_reduction import scatter_reduce
from .scattering import index_add, index_put, scatter, scatter_add
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
from .shortcuts import SHORTCUTS, clip, diff, dot, mv, narrow, select
from .sorting import argsort, cummax, cummin, sort, topk
from .trigonometry import acos, acosh, asin, asinh, atan, atan2, atanh, cosh, hypot, sinh, tan

Method = Callable[..., Any]


def _taking_sizes(function: Method) -> Method:
    def method(self: Tensor, *sizes: Any, **named: Any) -> Tensor:
        if len(sizes) == 1:
            return function(self, sizes[0])
        return function(self, sizes) if sizes else function(self, **named)

    method.__name__, method.__doc__ = function.__name__, function.__doc__
    return method


def _is_ours(other: Any) -> Any:
    """Return whether an operator answers for `other`: a number or an array, or with an error a sequence."""
    return is_operand(other) or isinstance(other, Sequence)


def _operator(function: Method) -> Method:
    def method(self: Tensor, other: Any) -> Tensor:
        return function(self, other) if isinstance(other, Tensor) or _is_ours(other) else NotImplemented

    return method


def _reflected(function: Method) -> Method:
    def method(self: Tensor, other: Any) -> Tensor:
        return function(other, self) if _is_ours(other) else NotImplemented

    return method


def _comparing(function: Method) -> Method:
    def method(self: Tensor, other: Any) -> Any:
        return function(self, other) if is_operand(other) else NotImplemented

    return method


def _where(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """Return self where `condition` holds, else other."""
    return where(condition, self, other)


def _einsum(self: Tensor, equation: str, *operands: Any) -> Tensor:
    """Return `einsum(equation, self, *operands)`."""
    return einsum(equation, self, *operands)


def _cat(self: Tensor, *tensors: Tensor, dim: int = 0) -> Tensor:
    """Return self and `tensors` joined along axis `dim`."""
    return cat([self, *tensors], dim)


def _stack(self: Tensor, *tensors: Tensor, dim: int = 0) -> Tensor:
    """Return self and `tensors` joined along a new axis `dim`."""
    return stack([self, *tensors], dim)


def _transposed(self: Tensor) -> Tensor:
    """The tensor with its axes in the reverse order: a matrix transposed."""
    return transpose(self, 0, 1) if self.ndim == 2 else permute(self, range(self.ndim)[::-1])


def _matrices_transposed(self: Tensor) -> Tensor:
    """The tensor with its last two axes exchanged: every matrix transposed."""
    if self.ndim < 2:
        raise ValueError(f".mT needs a matrix, or several: got shape {self.shape}")
    return transpose(self, -2, -1)


# fmt: off
METHODS: dict[str, Any] = {function.__name__: function for function in (
    add, sub, mul, div, neg, pow, floor_divide, remainder, fmod, matmul, mm, bmm, outer,
    exp, expm1, log, log1p, sqrt, rsqrt, reciprocal, square, abs, sign, sin, cos, tanh, sigmoid, erf, erfc,
    maximum, minimum, clamp, astype, clone, contiguous,
    sum, mean, var, std, var_mean, prod, cumsum, logsumexp, norm,
    max, min, amax, amin, argmax, argmin, all, any,
    flatten, unflatten, transpose, movedim, squeeze, unsqueeze,
    gather, index_select, take_along_dim, masked_fill, tril, triu, split, chunk, unbind, roll,
    eq, ne, lt, le, gt, ge, isclose, allclose, equal, isfinite, isinf, isnan,
    logical_not, logical_and, logical_or, logical_xor,
    tan, asin, acos, atan, sinh, cosh, asinh, acosh, atanh, atan2, hypot, exp2, log2, log10, logaddexp,
    floor, ceil, round, trunc, frac, copysign, nan_to_num, lerp, addcmul, addcdiv,
    subtract, multiply, divide, true_divide, negative, absolute, positive,
    cumprod, logcumsumexp, cummax, cummin, sort, argsort, topk, aminmax,
    median, nanmedian, quantile, nanquantile, kthvalue, unique, unique_consecutive, bincount,
    t, ravel, swapdims, diagonal, diag, trace, masked_select, nonzero, argwhere, repeat_interleave,
    tensor_split, unfold, scatter, scatter_add, scatter_reduce, index_add, index_put,
    bernoulli, multinomial, cross, kron, inner, addmm, addmv, baddbmm,
)} | {function.__name__: _taking_sizes(function) for function in (
    reshape, permute, expand, broadcast_to, repeat, tile, flip,
)} | {
    "view": _taking_sizes(view), "swapaxes": swapaxes, "moveaxis": moveaxis,
    "where": _where, "einsum": _einsum, "cat": _cat, "stack": _stack,
    "T": property(_transposed), "mT": property(_matrices_transposed),
    "__neg__": neg, "__abs__": abs, "__invert__": bitwise_not, "__getitem__": getitem,
} | {f"__{function.__name__}__": _comparing(function) for function in (eq, ne, lt, le, gt, ge)}

OPERATORS = {
    "add": add, "sub": sub, "mul": mul, "truediv": div, "pow": pow, "matmul": matmul,
    "floordiv": floor_divide, "mod": remainder, "and": bitwise_and, "or": bitwise_or, "xor": bitwise_xor,
}
# fmt: on

for _name, _method in (METHODS | IN_PLACE | SHORTCUTS | OVERWRITING).items():
    setattr(Tensor, _name, _method)
for _name, _method in OPERATORS.items():
    setattr(Tensor, f"__{_name}__", _operator(_method))
    setattr(Tensor, f"__r{_name}__", _reflected(_method))

sys.modules["tinygrad_norm.autograd.functional"] = derivatives  # PyTorch's name
