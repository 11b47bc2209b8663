"""Functions of one number, element by element, and of two or three with kinks between them.

At a kink the gradient is the subgradient 0 (abs, sign) or shared evenly (maximum, minimum). Where the
slope is infinite, at sqrt(0), it is 0 too: a norm or a standard deviation of nothing stays finite.
"""

import math
from typing import Any

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..registry import Case, ErrorCase, Input, distinct, positive, register, uniform
from .broadcast import shape_of, unbroadcast
from .operands import as_float_tensor, as_tensor, meet, result_type


class Exp(Function):
    """y = exp(x) · dx = dy·y"""

    def forward(self, x: Array) -> Array:
        with numpy.errstate(over="ignore"):
            y = namespace(x).exp(x)
        self.saved = (y,)
        return y

    def backward(self, dy: Array) -> Gradients:
        (y,) = self.saved
        return dy * y


class Expm1(Function):
    """y = exp(x) - 1 · dx = dy·(y + 1)"""

    def forward(self, x: Array) -> Array:
        with numpy.errstate(over="ignore"):
            y = namespace(x).expm1(x)
        self.saved = (y,)
        return y

    def backward(self, dy: Array) -> Gradients:
        (y,) = self.saved
        return dy * (y + 1)


class Log(Function):
    """y = log(x) · dx = dy/x"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        with numpy.errstate(divide="ignore", invalid="ignore"):
            return namespace(x).log(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return dy / x


class Log1p(Function):
    """y = log(1 + x) · dx = dy/(1 + x)"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        with numpy.errstate(divide="ignore", invalid="ignore"):
            return namespace(x).log1p(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return dy / (x + 1)


class Sqrt(Function):
    """y = √x · dx = dy/(2y), 0 where y = 0"""

    def forward(self, x: Array) -> Array:
        with numpy.errstate(invalid="ignore"):
            y = namespace(x).sqrt(x)
        self.saved = (y,)
        return y

    def backward(self, dy: Array) -> Gradients:
        (y,) = self.saved
        zero = y == 0
        return dy * ~zero / (2 * (y + zero))


class Rsqrt(Function):
    """y = 1/√x · dx = -dy·y³/2"""

    def forward(self, x: Array) -> Array:
        with numpy.errstate(divide="ignore", invalid="ignore"):
            y = 1 / namespace(x).sqrt(x)
        self.saved = (y,)
        return y

    def backward(self, dy: Array) -> Gradients:
        (y,) = self.saved
        return dy * (y * y * y) * -0.5


class Reciprocal(Function):
    """y = 1/x · dx = -dy·y²"""

    def forward(self, x: Array) -> Array:
        with numpy.errstate(divide="ignore", over="ignore"):
            y = 1 / x
        self.saved = (y,)
        return y

    def backward(self, dy: Array) -> Gradients:
        (y,) = self.saved
        return -dy * (y * y)


class Square(Function):
    """y = x² · dx = dy·2x"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        with numpy.errstate(over="ignore"):
            return x * x

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return dy * (x + x)


class Abs(Function):
    """y = |x| · dx = dy·sign(x)"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        return abs(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return dy * namespace(x).sign(x)


class Sign(Function):
    """y = -1, 0 or 1, the sign of x · dx = 0"""

    def forward(self, x: Array) -> Array:
        return namespace(x).sign(x)

    def backward(self, dy: Array) -> Gradients:
        return namespace(dy).zeros_like(dy)


class Sin(Function):
    """y = sin(x) · dx = dy·cos(x)"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        with numpy.errstate(invalid="ignore"):
            return namespace(x).sin(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return dy * namespace(x).cos(x)


class Cos(Function):
    """y = cos(x) · dx = -dy·sin(x)"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        with numpy.errstate(invalid="ignore"):
            return namespace(x).cos(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return -dy * namespace(x).sin(x)


class Tanh(Function):
    """y = tanh(x) · dx = dy·(1 - y²)"""

    def forward(self, x: Array) -> Array:
        y = namespace(x).tanh(x)
        self.saved = (y,)
        return y

    def backward(self, dy: Array) -> Gradients:
        (y,) = self.saved
        return dy * (1 - y * y)


class Sigmoid(Function):
    """y = 1/(1 + exp(-x)) · dx = dy·y·(1 - y)"""

    def forward(self, x: Array) -> Array:
        xp = namespace(x)
        e = xp.exp(-abs(x))  # at most 1, so that neither side overflows
        y = xp.where(x >= 0, 1, e) / (1 + e)
        self.saved = (y,)
        return y

    def backward(self, dy: Array) -> Gradients:
        (y,) = self.saved
        return dy * (y * (1 - y))


class Maximum(Function):
    """y = max(a, b) · da = dy where a > b, dy/2 where a = b; db likewise"""

    def forward(self, a: Array, b: Array) -> Array:
        self.saved = a, b
        return namespace(a).maximum(a, b)

    def backward(self, dy: Array) -> Gradients:
        a, b = self.saved
        return _to_winner(dy, a > b, a == b, shape_of(a), shape_of(b))


class Minimum(Function):
    """y = min(a, b) · da = dy where a < b, dy/2 where a = b; db likewise"""

    def forward(self, a: Array, b: Array) -> Array:
        self.saved = a, b
        return namespace(a).minimum(a, b)

    def backward(self, dy: Array) -> Gradients:
        a, b = self.saved
        return _to_winner(dy, a < b, a == b, shape_of(a), shape_of(b))


def _to_winner(dy: Array, first: Array, tie: Array, a_shape: Any, b_shape: Any) -> Gradients:
    xp = namespace(dy)
    da = xp.where(tie, dy * 0.5, xp.where(first, dy, 0))
    return unbroadcast(da, a_shape), unbroadcast(dy - da, b_shape)


class Clamp(Function):
    """y = min(max(x, low), high) · dx = dy where low <= x <= high; dlow = dy below, dhigh = dy above"""

    def forward(self, x: Array, low: Array | None, high: Array | None) -> Array:
        self.saved = x, low, high
        return namespace(x).clip(x, low, high)

    def backward(self, dy: Array) -> Gradients:
        x, low, high = self.saved
        inside: Any = True
        dlow = dhigh = None
        if low is not None:
            inside = x >= low
            dlow = dy * ((x < low) & (True if high is None else low < high))
        if high is not None:
            inside = inside & (x <= high)
            dhigh = dy * ((x > high) | (False if low is None else low >= high))
        return (
            unbroadcast(dy * inside, x.shape),
            None if dlow is None else unbroadcast(dlow, shape_of(low)),
            None if dhigh is None else unbroadcast(dhigh, shape_of(high)),
        )


def exp(input: Tensor) -> Tensor:
    """Return e to the power of input, element by element."""
    return Exp.apply(as_float_tensor(input))


def expm1(input: Tensor) -> Tensor:
    """Return exp(input) − 1, exact near 0."""
    return Expm1.apply(as_float_tensor(input))


def log(input: Tensor) -> Tensor:
    """Return the natural logarithm, −∞ at 0 and NaN below."""
    return Log.apply(as_float_tensor(input))


def log1p(input: Tensor) -> Tensor:
    """Return log(1 + input), exact near 0."""
    return Log1p.apply(as_float_tensor(input))


def sqrt(input: Tensor) -> Tensor:
    """Return the square root; NaN below 0. Its gradient at 0 is taken to be 0."""
    return Sqrt.apply(as_float_tensor(input))


def rsqrt(input: Tensor) -> Tensor:
    """Return 1/√input, ∞ at 0."""
    return Rsqrt.apply(as_float_tensor(input))


def reciprocal(input: Tensor) -> Tensor:
    """Return 1/input."""
    return Reciprocal.apply(as_float_tensor(input))


def square(input: Tensor) -> Tensor:
    """Return input²."""
    return Square.apply(as_tensor(input))


def abs(input: Tensor) -> Tensor:
    """Return |input|."""
    return Abs.apply(as_tensor(input))


def sign(input: Tensor) -> Tensor:
    """Return −1, 0 or 1."""
    return Sign.apply(as_tensor(input))


def sin(input: Tensor) -> Tensor:
    """Return the sine of input, in radians."""
    return Sin.apply(as_float_tensor(input))


def cos(input: Tensor) -> Tensor:
    """Return the cosine of input, in radians."""
    return Cos.apply(as_float_tensor(input))


def tanh(input: Tensor) -> Tensor:
    """Return the hyperbolic tangent."""
    return Tanh.apply(as_float_tensor(input))


def sigmoid(input: Tensor) -> Tensor:
    """Return 1/(1 + exp(−input)), without overflow at either end."""
    return Sigmoid.apply(as_float_tensor(input))


def maximum(input: Tensor, other: Tensor) -> Tensor:
    """Return the larger of the two, broadcast; NaN where either is. Ties share the gradient."""
    return Maximum.apply(*meet(input, other))


def minimum(input: Tensor, other: Tensor) -> Tensor:
    """Return the smaller of the two, broadcast; NaN where either is. Ties share the gradient."""
    return Minimum.apply(*meet(input, other))


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Return input, but at least `min` and at most `max` (numbers or tensors, broadcast).

    Raises:
        ValueError: where neither bound is given.
    """
    if min is None and max is None:
        raise ValueError("clamp needs min, max or both")
    dtype = result_type(*(bound for bound in (input, min, max) if bound is not None))
    low, high = (b.astype(dtype) if isinstance(b, Tensor) else b for b in (min, max))
    return Clamp.apply(input.astype(dtype), low, high)
