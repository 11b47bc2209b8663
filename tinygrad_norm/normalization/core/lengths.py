"""Lengths ‖x‖p = (Σ |x|ᵖ)^(1/p) of rows, their slopes, and a guard that keeps them exact."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy

from ...backends import Array, host_can_read, namespace
from ...backends.cpu.loop_helpers import helper
from ...backends.cpu.loop_math import exp, log
from ...backends.cpu.sums import largest, row_means, row_sum_products, row_sums, smallest
from ...backends.float_info import finfo
from ...ops.arguments import as_number


def check_power(p: float) -> float:
    """Return p as a Python float; raise ValueError unless it is above 0."""
    if not as_number(p, "p") > 0:
        raise ValueError(f"p must be above 0, such as 1, 2 or inf, got {p!r}: other powers are no lengths")
    return float(p)


def lengths(x: Array, p: float) -> Array:
    """Return ‖x‖p of each row of x (N, D), as (N, 1); p = ∞ is the largest |x|."""
    if p == 2:
        return row_sum_products(x, x) ** 0.5
    if p == math.inf:
        return abs(x).max(1, keepdims=True)
    return row_sums(abs(x) ** p) ** (1 / p)


def power_means(x: Array, p: float) -> Array:
    """Return n = (mean(|x|ᵖ))^(1/p) of each row of x (N, D), as (N, 1); p = ∞ is the largest |x|.

    Powers are those of |x| by the largest |x| of the row, so none overflows.
    """
    xp = namespace(x)
    if not x.size:
        return xp.zeros((len(x), 1), x.dtype)
    top = abs(x).max(1, keepdims=True)
    if p == math.inf:
        return top
    scale = xp.where((top > 0) & (top < math.inf), top, x.dtype.type(1))
    return scale * row_means(abs(x / scale) ** p) ** (1 / p)


def divisors(size: Array, eps: float) -> Array:
    """Return √(size² + eps) without overflow, and 1 for 0: with eps = 0, a row of zeros stays zero."""
    xp = namespace(size)
    length = xp.hypot(size, size.dtype.type(math.sqrt(eps)))
    return xp.where(length == 0, size.dtype.type(1), length)


def mean_slope(x: Array, size: Array, p: float) -> Array:
    """Return ∂size/∂x = sign(x)·(|x|/size)ᵖ⁻¹/D for `power_means`; for p = ∞, ties share the slope."""
    y = x / namespace(x).where(size > 0, size, size.dtype.type(1))
    return slope(y, p) if p == math.inf else slope(y, p) / x.dtype.type(x.shape[1])


def slope(y: Array, p: float) -> Array:
    """Return s = ∂‖x‖p/∂x = sign(y)·|y|ᵖ⁻¹, from y = x/‖x‖p (N, D); for p = ∞, ties share it."""
    if p == 2:
        return y
    xp = namespace(y)
    sign = xp.sign(y)
    if p == 1:
        return sign
    size = abs(y)
    if p == math.inf:
        top = size == 1
        return sign * (top / xp.maximum(top.sum(1, keepdims=True), 1)).astype(y.dtype)
    return sign * xp.where(size > 0, size, 1) ** (p - 1)


@helper
def ratio(a: float, b: float) -> float:
    """Return a/b, rounded once: a loop may multiply by 1/b instead, which makes b/b other than 1."""
    return a / b


@helper
def power(size: float, p: float) -> float:
    """Return sizeᵖ for a loop, of a size of at least 0 and p above 0."""
    return exp(p * log(size))


@helper
def slope_of_power(y: float, p: float) -> float:
    """Return sign(y)·|y|ᵖ⁻¹ for a loop, for finite p; it is 0 where y is 0, also for p < 1."""
    size = exp((p - 1.0) * log(abs(y)))
    return size if y > 0.0 else -size if y < 0.0 else y


@helper
def is_extreme(rnorm: float) -> bool:
    """Return whether a loop leaves a row of this 1/‖x‖ to the guard, in float32 or float64."""
    return not (1e-36 < rnorm < 1e15)


def exact_lengths(body: Callable[..., Any]) -> Callable[..., Any]:
    """Guard a forward body (x, p, eps) that returns y = x·rnorm and rnorm = 1/max(‖x‖p, eps) of each row.

    If a power overflowed or vanished, the body runs again on x/scale and eps/scale, with the largest |x| or
    eps as the scale: y is the same, and rnorm is divided by it. Where eps stands in for the length, rnorm is
    `at_eps` of `limits`: with eps = 0, a row of zeros has y = 0 and rnorm = 0.
    """

    @functools.wraps(body)
    def guarded(x: Array, p: float, eps: float) -> tuple[Array, Array]:
        xp = namespace(x)
        if not x.size:
            return x.copy(), xp.zeros((len(x), 1), x.dtype)
        eps, at_eps, most = limits(x.dtype, eps)
        if host_can_read(x):
            y, rnorm = body(x, p, eps)
            if smallest(rnorm) > 0 and largest(rnorm) < _highest_exact(x.dtype, p):
                return y, rnorm
        scale = xp.maximum(abs(x).max(1, keepdims=True), eps)
        scale = xp.where((scale > 0) & (scale < math.inf), scale, x.dtype.type(1))
        floor = eps / scale
        nothing = floor == 0
        y, rnorm = body(x / scale, p, xp.where(nothing, finfo(x.dtype).tiny, floor))
        stands_in = rnorm >= xp.where(nothing, 1 / finfo(x.dtype).tiny, 1 / floor)
        return y, xp.where(stands_in, at_eps, xp.minimum(rnorm / scale, most))

    return guarded


@exact_lengths
def directions(x: Array, p: float, eps: Any) -> tuple[Array, Array]:
    """Return y = x·rnorm (N, D) and rnorm = 1/max(‖x‖p, eps) (N, 1)."""
    n = namespace(x).maximum(lengths(x, p), eps)
    return x / n, 1 / n


@functools.cache
def limits(dtype: numpy.dtype, eps: float) -> tuple[Any, Any, Any]:
    """Return eps, the rnorm where eps stands in for the length, and the largest rnorm."""
    most = finfo(dtype).max
    eps = dtype.type(min(eps, float(most)))
    at_eps = dtype.type(1) / eps if eps > 1 / most else dtype.type(0 if eps == 0 else most)
    return eps, at_eps, most


@functools.cache
def _highest_exact(dtype: numpy.dtype, p: float) -> float:
    """Return 1/length for the least length whose |x|ᵖ did not vanish."""
    info = finfo(dtype)
    least_power = math.log(float(info.tiny) / float(info.eps))  # p·log(length)
    return math.exp(min(-least_power / p, math.log(float(info.max)))) if p < math.inf else float(info.max)
