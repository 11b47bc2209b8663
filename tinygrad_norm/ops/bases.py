"""Powers and logarithms to the bases 2 and 10, and log(exp(a) + exp(b)).

bᵡ = exp(x·log b), so every derivative has the factor log b: y = 2ᵡ has dy/dx = y·log 2, and y = log₂ x,
which is log(x)/log 2, has dy/dx = 1/(x·log 2).
"""

import math
from functools import partial
from typing import Any

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..registry import Case, ErrorCase, positive, register
from .broadcast import unbroadcast
from .operands import as_float_tensor, promote


class Exp2(Function):
    """y = 2ᵡ · dx = dy·y·log 2"""

    def forward(self, x: Array) -> Array:
        y = namespace(x).exp2(x)
        self.saved = (y,)
        return y

    def backward(self, dy: Array) -> Gradients:
        (y,) = self.saved
        return dy * y * math.log(2)


class Log2(Function):
    """y = log₂ x · dx = dy/(x·log 2)"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        return namespace(x).log2(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return dy / x / math.log(2)


class Log10(Function):
    """y = log₁₀ x · dx = dy/(x·log 10)"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        return namespace(x).log10(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return dy / x / math.log(10)


class LogAddExp(Function):
    """y = log(exp(a) + exp(b)) · da = dy·exp(a - y), db = dy·exp(b - y), 0 where y = -∞"""

    def forward(self, a: Array, b: Array) -> Array:
        self.saved = a, b
        return namespace(a).logaddexp(a, b)

    def backward(self, dy: Array) -> Gradients:
        a, b = self.saved
        y = namespace(a).logaddexp(a, b)
        da = unbroadcast(dy * _share(a, y), a.shape) if self.needs[0] else None
        return da, unbroadcast(dy * _share(b, y), b.shape) if self.needs[1] else None


def _share(x: Array, y: Array) -> Array:
    """Return exp(x - y): 1 where x = y, also if both are ∞, but 0 where both are -∞."""
    xp = namespace(y)
    return xp.exp(xp.where(x == y, 0, x - y)) * (x != -math.inf)


def exp2(input: Tensor) -> Tensor:
    """Return 2 to the power of input, element by element."""
    return Exp2.apply(as_float_tensor(input))


def log2(input: Tensor) -> Tensor:
    """Return the logarithm to base 2, −∞ at 0 and NaN below."""
    return Log2.apply(as_float_tensor(input))


def log10(input: Tensor) -> Tensor:
    """Return the logarithm to base 10, −∞ at 0 and NaN below."""
    return Log10.apply(as_float_tensor(input))


def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """Return log(exp(input) + exp(other)), without overflow. Where it is −∞, the gradient is 0."""
    return LogAddExp.apply(*promote(as_float_tensor(input), as_float_tensor(other, "other")))


_LIST: Any = [1.0]

for _function in (exp2, log2, log10):
    register(
        name=_function.__name__,
        function=_function,
        composed=None,
        cases=(Case((positive(3, 4),)), Case((positive(),)), Case((positive(0, 3),))),
        errors=(ErrorCase(partial(_function, _LIST), TypeError, "must be a Tensor, got list"),),
        kind="primitive",
        torch=f"torch.{_function.__name__}",
    )
register(
    name="logaddexp",
    function=logaddexp,
    composed=None,
    cases=(Case(((3, 4), (3, 4))), Case(((3, 1), (4,))), Case(((0, 3), (3,)))),
    errors=(ErrorCase(partial(logaddexp, _LIST, _LIST), TypeError, "must be a Tensor, got list"),),
    kind="primitive",
    torch="torch.logaddexp",
)
