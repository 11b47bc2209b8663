"""Order along an axis: sorted values, the k largest, and running extremes, each with its positions.

Only the positions are found here, on plain arrays. The values are gathered at them, and the gradient of a
value goes back to the position it came from. NaN counts as larger than every number, as in PyTorch.
"""

from typing import Any

import numpy

from ..autograd.tensor import Tensor
from ..backends import Array, asarray, namespace, to_numpy
from ..registry import Case, ErrorCase, distinct, fixed, register
from .arguments import as_size, check_flags
from .creation import ones
from .dims import normalize_dim, with_numpy_names
from .extremes import ValuesAndIndices
from .indexing import gather
from .operands import as_tensor
from .shape import reshape


def _order(x: Array, axis: int, descending: bool) -> Array:
    """Return the positions in sorted order; equal elements keep theirs."""
    xp = namespace(x)
    if not descending:
        return xp.argsort(x, axis, kind="stable")
    # Sorting backwards what was turned round leaves equal elements in their order.
    backwards = xp.flip(xp.argsort(xp.flip(x, axis), axis, kind="stable"), axis)
    return x.shape[axis] - 1 - backwards


def _values_at(x: Tensor, axis: int, positions: Array) -> ValuesAndIndices:
    index = Tensor._wrap(positions.astype(numpy.int64, "C"))
    return ValuesAndIndices(gather(x, axis, index), index)


@with_numpy_names
def sort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> ValuesAndIndices:
    """Return the values along axis `dim` in ascending or descending order, and their positions.

    Equal elements keep their order, whether or not `stable` asks for it.

    Raises:
        IndexError: if there is no such axis.
    """
    check_flags(descending=descending, stable=stable)
    x = as_tensor(input)
    axis = normalize_dim(dim, x.ndim)
    if not x.ndim:
        return _of_a_number(sort(reshape(x, 1)))
    return _values_at(x, axis, _order(x.array, axis, descending))


@with_numpy_names
def argsort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Tensor:
    """Return the positions that sort the values along axis `dim`, as `sort` does.

    Raises:
        IndexError: if there is no such axis.
    """
    return sort(as_tensor(input).detach(), dim, descending, stable=stable).indices


@with_numpy_names
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> ValuesAndIndices:
    """Return the k largest (or smallest) values along axis `dim`, in order, and their positions.

    `sorted` is accepted, and has no effect.

    Raises:
        IndexError: if there is no such axis.
        ValueError: if k is negative, or larger than the axis.
    """
    check_flags(largest=largest, sorted=sorted)
    x = as_tensor(input)
    axis = normalize_dim(dim, x.ndim)
    size = x.shape[axis] if x.ndim else 1
    if as_size(k, "k", 0) > size:
        raise ValueError(f"topk with k={k}, but axis {dim} has only {size} elements")
    if not x.ndim:
        return _of_a_number(topk(reshape(x, 1), 1)) if k else topk(reshape(x, 1), 0)
    first = (slice(None),) * axis + (slice(k),)
    return _values_at(x, axis, _order(x.array, axis, largest)[first])


@with_numpy_names
def cummax(input: Tensor, dim: int) -> ValuesAndIndices:
    """Return the largest value so far along axis `dim`, and its position; of equal ones the last.

    Raises:
        IndexError: if there is no such axis.
    """
    return _running("maximum", input, dim)


@with_numpy_names
def cummin(input: Tensor, dim: int) -> ValuesAndIndices:
    """Return the smallest value so far along axis `dim`, and its position; of equal ones the last.

    Raises:
        IndexError: if there is no such axis.
    """
    return _running("minimum", input, dim)


def _running(extreme: str, input: Any, dim: int) -> ValuesAndIndices:
    x = as_tensor(input)
    axis = normalize_dim(dim, x.ndim)
    if not x.ndim:
        return _of_a_number(_running(extreme, reshape(x, 1), 0))
    values = to_numpy(x.array)  # CuPy has no running maximum
    best = getattr(numpy, extreme).accumulate(values, axis)
    along = [-1 if i == axis else 1 for i in range(x.ndim)]
    places = numpy.arange(values.shape[axis]).reshape(along)
    new = (values == best) | (values != values)
    return _values_at(x, axis, asarray(numpy.maximum.accumulate(numpy.where(new, places, 0), axis)))


def _of_a_number(one: ValuesAndIndices) -> ValuesAndIndices:
    return ValuesAndIndices(reshape(one.values, ()), reshape(one.indices, ()))


_ROWS = fixed([[0.5, -1.0, 3.0, 2.0], [1.5, 0.25, -2.0, 0.0]])

register(
    name="sort",
    function=sort,
    composed=None,
    cases=(
        Case((distinct(3, 4),)),
        Case((distinct(2, 3, 4),), {"dim": 1, "descending": True}),
        Case((distinct(),)),
        Case((distinct(0, 3),), {"dim": 0}),
    ),
    errors=(ErrorCase(lambda: sort(ones(2), 1), IndexError, "dim 1 is out of range"),),
    kind="primitive",
    torch="torch.sort",
)
register(
    name="argsort",
    function=argsort,
    composed=None,
    cases=(Case((_ROWS,)), Case((_ROWS,), {"dim": 0, "descending": True})),
    errors=(ErrorCase(lambda: argsort(ones(2), 1), IndexError, "dim 1 is out of range"),),
    kind="primitive",
    torch="torch.argsort",
)
register(
    name="topk",
    function=topk,
    composed=None,
    cases=(
        Case((distinct(3, 4),), {"k": 2}),
        Case((distinct(4, 3),), {"k": 3, "dim": 0, "largest": False}),
        Case((distinct(3),), {"k": 0}),
    ),
    errors=(
        ErrorCase(lambda: topk(ones(2), 3), ValueError, "only 2 elements"),
        ErrorCase(lambda: topk(ones(2), -1), ValueError, "k must be at least 0"),
    ),
    kind="primitive",
    torch="torch.topk",
)
for _function in (cummax, cummin):
    register(
        name=_function.__name__,
        function=_function,
        composed=None,
        cases=(
            Case((distinct(3, 4),), {"dim": 0}),
            Case((distinct(2, 3, 2),), {"dim": -2}),
            Case((distinct(),), {"dim": 0}),
        ),
        errors=(ErrorCase(lambda f=_function: f(ones(1), 1), IndexError, "dim 1 is out of range"),),  # type: ignore[misc]
        kind="primitive",
        torch=f"torch.{_function.__name__}",
    )
