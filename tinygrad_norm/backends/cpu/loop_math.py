"""Elementary functions of one number, for loops: exp, log, erf, and what follows from them.

Compiled code would call the C library for every number. These are sums and products only, so the compiler
computes several numbers at once. Each has a version for float64 and one for float32, with fewer terms. NaN,
infinity, overflow and subnormal results are those of the exact function.

    exp    x = k·log 2 + r with an integer k and |r| ≤ (log 2)/2, exp(x) = 2ᵏ·(1 + r + r²·E(r)). The product
           k·log 2 is subtracted in two parts; the first is so short that its product with k is exact.
    log    x = 2ᵏ·(1 + f) with √½ ≤ 1 + f < √2, log x = k·log 2 + log(1 + f). With s = f/(2 + f),
           log(1 + f) = 2·artanh s = 2s + s·R(s²), and 2s = f - s·f. So log(1 + f) = f - s·(f - R(s²)).
    tanh   |tanh x| = e/(e + 2) with e = exp(2|x|) - 1
    σ      1/(1 + e) for x ≥ 0 and e/(1 + e) for x < 0, with e = exp(-|x|), which never overflows
    M      (1 - Φ(z))/exp(-z²/2) for z ≥ 0, with the normal CDF Φ: a quotient of two polynomials
    erf    x + x·q for |x| < 1, with a quotient q of polynomials of x², else 1 - 2·exp(-x²)·M(√2·|x|), with
           the sign of x

E and R/s² are the polynomials through the exact functions, in 60 digits, at the Chebyshev points of the
interval. Their relative errors are 1e-8 and 3e-9 in float32, 2e-17 and 5e-18 in float64. The quotients are
fitted at Chebyshev points too, by least squares of p - q·f, divided by f and by the q of the fit before, and
with more weight where the error is large. Their relative errors are 5e-9 (M) and 3e-9 (erf) in float32, 5e-17
and 7e-19 in float64. After rounding, all functions are correct to 2.5 units in the last place.
"""

import math
from typing import Any

import numpy

from .loop_helpers import helper, instruction

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
_E_SINGLE = 0.00139262508314976117, 0.0083632328836826182, 0.0416665542129841503, 0.166665766661199283, 0.5
_R_SINGLE = 0.295809859299744226, 0.39988757716604847, 0.666666850954290687
_M = (
    (
        1.37219865879446264e-6,
        0.000036949024029787453,
        0.000487042194971577388,
        0.00406588686892303223,
        0.023511777368230073,
        0.097336160898622996,
        0.288521363898124927,
        0.592907644180945435,
        0.774085941027203803,
        0.499999999999999967,
    ),
    (
        3.43959195655660183e-6,
        0.0000926174683507138741,
        0.00122427332902847356,
        0.0102842844433924552,
        0.0601492409436925873,
        0.253991992767569472,
        0.779744077583554448,
        1.71072337539125185,
        2.55769750289012647,
        2.34605644285726173,
        1.0,
    ),
)
_M_SINGLE = (
    (0.00402189747176311962, 0.0399956321633850148, 0.18134071378387973, 0.435732066383347768, 0.5),
    (
        0.0100812590713881519,
        0.100261548466800298,
        0.464469985649083742,
        1.19462510768520413,
        1.66934905575754069,
        1.0,
    ),
)
_ERF = (
    (
        -0.0000207327110026896347,
        -0.000495617170806925272,
        -0.00881569207015340214,
        -0.0483296070927890954,
        -0.317006078091893196,
        0.128379167095512575,
    ),
    (
        0.0000208104594484108456,
        0.000692502666228696416,
        0.010693123060084457,
        0.0938132911747193581,
        0.460513277017599919,
        1.0,
    ),
)
_ERF_SINGLE = (
    (-0.00134212704109913823, -0.0145977137032102097, -0.330980179255983989, 0.128379164354782818),
    (0.0376707856617137578, 0.351661410609889482, 1.0),
)
_LOG2, _ROOT2, _INFINITY = math.log(2), math.sqrt(2), math.inf


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
def quotient(x: float, coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> float:
    """Return the quotient of two polynomials of x."""
    return polynomial(x, coefficients[0]) / polynomial(x, coefficients[1])


@helper
def power_of_2(k: Any) -> Any:
    """Return 2ᵏ for an integer k: the sum has k + 1023, the exponent of the result, in its last bits."""
    return numpy.int64(numpy.float64(k + 6755399441056767.0).view(numpy.int64) << 52).view(numpy.float64)


@power_of_2.single
def power_of_2_single(k: Any) -> Any:
    """Return 2ᵏ in float32, whose exponents begin at -127."""
    return numpy.int32(numpy.float32(k + 12583039.0).view(numpy.int32) << 23).view(numpy.float32)


@helper
def within_range(x: Any) -> Any:
    """Return x, or the nearest number of which exp is neither 0 nor infinite."""
    x = x if x < 710.0 else 710.0
    return x if x > -746.0 else -746.0


@within_range.single
def within_range_single(x: Any) -> Any:
    """Return it in float32."""
    x = x if x < 89.0 else 89.0
    return x if x > -104.0 else -104.0


@helper
def split(x: Any) -> Any:
    """Return k and r. A large number is added to x/log 2 and taken away: what is left is an integer."""
    k = (x * (1.0 / _LOG2) + 6755399441055744.0) - 6755399441055744.0
    return k, (x - k * 0.6931471805592082091607153) - k * 7.3710025651677989e-13


@split.single
def split_single(x: Any) -> Any:
    """Return them in float32."""
    k = (x * (1.0 / _LOG2) + 12582912.0) - 12582912.0
    return k, (x - k * 0.693115234375) - k * 3.19461849453094e-5


@helper
def expm1_of_rest(r: Any) -> Any:
    """Return exp(r) - 1 for |r| ≤ (log 2)/2."""
    return r + r * r * polynomial(r, _E)


@expm1_of_rest.single
def expm1_of_rest_single(r: Any) -> Any:
    """Return it in float32."""
    return r + r * r * polynomial(r, _E_SINGLE)


@helper
def exp(x: Any) -> Any:
    """Return e to the power of x. Of the two factors of 2ᵏ, only the second may lead out of the range."""
    k, r = split(within_range(x))
    first = numpy.rint(k * 0.5)
    y = (1.0 + expm1_of_rest(r)) * power_of_2(first) * power_of_2(k - first)
    return y if x == x else x


@helper
def exp_of_negative(x: Any) -> Any:
    """Return e to the power of x ≤ 0, but 0 for subnormal results: in half the time of `exp`."""
    k, r = split(x)
    y = (1.0 + expm1_of_rest(r)) * power_of_2(k)
    return 0.0 if x < -708.3 else y


@exp_of_negative.single
def exp_of_negative_single(x: Any) -> Any:
    """Return it in float32."""
    k, r = split(x)
    y = (1.0 + expm1_of_rest(r)) * power_of_2(k)
    return 0.0 if x < -87.3 else y


@helper
def expm1(x: Any) -> Any:
    """Return exp(x) - 1, exact near 0."""
    k, r = split(within_range(x if x > -40.0 else -40.0))
    half = power_of_2(k - 1.0)
    y = (expm1_of_rest(r) * half + (half - 0.5)) * 2.0
    return y if x < 0.0 or x > 0.0 else x


@helper
def log_of_normal(x: Any) -> Any:
    """Return the natural logarithm of a positive number that is neither subnormal nor infinite."""
    bits = numpy.float64(x).view(numpy.int64)
    k = (bits - 0x3FE6A09E667F3BCD) >> 52
    f = numpy.int64(bits - (k << 52)).view(numpy.float64) - 1.0
    s, n = f / (f + 2.0), numpy.float64(numpy.int32(k))
    rest = f - s * s * polynomial(s * s, _R)
    return n * 0.6931471805592082091607153 + (f - (s * rest - n * 7.3710025651677989e-13))


@log_of_normal.single
def log_of_normal_single(x: Any) -> Any:
    """Return it in float32."""
    bits = numpy.float32(x).view(numpy.int32)
    k = (bits - 0x3F3504F3) >> 23
    f = numpy.int32(bits - (k << 23)).view(numpy.float32) - 1.0
    s, n = f / (f + 2.0), numpy.float32(numpy.int32(k))
    rest = f - s * s * polynomial(s * s, _R_SINGLE)
    return n * 0.693115234375 + (f - (s * rest - n * 3.19461849453094e-5))


@helper
def log(x: Any) -> Any:
    """Return the natural logarithm, -∞ at 0 and NaN below."""
    tiny = x < 2.0**-100
    y = log_of_normal(x * 2.0**100 if tiny else x) - (100.0 * _LOG2 if tiny else 0.0)
    if x <= 0.0:
        y = -_INFINITY if x == 0.0 else math.nan
    return y if x < _INFINITY else x


@helper
def log1p(x: Any) -> Any:
    """Return log(1 + x), exact near 0: what rounding takes from 1 + x = u is added as (x - (u - 1))/u."""
    u = 1.0 + x
    y = log(u)
    y = y + (x - (u - 1.0)) / u if -1.0 < x < _INFINITY else y
    return y if x < 0.0 or x > 0.0 else x


@helper
def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent."""
    k, r = split(2.0 * abs(x) if abs(x) < 20.0 else 40.0)
    power = power_of_2(k)
    e = expm1_of_rest(r) * power + (power - 1.0)
    return numpy.copysign(e / (e + 2.0), x) if x == x else x


@helper
def sigmoid(x: Any) -> Any:
    """Return 1/(1 + exp(-x)), 0 for subnormal results."""
    e = exp_of_negative(-abs(x))
    return (1.0 if x >= 0.0 else e) / (1.0 + e)


@helper
def softplus(x: Any) -> Any:
    """Return log(1 + exp(x)), 0 for subnormal results."""
    e = exp_of_negative(-abs(x))
    u = 1.0 + e
    return larger(x, 0.0) + (log_of_normal(u) + (e - (u - 1.0)) / u)


@helper
def mills(z: Any) -> Any:
    """Return M(z) for 0 ≤ z ≤ 40."""
    return quotient(z, _M)


@mills.single
def mills_single(z: Any) -> Any:
    """Return it in float32."""
    return quotient(z, _M_SINGLE)


@helper
def erf_near_0(x: Any) -> Any:
    """Return the error function for |x| < 1."""
    return x + x * quotient(x * x, _ERF)


@erf_near_0.single
def erf_near_0_single(x: Any) -> Any:
    """Return it in float32."""
    return x + x * quotient(x * x, _ERF_SINGLE)


@helper
def erf(x: Any) -> Any:
    """Return the error function."""
    z = 6.0 if abs(x) > 6.0 else abs(x)
    far = 1.0 - 2.0 * exp_of_negative(-z * z) * mills(_ROOT2 * z)
    return numpy.copysign(erf_near_0(z) if z < 1.0 else far, x)
