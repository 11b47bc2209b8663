"""A line search: how far to go in one direction so that the strong Wolfe conditions hold.

    φ(t) = f(x + t·d),  φ'(t) = g(x + t·d)·d < 0 at t = 0
    φ(t) ≤ φ(0) + c₁·t·φ'(0)            far enough down (Armijo)
    |φ'(t)| ≤ c₂·|φ'(0)|                and flat enough there

Steps grow until two of them enclose such a point; then the enclosure shrinks to the minimum of the cubic
polynomial through the values and slopes at its ends. If that is too near to an end twice in a row, the
point is moved a tenth of the length away from it.

Nocedal, Wright 2006, "Numerical optimization", algorithms 3.5 and 3.6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

ARMIJO, CURVATURE = 1e-4, 0.9  # c₁ and c₂


class Point(NamedTuple):
    """A step length t, the loss there, its gradient, and the slope along the direction."""

    t: float
    loss: float
    gradient: Any
    slope: float


def strong_wolfe(
    evaluate: Callable[[float], Point], start: Point, t: float, smallest: float, max_evals: int
) -> tuple[Point, int]:
    """Return the point found and the number of evaluations.

    Args:
        evaluate: returns the point at a step length; a loss that is NaN must be infinite.
        start: the point at 0, with a negative slope.
        t: the first length to try.
        smallest: the search ends with an enclosure that is shorter than this.
        max_evals: the number of evaluations after the first.
    """

    def is_low(point: Point) -> bool:
        return point.loss <= start.loss + ARMIJO * point.t * start.slope

    def is_flat(point: Point) -> bool:
        return abs(point.slope) <= -CURVATURE * start.slope

    before, new, evals = start, evaluate(t), 0
    while evals < max_evals:
        if not is_low(new) or (evals > 1 and new.loss >= before.loss):
            break
        if is_flat(new):
            return new, evals + 1
        if new.slope >= 0:
            break
        t = _cubic_minimum(before, new, new.t + 0.01 * (new.t - before.t), new.t * 10)
        before, new, evals = new, evaluate(t), evals + 1
    else:
        before = start
    low, high = (before, new) if before.loss <= new.loss else (new, before)
    near_end = False
    while evals < max_evals and low.t != high.t and abs(high.t - low.t) >= smallest:
        least, most = sorted((low.t, high.t))
        t, margin = _cubic_minimum(low, high, least, most), 0.1 * (most - least)
        if min(most - t, t - least) >= margin:
            near_end = False
        elif near_end or t >= most or t <= least:
            t, near_end = most - margin if abs(t - most) < abs(t - least) else least + margin, False
        else:
            near_end = True
        new, evals = evaluate(t), evals + 1
        if not is_low(new) or new.loss >= low.loss:
            low, high = (low, new) if low.loss <= new.loss else (new, low)
            continue
        if is_flat(new):
            return new, evals + 1
        if new.slope * (high.t - low.t) >= 0:
            high = low
        low = new
    return low, evals + 1


def _cubic_minimum(a: Point, b: Point, least: float, most: float) -> float:
    """Return the minimum of the cubic through two points, within bounds; their middle if there is none."""
    if a.t > b.t:
        a, b = b, a
    mixed = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = mixed * mixed - a.slope * b.slope
    if square >= 0:
        root = math.sqrt(square)
        divisor = b.slope - a.slope + 2 * root
        if divisor:
            position = b.t - (b.t - a.t) * ((b.slope + root - mixed) / divisor)
            if math.isfinite(position):
                return min(max(position, least), most)
    return (least + most) / 2
