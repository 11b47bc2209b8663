"""Root mean squares of the features of rows (N, C), over all rows: the statistic of power normalization."""

import math
from typing import Any

import numpy

from ...backends import Array, Rows, Vector, kernel, namespace
from ...backends.cpu.blocks import slices, threads_for
from ...backends.cpu.half import upcast
from ...backends.cpu.loops import Loop
from ...backends.cpu.pool_loops import BLOCK, fits_a_loop, plain
from ...backends.cpu.sums import column_sums, largest, smallest, total_of_parts
from ...backends.cuda.launch import CudaSource, accumulator_dtype, contiguous, inverse, wide_empty
from ...backends.float_info import finfo
from ..core.moments import std_of
from .batchnorm import batch_norm_forward

_kernels = CudaSource(__file__, "../core/moments.cuh")
_ROWS = 32  # of a thread: ROWS in rootmeansquares.cu
_LIMITS = {4: (2.0**100, 2.0**-51), 8: (2.0**700, 2.0**-484)}
"""By itemsize, FAR, and the root below which squares have vanished: in reduce.cuh."""


@kernel
def root_mean_squares(x: Rows) -> Vector:
    """Return ψ = √mean(x²) of the columns of x (N, C), as (C,)."""
    wide, info = upcast(x), finfo(accumulator_dtype(x))
    squares = column_sums(wide * wide) / max(len(x), 1)
    if not x.size or (smallest(squares) > info.tiny / info.eps and largest(squares) < info.max):
        return squares**0.5
    _, mean, _, rstd = batch_norm_forward(x[..., None], None, None, 0.0)  # at the limits: ψ² = m² + v
    return namespace(mean).hypot(mean, std_of(rstd)).reshape(-1)


def root_mean_squares_loop(x: Rows, squares: Vector) -> None:
    """Row after row; the sums are of float64, in which no square of float32 overflows."""
    (N, C), real = x.shape, squares.dtype.type
    for n in range(N):
        for i in range(C):
            squares[i] += real(x[n, i]) * real(x[n, i])


_loop = Loop(root_mean_squares_loop)


@root_mean_squares.cpu
def root_mean_squares_cpu(x: Rows) -> Any:
    """Return ψ if all sums are far from the limits of float64."""
    if not fits_a_loop(x):
        return NotImplemented
    x, (N, C) = plain(x), x.shape

    def sum_squares(rows: slice) -> list[Array]:
        squares = numpy.zeros(C)
        _loop(x[rows], squares)
        return [squares]

    (squares,) = total_of_parts(threads_for(x.size)(sum_squares, slices(N, max(1, BLOCK // C))))
    if not (squares.min() > 1e-250 and squares.max() < 1e250):
        return NotImplemented
    return numpy.sqrt(squares / N).astype(x.dtype)


@root_mean_squares.cuda
def root_mean_squares_cuda(x: Rows) -> Vector:
    """One kernel for the squares of some rows, one for the sums of columns; the rest is of C numbers."""
    (x,), (N, C), xp = contiguous(x), x.shape, namespace(x)
    parts = -(-N // _ROWS)
    squares = wide_empty(x, 3, parts, C)
    args = x, *(squares[k] for k in range(3)), N, C, inverse(C)
    _kernels.launch("squares_of_columns", x.dtype, (), -(-parts * C // 256), 256, args)
    sums = _kernels.sum_columns(squares)
    of_large, of_all, of_small = ((sums[k] / N) ** 0.5 for k in range(3))
    far, vanishing = _LIMITS[of_all.dtype.itemsize]
    return xp.where(of_all < vanishing, of_small / far, xp.where(of_all < math.inf, of_all, of_large * far))
