"""Trigonometric and hyperbolic functions, and their inverses; sin, cos and tanh are in elementwise.py.

The derivatives of the inverses follow from those of the functions: y = asin(x) means x = sin(y), so
dx/dy = cos(y) = √(1 - x²), and dy/dx is 1 divided by it. 1 - x² is computed as (1 - x)·(1 + x), which keeps
its digits near ±1.

atan2 and hypot are the angle and the length of the vector (b, a). At (0, 0) their gradients are 0.
"""

from functools import partial
from typing import Any

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..registry import Case, ErrorCase, register, uniform
from .broadcast import unbroadcast
from .operands import as_float_tensor, promote


class Tan(Function):
    """y = tan(x) · dx = dy·(1 + y²)"""

    def forward(self, x: Array) -> Array:
        y = namespace(x).tan(x)
        self.saved = (y,)
        return y

    def backward(self, dy: Array) -> Gradients:
        (y,) = self.saved
        return dy * (y * y + 1)


class Asin(Function):
    """y = asin(x) · dx = dy/√(1 - x²)"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        return namespace(x).arcsin(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return dy / namespace(dy).sqrt((1 - x) * (1 + x))


class Acos(Function):
    """y = acos(x) · dx = -dy/√(1 - x²)"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        return namespace(x).arccos(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return -dy / namespace(dy).sqrt((1 - x) * (1 + x))


class Atan(Function):
    """y = atan(x) · dx = dy/(1 + x²)"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        return namespace(x).arctan(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return dy / (x * x + 1)


class Sinh(Function):
    """y = sinh(x) · dx = dy·cosh(x)"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        return namespace(x).sinh(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return dy * namespace(x).cosh(x)


class Cosh(Function):
    """y = cosh(x) · dx = dy·sinh(x)"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        return namespace(x).cosh(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return dy * namespace(x).sinh(x)


class Asinh(Function):
    """y = asinh(x) · dx = dy/√(x² + 1)"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        return namespace(x).arcsinh(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return dy / namespace(dy).sqrt(x * x + 1)


class Acosh(Function):
    """y = acosh(x) · dx = dy/√(x² - 1)"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        return namespace(x).arccosh(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return dy / namespace(dy).sqrt((x - 1) * (x + 1))


class Atanh(Function):
    """y = atanh(x) · dx = dy/(1 - x²)"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        return namespace(x).arctanh(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return dy / ((1 - x) * (1 + x))


class Atan2(Function):
    """y = the angle of (b, a), r = √(a² + b²) · da = dy·b/r², db = -dy·a/r², 0 where r = 0"""

    def forward(self, a: Array, b: Array) -> Array:
        self.saved = a, b
        return namespace(a).arctan2(a, b)

    def backward(self, dy: Array) -> Gradients:
        a, b = self.saved
        r = namespace(a).hypot(a, b)
        r = r + (r == 0)
        da = unbroadcast(dy * (b / r) / r, a.shape) if self.needs[0] else None
        return da, unbroadcast(-dy * (a / r) / r, b.shape) if self.needs[1] else None


class Hypot(Function):
    """y = √(a² + b²) · da = dy·a/y, db = dy·b/y, 0 where y = 0"""

    def forward(self, a: Array, b: Array) -> Array:
        y = namespace(a).hypot(a, b)
        self.saved = a if self.needs[0] else None, b if self.needs[1] else None, y
        return y

    def backward(self, dy: Array) -> Gradients:
        a, b, y = self.saved
        y = y + (y == 0)
        da = unbroadcast(dy * (a / y), a.shape) if self.needs[0] else None
        return da, unbroadcast(dy * (b / y), b.shape) if self.needs[1] else None


def tan(input: Tensor) -> Tensor:
    """Return the tangent of input, in radians."""
    return Tan.apply(as_float_tensor(input))


def asin(input: Tensor) -> Tensor:
    """Return the angle in [−π/2, π/2] whose sine is input; NaN outside of [−1, 1]."""
    return Asin.apply(as_float_tensor(input))


def acos(input: Tensor) -> Tensor:
    """Return the angle in [0, π] whose cosine is input; NaN outside of [−1, 1]."""
    return Acos.apply(as_float_tensor(input))


def atan(input: Tensor) -> Tensor:
    """Return the angle in [−π/2, π/2] whose tangent is input."""
    return Atan.apply(as_float_tensor(input))


def sinh(input: Tensor) -> Tensor:
    """Return the hyperbolic sine, (exp(input) − exp(−input))/2."""
    return Sinh.apply(as_float_tensor(input))


def cosh(input: Tensor) -> Tensor:
    """Return the hyperbolic cosine, (exp(input) + exp(−input))/2."""
    return Cosh.apply(as_float_tensor(input))


def asinh(input: Tensor) -> Tensor:
    """Return the inverse of sinh."""
    return Asinh.apply(as_float_tensor(input))


def acosh(input: Tensor) -> Tensor:
    """Return the inverse of cosh that is at least 0; NaN below 1."""
    return Acosh.apply(as_float_tensor(input))


def atanh(input: Tensor) -> Tensor:
    """Return the inverse of tanh, ±∞ at ±1 and NaN outside of [−1, 1]."""
    return Atanh.apply(as_float_tensor(input))


def atan2(input: Tensor, other: Tensor) -> Tensor:
    """Return the angle of the vector (other, input) in [−π, π]. Its gradient at (0, 0) is 0."""
    return Atan2.apply(*_tensors(input, other))


def hypot(input: Tensor, other: Tensor) -> Tensor:
    """Return √(input² + other²), without overflow of the squares. Its gradient at (0, 0) is 0."""
    return Hypot.apply(*_tensors(input, other))


def _tensors(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    """Return both as floating-point tensors of one dtype."""
    a, b = promote(as_float_tensor(a), as_float_tensor(b, "other"))
    return a, b


_LIST: Any = [1.0]
_INSIDE, _ABOVE = (uniform(-0.9, 0.9, 3, 4), uniform(-0.9, 0.9)), (uniform(1.2, 3, 3, 4), uniform(1.2, 3))

for _function, _inputs in (
    (tan, _INSIDE),
    (asin, _INSIDE),
    (acos, _INSIDE),
    (atan, _ABOVE),
    (sinh, _INSIDE),
    (cosh, _INSIDE),
    (asinh, _ABOVE),
    (acosh, _ABOVE),
    (atanh, _INSIDE),
):
    register(
        name=_function.__name__,
        function=_function,
        composed=None,
        cases=(*(Case((x,)) for x in _inputs), Case(((0, 3),))),
        errors=(ErrorCase(partial(_function, _LIST), TypeError, "must be a Tensor, got list"),),
        kind="primitive",
        torch=f"torch.{_function.__name__}",
    )

for _binary in (atan2, hypot):
    register(
        name=_binary.__name__,
        function=_binary,
        composed=None,
        cases=(
            Case((uniform(0.5, 2, 3, 4), uniform(-2, -0.5, 3, 4))),
            Case((uniform(0.5, 2, 3, 1), uniform(0.5, 2, 4))),
            Case(((0, 3), (3,))),
        ),
        errors=(ErrorCase(partial(_binary, _LIST, _LIST), TypeError, "must be a Tensor, got list"),),
        kind="primitive",
        torch=f"torch.{_binary.__name__}",
    )
