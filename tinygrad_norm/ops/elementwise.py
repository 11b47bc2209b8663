"""Smooth functions of one number, element by element; those with a kink are in kinks.py.

The gradient of sqrt at 0 is 0 here, where PyTorch's is infinite: so the gradients of a norm or a standard
deviation that is 0 stay finite.
"""

from functools import partial
from typing import Any

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, kernel, namespace
from ..backends.cpu.element_loops import ElementLoop
from ..backends.cpu.loop_helpers import helper
from ..backends.cpu.loop_math import sigmoid as sigmoid_of_number
from ..backends.cuda.elements import ElementSource
from ..registry import Case, ErrorCase, positive, register
from .operands import as_float_tensor, as_tensor

_kernels = ElementSource(__file__)


class Exp(Function):
    """y = exp(x) · dx = dy·y"""

    def forward(self, x: Array) -> Array:
        y = namespace(x).exp(x)
        self.saved = (y,)
        return y

    def backward(self, dy: Array) -> Gradients:
        (y,) = self.saved
        return dy * y


class Expm1(Function):
    """y = exp(x) - 1 · dx = dy·(y + 1)"""

    def forward(self, x: Array) -> Array:
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
        return namespace(x).log(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return dy / x


class Log1p(Function):
    """y = log(1 + x) · dx = dy/(1 + x)"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        return namespace(x).log1p(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return dy / (x + 1)


@kernel
def sqrt_backward(dy: Array, y: Array) -> Array:
    """Return dy/(2y), 0 where y = 0."""
    zero = y == 0
    return dy * ~zero / (2 * (y + zero))


class Sqrt(Function):
    """y = √x · dx = dy/(2y), 0 where y = 0"""

    def forward(self, x: Array) -> Array:
        y = namespace(x).sqrt(x)
        self.saved = (y,)
        return y

    def backward(self, dy: Array) -> Gradients:
        (y,) = self.saved
        return sqrt_backward(dy, y)


class Rsqrt(Function):
    """y = 1/√x · dx = -dy·y³/2"""

    def forward(self, x: Array) -> Array:
        y = 1 / namespace(x).sqrt(x)
        self.saved = (y,)
        return y

    def backward(self, dy: Array) -> Gradients:
        (y,) = self.saved
        return dy * (y * y * y) * -0.5


class Reciprocal(Function):
    """y = 1/x · dx = -dy·y²"""

    def forward(self, x: Array) -> Array:
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
        return namespace(x).square(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return dy * (x + x)


class Sin(Function):
    """y = sin(x) · dx = dy·cos(x)"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        return namespace(x).sin(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return dy * namespace(dy).cos(x)


class Cos(Function):
    """y = cos(x) · dx = -dy·sin(x)"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        return namespace(x).cos(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return -dy * namespace(dy).sin(x)


@kernel
def tanh_backward(dy: Array, y: Array) -> Array:
    """Return dy·(1 - y²)."""
    return dy * (1 - y * y)


class Tanh(Function):
    """y = tanh(x) · dx = dy·(1 - y²)"""

    def forward(self, x: Array) -> Array:
        y = namespace(x).tanh(x)
        self.saved = (y,)
        return y

    def backward(self, dy: Array) -> Gradients:
        (y,) = self.saved
        return tanh_backward(dy, y)


@kernel
def logistic(x: Array) -> Array:
    """Return 1/(1 + exp(-x)); where exp overflows, that is 1/∞ = 0.

    It is computed in one array: without temporary arrays, large inputs take half the time.
    """
    xp = namespace(x)
    y = xp.negative(x, out=xp.empty_like(x))
    xp.exp(y, out=y)
    y += 1
    return xp.divide(1, y, out=y)


@kernel
def sigmoid_backward(dy: Array, y: Array) -> Array:
    """Return dy·y·(1 - y)."""
    return dy * (y * (1 - y))


class Sigmoid(Function):
    """y = 1/(1 + exp(-x)) · dx = dy·y·(1 - y)"""

    def forward(self, x: Array) -> Array:
        y = logistic(x)
        self.saved = (y,)
        return y

    def backward(self, dy: Array) -> Gradients:
        (y,) = self.saved
        return sigmoid_backward(dy, y)


@helper
def sqrt_backward_loop(dy: Any, y: Any) -> Any:
    """Return dx at one number."""
    return dy * 0.0 if y == 0.0 else dy / (y + y)


@helper
def tanh_backward_loop(dy: Any, y: Any) -> Any:
    """Return dx at one number."""
    return dy * (1.0 - y * y)


@helper
def sigmoid_backward_loop(dy: Any, y: Any) -> Any:
    """Return dx at one number."""
    return dy * (y * (1.0 - y))


logistic.cpu(ElementLoop(sigmoid_of_number))
for _kernel, _loop in (
    (sqrt_backward, sqrt_backward_loop),
    (tanh_backward, tanh_backward_loop),
    (sigmoid_backward, sigmoid_backward_loop),
):
    _kernel.cpu(ElementLoop(_loop, arrays=2))


@logistic.cuda
def logistic_cuda(x: Array) -> Array:
    """One launch: x is read once."""
    return _kernels.each("logistic", (x,))


@sqrt_backward.cuda
def sqrt_backward_cuda(dy: Array, y: Array) -> Array:
    """One launch: dy and y are read once."""
    return _kernels.each("sqrt_backward", (dy, y))


@tanh_backward.cuda
def tanh_backward_cuda(dy: Array, y: Array) -> Array:
    """One launch: dy and y are read once."""
    return _kernels.each("tanh_backward", (dy, y))


@sigmoid_backward.cuda
def sigmoid_backward_cuda(dy: Array, y: Array) -> Array:
    """One launch: dy and y are read once."""
    return _kernels.each("sigmoid_backward", (dy, y))


class Clone(Function):
    """y = a copy of x · dx = dy"""

    def forward(self, x: Array) -> Array:
        return x.copy()

    def backward(self, dy: Array) -> Gradients:
        return dy


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
    """Return the square root, NaN below 0. Its gradient at 0 is 0."""
    return Sqrt.apply(as_float_tensor(input))


def rsqrt(input: Tensor) -> Tensor:
    """Return 1/√input, ∞ at 0."""
    return Rsqrt.apply(as_float_tensor(input))


def reciprocal(input: Tensor) -> Tensor:
    """Return 1/input."""
    return Reciprocal.apply(as_float_tensor(input))


def square(input: Tensor) -> Tensor:
    """Return input²; bools give int64."""
    x = as_tensor(input)
    return Square.apply(x if x.array.dtype.kind != "b" else x.astype(numpy.int64))


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


def clone(input: Tensor) -> Tensor:
    """Return a copy, through which gradients flow."""
    return Clone.apply(as_tensor(input))


def contiguous(input: Tensor) -> Tensor:
    """Return `input` itself if it is contiguous in memory (C order), else a contiguous copy."""
    x = as_tensor(input)
    return x if x.array.flags.c_contiguous else clone(x)


_LIST: Any = [1.0]
_SMOOTH = (Case(((3, 4),)), Case(((),)), Case(((0, 3),)))
_POSITIVE = (Case((positive(3, 4),)), Case((positive(),)), Case((positive(0, 3),)))

for _function, _cases in (
    (exp, _SMOOTH),
    (expm1, _SMOOTH),
    (log, _POSITIVE),
    (log1p, _POSITIVE),
    (sqrt, _POSITIVE),
    (rsqrt, _POSITIVE),
    (reciprocal, _POSITIVE),
    (square, _SMOOTH),
    (sin, _SMOOTH),
    (cos, _SMOOTH),
    (tanh, _SMOOTH),
    (sigmoid, _SMOOTH),
    (clone, _SMOOTH),
):
    register(
        name=_function.__name__,
        function=_function,
        composed=None,
        cases=_cases,
        errors=(ErrorCase(partial(_function, _LIST), TypeError, "must be a Tensor, got list"),),
        kind="primitive",
        torch=f"torch.{_function.__name__}",
    )
