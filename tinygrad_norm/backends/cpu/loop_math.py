"""Elementary functions of one number, for loops: exp, log, and what follows from them.

Compiled code would call the C library for every number. These are sums and products only, so the compiler
computes several numbers at once. Each has a version for float64 and one for float32, with fewer terms. NaN,
infinity, overflow and subnormal results are those of the exact function.

    exp    x = k·log 2 + r with an integer k and |r| ≤ (log 2)/2, exp(x) = 2ᵏ·(1 + r + r²·E(r)). The product
           k·log 2 is subtracted in two parts; the first is so short that its product with k is exact.
    log    x = 2ᵏ·(1 + f) with √½ ≤ 1 + f < √2, log x = k·log 2 + log(1 + f). With s = f/(2 + f),
           log(1 + f) = 2·artanh s = 2s + s·R(s²), and 2s = f - s·f. So log(1 + f) = f - s·(f - R(s²)).
    tanh   |tanh x| = e/(e + 2) with e = exp(2|x|) - 1
    σ      1/(1 + e) for x ≥ 0 and e/(1 + e) for x < 0, with e = exp(-|x|), which never overflows

E and R/s² are the polynomials through the exact functions, in 60 digits, at the Chebyshev points of the
interval. Their relative errors are 1e-8 and 3e-9 in float32, 2e-17 and 5e-18 in float64. All results are
correct to 2.5 units in the last place.
"""

import math
from typing import Any

import numpy

from .loops import helper, instruction


def _single(*numbers: float) -> Any:
    return tuple([numpy.float32(number) for number in numbers])


_E = (
    2.5100472505694996e-8,
    2.76202015910315488e-7,
    2.75572682769056962e-6,
    2.48015210578682052e-5,
    0.00019841269863171556,
    0.00138888889173670806,
    0.0083333333333300382,
    0.0416666666666238205,
    0.166666666666666675,
    0.500000000000000103,
)
_R = (
    0.14617807153417325,
    0.153316117220550079,
    0.181828924325368712,
    0.222222110893794962,
    0.285714286262538376,
    0.399999999998988905,
    0.666666666666666971,
)
_E_SINGLE = _single(
    0.00139262508314976117, 0.0083632328836826182, 0.0416665542129841503, 0.166665766661199283, 0.5
)
_R_SINGLE = _single(0.295809859299744226, 0.39988757716604847, 0.666666850954290687)
_LOG2, _LOG2_HIGH, _LOG2_LOW = math.log(2), 0.6931471805592082091607153, 7.3710025651677989e-13
_PER_LOG2, _HIGH, _LOW = _single(1 / _LOG2, 0.693115234375, 3.19461849453094e-5)
_HALF, _ONE, _TWO = _single(0.5, 1, 2)
_LOWEST, _HIGHEST = _single(-104, 89)  # exp is 0 below, infinite above
_ZERO, _TEN, _TWENTY, _TINY, _TWO_25, _25_LOG2 = _single(0, 10, 20, 2.0**-126, 2.0**25, 25 * _LOG2)
_NORMAL = numpy.float32(-87.3)  # exp is subnormal below
_SHIFT, _SHIFT_SINGLE = 1.5 * 2.0**52 + 1023, numpy.float32(1.5 * 2.0**23 + 127)  # with the exponent of 1
_INFINITY, _NAN = _single(math.inf, math.nan)


@instruction("llvm.maximum")
def larger(a: Any, b: Any) -> Any:
    """Return the larger of two numbers, NaN if one is. The compiler vectorizes no other maximum of a row."""
    return a if a > b or a != a else b


@helper
def polynomial(x: float, coefficients: tuple[float, ...]) -> float:
    """Return the polynomial of x with these coefficients, the highest power's first."""
    y = coefficients[0]
    for c in coefficients[1:]:
        y = y * x + c
    return y


@helper
def times_power_of_2(y: Any, k: Any) -> Any:
    """Return y·2ᵏ for y near 1. Half of k is added to its exponent; only the product with the rest rounds."""
    half = numpy.int64(numpy.int32(k)) >> 1
    rest = numpy.int64(numpy.int32(k)) - half
    y = numpy.int64(numpy.float64(y).view(numpy.int64) + (half << 52)).view(numpy.float64)
    return y * numpy.int64((rest + 1023) << 52).view(numpy.float64)


@times_power_of_2.single
def times_power_of_2_single(y: Any, k: Any) -> Any:
    """Return y·2ᵏ in float32."""
    half = numpy.int32(k) >> 1
    rest = numpy.int32(k) - half
    y = numpy.int32(numpy.float32(y).view(numpy.int32) + (half << 23)).view(numpy.float32)
    return y * numpy.int32((rest + 127) << 23).view(numpy.float32)


@helper
def exp(x: Any) -> Any:
    """Return e to the power of x."""
    near = 710.0 if x > 710.0 else x
    near = near if near > -746.0 else -746.0
    k = numpy.rint(near / _LOG2)
    r = (near - k * _LOG2_HIGH) - k * _LOG2_LOW
    y = times_power_of_2(1 + (r + r * r * polynomial(r, _E)), k)
    return y if x == x else x


@exp.single
def exp_single(x: Any) -> Any:
    """Return e to the power of x, in float32."""
    near = _HIGHEST if x > _HIGHEST else x
    near = near if near > _LOWEST else _LOWEST
    k = numpy.rint(near * _PER_LOG2)
    r = (near - k * _HIGH) - k * _LOW
    y = times_power_of_2(_ONE + (r + r * r * polynomial(r, _E_SINGLE)), k)
    return y if x == x else x


@helper
def exp_of_negative(x: Any) -> Any:
    """Return e to the power of x ≤ 0, but 0 for subnormal results: in half the time of `exp`.

    Added to 1.5·2⁵², x/log 2 is rounded to an integer k, which the last bits of the sum hold.
    """
    shifted = x * (1 / _LOG2) + _SHIFT
    k = shifted - _SHIFT
    r = (x - k * _LOG2_HIGH) - k * _LOG2_LOW
    power = numpy.int64(numpy.float64(shifted).view(numpy.int64) << 52).view(numpy.float64)
    y = (1.0 + (r + r * r * polynomial(r, _E))) * power
    return 0.0 if x < -708.3 else y


@exp_of_negative.single
def exp_of_negative_single(x: Any) -> Any:
    """Return e to the power of x ≤ 0 in float32, with 1.5·2²³."""
    shifted = x * _PER_LOG2 + _SHIFT_SINGLE
    k = shifted - _SHIFT_SINGLE
    r = (x - k * _HIGH) - k * _LOW
    power = numpy.int32(numpy.float32(shifted).view(numpy.int32) << 23).view(numpy.float32)
    y = (_ONE + (r + r * r * polynomial(r, _E_SINGLE))) * power
    return _ZERO if x < _NORMAL else y


@helper
def expm1(x: Any) -> Any:
    """Return exp(x) - 1, exact near 0."""
    near = 710.0 if x > 710.0 else x
    near = near if near > -40.0 else -40.0
    k = numpy.rint(near / _LOG2)
    r = (near - k * _LOG2_HIGH) - k * _LOG2_LOW
    half = numpy.int64((numpy.int64(numpy.int32(k)) + 1022) << 52).view(numpy.float64)
    y = ((r + r * r * polynomial(r, _E)) * half + (half - 0.5)) * 2.0
    return y if x < 0.0 or x > 0.0 else x


@expm1.single
def expm1_single(x: Any) -> Any:
    """Return exp(x) - 1 in float32."""
    near = _HIGHEST if x > _HIGHEST else x
    near = near if near > -_TWENTY else -_TWENTY
    k = numpy.rint(near * _PER_LOG2)
    r = (near - k * _HIGH) - k * _LOW
    half = numpy.int32((numpy.int32(k) + 126) << 23).view(numpy.float32)
    y = ((r + r * r * polynomial(r, _E_SINGLE)) * half + (half - _HALF)) * _TWO
    return y if x < _ZERO or x > _ZERO else x


@helper
def log_of_normal(x: Any) -> Any:
    """Return the natural logarithm of a positive number that is neither subnormal nor infinite."""
    bits = numpy.float64(x).view(numpy.int64)
    k = (bits - 0x3FE6A09E667F3BCD) >> 52
    f = numpy.int64(bits - (k << 52)).view(numpy.float64) - 1.0
    s, n = f / (f + 2.0), numpy.float64(numpy.int32(k))
    return n * _LOG2_HIGH + (f - (s * (f - s * s * polynomial(s * s, _R)) - n * _LOG2_LOW))


@log_of_normal.single
def log_of_normal_single(x: Any) -> Any:
    """Return it in float32."""
    bits = numpy.float32(x).view(numpy.int32)
    k = (bits - 0x3F3504F3) >> 23
    f = numpy.int32(bits - (k << 23)).view(numpy.float32) - _ONE
    s, n = f / (f + _TWO), numpy.float32(numpy.int32(k))
    return n * _HIGH + (f - (s * (f - s * s * polynomial(s * s, _R_SINGLE)) - n * _LOW))


@helper
def log(x: Any) -> Any:
    """Return the natural logarithm, -∞ at 0 and NaN below."""
    tiny = x < 2.3e-308
    y = log_of_normal(x * 2.0**54 if tiny else x) - (54 * _LOG2 if tiny else 0.0)
    return y if 0.0 < x < math.inf else x if x > 0.0 or x != x else -math.inf if x == 0.0 else math.nan


@log.single
def log_single(x: Any) -> Any:
    """Return the natural logarithm in float32."""
    tiny = x < _TINY
    y = log_of_normal(x * _TWO_25 if tiny else x) - (_25_LOG2 if tiny else _ZERO)
    return y if _ZERO < x < _INFINITY else x if x > _ZERO or x != x else -_INFINITY if x == _ZERO else _NAN


@helper
def log1p(x: Any) -> Any:
    """Return log(1 + x), exact near 0: what rounding takes from 1 + x = u is added as (x - (u - 1))/u."""
    u = 1.0 + x
    y = log(u)
    y = y + (x - (u - 1.0)) / u if -1.0 < x < math.inf else y
    return x if x == 0.0 else y


@log1p.single
def log1p_single(x: Any) -> Any:
    """Return log(1 + x) in float32."""
    u = _ONE + x
    y = log(u)
    y = y + (x - (u - _ONE)) / u if -_ONE < x < _INFINITY else y
    return x if x == _ZERO else y


@helper
def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent."""
    e = expm1(2.0 * min(abs(x), 20.0))
    return math.copysign(e / (e + 2.0), x)


@tanh.single
def tanh_single(x: Any) -> Any:
    """Return the hyperbolic tangent in float32."""
    e = expm1(_TWO * min(abs(x), _TEN))
    return numpy.copysign(e / (e + _TWO), x)


@helper
def sigmoid(x: Any) -> Any:
    """Return 1/(1 + exp(-x))."""
    e = exp(-abs(x))
    return (1.0 if x >= 0.0 else e) / (1.0 + e)


@sigmoid.single
def sigmoid_single(x: Any) -> Any:
    """Return 1/(1 + exp(-x)) in float32."""
    e = exp(-abs(x))
    return (_ONE if x >= _ZERO else e) / (_ONE + e)


@helper
def softplus(x: Any) -> Any:
    """Return log(1 + exp(x))."""
    e = exp(-abs(x))
    u = 1.0 + e
    return max(x, 0.0) + (log_of_normal(u) + (e - (u - 1.0)) / u)


@softplus.single
def softplus_single(x: Any) -> Any:
    """Return log(1 + exp(x)) in float32."""
    e = exp(-abs(x))
    u = _ONE + e
    return max(x, _ZERO) + (log_of_normal(u) + (e - (u - _ONE)) / u)
