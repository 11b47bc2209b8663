"""The error function, which NumPy lacks: erf(x) = 2/√π ∫₀ˣ exp(-t²) dt, and erfc(x) = 1 - erf(x).

From the nearest point c of a grid, erf(x) is a Taylor series in h = x - c. Its terms need no derivatives
at run time: with the Hermite polynomials H₀ = 1, H₁ = 2c, Hₙ₊₁ = 2c·Hₙ - 2n·Hₙ₋₁,

    erf⁽ⁿ⁾(c) = (-1)ⁿ⁻¹ · Hₙ₋₁(c) · 2/√π · exp(-c²),

so every grid point has a row of coefficients, computed once. In float64, |h| ≤ 1/64 and eight terms leave
an error below 10⁻¹⁶. In float32 the grid is so fine, |h| ≤ 1/8192, that one term is enough: its error is
h² of the result, a quarter of a rounding error, and a lookup is faster than more terms. Above x = 6 in
float64 (4 in float32), 1 - erf(x) is less than half a rounding error and the result is 1. `math.erf`
computes the values at the grid points, one by one.

erfc is small where erf is nearly 1: the difference would have no digits. With Mills' ratio M of
backends/cpu/loop_math.py, erfc(x) = 2·exp(-x²)·M(√2·x) for x ≥ 0, and 2 - erfc(-x) below. The rounding error
of x² would grow with it: with c the multiple of 1/16 below x, c² is exact and x² = c² + (x - c)·(x + c).

Source: Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 7.1.19.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, kernel, namespace
from ..backends.cpu import loop_math
from ..backends.cpu.blocks import elementwise
from ..backends.cpu.element_loops import ElementLoop
from ..backends.cpu.half import downcast, upcast
from ..backends.cpu.loop_helpers import helper
from ..backends.cpu.loop_math import exp_of_negative
from ..backends.cuda.elements import ElementSource
from ..registry import Case, ErrorCase, register
from .operands import as_float_tensor

_kernels = ElementSource(__file__)


class _Grid(NamedTuple):
    points: int  # per unit
    last: int  # erf(x) is 1 from here on
    terms: int


_SLOPE_AT_0 = 2 / math.sqrt(math.pi)
_GRIDS = {8: _Grid(32, 6, 8), 4: _Grid(4096, 4, 1)}  # by itemsize


@functools.cache
def _coefficients(xp: Any, dtype: numpy.dtype) -> list[Array]:
    points, last, terms = _GRIDS[dtype.itemsize]
    c = numpy.arange(last * points + 1) / points
    slope = _SLOPE_AT_0 * numpy.exp(-c * c)
    rows = [numpy.array([math.erf(point) for point in c])]
    hermite, previous = numpy.ones_like(c), numpy.zeros_like(c)
    for n in range(1, terms + 1):
        rows.append((-1) ** (n - 1) * hermite * slope / math.factorial(n))
        hermite, previous = 2 * c * hermite - 2 * (n - 1) * previous, hermite
    return [xp.asarray(row.astype(dtype)) for row in rows]


@kernel
def erf_forward(x: Array) -> Array:
    """Return erf(x), of half types computed in float32."""
    if hasattr(x, "erf"):
        return x.erf()  # a recorded array: the derivative of the series has fewer digits
    return downcast(elementwise(_series, upcast(x))[0], x)


def _series(x: Array) -> tuple[Array]:
    xp = namespace(x)
    points, last, _ = _GRIDS[x.dtype.itemsize]
    magnitude = xp.abs(x).clip(0, last)
    nearest = xp.rint(xp.fmin(magnitude, last) * points)  # not NaN even if x is
    h = magnitude - nearest * (1 / points)
    index = nearest.astype(numpy.intp)
    rows = _coefficients(xp, x.dtype)
    y = rows[-1].take(index)
    for row in rows[-2::-1]:
        y *= h
        y += row.take(index)
    return (xp.copysign(y, x),)


erf_forward.cpu(ElementLoop(loop_math.erf))


@kernel
def erf_backward(dy: Array, x: Array) -> Array:
    """Return dy·2/√π·exp(-x²)."""
    return dy * namespace(dy).exp(-(x * x)) * _SLOPE_AT_0


@helper
def erf_backward_loop(dy: Any, x: Any) -> Any:
    """Return dx at one number."""
    return dy * (exp_of_negative(-(x * x)) * _SLOPE_AT_0)


erf_backward.cpu(ElementLoop(erf_backward_loop, arrays=2))


@erf_forward.cuda
def erf_forward_cuda(x: Array) -> Array:
    """One launch of CUDA's erf."""
    return _kernels.each("erf_forward", (x,))


@erf_backward.cuda
def erf_backward_cuda(dy: Array, x: Array) -> Array:
    """One launch: dy and x are read once."""
    return _kernels.each("erf_backward", (dy, x))


class Erf(Function):
    """y = erf(x) · dx = dy·2/√π·exp(-x²)"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        return erf_forward(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return erf_backward(dy, x)


def erf(input: Tensor) -> Tensor:
    """Return the error function of input, accurate to rounding."""
    return Erf.apply(as_float_tensor(input))


@kernel
def erfc_forward(x: Array) -> Array:
    """Return 1 - erf(x), also where that is small; computed in float64."""
    if hasattr(x, "erf"):
        return 1 - x.erf()  # a recorded array: its derivative is exact
    xp = namespace(x)
    z = xp.abs(x).astype(numpy.float64).clip(0, 28)  # erfc is 0 from here on
    c = xp.floor(z * 16) / 16
    tail = 2 * xp.exp(-c * c) * xp.exp((c - z) * (c + z)) * loop_math.mills(z * math.sqrt(2))
    return xp.where(x < 0, 2 - tail, tail).astype(x.dtype)


@erfc_forward.cuda
def erfc_forward_cuda(x: Array) -> Array:
    """One launch of CUDA's erfc."""
    return _kernels.each("erfc_forward", (x,))


class Erfc(Function):
    """y = 1 - erf(x) · dx = -dy·2/√π·exp(-x²)"""

    def forward(self, x: Array) -> Array:
        self.saved = (x,)
        return erfc_forward(x)

    def backward(self, dy: Array) -> Gradients:
        (x,) = self.saved
        return -erf_backward(dy, x)


def erfc(input: Tensor) -> Tensor:
    """Return 1 − erf(input), accurate also where that is small: for a large input."""
    return Erfc.apply(as_float_tensor(input))


register(
    name="erf",
    function=erf,
    composed=None,
    cases=(Case(((3, 4),)), Case(((),)), Case(((0, 3),))),
    errors=(ErrorCase(lambda: erf([1.0]), TypeError, "must be a Tensor, got list"),),  # type: ignore[arg-type]
    kind="primitive",
    torch="torch.erf",
    bench=(Case(((512, 768),)),),
)
register(
    name="erfc",
    function=erfc,
    composed=None,
    cases=(Case(((3, 4),)), Case(((),)), Case(((0, 3),))),
    errors=(ErrorCase(lambda: erfc([1.0]), TypeError, "must be a Tensor, got list"),),  # type: ignore[arg-type]
    kind="primitive",
    torch="torch.erfc",
)
