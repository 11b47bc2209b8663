"""Addition, multiplication, powers and the matrix product, with broadcasting.

Where an input was broadcast, its gradient is the sum over the stretched axes: `unbroadcast`.
"""

from typing import Any

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..registry import Case, ErrorCase, positive, register
from .broadcast import shape_of, unbroadcast
from .operands import as_float_tensor, meet


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
        self.saved = a, b
        return a * b

    def backward(self, dy: Array) -> Gradients:
        a, b = self.saved
        da = unbroadcast(dy * b, shape_of(a)) if self.needs[0] else None
        return da, unbroadcast(dy * a, shape_of(b)) if self.needs[1] else None


class Div(Function):
    """y = a/b · da = dy/b, db = -dy·a/b²"""

    def forward(self, a: Array, b: Array) -> Array:
        self.saved = a, b
        return a / b

    def backward(self, dy: Array) -> Gradients:
        a, b = self.saved
        da = dy / b
        db = unbroadcast(-da * (a / b), shape_of(b)) if self.needs[1] else None
        return unbroadcast(da, shape_of(a)) if self.needs[0] else None, db


class Neg(Function):
    """y = -x · dx = -dy"""

    def forward(self, x: Array) -> Array:
        return -x

    def backward(self, dy: Array) -> Gradients:
        return -dy


class Pow(Function):
    """y = aᵇ · da = dy·b·aᵇ⁻¹ (0 where b = 0), db = dy·y·log a (0 where a = 0 and b ≥ 0)"""

    def forward(self, a: Array, b: Array) -> Array:
        y = a**b
        self.saved = a, b, y
        return y

    def backward(self, dy: Array) -> Gradients:
        a, b, y = self.saved
        da = db = None
        if self.needs[0]:
            if shape_of(b) == ():
                da = dy * (b * a ** (b - 1)) if b != 0 else dy * (a * 0)
            else:
                da = dy * b * a ** namespace(b).where(b == 0, 1, b - 1)
            da = unbroadcast(da, shape_of(a))
        if self.needs[1]:
            xp = namespace(y)
            safe = xp.where(a == 0, 1, a) if shape_of(a) != () or a == 0 else a
            db = unbroadcast(dy * (y * xp.log(safe)), shape_of(b))
        return da, db


class MatMul(Function):
    """y = a @ b over the last two axes · da = dy @ bᵀ, db = aᵀ @ dy

    A vector stands for a row on the left and a column on the right, as in NumPy.
    """

    def forward(self, a: Array, b: Array) -> Array:
        self.saved = a, b
        return a @ b

    def backward(self, dy: Array) -> Gradients:
        a, b = self.saved
        a2 = a.reshape(1, -1) if a.ndim == 1 else a
        b2 = b.reshape(-1, 1) if b.ndim == 1 else b
        rows = dy.shape[: dy.ndim - (b.ndim > 1)] if a.ndim > 1 else dy.shape[: dy.ndim - (b.ndim > 1)] + (1,)
        dy = dy.reshape((*rows, b2.shape[-1]))
        da = db = None
        if self.needs[0]:
            da = unbroadcast(dy @ b2.swapaxes(-1, -2), a2.shape).reshape(a.shape)
        if self.needs[1]:
            db = unbroadcast(a2.swapaxes(-1, -2) @ dy, b2.shape).reshape(b.shape)
        return da, db


def add(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """Return input + alpha·other, broadcast."""
    return Add.apply(*meet(input, other if alpha == 1 else mul(other, alpha)))


def sub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """Return input − alpha·other, broadcast."""
    return Sub.apply(*meet(input, other if alpha == 1 else mul(other, alpha)))


def mul(input: Any, other: Any) -> Tensor:
    """Return input·other, element by element, broadcast."""
    return Mul.apply(*meet(input, other))


def div(input: Any, other: Any) -> Tensor:
    """Return input/other, element by element, broadcast; integers give fractions."""
    a, b = meet(input, other)
    if getattr(a, "dtype", None) is not None and a.array.dtype.kind != "f":
        a = as_float_tensor(a)
    if getattr(b, "dtype", None) is not None and b.array.dtype.kind != "f":
        b = as_float_tensor(b)
    return Div.apply(a, b)


def neg(input: Tensor) -> Tensor:
    """Return −input."""
    return Neg.apply(input)


def pow(input: Any, exponent: Any) -> Tensor:
    """Return input raised to `exponent` (a number or a tensor), element by element, broadcast."""
    return Pow.apply(*meet(input, exponent))


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Return the matrix product over the last two axes; leading axes are broadcast.

    Raises:
        ValueError: where the inner sizes differ.
    """
    a, b = meet(input, other)
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError("matmul needs tensors with at least one axis: use * for a number")
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(
            f"matmul of {a.shape} and {b.shape}: the last size of the first ({a.shape[-1]}) must equal "
            f"the {'second last' if b.ndim > 1 else 'only'} size of the second ({b.shape[-2 if b.ndim > 1 else 0]})"
        )
    return MatMul.apply(a, b)


_PAIRS = (Case(((3, 4), (3, 4))), Case(((2, 3, 4), (3, 1))), Case(((), (2, 3))), Case(((0, 3), (3,))))
_DIVISORS = (Case(((3, 4), positive(3, 4))), Case(((2, 3, 4), positive(3, 1))), Case(((), positive(2, 3))))

register(name="add", function=add, composed=None, cases=_PAIRS, kind="primitive", torch="torch.add")
register(name="sub", function=sub, composed=None, cases=_PAIRS, kind="primitive", torch="torch.sub")
register(name="mul", function=mul, composed=None, cases=_PAIRS, kind="primitive", torch="torch.mul")
register(name="div", function=div, composed=None, cases=_DIVISORS, kind="primitive", torch="torch.div")
register(
    name="neg", function=neg, composed=None, cases=(Case(((3, 4),)),), kind="primitive", torch="torch.neg"
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
        Case(((3, 4),), {"exponent": 0}),
    ),
    kind="primitive",
    torch="torch.pow",
)
register(
    name="matmul",
    function=matmul,
    composed=None,
    cases=(
        Case(((3, 4), (4, 2))),
        Case(((2, 3, 4), (4, 5))),
        Case(((2, 1, 3, 4), (5, 4, 2))),
        Case(((4,), (4, 2))),
        Case(((3, 4), (4,))),
        Case(((4,), (4,))),
        Case(((2, 3, 4), (4,))),
        Case(((4,), (2, 4, 3))),
    ),
    errors=(ErrorCase(lambda: matmul(Tensor([[1.0, 2.0]]), Tensor([[1.0, 2.0]])), ValueError, "last size"),),
    kind="primitive",
    torch="torch.matmul",
)
