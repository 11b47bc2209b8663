"""The numeric Jacobian: the derivative of a black box by finite differences, and how far to trust it.

Six values of f around 0 give a derivative of sixth order in the step h:

    d_k = f(k·h) - f(-k·h)
    f'  = (45·d₁ - 9·d₂ + d₃) / 60h  + O(h⁶)
        = ( 8·d₁ -   d₂     ) / 12h  + O(h⁴)

The fourth-order formula needs no further value, and the distance between the two bounds what the
sixth order leaves out. Roundoff adds about machine epsilon · |f| / h. So a large step truncates and a
small one rounds: the step starts large and shrinks until roundoff is the larger error, or neither
matters, and every entry of the result keeps the value whose estimated error was smallest (after
Ridders 1982). Near a kink, or the border of f's domain, that is a step too small to reach it.

An f that cancels, such as the sum over a normalized row, rounds relative to the terms it sums, and not to
|f|, which is nearly 0. The size of f does not tell how much, but it can be measured: `rounding` is how far
f scatters between neighbours in a row of moves too small to matter. Fourth differences Δ⁴ of that row leave
nothing of a slope or a curve, and of rounding by u up to about 4u at its largest; a jump is in four of them,
and up to two jumps are ignored:

    rounding = ninth largest |Δ⁴f(k·s)| / 4    s = 2⁻²⁴ first steps, k from -32 to 28
    floor    = 16 · rounding / h

Anything below the floor is rounding alone. A slope beside it is that of the step at which rounding counts
least.

At a kink exactly at 0 the differences give the mean of the slopes on both sides, at every step, and no
error. The even parts s_k = f(k·h) + f(-k·h) - 2·f(0) reveal it: they grow as k², but at a kink as k,

    bend = (4·s₁ - s₂) / 2h = (9·s₂ - 4·s₃) / 6h     the slope on the right less the one on the left

and only there do the two formulas agree.

At a jump of the second derivative exactly at 0, as relu(x)² has, the error of the differences g is of first
order: g(h) - g(h/4) is 4 times g(h/4) - g(h/16), and nothing else makes it so. There Richardson's formulas
take out the first and the second order.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy

from ..autograd.tensor import Tensor
from ..backends import backend_of
from .probing import Key, Probes, label
from .progress import reporting

SHRINK = 4.0
LEVELS = 10
ACCURACY = 1e-10
NOISE_STEP = 2.0**-24
CERTAIN = 16.0


class Derivative(NamedTuple):
    """f'(0), entry by entry: its value, an estimate of its error, and the step that gave it.

    If f is finite at no step, the error is infinite and the value means nothing. `floor` is how large a
    derivative can be and still be rounding alone; 0 if rounding was not measured, or f does more than round.
    `bend` is how far the slope jumps at 0; 0 if kinks were not searched for, or there is none.
    """

    value: numpy.ndarray
    error: numpy.ndarray
    step: numpy.ndarray
    floor: numpy.ndarray
    bend: numpy.ndarray


def derivative(f: Callable[[float], numpy.ndarray], step: float, rounding: Any = 0.0) -> Derivative:
    """Return the derivative at 0 of `f`, a function from a number to a float64 array.

    Args:
        f: the function; outside its domain it may return NaN or infinity.
        step: the first step, in units of f's argument; at most nine smaller ones follow, each a
            quarter of the one before.
        rounding: how far f is known to scatter, if that is more than machine epsilon · |f|.
    """
    tried = []
    with numpy.errstate(all="ignore"):
        for level in range(LEVELS):
            h = step / SHRINK**level
            value, truncation, size = _central(f, h)
            roundoff = numpy.maximum(numpy.finfo(numpy.float64).eps * size, rounding) / h
            known = numpy.isfinite(value)
            error = numpy.where(known, truncation + roundoff, numpy.inf)
            floor = numpy.full_like(error, CERTAIN * rounding / h)
            tried.append(Derivative(value, error, numpy.full_like(error, h), floor, numpy.zeros_like(error)))
            if numpy.all(known & (truncation <= numpy.maximum(ACCURACY * abs(value), roundoff))):
                break
    best = numpy.stack([part.error for part in tried]).argmin(0)[None]
    levels = (numpy.stack(parts) for parts in zip(*tried, strict=True))
    return Derivative(*(numpy.take_along_axis(part, best, 0)[0] for part in levels))


def above_rounding(f: Callable[[float], numpy.ndarray], step: float, found: Derivative) -> Derivative:
    """Return `found`, the result of `derivative(f, step)`, with the rounding of f measured.

    The value is that of the step with the least error; where f does no more than round, a floor is above it.
    """
    with numpy.errstate(all="ignore"):
        near = numpy.stack([f(k * NOISE_STEP * step) for k in range(-32, 33)])
        scatter = numpy.sort(abs(numpy.diff(near, 4, axis=0)), axis=0)[-9] / 4
        scatter = numpy.where(numpy.isfinite(scatter), scatter, 0.0)
    again = derivative(f, step, scatter)
    nothing = abs(again.value) <= again.floor
    again = again._replace(floor=numpy.where(nothing, again.floor, 0.0))
    scatters = scatter > 0
    return Derivative(*(numpy.where(scatters, b, a) for a, b in zip(found, again, strict=True)))


def above_curve(f: Callable[[float], numpy.ndarray], step: float, found: Derivative) -> Derivative:
    """Return `found`, the result of `derivative(f, step)`, extrapolated where f'' jumps at 0.

    Where that leaves no more than its error, the floor is above it.
    """
    h = step / 8
    with numpy.errstate(all="ignore"):
        g = [_central(f, h / 4**k)[0] for k in range(3)]
        linear = abs((g[0] - g[1]) - 4 * (g[1] - g[2])) < 0.01 * abs(g[0] - g[1])
        first, second = (4 * g[1] - g[0]) / 3, (4 * g[2] - g[1]) / 3
        value, error = (16 * second - first) / 15, abs(second - first)
    jumps = linear & (abs(value - g[2]) > error)
    new = Derivative(value, error, numpy.full_like(value, h), error, found.bend)
    return Derivative(*(numpy.where(jumps, b, a) for a, b in zip(found, new, strict=True)))


def with_bend(f: Callable[[float], numpy.ndarray], found: Derivative) -> Derivative:
    """Return `found`, the result of `derivative`, with the jump of the slope where f has a kink at 0."""
    bend = numpy.zeros_like(found.value)
    with numpy.errstate(all="ignore"):
        middle = f(0.0)
        for h in numpy.unique(found.step):
            s1, s2, s3 = (f(k * h) + f(-k * h) - 2 * middle for k in (1, 2, 3))
            near, far = (4 * s1 - s2) / (2 * h), (9 * s2 - 4 * s3) / (6 * h)
            sharp = (found.step == h) & (abs(near - far) < 0.01 * abs(far))
            bend = numpy.where(sharp, far, bend)
    return found._replace(bend=bend)


def _central(
    f: Callable[[float], numpy.ndarray], h: float
) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Return the sixth-order derivative, its distance from the fourth-order one, and the size of f."""
    pairs = [(f(k * h), f(-k * h)) for k in (1, 2, 3)]
    # Equal infinities, as a mask of -inf makes them, have no difference.
    d1, d2, d3 = (numpy.where(right == left, 0.0, right - left) for right, left in pairs)
    sixth = (45 * d1 - 9 * d2 + d3) / (60 * h)
    fourth = (8 * d1 - d2) / (12 * h)
    sizes = [numpy.where(numpy.isfinite(y), abs(y), 0.0) for pair in pairs for y in pair]
    return sixth, abs(sixth - fourth), numpy.maximum.reduce(sizes)


class MovedInput:
    """An input that moves along every probe, and the derivatives of `measure`: a column for each probe."""

    def __init__(
        self,
        key: Key,
        measure: Callable[[], numpy.ndarray],
        x: Tensor,
        probes: Probes,
        steps: numpy.ndarray,
    ) -> None:
        self.key, self.measure, self.x, self.probes, self.steps = key, measure, x, probes, steps

    def differentiate(self) -> Derivative:
        """Return the derivative of `measure` along every probe."""
        with self._moving() as along:
            pairs = zip(self.probes, self.steps, strict=True)
            probes = reporting(pairs, len(self.probes), label(self.key))
            columns = [derivative(along(u), step) for u, step in probes]
        height = len(columns[0].value) if columns else len(self.measure())
        parts = (numpy.array([c[k] for c in columns]) for k in range(len(Derivative._fields)))
        return Derivative(*(part.reshape(len(self.probes), height).T for part in parts))

    def examine(self, found: Derivative, doubtful: numpy.ndarray) -> Derivative:
        """Return `found` with the doubtful columns examined for rounding and for kinks."""
        result = Derivative(*(part.copy() for part in found))
        with self._moving() as along:
            for k, (u, step) in enumerate(zip(self.probes, self.steps, strict=True)):
                if doubtful[k]:
                    column = Derivative(*(part[:, k] for part in found))
                    column = above_curve(along(u), step, above_rounding(along(u), step, column))
                    column = with_bend(along(u), column)
                    for part, new in zip(result, column, strict=True):
                        part[:, k] = new
        return result

    @contextmanager
    def _moving(self) -> Iterator[Callable[[numpy.ndarray], Callable[[float], numpy.ndarray]]]:
        """Yield a function from a probe to f(t), `measure` at x + t·probe; restore x afterwards."""
        x, home = self.x, self.x.array

        def along(probe: numpy.ndarray) -> Callable[[float], numpy.ndarray]:
            def moved_by(t: float) -> numpy.ndarray:
                x.array = home.copy()
                x.array += backend_of(home).from_numpy(t * probe)
                return self.measure()

            return moved_by

        try:
            yield along
        finally:
            x.array = home
