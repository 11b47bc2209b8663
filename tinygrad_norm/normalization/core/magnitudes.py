"""Magnitudes: the largest |x| of each row, for scaling numbers whose squares or sums could overflow."""

import math

import numpy

from ...backends import Array, Rows, kernel, namespace
from ...backends.cpu.half import upcast
from ...backends.cuda.launch import CudaSource, contiguous, teams, wide_empty

_kernels = CudaSource(__file__)


@kernel
def largest_of_rows(x: Rows) -> Array:
    """Return the largest |x| (N,) of each row of x (N, D), without NaN; 0 for rows without entries."""
    if not x.size:
        return namespace(x).zeros(len(x), upcast(x[:0]).dtype)
    return upcast(numpy.fmax.reduce(abs(x), 1))


@largest_of_rows.cuda
def largest_of_rows_cuda(x: Rows) -> Array:
    """One kernel, which reads every row once."""
    (x,), (N, D) = contiguous(x), x.shape
    largest, shape = wide_empty(x, N), teams(D, x)
    args = x, largest, N, D
    _kernels.launch("largest_of_rows", x.dtype, shape.template, shape.blocks(N), shape.block, args)
    return largest


def scales_of_rows(x: Rows) -> Array:
    """Return powers of two (N,) at most the largest |x| of each row, and 1 if that is 0, infinite or NaN."""
    xp, largest = namespace(x), largest_of_rows(x)
    usable = (largest > 0) & (largest < math.inf)
    _, exponent = xp.frexp(xp.where(usable, largest, 1))
    return xp.ldexp(xp.ones_like(largest), exponent - 1)
