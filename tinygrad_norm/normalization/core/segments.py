"""Pools by index: segment s has the rows n of x (N, D) with index[n] = s, in any order, and perhaps none.

A normalization of segments needs sums over their rows, and then something linear in each row:

    segment_moments    m = Σ x/n and Σ (x - a·m)²/n
    segment_sums       Σ dy and Σ dy·(x - shift)
    segment_rows       y = scale·(x - shift) + offset, or scale·(x - shift) + slope·(dy - offset)

Everything that a segment has is a table (B, D) in float64: the segments are few beside their rows. So no
square overflows in float32, and a large mean costs no digits.

Backward: the sums over forward's rows are the same sums of dy, so both directions share these functions.
"""

from typing import Any

import numpy

from ...autograd.tensor import Tensor
from ...backends import Array, backend_of, kernel, namespace
from ...backends.cuda.deferred import check_later
from ...backends.cuda.launch import CudaSource, contiguous
from ...ops import zeros
from ...ops.arguments import as_size
from ...ops.checks import Shape, check_input
from ...ops.indexing import scatter_add

_kernels = CudaSource(__file__)
_WIDE = numpy.dtype(numpy.float64)


@kernel
def segment_moments(x: Array, factor: Array | None, index: Array, count: int) -> tuple[Array, Array]:
    """Return, for x (N, D) and factor (D,), the mean m (B, D), and the mean of (x - factor·m)²; B = count."""
    x, size = _wide(x), segment_sizes(index, count)
    mean = _sums(x, index, count) / size
    o = x - (mean if factor is None else factor * mean)[index]
    return mean, _sums(o * o, index, count) / size


@segment_moments.cuda
def segment_moments_cuda(x: Array, factor: Array | None, index: Array, count: int) -> tuple[Array, Array]:
    """One kernel over the rows of each segment."""
    (x,), xp = contiguous(x), namespace(x)
    mean, square = (xp.zeros((count, x.shape[1]), _wide(x[:0]).dtype) for _ in range(2))
    if factor is not None:
        factor = contiguous(_wide(factor))[0]
    _over_segments("segment_moments", index, mean, (x, factor), (mean, square))
    return mean, square


@kernel
def segment_sums(dy: Array, x: Array, shift: Array, index: Array) -> tuple[Array, Array]:
    """Return Σ dy and Σ dy·(x - shift) (B, D), for dy and x (N, D) and shift (B, D)."""
    dy, count = _wide(dy), len(shift)
    return _sums(dy, index, count), _sums(dy * (_wide(x) - shift[index]), index, count)


@segment_sums.cuda
def segment_sums_cuda(dy: Array, x: Array, shift: Array, index: Array) -> tuple[Array, Array]:
    """One kernel over the rows of each segment."""
    (dy, x), xp = contiguous(dy, x), namespace(x)
    shift = _table(shift, len(shift), x)
    sums, products = xp.zeros_like(shift), xp.zeros_like(shift)
    _over_segments("segment_sums", index, sums, (dy, x, shift), (sums, products))
    return sums, products


@kernel
def segment_rows(
    x: Array,
    shift: Array,
    scale: Array,
    offset: Any,
    index: Array,
    dy: Array | None = None,
    slope: Any = None,
) -> Array:
    """Return y (N, D) in the dtype of x: scale·(x - shift), plus slope·(dy - offset), or offset without dy.

    Tables are (B, D) or (B, 1). What is equal cancels exactly: the dx of a graph of one node is 0.
    """
    y = scale[index] * (_wide(x) - shift[index])
    if dy is not None:
        y = y + slope[index] * (_wide(dy) - offset[index])
    elif offset is not None:
        y = y + offset[index]
    with numpy.errstate(over="ignore"):
        return y.astype(x.dtype)


@segment_rows.cuda
def segment_rows_cuda(
    x: Array,
    shift: Array,
    scale: Array,
    offset: Any,
    index: Array,
    dy: Array | None = None,
    slope: Any = None,
) -> Array:
    """One kernel: every row is read once and written once."""
    (N, D), B, (x,) = x.shape, len(shift), contiguous(x)
    y = namespace(x).empty_like(x)
    if x.size:
        tables = [None if t is None else _table(t, B, x) for t in (shift, scale, offset, slope)]
        dy = None if dy is None else contiguous(dy)[0]
        args = x, *tables[:3], _positions(index), dy, tables[3], y, N, D, B
        _kernels.launch("segment_rows", x.dtype, (), -(-N // 8), 256, args)
    return y


def segment_sizes(index: Array, count: int) -> Array:
    """Return how many rows each segment has (B, 1), but at least 1, so that means of nothing are 0."""
    xp = namespace(index)
    return xp.maximum(scatter_add((count, 1), (index,), xp.ones((len(index), 1), _WIDE)), 1)


def _wide(x: Array) -> Array:
    return x.astype(_WIDE, copy=False)


def _sums(x: Array, index: Array, count: int) -> Array:
    return scatter_add((count, x.shape[1]), (index,), x)


def _positions(index: Array) -> Array:
    return contiguous(index.astype(numpy.int64, copy=False))[0]


def _table(table: Array, B: int, x: Array) -> Array:
    return contiguous(_wide(namespace(x).broadcast_to(table, (B, x.shape[1]))))[0]


def _over_segments(name: str, index: Array, like: Array, given: Any, results: Any) -> None:
    """Launch a kernel that takes `given`, the sorted rows and where segments begin, then `results`, and D."""
    (B, D), xp = like.shape, namespace(like)
    if like.size:
        order = xp.argsort(index, kind="stable")
        begin = xp.searchsorted(index[order], xp.arange(B + 1, dtype=index.dtype), "left")
        args = *given, _positions(order), _positions(begin), *results, D
        _kernels.launch(name, given[0].dtype, (), B * -(-D // 32), 256, args)


# -- arguments


def check_graphs(
    input: Any, batch: Tensor | None, batch_size: int | None, name: str
) -> tuple[Tensor | None, int]:
    """Check nodes (N, D) and the graph of each; return `batch` and how many graphs there are.

    Raises:
        TypeError: if the input is not a floating-point tensor, or batch not one of integers.
        ValueError: if the input is not (N, D), or batch not (N,).
        IndexError: if a graph is not one of 0 to batch_size - 1; on a GPU when the host next reads an array.
    """
    check_input(input, name)
    if input.ndim != 2:
        raise ValueError(f"{name} takes nodes (N, D), got shape {input.shape}")
    if batch is None:
        return None, 1
    if not isinstance(batch, Tensor) or batch.array.dtype.kind not in "iu":
        kind = batch.dtype if isinstance(batch, Tensor) else type(batch).__name__
        raise TypeError(f"{name} takes batch as an integer tensor, got {kind}: convert it with .long()")
    if batch.shape != input.shape[:1]:
        raise ValueError(
            f"{name} of {len(input)} nodes takes batch ({len(input)},), the graph of each, got shape "
            f"{batch.shape}"
        )
    index = batch.array
    if batch_size is None:
        count = int(index.max()) + 1 if index.size else 0
    else:
        count = as_size(batch_size, "batch_size", 0)
    message = f"{name} takes graphs from 0 to {count - 1}, got {{}}"
    if index.size and backend_of(index).kernels == "cuda":
        check_later(index, count, message)
    elif index.size and not (index.min() >= 0 and index.max() < count):
        raise IndexError(message.format(int(index.min() if index.min() < 0 else index.max())))
    return batch, count


def index_of(batch: Array | None, x: Array) -> Array:
    """Return the segment of each row of x as int64; without a batch, all rows are segment 0."""
    if batch is None:
        return namespace(x).zeros(len(x), numpy.int64)
    return batch.astype(numpy.int64)  # a copy: the caller may write to it before backward


def graph_means(x: Tensor, batch: Tensor | None, count: int) -> Tensor:
    """Return the mean of the graph of each node, (N, D) or (1, D), from primitives."""
    if batch is None:
        return x.mean(0, keepdim=True) if len(x) else x.sum(0, keepdim=True)
    index = batch.long()
    ones = (index * 0 + 1).to(x.dtype).unsqueeze(1)
    sums, sizes = _added(x, index, count), _added(ones, index, count)
    return (sums / sizes.clamp(min=1))[index]


def _added(x: Tensor, index: Tensor, count: int) -> Tensor:
    shape: Shape = (count, *x.shape[1:])
    return zeros(*shape, dtype=x.dtype).index_add(0, index, x)
