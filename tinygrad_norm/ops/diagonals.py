"""Diagonals of matrices: taken out, added up, and written into a matrix of zeros.

Taking a diagonal out and writing it into zeros are each other's gradient.
"""

from typing import Any

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..registry import Case, ErrorCase, register
from .arguments import as_size
from .creation import ones
from .dims import normalize_dim
from .operands import as_tensor
from .reduction import sum
from .shape import movedim


class TakeDiagonal(Function):
    """y_i = x_{i, i + offset} of the last two axes · dx = 0, but dy on the diagonal"""

    def forward(self, x: Array, *, offset: int) -> Array:
        self.saved = x.shape, offset
        rows, columns = _places(namespace(x), x.shape, offset)
        return x[..., rows, columns]

    def backward(self, dy: Array) -> Gradients:
        shape, offset = self.saved
        xp = namespace(dy)
        dx = xp.zeros(shape, dy.dtype)
        dx[(..., *_places(xp, shape, offset))] = dy
        return dx


class PutDiagonal(Function):
    """y = 0, but x on a diagonal of the last two axes · dx = dy on the diagonal"""

    def forward(self, x: Array, *, offset: int) -> Array:
        n = x.shape[-1] + abs(offset)
        xp = namespace(x)
        y = xp.zeros((*x.shape[:-1], n, n), x.dtype)
        self.saved = y.shape, offset
        y[(..., *_places(xp, y.shape, offset))] = x
        return y

    def backward(self, dy: Array) -> Gradients:
        shape, offset = self.saved
        return dy[(..., *_places(namespace(dy), shape, offset))]


def _places(xp: Any, shape: tuple[int, ...], offset: int) -> tuple[Array, Array]:
    """Return the rows and the columns of a diagonal in matrices of `shape` (..., M, N)."""
    M, N = shape[-2:]
    i = xp.arange(max(0, min(M + min(offset, 0), N - max(offset, 0))))
    return i - min(offset, 0), i + max(offset, 0)


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Return a copy of the diagonals of the matrices on axes `dim1` and `dim2`, as the last axis.

    Args:
        input: at least two axes.
        offset: 0 for the main diagonal, above 0 for one above it, below 0 for one below it.

    Raises:
        IndexError: if an axis does not exist.
        ValueError: if both axes are the same, or there are less than two.
    """
    x = as_tensor(input)
    if x.ndim < 2:
        raise ValueError(f"diagonal needs a matrix, or several: got shape {x.shape}")
    first, second = normalize_dim(dim1, x.ndim), normalize_dim(dim2, x.ndim)
    if first == second:
        raise ValueError(f"diagonal needs two different axes, got dim1={dim1} and dim2={dim2}")
    offset = as_size(offset, "offset", None)
    return TakeDiagonal.apply(movedim(x, (first, second), (-2, -1)), offset=offset)


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """Return the diagonal of a matrix, or for a vector the matrix of zeros with it on the diagonal.

    Raises:
        ValueError: if the input has neither one axis nor two.
    """
    x = as_tensor(input)
    offset = as_size(diagonal, "diagonal", None)
    if x.ndim == 1:
        return PutDiagonal.apply(x, offset=offset)
    if x.ndim != 2:
        raise ValueError(f"diag takes a vector or a matrix, got shape {x.shape}: use diagonal")
    return TakeDiagonal.apply(x, offset=offset)


def trace(input: Tensor) -> Tensor:
    """Return the sum of the main diagonal of a matrix.

    Raises:
        ValueError: if the input is not a matrix.
    """
    x = as_tensor(input)
    if x.ndim != 2:
        raise ValueError(f"trace takes a matrix, got shape {x.shape}: use diagonal(...).sum(-1) for several")
    return sum(TakeDiagonal.apply(x, offset=0))


register(
    name="diagonal",
    function=diagonal,
    composed=None,
    cases=(
        Case(((3, 4),)),
        Case(((2, 3, 4),), {"offset": 1, "dim1": -1, "dim2": 0}),
        Case(((3, 4),), {"offset": -2}),
        Case(((2, 3),), {"offset": 5}),
        Case(((0, 3),)),
    ),
    errors=(
        ErrorCase(lambda: diagonal(ones(2)), ValueError, "needs a matrix"),
        ErrorCase(lambda: diagonal(ones(2, 2), 0, 1, -1), ValueError, "two different axes"),
        ErrorCase(lambda: diagonal(ones(2, 2), 0, 2), IndexError, "out of range"),
    ),
    kind="primitive",
    torch="torch.diagonal",
)
register(
    name="diag",
    function=diag,
    composed=None,
    cases=(
        Case(((3,),)),
        Case(((2,),), {"diagonal": 1}),
        Case(((2,),), {"diagonal": -2}),
        Case(((3, 4),), {"diagonal": 1}),
        Case(((0,),)),
    ),
    errors=(ErrorCase(lambda: diag(ones(2, 2, 2)), ValueError, "a vector or a matrix"),),
    kind="primitive",
    torch="torch.diag",
)
register(
    name="trace",
    function=trace,
    composed=None,
    cases=(Case(((3, 3),)), Case(((2, 4),)), Case(((0, 3),))),
    errors=(ErrorCase(lambda: trace(ones(2)), ValueError, "takes a matrix"),),
    kind="primitive",
    torch="torch.trace",
)
