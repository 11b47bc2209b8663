"""The error function, which NumPy has not: erf(x) = 2/√π ∫₀ˣ exp(-t²) dt.

From the nearest point c of a grid, erf(x) is a Taylor series in h = x - c with |h| ≤ 1/64. Its terms
need no derivatives at run time: with the Hermite polynomials H₀ = 1, H₁ = 2c, Hₙ₊₁ = 2c·Hₙ - 2n·Hₙ₋₁,

    erf⁽ⁿ⁾(c) = (-1)ⁿ⁻¹ · Hₙ₋₁(c) · 2/√π · exp(-c²),

so every grid point has a row of coefficients, made once. Eight terms leave an error below 10⁻¹⁶, four
are enough for float32. Past x = 6, 1 - erf(x) < 3·10⁻¹⁷ and the result is 1. Only the grid is
evaluated with `math.erf`, number by number.

Source: Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 7.1.19.
"""

import functools
import math
from typing import Any

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, kernel, namespace
from ..registry import Case, ErrorCase, register
from .half import narrow, widen
from .operands import as_float_tensor

_PER_UNIT = 32  # grid points
_LAST = 6 * _PER_UNIT
_PIECE = 8192


@functools.cache
def _coefficients(xp: Any, dtype: numpy.dtype) -> list[Array]:
    c = numpy.arange(_LAST + 1) / _PER_UNIT
    slope = 2 / math.sqrt(math.pi) * numpy.exp(-c * c)
    rows = [numpy.array([math.erf(point) for point in c])]
    hermite, previous = numpy.ones_like(c), numpy.zeros_like(c)
    for n in range(1, 9 if dtype.itemsize == 8 else 5):
        rows.append((-1) ** (n - 1) * hermite * slope / math.factorial(n))
        hermite, previous = 2 * c * hermite - 2 * (n - 1) * previous, hermite
    return [xp.asarray(row.astype(dtype)) for row in rows]


@kernel
def erf_forward(x: Array) -> Array:
    """Return erf(x), in float32 or float64, a piece that fits the cache at a time."""
    y = numpy.empty(x.shape, x.dtype)
    x, flat = x.reshape(-1), y.reshape(-1)
    for start in range(0, x.size, _PIECE):
        flat[start : start + _PIECE] = _series(x[start : start + _PIECE])
    return y


@erf_forward.cuda
def _series(x: Array) -> Array:
    xp = namespace(x)
    size = xp.minimum(xp.abs(x), _LAST / _PER_UNIT)
    nearest = xp.rint(xp.fmin(size, _LAST / _PER_UNIT) * _PER_UNIT)  # a number even where x is NaN
    h = size - nearest / _PER_UNIT
    index = nearest.astype(numpy.intp)
    rows = _coefficients(xp, x.dtype)
    y = rows[-1].take(index)
    for row in rows[-2::-1]:
        y *= h
        y += row.take(index)
    return xp.copysign(y, x)


class Erf(Function):
    """y = erf(x) · dx = dy·2/√π·exp(-x²)"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        return narrow(erf_forward(widen(x)), x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return dy * namespace(x).exp(-(x * x)) * (2 / math.sqrt(math.pi))


def erf(input: Tensor) -> Tensor:
    """Return the error function of input, exact to rounding."""
    return Erf.apply(as_float_tensor(input))


register(
    name="erf",
    function=erf,
    composed=None,
    cases=(Case(((3, 4),)), Case(((),)), Case(((0, 3),))),
    errors=(ErrorCase(lambda: erf([1.0]), TypeError, "must be a Tensor, got list"),),  # type: ignore[arg-type]
    kind="primitive",
    torch="torch.erf",
)
