"""What is left after a division, with the sign of the divisor (%) or of the dividend (fmod).

Both are a - q·b with a whole number q, which is constant between its jumps: the gradient is that of a - q·b.
"""

from functools import partial
from typing import Any

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..registry import Case, ErrorCase, fixed, register
from .arithmetic import check_divisor, div
from .broadcast import shape_of, unbroadcast
from .operands import promote


class Remainder(Function):
    """y = a - q·b with q = ⌊a/b⌋ · da = dy, db = -dy·q"""

    def forward(self, a: Array, b: Array) -> Array:
        self.saved = (a, b) if self.needs[1] else (shape_of(a),)
        return namespace(a if hasattr(a, "dtype") else b).remainder(a, b)

    def backward(self, dy: Array) -> Gradients:
        if not self.needs[1]:
            return unbroadcast(dy, *self.saved), None
        a, b = self.saved
        da = unbroadcast(dy, shape_of(a)) if self.needs[0] else None
        return da, unbroadcast(-dy * (a // b), shape_of(b))


class Fmod(Function):
    """y = a - q·b with q = a/b rounded towards 0 · da = dy, db = -dy·q"""

    def forward(self, a: Array, b: Array) -> Array:
        self.saved = (a, b) if self.needs[1] else (shape_of(a),)
        return namespace(a if hasattr(a, "dtype") else b).fmod(a, b)

    def backward(self, dy: Array) -> Gradients:
        if not self.needs[1]:
            return unbroadcast(dy, *self.saved), None
        a, b = self.saved
        xp = namespace(dy)
        da = unbroadcast(dy, shape_of(a)) if self.needs[0] else None
        q = xp.abs(a / b) // 1 * xp.sign(a / b)
        return da, unbroadcast(-dy * q, shape_of(b))


def floor_divide(input: Any, other: Any) -> Tensor:
    """Return input/other rounded down, element by element: `input // other`. The gradient is 0.

    Raises:
        ZeroDivisionError: if an integer is divided by the integer 0.
    """
    return div(input, other, rounding_mode="floor")


def remainder(input: Any, other: Any) -> Tensor:
    """Return what is left of input after division by other, with the sign of other: `input % other`.

    Raises:
        TypeError: if both are bools.
        ZeroDivisionError: if an integer is divided by the integer 0.
    """
    return Remainder.apply(*_operands(input, other, "remainder"))


def fmod(input: Any, other: Any) -> Tensor:
    """Return what is left of input after division by other, with the sign of input.

    Raises:
        TypeError: if both are bools.
        ZeroDivisionError: if an integer is divided by the integer 0.
    """
    return Fmod.apply(*_operands(input, other, "fmod"))


def _operands(a: Any, b: Any, name: str) -> tuple[Any, Any]:
    a, b = promote(a, b)
    kinds = {numpy.asarray(x).dtype.kind if not isinstance(x, Tensor) else x.dtype.kind for x in (a, b)}
    if kinds == {"b"}:
        raise TypeError(f"{name} is not for bools: use .long() first")
    if "f" not in kinds:
        divisor: Any = b.array if isinstance(b, Tensor) else numpy.asarray(b)
        check_divisor(divisor, f"{name} of integers by 0")
    return a, b


_A = fixed([[2.3, -2.3, 7.1], [0.4, -5.5, 1.9]], differentiable=True)
_B = fixed([[0.7, 0.9, -2.0], [1.5, -1.3, 0.8]], differentiable=True)
_ROW = fixed([0.7, 0.9, -1.3], differentiable=True)
_LIST: Any = [1.0]

for _function in (remainder, fmod):
    register(
        name=_function.__name__,
        function=_function,
        composed=None,
        cases=(Case((_A, _B)), Case((_A, _ROW)), Case((_ROW, _A)), Case(((0, 3), (3,)))),
        errors=(ErrorCase(partial(_function, _LIST, 2), TypeError, "unsupported operand list"),),
        kind="primitive",
        torch=f"torch.{_function.__name__}",
    )
