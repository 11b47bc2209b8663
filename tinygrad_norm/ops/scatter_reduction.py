"""scatter_reduce: each place along an axis combined with all elements that an index sends to it.

With p a place of x, and s₁ … sₙ the elements of src whose index is p:

    sum     y = x + Σ sᵢ            mean    y = (x + Σ sᵢ) / (n + 1)
    prod    y = x·Π sᵢ              amax    y = max(x, s₁, …, sₙ), amin: min

Without include_self, x is left out, and n + 1 is n; a place that no index names keeps x.

Backward, with f any of the factors or terms of y at a place:

    sum, mean   df = dy, df = dy / (n + 1)
    prod        df = dy·(the product of the others). With P the product of those that are not 0, and z the
                number of zeros, that is dy·P/f if z = 0; dy·P if f is the only 0; 0 if another factor is 0
    amax, amin  df = dy / (how many equal y) if f = y, else 0

dx is 0 where x is left out.
"""

from typing import Any

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..backends.cpu.half import downcast, upcast
from ..registry import Case, ErrorCase, fixed, register
from .arguments import check_flags
from .creation import full, ones, tensor
from .indexing import Index, Scatter, scatter_add
from .masking import where
from .modulo import floor_divide
from .operands import as_tensor
from .scattering import Place, _part, _places, _with_axes
from .shape import reshape

Key = tuple[Array, ...]


class ScatterProd(Function):
    """y = x·Π s over the elements s of src sent there · df = dy·(the product of the other factors)"""

    @staticmethod
    def composed(x: Tensor, src: Tensor, *, key: Key, dim: int, include: bool) -> Tensor:
        """One multiplication for each position along the axis, none of which names a place twice."""
        y = x if include else Place.apply(x, ones(*src.shape, dtype=x.dtype), key=key)
        for i in range(src.shape[dim]):
            part = (slice(None),) * dim + (slice(i, i + 1),)
            at = tuple([k[part] if k.shape[dim] > 1 else k for k in key])
            y = Place.apply(y, Index.apply(y, key=at) * src[part], key=at)
        return y

    def forward(self, x: Array, src: Array, *, key: Key, dim: int, include: bool) -> Array:
        own = _takes_part(x, key, include)
        x, src, half = upcast(x), upcast(src), x
        self.saved = x, src, own, key
        return downcast(_combined("multiply", namespace(x).where(own, x, x.dtype.type(1)), key, src), half)

    def backward(self, dy: Array) -> Gradients:
        x, src, own, key = self.saved
        xp, dy = namespace(dy), upcast(dy)
        one = x.dtype.type(1)
        product = xp.where(own & (x != 0), x, one)
        product = _combined("multiply", product, key, xp.where(src == 0, one, src))
        zeros = (own & (x == 0)) + scatter_add(x.shape, key, (src == 0).astype(x.dtype))

        def others(f: Array, product: Array, zeros: Array) -> Array:
            return xp.where(zeros == (f == 0), product / xp.where(f == 0, one, f), 0)

        dx = xp.where(own, dy * others(x, product, zeros), 0)
        return dx, dy[key] * others(src, product[key], zeros[key])


class ScatterExtreme(Function):
    """y = max(x, s, …) over the elements s of src sent there · df = dy where f = y, divided by how many do"""

    @staticmethod
    def composed(x: Tensor, src: Tensor, *, key: Key, dim: int, include: bool, extreme: str) -> Tensor:
        """The mean of those that are the extreme."""
        _, own, chosen, ties = _extremes(x.array, src.array, key, include, extreme)
        parts = Scatter.apply(where(Tensor._wrap(chosen), src, 0.0), shape=x.shape, key=key)
        return (where(Tensor._wrap(own), x, 0.0) + parts) / Tensor._wrap(ties)

    def forward(self, x: Array, src: Array, *, key: Key, dim: int, include: bool, extreme: str) -> Array:
        y, own, chosen, ties = _extremes(x, src, key, include, extreme)
        self.saved = own, chosen, ties, key
        return y

    def backward(self, dy: Array) -> Gradients:
        own, chosen, ties, key = self.saved
        share = dy / ties
        return share * own, share[key] * chosen


def _takes_part(x: Array, key: Key, include: bool) -> Array:
    """Return where x is a factor or term of y: everywhere, or only where no index points."""
    own = namespace(x).ones(x.shape, bool)
    if not include:
        own[key] = namespace(x).zeros((), bool)
    return own


def _extremes(
    x: Array, src: Array, key: Key, include: bool, extreme: str
) -> tuple[Array, Array, Array, Array]:
    """Return y, where x and where src are that extreme, and how many of them there are at each place."""
    xp, own = namespace(x), _takes_part(x, key, include)
    y = _combined(extreme, xp.where(own, x, _worst(x.dtype, extreme)), key, src)
    own = own & ((x == y) | (x != x))  # a NaN is the extreme
    chosen = (src == y[key]) | (src != src)
    ties = own + scatter_add(x.shape, key, chosen.astype(numpy.promote_types(x.dtype, numpy.float32)))
    return y, own, chosen, ties


def _worst(dtype: numpy.dtype, extreme: str) -> Any:
    """Return the number of the dtype that no other number loses to."""
    if dtype.kind in "biu":
        return dtype.type(numpy.iinfo(dtype).min if extreme == "maximum" else numpy.iinfo(dtype).max)
    return dtype.type(-numpy.inf if extreme == "maximum" else numpy.inf)


def _combined(ufunc: str, y: Array, key: Key, src: Array) -> Array:
    """Return y with every element of src combined with its place by NumPy's function `ufunc`.

    CuPy has no `multiply.at`. There, src is sorted by place, and in log₂(n) steps each element is combined
    with the one 1, 2, 4, … before it, if that has the same place: the last of each place then has them all.
    """
    xp, combine = namespace(y), getattr(namespace(y), ufunc)
    places: Any = 0
    for k, size in zip(key, y.shape, strict=True):
        places = places * size + k
    places, flat = xp.broadcast_to(places, src.shape).reshape(-1), y.reshape(-1)
    if type(y) is numpy.ndarray:
        combine.at(flat, places, src.reshape(-1))
        return flat.reshape(y.shape)
    if not places.size:
        return y
    order = xp.argsort(places, kind="stable")
    places, values = places[order], src.reshape(-1)[order]
    step = 1
    while step < places.size:
        same = places[step:] == places[:-step]
        later = xp.where(same, combine(values[:-step], values[step:]), values[step:])
        values = xp.concatenate([values[:step], later])
        step *= 2
    first, end = [xp.searchsorted(places, xp.arange(flat.size), side) for side in ("left", "right")]
    total = values[xp.maximum(end - 1, 0)]
    return xp.where(end > first, combine(flat, total), flat).reshape(y.shape)


_REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """Return input, each place combined with the elements of src that `index` sends there along axis `dim`.

    Args:
        input: any shape.
        dim: the axis along which `index` counts.
        index: integers, with as many axes as input; on the other axes no larger than input.
        src: a tensor at least as large as `index` on every axis, in the dtype of input.
        reduce: "sum", "prod", "mean", "amax" or "amin".
        include_self: whether the input's own value is combined too, or replaced where an index points.

    Raises:
        TypeError: if the index is not of integers, the dtypes differ, or the input holds bools.
        ValueError: if a shape does not fit, or `reduce` is unknown.
        IndexError: if an index is not in 0 to size − 1.
    """
    check_flags(include_self=include_self)
    if reduce not in _REDUCTIONS:
        raise ValueError(f"reduce must be one of {', '.join(_REDUCTIONS)}, got {reduce!r}")
    given, key, shape = _places("scatter_reduce", input, dim, index)
    if given.array.dtype.kind == "b":
        raise TypeError("scatter_reduce is not for bools: use .long() first")
    x, part = _with_axes(given), _part("scatter_reduce", given, as_tensor(src, "src"), shape)
    options = {"key": key, "dim": dim % x.ndim, "include": include_self}
    if reduce == "prod":
        y = ScatterProd.apply(x, part, **options)
    elif reduce in ("amax", "amin"):
        extreme = "maximum" if reduce == "amax" else "minimum"
        y = ScatterExtreme.apply(x, part, **options, extreme=extreme)
    else:
        start = x if include_self else Place.apply(x, full(shape, 0, dtype=x.dtype), key=key)
        y = start + Scatter.apply(part, shape=x.shape, key=key)
        if reduce == "mean":
            y = _divided(y, _counts(x.array, key, shape, include_self))
    return reshape(y, given.shape)


def _counts(x: Array, key: Key, shape: tuple[int, ...], include: bool) -> Array:
    """Return how many numbers each place is the mean of."""
    xp = namespace(x)
    counts = scatter_add(x.shape, key, xp.ones(shape, numpy.float64))
    return (counts + 1 if include else xp.maximum(counts, 1)).astype(x.dtype)


def _divided(y: Tensor, counts: Array) -> Tensor:
    return y / Tensor._wrap(counts) if y.array.dtype.kind == "f" else floor_divide(y, Tensor._wrap(counts))


_INDEX = fixed([[3, 0, 0, 0], [1, 1, 1, 3]])
_WITH_ZEROS = fixed([[1.5, 0.0, 2.0, -1.0], [0.0, 0.0, 3.0, 0.5], [2.0, 1.0, 0.0, 4.0]], differentiable=True)
_SRC = fixed([[2.0, 3.0, 0.0, -1.5], [0.5, 0.0, 2.5, 1.0]], differentiable=True)

register(
    name="scatter_reduce",
    function=scatter_reduce,
    composed=None,
    cases=(
        *(
            Case(((3, 4), _INDEX, (2, 4)), {"dim": 1, "reduce": reduce, "include_self": include})
            for reduce in _REDUCTIONS
            for include in (True, False)
        ),
        Case((_WITH_ZEROS, _INDEX, _SRC), {"dim": 1, "reduce": "prod"}),
        Case((_WITH_ZEROS, _INDEX, _SRC), {"dim": 1, "reduce": "prod", "include_self": False}),
        Case(((4, 2), fixed([[2, 0], [2, 3], [2, 0]]), (3, 2)), {"dim": 0, "reduce": "prod"}),
        Case(((4,), fixed([1, 1, 3]), (3,)), {"dim": -1, "reduce": "amax"}),
        Case(((3, 2), fixed(numpy.zeros((0, 2), int)), (0, 2)), {"dim": 0, "reduce": "amin"}),
    ),
    inputs=("input", "index", "src"),
    errors=(
        ErrorCase(
            lambda: scatter_reduce(ones(2), 0, tensor([0]), ones(1), "max"), ValueError, "must be one of"
        ),
        ErrorCase(lambda: scatter_reduce(ones(2), 0, tensor([2]), ones(1), "amax"), IndexError, "use 0 to 1"),
        ErrorCase(
            lambda: scatter_reduce(ones(2), 0, tensor([0, 1]), ones(1), "sum"),
            ValueError,
            "as large as the index",
        ),
        ErrorCase(
            lambda: scatter_reduce(ones(2), 0, tensor([0]), tensor([1]), "sum"), TypeError, "convert one"
        ),
        ErrorCase(
            lambda: scatter_reduce(ones(2) > 0, 0, tensor([0]), ones(1) > 0, "prod"), TypeError, "for bools"
        ),
    ),
    kind="primitive",
    torch="torch.scatter_reduce",
)
