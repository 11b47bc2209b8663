"""Whole numbers near x, and functions that change only some numbers: copysign, nan_to_num.

Rounding is constant between its jumps: the gradient is 0, as in PyTorch. The fractional part x - trunc(x)
has the gradient of x.
"""

from functools import partial
from typing import Any

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..registry import Case, ErrorCase, distinct, fixed, register
from .arguments import as_number, as_size
from .broadcast import unbroadcast
from .operands import as_float_tensor, as_tensor, promote


class Rounded(Function):
    """y = x, rounded · dx = 0"""

    def forward(self, x: Array, *, how: str) -> Array:
        return getattr(namespace(x), how)(x)

    def backward(self, dy: Array) -> Gradients:
        return namespace(dy).zeros_like(dy)


class CopySign(Function):
    """y = |a| with the sign of b · da = dy·sign(a)·sign(b), db = 0"""

    def forward(self, a: Array, b: Array) -> Array:
        xp, sign = namespace(a), None
        if self.needs[0]:
            sign = xp.sign(a) * xp.where(xp.signbit(b), -1.0, 1.0).astype(a.dtype)
        self.saved = sign, a.shape, b.shape
        return xp.copysign(a, b)

    def backward(self, dy: Array) -> Gradients:
        sign, a_shape, b_shape = self.saved
        da = unbroadcast(dy * sign, a_shape) if self.needs[0] else None
        return da, unbroadcast(dy * 0, b_shape) if self.needs[1] else None


class NanToNum(Function):
    """y = x where x is finite, else a number · dx = dy where x is finite, else 0"""

    def forward(self, x: Array, *, nan: float, posinf: float | None, neginf: float | None) -> Array:
        xp = namespace(x)
        self.saved = (xp.isfinite(x),)
        return xp.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)

    def backward(self, dy: Array) -> Gradients:
        (finite,) = self.saved
        return dy * finite


def floor(input: Tensor) -> Tensor:
    """Return the largest whole number that is at most input; integers stay. The gradient is 0."""
    return _rounded(input, "floor")


def ceil(input: Tensor) -> Tensor:
    """Return the smallest whole number that is at least input; integers stay. The gradient is 0."""
    return _rounded(input, "ceil")


def trunc(input: Tensor) -> Tensor:
    """Return input rounded towards 0; integers stay. The gradient is 0."""
    return _rounded(input, "trunc")


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """Return input rounded to `decimals` places, halves to the even neighbour. The gradient is 0.

    Integers stay. As PyTorch and NumPy do, it multiplies by 10^decimals, rounds, and divides.

    Raises:
        TypeError: if decimals is not an int, or the input holds bools.
    """
    places = as_size(decimals, "decimals", None)
    x = as_tensor(input)
    if not places or x.array.dtype.kind != "f":
        return _rounded(x, "rint", "round")
    if places > 0:
        return _rounded(x * 10.0**places, "rint", "round") / 10.0**places
    return _rounded(x / 10.0**-places, "rint", "round") * 10.0**-places


def frac(input: Tensor) -> Tensor:
    """Return input − trunc(input), the digits after the point, with the sign of input.

    Raises:
        TypeError: if the input holds integers or bools.
    """
    x = as_tensor(input)
    if x.array.dtype.kind != "f":
        raise TypeError(f"frac takes a floating-point tensor, got {x.dtype}: integers have no fraction")
    return x - trunc(x)


def _rounded(input: Any, how: str, name: str = "") -> Tensor:
    x = as_tensor(input)
    if x.array.dtype.kind == "f":
        return Rounded.apply(x, how=how)
    if x.array.dtype.kind == "b":
        raise TypeError(f"{name or how} is not for bools: use .long() first")
    return Tensor._wrap(x.array.copy())


def copysign(input: Tensor, other: Any) -> Tensor:
    """Return |input| with the sign of other, also that of −0. The gradient of 0 is 0."""
    b = as_tensor(other, "other")
    return CopySign.apply(*promote(as_float_tensor(input), as_float_tensor(b)))


def nan_to_num(
    input: Tensor, nan: float | None = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """Return input with NaN, ∞ and −∞ replaced by numbers, by default 0 and the largest of either sign.

    The gradient is 0 where a number was replaced.

    Raises:
        TypeError: if a replacement is not a number.
    """
    x = as_tensor(input)
    for name, value in {"nan": nan, "posinf": posinf, "neginf": neginf}.items():
        if value is not None:
            as_number(value, name)
    if x.array.dtype.kind != "f":
        return Tensor._wrap(x.array.copy())
    return NanToNum.apply(x, nan=0.0 if nan is None else nan, posinf=posinf, neginf=neginf)


_LIST: Any = [1.0]
_BOOL: Any = True
_BETWEEN = fixed([[0.34, -1.72, 2.21], [-0.33, 1.68, -2.57]], differentiable=True)
_SPECIAL = fixed([[1.5, 0.0, -2.0], [float("inf"), 0.25, float("-inf")]])

for _function in (floor, ceil, trunc, frac, round):
    register(
        name=_function.__name__,
        function=_function,
        composed=None,
        cases=(
            Case((_BETWEEN,)),
            Case((distinct(0, 3),)),
            *((Case((_BETWEEN,), {"decimals": 1}),) if _function is round else ()),
        ),
        errors=(
            ErrorCase(partial(_function, _LIST), TypeError, "must be a Tensor, got list"),
            ErrorCase(partial(_function, _BOOL), TypeError, "bool"),
        ),
        kind="primitive",
        torch=f"torch.{_function.__name__}",
    )
register(
    name="copysign",
    function=copysign,
    composed=None,
    cases=(Case((distinct(3, 4), distinct(3, 4))), Case((distinct(3, 1), distinct(4)))),
    errors=(ErrorCase(partial(copysign, _LIST, 1.0), TypeError, "must be a Tensor, got list"),),
    kind="primitive",
    torch="torch.copysign",
)
register(
    name="nan_to_num",
    function=nan_to_num,
    composed=None,
    cases=(
        Case((distinct(3, 4),)),
        Case((_SPECIAL,), {"nan": 2.0, "posinf": 3.0, "neginf": -4.0}),
        Case(((0, 3),)),
    ),
    errors=(ErrorCase(lambda: nan_to_num(Tensor([1.0]), _LIST), TypeError, "nan must be a number"),),
    kind="primitive",
    torch="torch.nan_to_num",
)
