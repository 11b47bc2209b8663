"""Running sums along one axis: yᵢ = x₀ + … + xᵢ. Half-precision numbers are accumulated in float32.

NumPy's cumsum adds the numbers one by one, each waiting for the last. Chunks of 32 are faster, and round
less: to the running sums within a chunk, the sum of all chunks before it is added, found in float64. Along
the last axis a matrix product gives the sums within the chunks, y = x @ u with u = 1 on and above the
diagonal; along another axis, rows are added, all chunks at once. If a sum is infinite or NaN, then 0·∞ in
the product would make earlier elements NaN, and a chunk may have overflowed where the sum of all before it
does not: NumPy's cumsum is used.

A loop along the last axis is the definition: it adds in float64, number by number.
"""

import functools
import math
from typing import Any

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, Rows, kernel, namespace
from ..backends.cpu.blocks import slices, threads_for
from ..backends.cpu.half import downcast, upcast
from ..backends.cpu.loops import Loop
from ..backends.cpu.pool_loops import BLOCK, dtype_of, plain
from ..registry import Case, ErrorCase, register
from .casting import astype
from .dims import normalize_dim, with_numpy_names
from .operands import as_tensor
from .reduction import sum

_CHUNK = 32
_LONG_ROW, _MANY = 16, 256  # adding rows is faster for rows of at least 16 elements, 256 elements at a time


@kernel
def running_sums(x: Array, dim: int) -> Array:
    """Return x₀ + … + xᵢ along axis `dim`, in float32 or float64."""
    before, n, after = math.prod(x.shape[:dim]), x.shape[dim], math.prod(x.shape[dim + 1 :])
    if n >= (2 if after == 1 else 8) * _CHUNK and x.size:
        if 1 < after < _LONG_ROW:
            return running_sums(numpy.ascontiguousarray(x.swapaxes(dim, -1)), x.ndim - 1).swapaxes(dim, -1)
        return _in_chunks(x.reshape(before, n, after)).reshape(x.shape)
    if after >= _LONG_ROW and before * after >= _MANY:
        return _by_rows(x.reshape(before, n, after)).reshape(x.shape)
    return x.cumsum(dim)


def running_sums_loop(x: Rows, y: Rows) -> None:
    """One row after the other, from its first number to its last."""
    N, D = x.shape
    for n in range(N):
        s = numpy.float64(0)
        for i in range(D):
            s += x[n, i]
            y[n, i] = s


def sums_to_the_end_loop(x: Rows, y: Rows) -> None:
    """One row after the other, from its last number to its first."""
    N, D = x.shape
    for n in range(N):
        s = numpy.float64(0)
        for i in range(D - 1, -1, -1):
            s += x[n, i]
            y[n, i] = s


_forwards, _backwards = Loop(running_sums_loop), Loop(sums_to_the_end_loop)


def _run(loop: Loop, x: Array, dim: int) -> Any:
    """Return the loop's result, or NotImplemented if rows are not along the last axis."""
    dtype, D = dtype_of(x), x.shape[dim]
    if dtype is None or not x.size or math.prod(x.shape[dim + 1 :]) > 1:
        return NotImplemented
    rows = plain(x).reshape(-1, D)
    y = numpy.empty(rows.shape, dtype)
    blocks = slices(len(rows), max(1, BLOCK // D))
    list(threads_for(x.size)(lambda block: loop(rows[block], y[block]), blocks))
    return y.reshape(x.shape)


@running_sums.cpu
def running_sums_cpu(x: Array, dim: int) -> Array:
    """Run the loop along the last axis."""
    return _run(_forwards, x, dim)


@running_sums.cuda
def running_sums_cuda(x: Array, dim: int) -> Array:
    """Return CuPy's cumsum."""
    return x.cumsum(dim)


@kernel
def sums_to_the_end(x: Array, dim: int) -> Array:
    """Return xᵢ + … + xₙ along axis `dim`, in float32 or float64."""
    xp = namespace(x)
    return xp.flip(running_sums(xp.flip(x, dim), dim), dim)


@sums_to_the_end.cpu
def sums_to_the_end_cpu(x: Array, dim: int) -> Array:
    """Run the loop along the last axis."""
    return _run(_backwards, x, dim)


def _in_chunks(x: Array) -> Array:
    """Return the running sums along axis 1 of x (N, D, S), in chunks."""
    N, D, S = x.shape
    m, whole = D // _CHUNK, D // _CHUNK * _CHUNK
    if S == 1:
        chunks = (x[:, :whole].reshape(-1, _CHUNK) @ _upper_ones(x.dtype)).reshape(N, m, _CHUNK, 1)
    else:
        chunks = _by_rows(x[:, :whole].reshape(N * m, _CHUNK, S)).reshape(N, m, _CHUNK, S)
    before = chunks[:, :, -1].cumsum(1, numpy.float64).astype(x.dtype)
    if not numpy.isfinite(before[:, -1]).all():
        return x.cumsum(1)
    chunks[:, 1:] += before[:, :-1, None]
    y = namespace(x).empty(x.shape, x.dtype)
    y[:, :whole] = chunks.reshape(N, whole, S)
    numpy.add(x[:, whole:].cumsum(1), before[:, -1:], out=y[:, whole:])
    return y


@functools.cache
def _upper_ones(dtype: numpy.dtype) -> Array:
    return numpy.triu(numpy.ones((_CHUNK, _CHUNK), dtype))


def _by_rows(x: Array) -> Array:
    y = numpy.empty(x.shape, x.dtype)
    y[:, :1] = x[:, :1]
    for i in range(1, x.shape[1]):
        numpy.add(y[:, i - 1], x[:, i], out=y[:, i])
    return y


class Cumsum(Function):
    """yᵢ = x₀ + … + xᵢ along `dim` · dxᵢ = dyᵢ + … + dyₙ"""

    def forward(self, x: Array, *, dim: int) -> Array:
        self.saved = (dim,)
        if x.dtype.kind in "biu":
            return x.cumsum(dim, numpy.int64)
        return downcast(running_sums(upcast(x), dim), x)

    def backward(self, dy: Array) -> Gradients:
        (dim,) = self.saved
        return sums_to_the_end(upcast(dy), dim)


@with_numpy_names
def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Return the running sums along axis `dim`; bools and integers give int64.

    With a `dtype`, the input is converted first, and the result has it.
    """
    if dtype is not None:
        return astype(cumsum(astype(input, dtype), dim), dtype)
    x = as_tensor(input)
    axis = normalize_dim(dim, x.ndim)
    return Cumsum.apply(x, dim=axis) if x.ndim else sum(x)


register(
    name="cumsum",
    function=cumsum,
    composed=None,
    cases=(
        Case(((2, 3),), {"dim": 0}),
        Case(((2, 3, 2),), {"dim": -1}),
        Case(((2, 70),), {"dim": 1}),
        Case(((2, 4, 16),), {"dim": 1}),
        Case(((),), {"dim": 0}),
        Case(((0, 3),), {"dim": 0}),
    ),
    errors=(ErrorCase(lambda: cumsum(Tensor([1.0]), 1), IndexError, "dim 1 is out of range"),),
    kind="primitive",
    torch="torch.cumsum",
    bench=(Case(((512, 768),), {"dim": 1}), Case(((512, 768),), {"dim": 0})),
)
