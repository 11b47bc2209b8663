"""Exactness: decorators (guards) that keep a body right for numbers of any scale.

A body squares its input and subtracts its mean, as the formula says. In floating point squares overflow or
vanish, and a mean that is large beside the standard deviation takes its digits along. A guard looks at the
statistics that the body returned, or is given. If they show that digits were lost, it runs the body again on
numbers of a better scale, which have the same x̂:

    x' = (x - first)/c      eps' = eps/c²      mean = first + c·mean'      var = c²·var'      rstd = rstd'/c

with the first entry of the pool, and c about the largest |x - first| or √eps if that is more. Pools with a
NaN or an infinity keep c = 1, so that those come through as in the formula.

A plain loop asks `loses_digits` or `is_near_the_limits` for each pool, and leaves those to the guarded body.
"""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy

from ...backends import Array, namespace
from ...backends.cpu.loop_helpers import helper
from ...backends.cpu.sums import Axes, largest, means, scalar, smallest
from ...backends.float_info import finfo

MEAN_LIMIT = 64
"""|mean|/std up to which the rounding error of the mean, times 1/std, is 64 units in the last place of 1."""


FLOAT32_HIGHEST, FLOAT32_LOWEST = 1e15, 1e-36
"""1/std between which loops need no guard: for float32, and so for float64."""


@helper
def loses_digits(mean: float, rstd: float) -> bool:
    """Return whether a forward pass over a pool with these statistics needs its guard; without mean, 0."""
    return not (0 < rstd < FLOAT32_HIGHEST and abs(mean * rstd) < MEAN_LIMIT)


@helper
def is_near_the_limits(mean: float, rstd: float) -> bool:
    """Return whether a backward pass over a pool with these statistics needs its guard; without mean, 0."""
    return not (rstd > FLOAT32_LOWEST and abs(mean * rstd) < MEAN_LIMIT)


def exact_for_any_scale(pool: Axes, *statistics: str) -> Callable[..., Any]:
    """Guard a forward body that takes x first and eps last, and returns y and then `statistics`.

    These are "rstd" = 1/√(var + eps) and, if the body takes them, "mean" and "var": of each `pool`, whose
    axes they keep with size 1. Without a mean, var is the mean square. If both eps and var are 0, rstd is 0.
    """
    rstd_at = 1 + statistics.index("rstd")
    mean_at = 1 + statistics.index("mean") if "mean" in statistics else 0

    def decorate(body: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(body)
        def guarded(x: Array, *parameters: Any) -> Any:
            results = body(x, *parameters)
            rstd = results[rstd_at]
            if not x.size or (
                smallest(rstd) > 0  # no square overflowed
                and largest(rstd) < _highest_exact(rstd.dtype)  # none that counts vanished
                and (not mean_at or largest(abs(results[mean_at] * rstd)) < MEAN_LIMIT)
            ):
                return results  # a NaN is on neither side of a limit
            *others, eps = parameters
            return _rescaled(body, x, others, eps, pool, statistics)

        return guarded

    return decorate


@functools.cache
def _highest_exact(dtype: numpy.dtype) -> float:
    """Return 1/√v for the least mean square v whose terms did not vanish."""
    info = finfo(dtype)
    return math.sqrt(float(info.eps) / float(info.tiny))


def _rescaled(
    body: Callable[..., Any], x: Array, others: list[Any], eps: float, pool: Axes, statistics: tuple[str, ...]
) -> tuple[Array, ...]:
    xp = namespace(x)
    size = _power_of_two(_usable(abs(x).max(pool, keepdims=True)))  # so that x/size keeps all digits
    relative, first = x / size, scalar(0.0, x)
    if "mean" in statistics:
        first = x[_first(x, pool)]
        relative = relative - relative[_first(x, pool)]
    std_eps = scalar(math.sqrt(eps), x)
    c = xp.maximum(abs(relative).max(pool, keepdims=True) / 2 * size, std_eps)
    nothing = c == 0
    c = _usable(c)
    relative /= _usable(c / size)
    y, *found = body(relative, *others, xp.where(nothing, 1, (std_eps / c) ** 2))
    back: dict[str, Callable[[Array], Array]] = {
        "mean": lambda mean: 4 * (first / 4 + c * (mean / 4)),
        "var": lambda var: c * var * c,
        "rstd": lambda rstd: xp.where(nothing, 0, xp.minimum(rstd / c, finfo(x.dtype).max)),
    }
    return y, *[back[name](value) for name, value in zip(statistics, found, strict=True)]


def _usable(scale: Array) -> Array:
    """Return `scale` with 1 for what cannot be divided by: 0, infinity and NaN."""
    return namespace(scale).where((scale > 0) & (scale < math.inf), scale, scale.dtype.type(1))


def _power_of_two(size: Array) -> Array:
    """Return the largest power of two that is not above `size`."""
    _, exponent = namespace(size).frexp(size)
    return namespace(size).ldexp(size.dtype.type(0.5), exponent)


def exact_near_the_limits(pool: Axes) -> Callable[..., Any]:
    """Guard a backward body that takes x, rstd and, if any, mean of each `pool`, and returns dx first.

    If x - mean could overflow, or the mean is large beside the standard deviation, the body runs on
    x' = (x - first)·rstd, its mean and rstd' = 1: x̂ is the same, and dx = rstd·dx'.
    """

    def decorate(body: Callable[..., Any]) -> Callable[..., Any]:
        parameters = list(inspect.signature(body).parameters)
        x_at, rstd_at = parameters.index("x"), parameters.index("rstd")
        mean_at = parameters.index("mean") if "mean" in parameters else -1

        @functools.wraps(body)
        def guarded(*args: Any) -> Any:
            x, rstd = args[x_at], args[rstd_at]
            if not x.size or (
                _lowest_safe(rstd.dtype) < smallest(rstd)
                and (mean_at < 0 or largest(abs(args[mean_at] * rstd)) < MEAN_LIMIT)
            ):
                return body(*args)
            scale = namespace(x).where(rstd < 1, rstd.dtype.type(4), rstd.dtype.type(1))
            given = list(args)
            relative = x / scale
            if mean_at >= 0:
                relative = relative - relative[_first(x, pool)]
            given[x_at], given[rstd_at] = relative * (rstd * scale), namespace(x).ones_like(rstd)
            if mean_at >= 0:
                given[mean_at] = means(given[x_at], pool)
            dx, *others = body(*given)
            return rstd * dx, *others

        return guarded

    return decorate


@functools.cache
def _lowest_safe(dtype: numpy.dtype) -> float:
    """Return the 1/std from which on x - mean, and 1/std itself, are normal numbers."""
    return 8 * float(finfo(dtype).tiny)


def _first(x: Array, pool: Axes) -> tuple[slice, ...]:
    """Return the index of the first entry of each pool."""
    return tuple([slice(0, 1) if axis in pool else slice(None) for axis in range(x.ndim)])
