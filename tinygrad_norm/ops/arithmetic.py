"""Addition, multiplication and powers, with broadcasting.

The gradient of an input that was broadcast is summed over the stretched axes: `unbroadcast`.
"""

from typing import Any

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..backends.cuda.deferred import check_all_later
from ..registry import Case, ErrorCase, positive, register
from .broadcast import shape_of, unbroadcast
from .operands import as_float_tensor, as_tensor, promote


class Add(Function):
    """y = a + b · da = dy, db = dy"""

    def forward(self, a: Array, b: Array) -> Array:
        self.saved = shape_of(a), shape_of(b)
        return a + b

    def backward(self, dy: Array) -> Gradients:
        a_shape, b_shape = self.saved
        return unbroadcast(dy, a_shape), unbroadcast(dy, b_shape)


class Sub(Function):
    """y = a - b · da = dy, db = -dy"""

    def forward(self, a: Array, b: Array) -> Array:
        self.saved = shape_of(a), shape_of(b)
        return a - b

    def backward(self, dy: Array) -> Gradients:
        a_shape, b_shape = self.saved
        return unbroadcast(dy, a_shape), unbroadcast(-dy, b_shape) if self.needs[1] else None


class Mul(Function):
    """y = a·b · da = dy·b, db = dy·a"""

    def forward(self, a: Array, b: Array) -> Array:
        first, second = self.needs
        self.saved = a if second else shape_of(a), b if first else shape_of(b)
        return a * b

    def backward(self, dy: Array) -> Gradients:
        a, b = self.saved
        first, second = self.needs
        da = unbroadcast(dy * b, shape_of(a) if second else a) if first else None
        return da, (unbroadcast(dy * a, shape_of(b) if first else b) if second else None)


class Div(Function):
    """y = a/b · da = dy/b, db = -dy·a/b²"""

    def forward(self, a: Array, b: Array) -> Array:
        self.saved = shape_of(a), a if self.needs[1] else None, b
        return a / b

    def backward(self, dy: Array) -> Gradients:
        shape, a, b = self.saved
        da = dy / b
        db = unbroadcast(-da * (a / b), shape_of(b)) if self.needs[1] else None
        return unbroadcast(da, shape) if self.needs[0] else None, db


class RoundedDiv(Function):
    """y = a / b, rounded down or towards 0 · da = db = 0"""

    def forward(self, a: Array, b: Array, *, rounding_mode: str) -> Array:
        self.saved = shape_of(a), shape_of(b)
        xp = namespace(a if hasattr(a, "dtype") else b)
        if rounding_mode == "trunc" and (a * b).dtype.kind == "f":
            return xp.trunc(a / b)
        y = xp.floor_divide(a, b)
        return y if rounding_mode == "floor" else y + ((y < 0) & (y * b != a))

    def backward(self, dy: Array) -> Gradients:
        nothing = namespace(dy).zeros_like(dy)
        return tuple([unbroadcast(nothing, shape) for shape in self.saved])


class Neg(Function):
    """y = -x · dx = -dy"""

    def forward(self, x: Array) -> Array:
        return -x

    def backward(self, dy: Array) -> Gradients:
        return -dy


class Pow(Function):
    """y = aᵇ · da = dy·b·aᵇ⁻¹ (0 where b = 0, or a = 0 < b < 1), db = dy·y·log a (0 where a = 0 <= b)"""

    def forward(self, a: Array, b: Array) -> Array:
        y = a**b
        self.saved = a, b, y if self.needs[1] else None
        return y

    def backward(self, dy: Array) -> Gradients:
        a, b, y = self.saved
        da = db = None
        if self.needs[0]:
            da = unbroadcast(dy * _slope(a, b, dy), a.shape)
            if type(b) in (int, float) and b == 0:
                da = namespace(dy).zeros_like(a)  # a⁰ is 1, even where a or dy is NaN
        if self.needs[1]:
            xp = namespace(dy)
            slope = xp.where((a == 0) & (b >= 0), 0, y * xp.log(xp.asarray(a, y.dtype)))
            db = unbroadcast(dy * slope, b.shape)
        return da, db


def _slope(a: Array, b: Array, dy: Array) -> Array:
    """Return ∂(aᵇ)/∂a, as an array or a Tensor, whichever dy is."""
    if shape_of(b) or not isinstance(b, int | float):
        xp = namespace(dy)
        flat = (b == 0) | ((a == 0) & (b > 0) & (b < 1))
        return xp.where(flat, 0, b * a ** xp.where(flat, 1, b - 1))
    if b == 0:
        return namespace(dy).zeros_like(a)
    if 0 < b < 1:
        zero = a == 0
        return b * (a + zero) ** (b - 1) * ~zero
    return b * a ** (b - 1)


def _apply(op: type[Function], input: Any, other: Any) -> Tensor:
    """Apply `op` to promoted operands; a half tensor and a Python number compute in float32, as in PyTorch.

    The number may lie outside the range of float16: 0.001·65536 does not.
    """
    a, b = promote(input, other)
    if type(a) is not type(b):  # most often both are tensors
        if isinstance(b, int | float):
            if a.array.dtype.char == "e":
                return op.apply(a.astype(numpy.float32), b).astype(numpy.float16)
        elif isinstance(a, int | float) and b.array.dtype.char == "e":
            return op.apply(a, b.astype(numpy.float32)).astype(numpy.float16)
    return op.apply(a, b)


def add(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """Return input + alpha·other, broadcast."""
    return _apply(Add, input, other if alpha == 1 else mul(other, alpha))


def sub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """Return input − alpha·other, broadcast."""
    return _apply(Sub, input, other if alpha == 1 else mul(other, alpha))


def mul(input: Any, other: Any) -> Tensor:
    """Return input·other, element by element, broadcast."""
    return _apply(Mul, input, other)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """Return input/other, element by element, broadcast; integers give fractions.

    With the rounding mode "floor" the result is rounded down, with "trunc" towards 0; integers stay integers
    then, and the gradient is 0.

    Raises:
        ValueError: if the rounding mode is unknown.
        ZeroDivisionError: if an integer is divided by the integer 0 with a rounding mode.
    """
    a, b = promote(input, other)
    if rounding_mode is not None:
        return _rounded(a, b, rounding_mode)
    if isinstance(a, Tensor) and a.array.dtype.kind != "f":
        a = as_float_tensor(a)
    if isinstance(b, Tensor) and b.array.dtype.kind != "f":
        b = as_float_tensor(b)
    return _apply(Div, a, b)


def check_divisor(divisor: Array, message: str) -> None:
    """Raise ZeroDivisionError(message) if an integer of `divisor` is 0; on a GPU when the host next reads."""
    if type(divisor) is not numpy.ndarray:
        check_all_later(divisor != 0, message, ZeroDivisionError)
    elif not divisor.all():
        raise ZeroDivisionError(message)


def _rounded(a: Any, b: Any, rounding_mode: str) -> Tensor:
    if rounding_mode not in ("floor", "trunc"):
        raise ValueError(f"rounding_mode must be None, 'floor' or 'trunc', got {rounding_mode!r}")
    kinds = [x.array.dtype.kind if isinstance(x, Tensor) else "i" * isinstance(x, int) for x in (a, b)]
    divisor = b.array if isinstance(b, Tensor) else numpy.asarray(b)
    if all(kind in "iub" and kind for kind in kinds):
        check_divisor(divisor, f"div with rounding_mode={rounding_mode!r} of integers by 0")
    return RoundedDiv.apply(a, b, rounding_mode=rounding_mode)


def neg(input: Tensor) -> Tensor:
    """Return −input."""
    return Neg.apply(as_tensor(input))


def pow(input: Any, exponent: Any) -> Tensor:
    """Return input raised to `exponent` (a number or a tensor), element by element, broadcast.

    A negative base has a real power only if the exponent is an integer; else the result is NaN.

    Raises:
        ValueError: if an integer is raised to a negative integer.
    """
    try:
        return _apply(Pow, input, exponent)
    except ValueError as error:
        if "negative integer powers" not in str(error):
            raise
        raise ValueError(
            "an integer to a negative integer power is not an integer: convert the base first, with .float()"
        ) from None


_PAIRS = (Case(((3, 4), (3, 4))), Case(((2, 3, 4), (3, 1))), Case(((), (2, 3))), Case(((0, 3), (3,))))
_DIVISORS = (Case(((3, 4), positive(3, 4))), Case(((2, 3, 4), positive(3, 1))), Case(((), positive(2, 3))))


_ROUNDED = (
    Case(((3, 4), positive(4)), {"rounding_mode": "floor"}),
    Case(((3, 4), positive(3, 1)), {"rounding_mode": "trunc"}),
)


def _error_cases(function: Any) -> tuple[ErrorCase, ...]:
    return (
        ErrorCase(lambda: function(numpy.ones(2), "1"), TypeError, "unsupported operand str"),
        ErrorCase(lambda: function(numpy.ones(2), numpy.ones(3)), ValueError, "could not be broadcast"),
    )


for _function, _cases in ((add, _PAIRS), (sub, _PAIRS), (mul, _PAIRS), (div, (*_DIVISORS, *_ROUNDED))):
    register(
        name=_function.__name__,
        function=_function,
        composed=None,
        cases=_cases,
        errors=_error_cases(_function),
        kind="primitive",
        torch=f"torch.{_function.__name__}",
    )
register(
    name="neg",
    function=neg,
    composed=None,
    cases=(Case(((3, 4),)), Case(((),))),
    errors=(ErrorCase(lambda: neg([1.0]), TypeError, "must be a Tensor, got list"),),  # type: ignore[arg-type]
    kind="primitive",
    torch="torch.neg",
)
register(
    name="pow",
    function=pow,
    composed=None,
    cases=(
        Case((positive(3, 4), (3, 4))),
        Case((positive(2, 3), (3,))),
        Case(((3, 4),), {"exponent": 2}),
        Case((positive(3, 4),), {"exponent": -0.5}),
        Case((positive(3, 4),), {"exponent": 0.5}),
        Case(((3, 4),), {"exponent": 0}),
        Case(((3, 4),), {"exponent": 3}),
    ),
    errors=(
        *_error_cases(pow),
        ErrorCase(lambda: pow(numpy.arange(3), -1), ValueError, "negative integer power"),
    ),
    kind="primitive",
    torch="torch.pow",
)
