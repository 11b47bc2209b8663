"""Products of matrices and vectors.

The gradient of y = a @ b is again two products: da = dy @ bᵀ and db = aᵀ @ dy.
"""

import math
from typing import Any

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array
from ..backends.cpu.half import downcast, upcast
from ..registry import Case, ErrorCase, register
from .arithmetic import mul
from .broadcast import unbroadcast
from .creation import ones
from .operands import as_tensor, promote
from .shape import unsqueeze


class MatMul(Function):
    """y = a @ b over the last two axes · da = dy @ bᵀ, db = aᵀ @ dy

    A vector counts as a row on the left and as a column on the right, as in NumPy.
    """

    def forward(self, a: Array, b: Array) -> Array:
        self.saved = a if self.needs[1] else None, b if self.needs[0] else None, a.shape, b.shape
        return downcast(upcast(a) @ upcast(b), a)

    def backward(self, dy: Array) -> Gradients:
        a, b, a_shape, b_shape = self.saved
        dy = upcast(dy)
        if len(a_shape) == len(b_shape) == 2:
            da = dy @ upcast(b).swapaxes(0, 1) if self.needs[0] else None
            return da, upcast(a).swapaxes(0, 1) @ dy if self.needs[1] else None
        a2_shape = (1, *a_shape) if len(a_shape) == 1 else a_shape
        b2_shape = (*b_shape, 1) if len(b_shape) == 1 else b_shape
        rows = dy.shape[: dy.ndim - (len(b_shape) > 1)]
        if len(a_shape) == 1:
            rows = (*rows, 1)
        dy = dy.reshape((*rows, b2_shape[-1]))
        da = db = None
        if self.needs[0]:
            b2 = upcast(b).reshape(b2_shape)
            da = unbroadcast(dy @ b2.swapaxes(-1, -2), a2_shape).reshape(a_shape)
        if self.needs[1]:
            a2 = upcast(a).reshape(a2_shape)
            if len(b2_shape) == 2 and len(a2_shape) > 2:  # one product, not a sum of many
                n = math.prod(rows)
                a2, dy = a2.reshape(n, a2_shape[-1]), dy.reshape(n, dy.shape[-1])
            db = unbroadcast(a2.swapaxes(-1, -2) @ dy, b2_shape).reshape(b_shape)
        return da, db


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Return the matrix product over the last two axes; leading axes are broadcast.

    A 1-d tensor counts as a row on the left, as a column on the right.

    Raises:
        ValueError: if one has no axes, the inner sizes differ, or the leading axes do not broadcast.
    """
    a, b = promote(as_tensor(input), as_tensor(other, "other"))
    x, y = a.shape, b.shape
    if not x or not y:
        raise ValueError("matmul needs tensors with at least one axis: use * for a number")
    inner = y[-2] if len(y) > 1 else y[0]
    if x[-1] != inner:
        raise ValueError(
            f"matmul of {x} and {y}: the last size of the first ({x[-1]}) must equal "
            f"the {'second last' if len(y) > 1 else 'only'} size of the second ({inner})"
        )
    if len(x) > 2 < len(y) and any(m != n and 1 not in (m, n) for m, n in zip(x[-3::-1], y[-3::-1])):  # noqa: B905
        raise ValueError(f"matmul of {x} and {y}: the axes before the last two must be equal, or 1")
    return MatMul.apply(a, b)


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """Return the product of two matrices, (n, m) and (m, p): (n, p).

    Raises:
        ValueError: if one is not a matrix, or the inner sizes differ.
    """
    return matmul(*_with_axes("mm", 2, input, mat2))


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Return the products of two batches of matrices, (b, n, m) and (b, m, p): (b, n, p).

    Raises:
        ValueError: if one is not a batch of matrices, or the batch sizes or the inner sizes differ.
    """
    a, b = _with_axes("bmm", 3, input, mat2)
    if a.shape[0] != b.shape[0]:
        raise ValueError(f"bmm of {a.shape} and {b.shape}: both need the same number of matrices")
    return matmul(a, b)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """Return every element of one vector times every element of another: (n,), (m,) → (n, m).

    Raises:
        ValueError: if one is not a vector.
    """
    a, b = _with_axes("outer", 1, input, vec2)
    return mul(unsqueeze(a, 1), b)


def _with_axes(name: str, ndim: int, *inputs: Any) -> list[Tensor]:
    tensors = [as_tensor(x) for x in inputs]
    for x in tensors:
        if x.ndim != ndim:
            raise ValueError(f"{name} needs two tensors with ndim = {ndim}, got one of shape {x.shape}")
    return tensors


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
        Case(((2, 0), (0, 3))),
        Case(((0, 2, 3), (3, 0))),
    ),
    errors=(
        ErrorCase(lambda: matmul(ones(1, 2), ones(1, 2)), ValueError, "last size of the first"),
        ErrorCase(lambda: matmul(ones(2), ones(())), ValueError, "at least one axis"),
        ErrorCase(lambda: matmul(ones(2, 1, 1), ones(3, 1, 1)), ValueError, "must be equal, or 1"),
    ),
    kind="primitive",
    torch="torch.matmul",
)
register(
    name="mm",
    function=mm,
    composed=None,
    cases=(Case(((3, 4), (4, 2))),),
    errors=(ErrorCase(lambda: mm(ones(2), ones(1, 2)), ValueError, "ndim = 2"),),
    kind="primitive",
    torch="torch.mm",
)
register(
    name="bmm",
    function=bmm,
    composed=None,
    cases=(Case(((2, 3, 4), (2, 4, 5))), Case(((0, 3, 4), (0, 4, 5)))),
    errors=(
        ErrorCase(lambda: bmm(ones(1, 2), ones(1, 2)), ValueError, "ndim = 3"),
        ErrorCase(lambda: bmm(ones(1, 1, 1), ones(2, 1, 1)), ValueError, "same number of matrices"),
    ),
    kind="primitive",
    torch="torch.bmm",
)
register(
    name="outer",
    function=outer,
    composed=None,
    cases=(Case(((3,), (4,))), Case(((0,), (2,)))),
    errors=(ErrorCase(lambda: outer(ones(1, 2), ones(2)), ValueError, "ndim = 1"),),
    kind="primitive",
    torch="torch.outer",
)
