"""Selecting by a condition: elements of one tensor or another, and the triangles of matrices.

The gradient goes to the selected element; the other one gets 0.
"""

from typing import Any

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..registry import Case, ErrorCase, booleans, register
from .broadcast import shape_of, unbroadcast
from .creation import ones, tensor
from .operands import as_operand, as_tensor, promote, result_type


class Where(Function):
    """y = a where condition, else b · da = dy where condition, db = dy elsewhere"""

    def forward(self, condition: Array, a: Array, b: Array) -> Array:
        self.saved = condition, shape_of(a), shape_of(b)
        return namespace(condition).where(condition, a, b)

    def backward(self, dy: Array) -> Gradients:
        condition, a_shape, b_shape = self.saved
        xp = namespace(dy)
        da = unbroadcast(xp.where(condition, dy, 0), a_shape) if self.needs[1] else None
        return None, da, unbroadcast(xp.where(condition, 0, dy), b_shape) if self.needs[2] else None


class Triangle(Function):
    """y = x below (or above) a diagonal, 0 elsewhere · dx = dy there, 0 elsewhere"""

    def forward(self, x: Array, *, diagonal: int, lower: bool) -> Array:
        self.saved = diagonal, lower
        return self._cut(x)

    def _cut(self, x: Array) -> Array:
        diagonal, lower = self.saved
        xp = namespace(x)
        return xp.tril(x, diagonal) if lower else xp.triu(x, diagonal)

    def backward(self, dy: Array) -> Gradients:
        return self._cut(dy)


def where(condition: Tensor, input: Any, other: Any) -> Tensor:
    """Return input where `condition` holds, else other; all three are broadcast.

    Raises:
        TypeError: if `condition` is not a bool tensor.
    """
    mask = _as_mask(condition, "condition")
    a, b = promote(input, other)
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        a = as_tensor(a).astype(result_type(a, b))
    return Where.apply(mask, a, b)


def _as_mask(x: Any, what: str) -> Tensor:
    mask = as_tensor(x, what)
    if mask.array.dtype.kind != "b":
        raise TypeError(f"{what} must be a bool tensor, got {mask.dtype}: compare first, as in x > 0")
    return mask


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Return `input` with `value` (a number or a 0-d tensor) where `mask` is True, broadcast.

    The dtype stays: in a tensor of bools, `value` is True unless it is 0.

    Raises:
        TypeError: if `mask` is not a bool tensor, or `value` is a float and `input` a tensor of integers.
        ValueError: if `value` has axes.
    """
    x, fill = as_tensor(input), as_operand(value)
    if shape_of(fill) != ():
        raise ValueError(f"value must be a number or a 0-d tensor, got shape {fill.shape}: use where")
    if result_type(fill).kind == "f" and x.array.dtype.kind != "f":
        raise TypeError(f"value {value} does not fit a tensor of {x.dtype}: convert the tensor with .float()")
    if isinstance(fill, Tensor):
        fill = fill.astype(x.dtype)
    elif x.array.dtype.kind == "b":
        fill = bool(fill)
    return Where.apply(_as_mask(mask, "mask"), fill, x)


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """Return the last two axes' lower triangle, zeros above `diagonal` (0 is the main one, 1 above it)."""
    return _triangle(input, diagonal, True)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """Return the last two axes' upper triangle, zeros below `diagonal` (0 is the main one, 1 above it)."""
    return _triangle(input, diagonal, False)


def _triangle(input: Tensor, diagonal: int, lower: bool) -> Tensor:
    x = as_tensor(input)
    if x.ndim < 2:
        raise ValueError(f"a triangle needs a matrix, or several: got shape {x.shape}")
    return Triangle.apply(x, diagonal=diagonal, lower=lower)


register(
    name="where",
    function=where,
    composed=None,
    cases=(
        Case((booleans(3, 4), (3, 4), (3, 4))),
        Case((booleans(3, 4), (4,), (3, 1))),
        Case((booleans(4), (3, 4), ())),
    ),
    errors=(ErrorCase(lambda: where(ones(2), 1.0, 0.0), TypeError, "condition must be a bool tensor"),),
    kind="primitive",
    torch="torch.where",
)
register(
    name="masked_fill",
    function=masked_fill,
    composed=None,
    cases=(
        Case(((3, 4), booleans(3, 4)), {"value": -2.5}),
        Case(((3, 4), booleans(4)), {"value": 0}),
        Case(((3, 4), booleans(3, 1), ())),
    ),
    errors=(
        ErrorCase(lambda: masked_fill(ones(2), ones(2), 0), TypeError, "mask must be a bool tensor"),
        ErrorCase(lambda: masked_fill(ones(2), ones(2) > 0, ones(2)), ValueError, "0-d"),
        ErrorCase(lambda: masked_fill(tensor([1, 2]), ones(2) > 0, 0.5), TypeError, "does not fit"),
    ),
    kind="primitive",
    torch="torch.masked_fill",
)
for _function in (tril, triu):
    register(
        name=_function.__name__,
        function=_function,
        composed=None,
        cases=(
            Case(((3, 4),)),
            Case(((2, 3, 3),), {"diagonal": 1}),
            Case(((4, 3),), {"diagonal": -1}),
        ),
        errors=(ErrorCase(lambda f=_function: f(ones(2)), ValueError, "needs a matrix"),),  # type: ignore[misc]
        kind="primitive",
        torch=f"torch.{_function.__name__}",
    )
