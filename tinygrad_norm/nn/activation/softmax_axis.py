"""The axis of a softmax: arrays laid out so that it is axis 1, sums and maxima over it, and a guard.

Bodies work on (N, D) or, if axes follow, on (N, D, S), without a copy. CUDA kernels work on rows
(N·S, D).
"""

import functools
import math
from collections.abc import Callable

from ...backends import Array
from ...backends.cpu.loop_helpers import helper
from ...backends.cpu.sums import largest, row_maxima, row_sums, smallest, total
from ...backends.cuda.launch import contiguous

EXACT_SUMS = 1e-10, 1e30
"""Sums of exponentials between these did not overflow, and lost no part that counts."""

HIGHEST = 80.0
"""What larger numbers count as in a loop: their exponential is too large for `EXACT_SUMS`, but finite."""


def lay_out(x: Array, dim: int) -> Array:
    """Return x (..., D, ...), with D on axis `dim`, as (N, D), or as (N, D, S) if axes follow."""
    if x.ndim == 2 and dim == 1:
        return x
    N, D, S = math.prod(x.shape[:dim]), x.shape[dim] if x.ndim else 1, math.prod(x.shape[dim + 1 :])
    return x.reshape(N, D) if S == 1 else x.reshape(N, D, S)


def as_rows(x: Array) -> Array:
    """Return x (N, D) or (N, D, S) as contiguous rows (N·S, D)."""
    rows = x if x.ndim == 2 else x.swapaxes(1, 2).reshape(-1, x.shape[1])
    return contiguous(rows)[0]


def from_rows(rows: Array, shape: tuple[int, ...]) -> Array:
    """Return rows (N·S, D) as a contiguous array of `shape`: the inverse of `as_rows`."""
    if len(shape) == 2:
        return rows
    N, D, S = shape
    return contiguous(rows.reshape(N, S, D).swapaxes(1, 2))[0]


def axis_sums(x: Array) -> Array:
    """Return Σ x over axis 1, which is kept with size 1."""
    return row_sums(x) if x.ndim == 2 else total(x, (1,), True)


def axis_maxima(x: Array) -> Array:
    """Return max x over axis 1, which is kept with size 1; 0 if that axis is empty."""
    if not x.shape[1]:
        return x.sum(1, keepdims=True)
    return row_maxima(x) if x.ndim == 2 and x.size else x.max(1, keepdims=True)


def exact_for_any_offset(body: Callable[[Array], tuple[Array, Array]]) -> Callable[[Array], Array]:
    """Guard a body that takes exp(x) and returns y and Σ exp(x); the guarded one returns y.

    y must not change if a constant is added to a row of x. If a sum is too large or too small to be exact,
    the body runs again on x - max x.
    """

    @functools.wraps(body)
    def guarded(x: Array) -> Array:
        y, sums = body(x)
        low, high = EXACT_SUMS
        if not sums.size or (low < smallest(sums) and largest(sums) < high):
            return y
        return body(x - axis_maxima(x))[0]

    return guarded


@helper
def log_share(x: float, m: float, log_s: float) -> float:
    """Return (x - m) - log_s: in a loop it could become x - (m + log_s), where a large m swallows log_s."""
    return (x - m) - log_s
