"""Writing to positions along an axis: the opposite of gather and index_select.

    scatter         y = x, but y[i][index[i][j]] = src[i][j]        (here for dim = 1)
    scatter_add     y = x, but y[i][index[i][j]] += src[i][j]
    index_add       y = x, but y[index[j]] += source[j]             (here for dim = 0)
    index_put       y = x, but y[key] = values, or += values

Backward: what is added gets dy at the place that it was added to, and x gets dy. A number that was
overwritten gets 0, and the one that was written gets dy from there. If a place is written twice, the last one
stays; all of them get dy, as in PyTorch: which of them stayed is not kept.
"""

from collections.abc import Sequence
from typing import Any

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..registry import Case, ErrorCase, fixed, integers, register
from .arguments import as_number, check_flags
from .creation import full, ones, tensor, zeros
from .dims import normalize_dim
from .indexing import Scatter, _arange_along, _checked_index, split_key
from .operands import as_tensor
from .shape import expand, reshape


class Place(Function):
    """y = x, but y[key] = src · dx = dy, but dx[key] = 0; dsrc = dy[key]"""

    def forward(self, x: Array, src: Array, *, key: tuple[Any, ...]) -> Array:
        self.saved = (key,)
        y = x.copy()
        y[key] = src
        return y

    def backward(self, dy: Array) -> Gradients:
        (key,) = self.saved
        dx = None
        if self.needs[0]:
            dx = dy.copy()
            dx[key] = namespace(dx).zeros((), dx.dtype)
        return dx, dy[key] if self.needs[1] else None


def scatter(input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None) -> Tensor:
    """Return input with `src` written at the positions `index` along axis `dim`.

    Args:
        input: any shape.
        dim: the axis along which `index` counts.
        index: integers, with as many axes as input; on the other axes no larger than input.
        src: a tensor at least as large as `index` on every axis, or a number.
        value: a number, in place of `src`.

    Raises:
        TypeError: if neither src nor value is given, the index is not of integers, or the dtypes differ.
        ValueError: if a shape does not fit.
        IndexError: if an index is not in 0 to size − 1.
    """
    src = value if src is None else src
    if src is None:
        raise TypeError("scatter needs src, a tensor, or value, a number")
    x, key, shape = _places("scatter", input, dim, index)
    if not isinstance(src, Tensor):
        src = full(shape, as_number(src, "value"), dtype=x.dtype)
    y = Place.apply(_with_axes(x), _part("scatter", x, src, shape), key=key)
    return reshape(y, x.shape)


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """Return input with `src` added at the positions `index` along axis `dim`; arguments as of scatter.

    Raises:
        TypeError, ValueError, IndexError: as scatter.
    """
    x, key, shape = _places("scatter_add", input, dim, index)
    added = _part("scatter_add", x, as_tensor(src, "src"), shape)
    return x + reshape(_scattered(added, _with_axes(x).shape, key), x.shape)


def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """Return input with the slices of alpha·source added to those at the positions `index` along axis `dim`.

    Args:
        input: any shape.
        dim: the axis of the slices.
        index: integers (n,).
        source: of input's shape, but with n on axis `dim`.

    Raises:
        TypeError: if the index is not of integers, or the dtypes differ.
        ValueError: if a shape does not fit.
        IndexError: if an index is not in 0 to size − 1.
    """
    x, s, i = as_tensor(input), as_tensor(source, "source"), as_tensor(index, "index")
    axis = normalize_dim(dim, x.ndim)
    positions = _checked_index("index_add", i, x.shape[axis] if x.ndim else 1).reshape(-1)
    expected = (*x.shape[:axis], positions.size, *x.shape[axis + 1 :]) if x.ndim else ()
    if i.ndim > 1 or s.shape != expected:
        raise ValueError(
            f"index_add to shape {x.shape} along axis {axis} takes an index (n,) and a source of shape "
            f"{expected}, got {i.shape} and {s.shape}"
        )
    _check_dtype("index_add", x, s)
    added = s if as_number(alpha, "alpha") == 1 else s * alpha
    key = (slice(None),) * axis + (positions.copy(),)
    return x + reshape(_scattered(_with_axes(added), _with_axes(x).shape, key), x.shape)


def index_put(input: Tensor, indices: Sequence[Any], values: Tensor, accumulate: bool = False) -> Tensor:
    """Return input with `values` written, or added if `accumulate`, at input[indices].

    Args:
        input: any shape.
        indices: tensors of integers or bools, one for each of the first axes.
        values: a tensor that broadcasts to the shape of input[indices].
        accumulate: add; a place that is named several times gets the sum.

    Raises:
        TypeError: if the indices are not a tuple or list, or the dtypes differ.
        IndexError: if an index is out of range.
        ValueError: if the values do not broadcast.
    """
    check_flags(accumulate=accumulate)
    if not isinstance(indices, tuple | list):
        raise TypeError(f"indices must be a tuple of tensors, got {type(indices).__name__}")
    x, v = as_tensor(input), as_tensor(values, "values")
    _check_dtype("index_put", x, v)
    key = split_key(tuple(indices))[1]
    if key is None:
        raise TypeError("indices must be tensors of integers or bools")
    key = tuple([k.copy() if hasattr(k, "dtype") else k for k in key])
    v = expand(v, x.array[key].shape)
    return x + _scattered(v, x.shape, key) if accumulate else Place.apply(x, v, key=key)


def _scattered(added: Tensor, shape: tuple[int, ...], key: tuple[Any, ...]) -> Tensor:
    return Scatter.apply(added, shape=shape, key=key)


def _with_axes(x: Tensor) -> Tensor:
    return x if x.ndim else reshape(x, 1)


def _places(name: str, input: Any, dim: int, index: Any) -> tuple[Tensor, tuple[Array, ...], tuple[int, ...]]:
    """Return input, the key of the positions, and the shape of what is written there."""
    x, i = as_tensor(input), as_tensor(index, "index")
    axis = normalize_dim(dim, x.ndim)
    shape = i.shape if x.ndim or i.ndim else (1,)
    own = x.shape or (1,)
    if len(own) != len(shape) or any(shape[d] > own[d] for d in range(len(own)) if d != axis):
        raise ValueError(
            f"{name} along axis {axis} of a tensor of shape {x.shape} needs an index with as many axes and "
            f"no larger sizes on the other axes, got {i.shape}"
        )
    positions = _checked_index(name, i, own[axis]).reshape(shape).copy()
    xp = namespace(positions)
    key = [positions if d == axis else _arange_along(xp, d, shape) for d in range(len(shape))]
    return x, tuple(key), shape


def _part(name: str, x: Tensor, src: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the part of src that has the shape of the index."""
    _check_dtype(name, x, src)
    src = _with_axes(src)
    if src.ndim != len(shape) or any(n < m for n, m in zip(src.shape, shape, strict=True)):
        raise ValueError(f"{name} needs a src at least as large as the index {shape}, got {src.shape}")
    return src if src.shape == shape else src[tuple([slice(n) for n in shape])]


def _check_dtype(name: str, x: Tensor, src: Tensor) -> None:
    if x.dtype != src.dtype:
        raise TypeError(f"{name} writes {src.dtype} into {x.dtype}: convert one of them with .to(dtype)")


_INDEX, _ONCE = fixed([[3, 0, 0], [1, 1, 1]]), fixed([[3, 0, 1], [1, 3, 2]])

register(
    name="scatter",
    function=scatter,
    composed=None,
    cases=(
        Case(((3, 4), _ONCE, (2, 3)), {"dim": 1}),
        Case(((4, 3), _ONCE, (2, 3)), {"dim": 0}),
        Case(((3, 4), _INDEX), {"dim": -1, "value": 2.5}),
        Case(((4,), fixed([2]), (1,)), {"dim": 0}),
    ),
    inputs=("input", "index", "src"),
    errors=(
        ErrorCase(lambda: scatter(ones(2), 0, tensor([0])), TypeError, "needs src"),
        ErrorCase(lambda: scatter(ones(2), 0, tensor([2]), 1.0), IndexError, "use 0 to 1"),
        ErrorCase(lambda: scatter(ones(2), 0, tensor([0, 1]), ones(1)), ValueError, "as large as the index"),
        ErrorCase(lambda: scatter(ones(2), 0, tensor([0]), tensor([1])), TypeError, "convert one"),
        ErrorCase(lambda: scatter(ones(2, 2), 0, tensor([0]), 1.0), ValueError, "as many axes"),
    ),
    kind="primitive",
    torch="torch.scatter",
)
register(
    name="scatter_add",
    function=scatter_add,
    composed=None,
    cases=(
        Case(((3, 4), _INDEX, (2, 3)), {"dim": 1}),
        Case(((4, 3), _INDEX, (2, 3)), {"dim": 0}),
        Case(((3, 2), integers(3, 0, 2), (0, 2)), {"dim": 0}),
    ),
    inputs=("input", "index", "src"),
    errors=(
        ErrorCase(lambda: scatter_add(ones(2), 0, tensor([2]), ones(1)), IndexError, "use 0 to 1"),
        ErrorCase(lambda: scatter_add(ones(2), 0, ones(1), ones(1)), TypeError, "index of integers"),
    ),
    kind="primitive",
    torch="torch.scatter_add",
)
register(
    name="index_add",
    function=index_add,
    composed=None,
    cases=(
        Case(((3, 4), fixed([2, 0, 2, 1]), (4, 4)), {"dim": 0}),
        Case(((2, 3), fixed([2, 2]), (2, 2)), {"dim": 1, "alpha": -0.5}),
        Case(((0, 3), fixed([1, 1]), (0, 2)), {"dim": 1}),
    ),
    inputs=("input", "index", "source"),
    errors=(
        ErrorCase(lambda: index_add(ones(2), 0, tensor([0]), ones(2)), ValueError, "source of shape (1,)"),
        ErrorCase(lambda: index_add(ones(2), 0, tensor([-1]), ones(1)), IndexError, "use 0 to 1"),
        ErrorCase(lambda: index_add(ones(2), 0, tensor([0]), zeros(1, dtype=int)), TypeError, "convert one"),
    ),
    kind="primitive",
    torch="torch.index_add",
)


def _index_put(input: Tensor, values: Tensor, *, rows: Any, accumulate: bool = False) -> Tensor:
    return index_put(input, (tensor(rows),), values, accumulate)


register(
    name="index_put",
    function=_index_put,
    composed=None,
    cases=(
        Case(((3, 4), (2, 4)), {"rows": [2, 0]}),
        Case(((3, 4), ()), {"rows": [1, 1], "accumulate": True}),
        Case(((3, 4), (4,)), {"rows": [True, False, True]}),
    ),
    errors=(
        ErrorCase(lambda: index_put(ones(2), tensor([0]), ones(1)), TypeError, "tuple of tensors"),  # type: ignore[arg-type]
        ErrorCase(lambda: index_put(ones(2), (tensor([2]),), ones(1)), IndexError, "out of bounds"),
        ErrorCase(lambda: index_put(ones(2), (tensor([0]),), ones(3)), ValueError, ""),
    ),
    kind="primitive",
    torch=lambda torch, input, values, *, rows, accumulate=False: torch.index_put(
        input, (torch.tensor(rows),), values, accumulate
    ),
)
