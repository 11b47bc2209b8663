"""Comparisons, logic and tests of values: their results are bools, through which no gradient flows."""

import operator
from collections.abc import Callable
from typing import Any

import numpy

from ..autograd.tensor import Tensor
from ..backends import namespace
from ..backends.cpu.silence import enter_silence, leave_silence, silent
from .arguments import as_flag
from .dims import Dim, normalize_dims, with_numpy_names
from .operands import as_tensor, promote


def _arrays(a: Any, b: Any) -> tuple[Any, Any]:
    a, b = promote(a, b)
    return a.array if isinstance(a, Tensor) else a, b.array if isinstance(b, Tensor) else b


def _compare(relation: Callable[[Any, Any], Any], input: Any, other: Any) -> Tensor:
    a, b = _arrays(input, other)
    token = enter_silence()  # faster than `with silent()`
    try:
        return Tensor._wrap(relation(a, b))
    finally:
        leave_silence(token)


def eq(input: Any, other: Any) -> Tensor:
    """Return where input equals other, broadcast."""
    return _compare(operator.eq, input, other)


def ne(input: Any, other: Any) -> Tensor:
    """Return where input differs from other, broadcast."""
    return _compare(operator.ne, input, other)


def lt(input: Any, other: Any) -> Tensor:
    """Return where input < other, broadcast."""
    return _compare(operator.lt, input, other)


def le(input: Any, other: Any) -> Tensor:
    """Return where input <= other, broadcast."""
    return _compare(operator.le, input, other)


def gt(input: Any, other: Any) -> Tensor:
    """Return where input > other, broadcast."""
    return _compare(operator.gt, input, other)


def ge(input: Any, other: Any) -> Tensor:
    """Return where input >= other, broadcast."""
    return _compare(operator.ge, input, other)


def isnan(input: Tensor) -> Tensor:
    """Return where input is not a number."""
    x = as_tensor(input).array
    return Tensor._wrap(namespace(x).isnan(x))


def isinf(input: Tensor) -> Tensor:
    """Return where input is plus or minus infinity."""
    x = as_tensor(input).array
    return Tensor._wrap(namespace(x).isinf(x))


def isfinite(input: Tensor) -> Tensor:
    """Return where input is neither infinite nor not a number."""
    x = as_tensor(input).array
    return Tensor._wrap(namespace(x).isfinite(x))


def logical_not(input: Tensor) -> Tensor:
    """Return where input is False, or 0."""
    x = as_tensor(input).array
    return Tensor._wrap(namespace(x).logical_not(x))


def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """Return where both are True, or not 0."""
    a, b = as_tensor(input).array, as_tensor(other).array
    return Tensor._wrap(namespace(a).logical_and(a, b))


def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """Return where at least one is True, or not 0."""
    a, b = as_tensor(input).array, as_tensor(other).array
    return Tensor._wrap(namespace(a).logical_or(a, b))


def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """Return where exactly one is True, or not 0."""
    a, b = as_tensor(input).array, as_tensor(other).array
    return Tensor._wrap(namespace(a).logical_xor(a, b))


def isclose(
    input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Tensor:
    """Return where |input - other| <= atol + rtol·|other|, broadcast; infinity is only close to itself.

    Args:
        input: a tensor or a number.
        other: the expected value.
        rtol: the relative tolerance, a fraction of |other|.
        atol: the absolute tolerance, in units of `other`.
        equal_nan: whether NaN is close to NaN.

    Raises:
        ValueError: if a tolerance is negative.
    """
    if rtol < 0 or atol < 0:
        raise ValueError(f"tolerances must not be negative, got rtol={rtol} and atol={atol}")
    a, b = _arrays(as_tensor(input), as_tensor(other, "other"))
    with silent():
        return Tensor._wrap(namespace(a).isclose(a, b, rtol, atol, equal_nan))


def allclose(
    input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Return whether all elements are close, with the arguments of `isclose`."""
    return bool(isclose(input, other, rtol, atol, equal_nan).array.all())


def equal(input: Tensor, other: Tensor) -> bool:
    """Return whether both have the same shape and elements; NaN is not equal to itself."""
    a, b = _arrays(as_tensor(input), as_tensor(other, "other"))
    return a.shape == b.shape and bool((a == b).all())


@with_numpy_names
def all(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Return whether every element over `dim` is True, or not 0."""
    if keepdim is not False and keepdim is not True:
        keepdim = as_flag(keepdim, "keepdim")
    x = as_tensor(input).array
    return Tensor._wrap(x.all(normalize_dims(dim, x.ndim), keepdims=keepdim))


@with_numpy_names
def any(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Return whether some element over `dim` is True, or not 0."""
    if keepdim is not False and keepdim is not True:
        keepdim = as_flag(keepdim, "keepdim")
    x = as_tensor(input).array
    return Tensor._wrap(x.any(normalize_dims(dim, x.ndim), keepdims=keepdim))


def bitwise_and(input: Any, other: Any) -> Tensor:
    """Return input & other: "and" for bools, bit by bit for integers."""
    return _bitwise(operator.and_, "&", input, other)


def bitwise_or(input: Any, other: Any) -> Tensor:
    """Return input | other: "or" for bools, bit by bit for integers."""
    return _bitwise(operator.or_, "|", input, other)


def bitwise_xor(input: Any, other: Any) -> Tensor:
    """Return input ^ other: "exclusive or" for bools, bit by bit for integers."""
    return _bitwise(operator.xor, "^", input, other)


def bitwise_not(input: Tensor) -> Tensor:
    """Return ~input: "not" for bools, every bit flipped for integers."""
    x = as_tensor(input).array
    _raise_for_floats("~", x)
    return Tensor._wrap(~x)


def _bitwise(combine: Callable[[Any, Any], Any], symbol: str, input: Any, other: Any) -> Tensor:
    a, b = _arrays(input, other)
    _raise_for_floats(symbol, a, b)
    return Tensor._wrap(combine(a, b))


def _raise_for_floats(symbol: str, *operands: Any) -> None:
    for x in operands:
        if isinstance(x, float) or getattr(x, "dtype", numpy.dtype(bool)).kind == "f":
            raise TypeError(f"{symbol} is for bools and integers, got floating-point numbers: compare first")
