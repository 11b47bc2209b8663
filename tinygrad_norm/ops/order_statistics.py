"""Medians, quantiles and the k-th smallest value: numbers picked from the sorted ones x₍₀₎ ≤ … ≤ x₍ₙ₋₁₎.

    median      y = x₍ₘ₎ with m = ⌊(n - 1)/2⌋: of an even number, the lower of the two in the middle
    quantile    y = (1 - w)·a + w·b with the rank r = q·(n - 1), a = x₍⌊r⌋₎, b = x₍⌈r⌉₎, w = r - ⌊r⌋

The other interpolations take a alone, b alone, the nearer of the two, or w = 1/2.

Backward: a small change of x leaves the order as it is, so y is a fixed element, or a fixed mean of two. dy
goes to the position that the element was taken from: (1 - w)·dy to that of a and w·dy to that of b. If the
median of all elements equals several of them, they share dy evenly: PyTorch's choice, as for `max`.

NaN: if a row has one, its result is NaN. nanmedian and nanquantile count the numbers only.

Source: R. J. Hyndman and Y. Fan, Sample quantiles in statistical packages (1996), definition 7.
"""

from functools import partial
from typing import Any

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, host_can_read, namespace
from ..backends.cpu.half import upcast
from ..registry import Case, ErrorCase, distinct, fixed, register
from .arguments import as_flag, as_number, as_size
from .creation import ones
from .dims import normalize_dim, with_numpy_names
from .extremes import ValuesAndIndices
from .indexing import gather
from .masking import where
from .operands import as_tensor
from .shape import movedim, reshape, squeeze
from .sorting import _order

_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


class Middle(Function):
    """y = x[at], the median of all x · dx = dy where x = y, divided by how many x equal y"""

    def forward(self, x: Array, *, at: Array) -> Array:
        y = x.reshape(-1)[at].reshape(())
        self.saved = x, y
        return y

    def backward(self, dy: Array) -> Gradients:
        x, y = self.saved
        chosen = (x == y) | ((x != x) & (y != y))
        return dy * chosen / chosen.sum().astype(dy.dtype)


@with_numpy_names
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Return the median; along `dim`, (values, indices).

    Of an even number, it is the lower of the two in the middle. NaN if there is one. In `median(x)`, equal
    elements share the gradient; along `dim`, the one at the index gets all of it.

    Raises:
        TypeError: for bools, or if keepdim is given without a dim.
        ValueError: if there are no elements to choose from.
    """
    return _median("median", input, dim, keepdim, ignore_nan=False)


@with_numpy_names
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Return the median of what is not NaN; arguments and results as of `median`.

    Raises:
        TypeError, ValueError: as median.
    """
    return _median("nanmedian", input, dim, keepdim, ignore_nan=True)


@with_numpy_names
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> ValuesAndIndices:
    """Return the k-th smallest value along axis `dim`, counted from 1, and its position; NaN is the largest.

    Raises:
        IndexError: if there is no such axis.
        ValueError: if k is less than 1, or larger than the axis.
    """
    x = as_tensor(input)
    rows, axis = _rows(x, dim)
    size = rows.shape[-1]
    if as_size(k, "k") > size:
        raise ValueError(f"kthvalue with k={k}, but axis {dim} has only {size} elements")
    index = _order(rows.array, -1, False)[..., k - 1 : k]
    return _picked(x, rows, index, axis, as_flag(keepdim, "keepdim"))


@with_numpy_names
def quantile(
    input: Tensor,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """Return the q-th quantiles over axis `dim`, or over all elements.

    Args:
        input: floating-point numbers (...).
        q: a number from 0 to 1, or a tensor (Q,) of them in the dtype of input; a constant.
        dim: the axis; None for all.
        keepdim: whether the axis, or all of them, stay with size 1.
        interpolation: "linear", "lower", "higher", "midpoint" or "nearest".

    Returns:
        The shape of input without axis `dim`; with Q numbers, (Q, ...). NaN where there is a NaN.

    Raises:
        TypeError: if the dtypes differ, or are not floating-point.
        ValueError: if q is not in [0, 1] or has several axes, the interpolation is unknown, or there are no
            elements.
        RuntimeError: if q requires grad.
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, ignore_nan=False)


@with_numpy_names
def nanquantile(
    input: Tensor,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """Return the q-th quantiles of what is not NaN; arguments and results as of `quantile`.

    Raises:
        TypeError, ValueError, RuntimeError: as quantile.
    """
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, ignore_nan=True)


def _rows(x: Tensor, dim: int) -> tuple[Tensor, int]:
    """Return x with axis `dim` as the last, and that axis; a number as a row of one."""
    axis = normalize_dim(dim, x.ndim)
    return (movedim(x, axis, -1) if x.ndim else reshape(x, 1)), axis


def _picked(x: Tensor, rows: Tensor, index: Array, axis: int, keepdim: bool) -> ValuesAndIndices:
    """Return the values and positions `index` (..., 1) of rows, in the axes of x."""
    at = Tensor._wrap(index.astype(numpy.int64, "C"))
    found = [gather(rows, -1, at), at]
    if keepdim and x.ndim:
        return ValuesAndIndices(*[movedim(y, -1, axis) for y in found])
    return ValuesAndIndices(*[squeeze(y, -1) for y in found])


def _median(name: str, input: Any, dim: int | None, keepdim: bool, ignore_nan: bool) -> Any:
    x, keepdim = as_tensor(input), as_flag(keepdim, "keepdim")
    if x.array.dtype.kind == "b":
        raise TypeError(f"{name} is not for bools: use .long() first")
    if dim is None and keepdim:
        raise TypeError(f"keepdim of {name} needs a dim")
    rows, axis = (reshape(x, x.numel()), 0) if dim is None else _rows(x, dim)
    if not rows.shape[-1]:
        raise ValueError(f"{name} over dim {dim} of a tensor of shape {x.shape}: there are no elements")
    index = _middle(rows.array, ignore_nan)
    return Middle.apply(x, at=index) if dim is None else _picked(x, rows, index, axis, keepdim)


def _middle(rows: Array, ignore_nan: bool) -> Array:
    """Return the position (..., 1) of each row's median; of the first NaN if NaN is not ignored."""
    xp, n = namespace(rows), rows.shape[-1]
    numbers = (rows == rows).sum(-1, keepdims=True)
    if ignore_nan:
        rank = (numbers - 1).clip(0, None) // 2
    else:
        rank = xp.where(numbers < n, numbers, (n - 1) // 2)
    return xp.take_along_axis(_order(rows, -1, False), rank, -1)


def _quantile(
    name: str, input: Any, q: Any, dim: int | None, keepdim: bool, interpolation: str, ignore_nan: bool
) -> Tensor:
    x, keepdim = as_tensor(input), as_flag(keepdim, "keepdim")
    if x.array.dtype.kind != "f":
        raise TypeError(f"{name} takes floating-point numbers, got {x.dtype}: use .float()")
    if interpolation not in _INTERPOLATIONS:
        raise ValueError(f"interpolation must be one of {', '.join(_INTERPOLATIONS)}, got {interpolation!r}")
    rows, axis = (reshape(x, x.numel()), 0) if dim is None else _rows(x, dim)
    if not x.numel():
        raise ValueError(f"{name} of a tensor of shape {x.shape}: there are no elements")
    levels = _levels(name, q, x)
    ranks = _ranks(rows.array, levels, ignore_nan)
    order = _order(rows.array, -1, False)
    y = movedim(_interpolated(rows, order, ranks, interpolation), -1, 0)  # (Q, ...)
    if keepdim:
        kept = [1] * x.ndim if dim is None else [1 if i == axis else n for i, n in enumerate(x.shape)]
        y = reshape(y, [levels.size, *kept])
    return y if isinstance(q, Tensor) and q.ndim else squeeze(y, 0)


def _levels(name: str, q: Any, x: Tensor) -> Array:
    """Return q as an array (Q,)."""
    array = x.array
    if not isinstance(q, Tensor):
        array = namespace(array).full((1,), as_number(q, "q"), array.dtype)
        low = high = q
    else:
        if q.requires_grad:
            raise RuntimeError(f"{name} has no gradient with respect to q: use q.detach()")
        if q.dtype != x.dtype:
            raise TypeError(f"q must have the dtype of the input, {x.dtype}, got {q.dtype}")
        if q.ndim > 1:
            raise ValueError(f"q must be a number or a tensor (Q,), got shape {q.shape}")
        array = q.array.reshape(-1)
        if not array.size or not host_can_read(array):  # `gather` checks the ranks later
            return array
        low, high = array.min(), array.max()
    if not (low >= 0 and high <= 1):
        raise ValueError(f"q must be from 0 to 1, got {low if not low >= 0 else high}")
    return array


def _ranks(rows: Array, levels: Array, ignore_nan: bool) -> Array:
    """Return r = q·(n - 1) for every row (..., Q); the last rank, which is a NaN's, if a row has one."""
    xp, n, levels = namespace(rows), rows.shape[-1], upcast(levels)
    numbers = (rows == rows).sum(-1, keepdims=True).astype(levels.dtype)
    if ignore_nan:
        return levels * (numbers - 1).clip(0, None)
    return xp.where(numbers < n, levels.dtype.type(n - 1), levels * levels.dtype.type(n - 1))


def _interpolated(rows: Tensor, order: Array, ranks: Array, interpolation: str) -> Tensor:
    xp = namespace(ranks)

    def at(rank: Array) -> Tensor:
        index = xp.take_along_axis(order, rank.astype(numpy.int64), -1)
        return gather(rows, -1, Tensor._wrap(index.astype(numpy.int64, "C")))

    if interpolation == "nearest":
        return at(xp.rint(ranks))
    below, above = xp.floor(ranks), xp.ceil(ranks)
    if interpolation == "lower":
        return at(below)
    if interpolation == "higher":
        return at(above)
    a, b = at(below), at(above)
    w = ranks - below if interpolation == "linear" else xp.full_like(ranks, 0.5)
    wa, wb = [Tensor._wrap(weight.astype(rows.dtype)) for weight in (1 - w, w)]
    # Not a + w·(b - a), whose difference overflows or is ∞ - ∞. An exact rank takes a alone: 0·∞ is NaN.
    return where(Tensor._wrap(below == above), a, wa * a + wb * b)


_LEVELS = fixed([0.25, 1.0, 0.6])

_medians: tuple[Any, ...] = (median, nanmedian)
_quantiles: tuple[Any, ...] = (quantile, nanquantile)

for _function in _medians:
    register(
        name=_function.__name__,
        function=_function,
        composed=None,
        cases=(
            Case((distinct(3, 4),)),
            Case((distinct(3, 4),), {"dim": 1}),
            Case((distinct(2, 3, 2),), {"dim": -2, "keepdim": True}),
            Case((distinct(),), {"dim": 0}),
        ),
        errors=(
            ErrorCase(partial(_function, numpy.zeros((0, 3))), ValueError, "there are no elements"),
            ErrorCase(partial(_function, numpy.zeros((0, 3)), 0), ValueError, "there are no elements"),
            ErrorCase(partial(_function, numpy.ones(2), 1), IndexError, "dim 1 is out of range"),
            ErrorCase(partial(_function, numpy.ones(2), keepdim=True), TypeError, "needs a dim"),
            ErrorCase(partial(_function, numpy.ones(2, bool)), TypeError, "not for bools"),
        ),
        kind="primitive",
        torch=f"torch.{_function.__name__}",
    )
register(
    name="kthvalue",
    function=kthvalue,
    composed=None,
    cases=(
        Case((distinct(3, 4),), {"k": 2}),
        Case((distinct(4, 3),), {"k": 4, "dim": 0, "keepdim": True}),
        Case((distinct(),), {"k": 1}),
    ),
    errors=(
        ErrorCase(lambda: kthvalue(ones(2), 3), ValueError, "only 2 elements"),
        ErrorCase(lambda: kthvalue(ones(2), 0), ValueError, "k must be at least 1"),
    ),
    kind="primitive",
    torch="torch.kthvalue",
)
for _function in _quantiles:
    register(
        name=_function.__name__,
        function=_function,
        composed=None,
        cases=(
            Case((distinct(3, 4),), {"q": 0.3}),
            Case((distinct(3, 4), _LEVELS), {"dim": 0}),
            Case((distinct(2, 3, 2), _LEVELS), {"dim": 1, "keepdim": True, "interpolation": "midpoint"}),
            Case((distinct(3, 4),), {"q": 0.7, "keepdim": True, "interpolation": "nearest"}),
            Case((distinct(3, 4),), {"q": 0.7, "dim": -1, "interpolation": "lower"}),
            Case((distinct(3, 4),), {"q": 0.7, "dim": -1, "interpolation": "higher"}),
            Case((distinct(),), {"q": 0.5}),
        ),
        errors=(
            ErrorCase(partial(_function, numpy.zeros(0), 0.5), ValueError, "there are no elements"),
            ErrorCase(partial(_function, numpy.ones(2), 1.5), ValueError, "q must be from 0 to 1, got 1.5"),
            ErrorCase(partial(_function, numpy.zeros(2, int), 0.5), TypeError, "got int64"),
            ErrorCase(
                partial(_function, numpy.ones(2), 0.5, interpolation="cubic"), ValueError, "must be one of"
            ),
        ),
        kind="primitive",
        torch=f"torch.{_function.__name__}",
    )
