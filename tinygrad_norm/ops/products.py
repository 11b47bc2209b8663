"""Further products: the cross product of vectors, the Kronecker product, contraction of any axes.

The cross product is the only one with a derivation of its own; the others are made from reshape and matmul,
and autograd finds their gradients.

    y = a × b     y_i = a_{i+1}·b_{i+2} - a_{i+2}·b_{i+1}, indices modulo 3

Backward: dL = dy·(da × b) + dy·(a × db), and the triple product stays when its vectors move round in a
circle, dy·(da × b) = da·(b × dy). So da = b × dy, and db = dy × a.
"""

import math
from collections.abc import Sequence
from typing import Any

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..registry import Case, ErrorCase, register
from .arguments import as_number
from .creation import ones, ones_like
from .dims import named_dims, normalize_dim
from .linalg import bmm, matmul, mm
from .masking import masked_fill
from .operands import as_tensor, promote
from .shape import expand, permute, reshape
from .shortcuts import mv


class Cross(Function):
    """y = a × b along `dim` · da = b × dy, db = dy × a"""

    def forward(self, a: Array, b: Array, *, dim: int) -> Array:
        self.saved = a if self.needs[1] else None, b if self.needs[0] else None, dim
        return _cross(a, b, dim)

    def backward(self, dy: Array) -> Gradients:
        a, b, dim = self.saved
        da = _cross(b, dy, dim) if self.needs[0] else None
        return da, _cross(dy, a, dim) if self.needs[1] else None


def _cross(a: Array, b: Array, dim: int) -> Array:
    roll = namespace(a).roll
    return roll(a, -1, dim) * roll(b, -2, dim) - roll(a, -2, dim) * roll(b, -1, dim)


def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """Return the cross product of vectors of 3 along axis `dim`: by default the first axis of size 3.

    Raises:
        ValueError: if the shapes do not broadcast, or the axis does not have size 3.
    """
    a, b = promote(as_tensor(input), as_tensor(other, "other"))
    shape = _broadcast("cross", a, b)
    if dim is None:
        axis = shape.index(3) if 3 in shape else -1
    else:
        axis = normalize_dim(dim, len(shape))
    if axis < 0 or not shape or shape[axis] != 3:
        raise ValueError(f"cross needs an axis of size 3, got shapes {a.shape} and {b.shape}, dim={dim}")
    return Cross.apply(expand(a, shape), expand(b, shape), dim=axis)


def _broadcast(name: str, a: Tensor, b: Tensor) -> tuple[int, ...]:
    ndim = max(a.ndim, b.ndim)
    pairs = list(zip((1,) * (ndim - a.ndim) + a.shape, (1,) * (ndim - b.ndim) + b.shape, strict=True))
    if any(m != n and 1 not in (m, n) for m, n in pairs):
        raise ValueError(f"{name} takes shapes that broadcast together, got {a.shape} and {b.shape}")
    return tuple([n if m == 1 else m for m, n in pairs])


def kron(input: Tensor, other: Tensor) -> Tensor:
    """Return the Kronecker product: `other` times every element of `input`, as blocks.

    Of shapes (M, N) and (P, Q) the result is (M·P, N·Q); leading axes of size 1 are added to the shorter one.
    """
    a, b = promote(as_tensor(input), as_tensor(other, "other"))
    ndim = max(a.ndim, b.ndim)
    ms, ns = ((1,) * (ndim - x.ndim) + x.shape for x in (a, b))
    blocks = reshape(a, [n for m in ms for n in (m, 1)]) * reshape(b, [k for n in ns for k in (1, n)])
    return reshape(blocks, [m * n for m, n in zip(ms, ns, strict=True)])


def tensordot(a: Tensor, b: Tensor, dims: int | Sequence[Sequence[int]] = 2) -> Tensor:
    """Return the sum of products over pairs of axes, then the other axes of a, then those of b.

    Args:
        dims: how many of the last axes of a and the first of b are summed over; or two lists of axes.

    Raises:
        TypeError: if dims is neither.
        ValueError: if there are too few axes, the lists differ in length, or the sizes differ.
    """
    a, b = promote(as_tensor(a, "a"), as_tensor(b, "b"))
    if isinstance(dims, int) and not isinstance(dims, bool):
        if not 0 <= dims <= min(a.ndim, b.ndim):
            raise ValueError(f"dims={dims} does not fit shapes {a.shape} and {b.shape}")
        first, second = tuple(range(a.ndim - dims, a.ndim)), tuple(range(dims))
    elif isinstance(dims, list | tuple) and len(dims) == 2:
        first, second = named_dims(dims[0], a.ndim), named_dims(dims[1], b.ndim)
    else:
        raise TypeError(f"dims must be an int, or two lists of axes, got {dims!r}")
    sizes = [a.shape[i] for i in first]
    if sizes != [b.shape[i] for i in second]:
        raise ValueError(
            f"axes {list(first)} of {a.shape} and {list(second)} of {b.shape} differ in their sizes"
        )
    rows, columns = (
        [i for i in range(a.ndim) if i not in first],
        [i for i in range(b.ndim) if i not in second],
    )
    inner = math.prod(sizes)
    left = reshape(permute(a, (*rows, *first)), (math.prod([a.shape[i] for i in rows]), inner))
    right = reshape(permute(b, (*second, *columns)), (inner, math.prod([b.shape[i] for i in columns])))
    return reshape(matmul(left, right), [*(a.shape[i] for i in rows), *(b.shape[i] for i in columns)])


def inner(input: Tensor, other: Tensor) -> Tensor:
    """Return the sums of products over the last axis of both; with a 0-d tensor, the product.

    Raises:
        ValueError: if the last sizes differ.
    """
    a, b = promote(as_tensor(input), as_tensor(other, "other"))
    return a * b if not a.ndim or not b.ndim else tensordot(a, b, ([-1], [-1]))


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Return beta·input + alpha·(mat1 @ mat2); what counts 0 times may be NaN.

    Raises:
        ValueError: if mat1 and mat2 are not matrices, or the shapes do not fit.
    """
    return _plus(input, mm(mat1, mat2), beta, alpha)


def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Return beta·input + alpha·(mat @ vec); what counts 0 times may be NaN.

    Raises:
        ValueError: if mat is not a matrix or vec not a vector, or the shapes do not fit.
    """
    return _plus(input, mv(mat, vec), beta, alpha)


def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Return beta·input + alpha·(batch1 @ batch2), matrix by matrix; what counts 0 times may be NaN.

    Raises:
        ValueError: if batch1 and batch2 are not batches of matrices, or the shapes do not fit.
    """
    return _plus(input, bmm(batch1, batch2), beta, alpha)


def _plus(input: Any, product: Tensor, beta: float, alpha: float) -> Tensor:
    as_number(beta, "beta")
    as_number(alpha, "alpha")
    x = as_tensor(input)
    if _broadcast("the sum", x, product) != product.shape:
        raise ValueError(f"an input of shape {x.shape} does not broadcast to the product's {product.shape}")
    return _times(x, beta) + _times(product, alpha)


def _times(x: Tensor, factor: float) -> Tensor:
    """Return factor·x: for 0 not even NaN comes through, but the result requires grad as x does."""
    if factor == 0:
        return masked_fill(x, ones_like(x, dtype="bool"), 0)
    return x if factor == 1 else x * factor


register(
    name="cross",
    function=cross,
    composed=None,
    cases=(
        Case(((2, 3), (2, 3))),
        Case(((3, 1), (3, 4)), {"dim": 0}),
        Case(((2, 3), (2, 3)), {"dim": -1}),
        Case(((0, 3), (0, 3))),
    ),
    errors=(
        ErrorCase(lambda: cross(ones(2), ones(2)), ValueError, "axis of size 3"),
        ErrorCase(lambda: cross(ones(2, 3), ones(4, 3)), ValueError, "broadcast"),
    ),
    kind="primitive",
    torch="torch.cross",
)
register(
    name="kron",
    function=kron,
    composed=None,
    cases=(Case(((2, 3), (3, 2))), Case(((2,), (2, 3))), Case(((), (2,))), Case(((0, 2), (2, 2)))),
    errors=(ErrorCase(lambda: kron([1.0], ones(2)), TypeError, "must be a Tensor"),),  # type: ignore[arg-type]
    kind="primitive",
    torch="torch.kron",
)
register(
    name="tensordot",
    function=tensordot,
    composed=None,
    cases=(
        Case(((2, 3, 4), (3, 4, 5))),
        Case(((2, 3), (4,)), {"dims": 0}),
        Case(((2, 3, 4), (4, 5, 2)), {"dims": ([2, 0], [0, 2])}),
    ),
    errors=(
        ErrorCase(lambda: tensordot(ones(2), ones(2), 2), ValueError, "does not fit"),
        ErrorCase(lambda: tensordot(ones(2), ones(3), 1), ValueError, "differ in their sizes"),
        ErrorCase(lambda: tensordot(ones(2), ones(2), 1.0), TypeError, "two lists"),  # type: ignore[arg-type]
    ),
    kind="primitive",
    torch="torch.tensordot",
)
register(
    name="inner",
    function=inner,
    composed=None,
    cases=(Case(((3,), (3,))), Case(((2, 3), (4, 3))), Case(((), (2, 3)))),
    errors=(ErrorCase(lambda: inner(ones(2), ones(3)), ValueError, "differ in their sizes"),),
    kind="primitive",
    torch="torch.inner",
)
for _function, _inputs in (
    (addmm, ((2, 4), (2, 3), (3, 4))),
    (addmv, ((2,), (2, 3), (3,))),
    (baddbmm, ((2, 2, 4), (2, 2, 3), (2, 3, 4))),
):
    register(
        name=_function.__name__,
        function=_function,
        composed=None,
        cases=(
            Case(_inputs),
            Case(((1,) * len(_inputs[0]), *_inputs[1:]), {"beta": 0.5, "alpha": -2}),
            Case(_inputs, {"beta": 0}),
        ),
        errors=(
            ErrorCase(
                lambda f=_function: f(ones(7), ones(2, 2), ones(2)),  # type: ignore[misc]
                ValueError,
                "",
            ),
        ),
        kind="primitive",
        torch=f"torch.{_function.__name__}",
    )
