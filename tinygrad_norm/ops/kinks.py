"""Functions with a kink: absolute value and sign, the larger and the smaller of two, clamping.

At a kink the gradient is the subgradient 0 (abs, sign) or shared evenly (maximum, minimum).
"""

from functools import partial
from typing import Any

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..registry import Case, ErrorCase, distinct, register, uniform
from .broadcast import unbroadcast
from .operands import as_operand, as_tensor, promote, result_type


class Abs(Function):
    """y = |x| · dx = dy·sign(x)"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        return namespace(x).abs(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return dy * namespace(dy).sign(x)


class Sign(Function):
    """y = -1, 0 or 1, the sign of x · dx = 0"""

    def forward(self, x: Array) -> Array:
        return namespace(x).sign(x)

    def backward(self, dy: Array) -> Gradients:
        return namespace(dy).zeros_like(dy)


class Maximum(Function):
    """y = max(a, b) · da = dy where a > b, dy/2 where a = b; db likewise"""

    def forward(self, a: Array, b: Array) -> Array:
        self.saved = a, b
        return namespace(a).maximum(a, b)

    def backward(self, dy: Array) -> Gradients:
        a, b = self.saved
        da = _where_selected(dy, a < b, a == b, a) if self.needs[0] else None
        return da, _where_selected(dy, b < a, a == b, b) if self.needs[1] else None


class Minimum(Function):
    """y = min(a, b) · da = dy where a < b, dy/2 where a = b; db likewise"""

    def forward(self, a: Array, b: Array) -> Array:
        self.saved = a, b
        return namespace(a).minimum(a, b)

    def backward(self, dy: Array) -> Gradients:
        a, b = self.saved
        da = _where_selected(dy, a > b, a == b, a) if self.needs[0] else None
        return da, _where_selected(dy, b > a, a == b, b) if self.needs[1] else None


def _where_selected(dy: Array, other: Array, tie: Array, x: Array) -> Array:
    """Return dy where x was selected, 0 where `other` says that it was not, and half of dy at a tie."""
    xp = namespace(dy)
    return unbroadcast(xp.where(other, 0, xp.where(tie, dy * 0.5, dy)), x.shape)


class Clamp(Function):
    """y = min(max(x, low), high) · dx = dy where low <= x <= high; dlow = dy below, dhigh = dy above"""

    def forward(self, x: Array, low: Array | None, high: Array | None) -> Array:
        self.saved = x, low, high
        return namespace(x).clip(x, low, high)

    def backward(self, dy: Array) -> Gradients:
        x, low, high = self.saved
        dx = dlow = dhigh = None
        if self.needs[0]:
            inside = (True if low is None else x >= low) & (True if high is None else x <= high)
            dx = unbroadcast(dy * inside, x.shape)
        if self.needs[1]:
            dlow = unbroadcast(dy * ((x < low) & (True if high is None else low < high)), low.shape)
        if self.needs[2]:
            dhigh = unbroadcast(dy * ((x > high) | (False if low is None else low > high)), high.shape)
        return dx, dlow, dhigh


def abs(input: Tensor) -> Tensor:
    """Return |input|."""
    return Abs.apply(as_tensor(input))


def sign(input: Tensor) -> Tensor:
    """Return −1, 0 or 1."""
    return Sign.apply(as_tensor(input))


def maximum(input: Tensor, other: Tensor) -> Tensor:
    """Return the larger of the two, broadcast; NaN where either is. Equal ones share the gradient."""
    return Maximum.apply(*promote(as_tensor(input), other))


def minimum(input: Tensor, other: Tensor) -> Tensor:
    """Return the smaller of the two, broadcast; NaN where either is. Equal ones share the gradient."""
    return Minimum.apply(*promote(as_tensor(input), other))


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Return input, but at least `min` and at most `max` (numbers or tensors, broadcast).

    Raises:
        ValueError: if neither bound is given.
    """
    x = as_tensor(input)
    if min is None and max is None:
        raise ValueError("clamp needs min, max or both")
    bounds = [None if bound is None else as_operand(bound) for bound in (min, max)]
    dtype = result_type(x, *[bound for bound in bounds if bound is not None])
    low, high = (bound.astype(dtype) if isinstance(bound, Tensor) else bound for bound in bounds)
    return Clamp.apply(x.astype(dtype), low, high)


_LIST: Any = [1.0]
_KINKED = (Case((distinct(3, 4),)), Case((distinct(0, 3),)))
_PAIRS = (Case(((3, 4), (3, 4))), Case(((2, 3, 4), (3, 1))), Case(((), (2, 3))), Case(((0, 3), (3,))))

for _function in (abs, sign):
    register(
        name=_function.__name__,
        function=_function,
        composed=None,
        cases=_KINKED,
        errors=(ErrorCase(partial(_function, _LIST), TypeError, "must be a Tensor, got list"),),
        kind="primitive",
        torch=f"torch.{_function.__name__}",
    )

for _binary in (maximum, minimum):
    register(
        name=_binary.__name__,
        function=_binary,
        composed=None,
        cases=_PAIRS,
        errors=(ErrorCase(partial(_binary, _LIST, _LIST), TypeError, "must be a Tensor, got list"),),
        kind="primitive",
        torch=f"torch.{_binary.__name__}",
    )

register(
    name="clamp",
    function=clamp,
    composed=None,
    cases=(
        Case((distinct(4, 4),), {"min": -0.7, "max": 0.6}),
        Case((distinct(4, 4),), {"min": 0.2}),
        Case((distinct(4, 4),), {"max": 0.2}),
        Case((distinct(3, 4), uniform(-0.84, -0.81, 4), uniform(0.56, 0.59, 3, 1))),
        Case((distinct(3, 4), None, uniform(0.56, 0.59, 4))),
    ),
    errors=(ErrorCase(lambda: clamp(Tensor(1.0)), ValueError, "min, max or both"),),
    kind="primitive",
    torch="torch.clamp",
)
