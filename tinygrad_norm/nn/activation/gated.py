"""Gated activations: x times a factor between 0 and 1. Smooth where a rectifier has its kink.

    silu(x) = x·σ(x)                    σ(x) = 1/(1 + exp(-x))
    gelu(x) = x·Φ(x)                    Φ(x) = (1 + erf(x/√2))/2    Φ' = φ = exp(-x²/2)/√(2π)
    mish(x) = x·tanh(softplus(x))
    glu(a, b) = a·σ(b)

For x·s(x) the product rule gives dx = dy·(s + x·s'). All formulas hold for any finite x: if an
exponential overflows, its reciprocal is 0, which is correct.

Φ without erf: Φ(x) = σ(u) with u = log(Φ(x)/Φ(-x)) = x·(2·√(2/π) + t·r(t)), t = x², because u is odd. The
well-known tanh approximation of gelu sets r to the constant 2·√(2/π)·0.044715. Here r is a quotient of two
cubic polynomials, fitted to 40 digits of u by reweighted least squares for t < 35. Then Φ is correct to
float32 rounding, and its left tail to five digits, down to x = -5.9.
"""

import math
from typing import Any

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, namespace
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.loop_math import exp, exp_of_negative, mills, sigmoid
from ...backends.cuda.elements import ElementSource
from ...module import Module
from ...ops import ones
from ...ops.checks import check_input
from ...ops.dims import normalize_dim
from ...ops.elementwise import logistic
from ...ops.error_function import erf_forward
from ...registry import Case, ErrorCase, register
from .pointwise import InplaceModule, PointwiseFunction, register_activation

_kernels = ElementSource(__file__)


def silu_composed(input: Tensor) -> Tensor:
    """SiLU from primitives: autograd finds the gradient."""
    return input * input.sigmoid()


class SiLUFunction(PointwiseFunction):
    """y = x·σ(x) · dx = dy·σ(x)·(1 + x·(1 - σ(x)))"""

    def shared(self, x: Array) -> Array:
        return logistic(x)

    def value(self, x: Array, s: Array) -> Array:
        return x * s

    def slope(self, x: Array, s: Array) -> Array:
        return s * (1 + x * (1 - s))


@SiLUFunction.loop
def silu_loop(x: Any) -> tuple[Any, Any]:
    """Return y and dy/dx at one number."""
    s = sigmoid(x)
    return x * s, s * (1.0 + x * (1.0 - s))


SiLUFunction.cuda(_kernels, "silu")


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """Return input·sigmoid(input), also called swish.

    `inplace` is accepted but has no effect: see pointwise.py.

    Raises:
        TypeError: if the input is not a floating-point tensor.

    Source: Elfwing, Uchibe, Doya 2017, arXiv:1702.03118.
    """
    check_input(input, "silu")
    return SiLUFunction.apply(input)


class SiLU(InplaceModule):
    """silu as a layer: y = x/(1 + exp(-x)), of x's shape. Source: Elfwing et al. 2017, arXiv:1702.03118."""

    def forward(self, input: Tensor) -> Tensor:
        return silu(input)


_TANH_SCALE, _CUBIC = math.sqrt(2 / math.pi), 0.044715
_NUMERATOR = (0.0169162595, 4.73603996, 76.8630952, 835.205333)
_DENOMINATOR = (1.0, 82.6430229, 1069.49737, 11492.8964)


def normal_cdf(x: Array) -> Array:
    """Return Φ(x), for float32 and float64."""
    if x.dtype.itemsize == 8:
        return 0.5 + 0.5 * erf_forward(x * math.sqrt(0.5))
    t = (x * x).clip(0, 1e8)  # for larger t, Φ is 0 or 1
    u = _polynomial(_NUMERATOR, t)
    u *= t
    u /= _polynomial(_DENOMINATOR, t)
    u += 2 * _TANH_SCALE
    u *= x
    return logistic(u)


def _polynomial(coefficients: tuple[float, ...], t: Array) -> Array:
    first, *others, last = coefficients
    y = first * t
    for c in others:
        y += c
        y *= t
    y += last
    return y


def gelu_composed(input: Tensor, approximate: str = "none") -> Tensor:
    """GELU from primitives: autograd finds the gradient."""
    if approximate == "tanh":
        return input * 0.5 * (1 + (_TANH_SCALE * (input + _CUBIC * input**3)).tanh())
    return input * 0.5 * (1 + (input / math.sqrt(2)).erf())


class GELUFunction(PointwiseFunction):
    """y = x·Φ(x) · dx = dy·(Φ(x) + x·φ(x))"""

    def shared(self, x: Array) -> Array:
        return normal_cdf(x)

    def value(self, x: Array, cdf: Array) -> Array:
        return x * cdf

    def slope(self, x: Array, cdf: Array) -> Array:
        return cdf + x * namespace(x).exp(x * x * -0.5) * (0.5 * _TANH_SCALE)


@GELUFunction.loop
def gelu_loop(x: Any) -> tuple[Any, Any]:
    """Return y and dy/dx at one number. Φ(-z) = exp(-z²/2)·M(z) for z ≥ 0: see backends/cpu/loop_math.py."""
    z = abs(x) if abs(x) < 40.0 else 40.0
    e = exp_of_negative(-0.5 * (z * z))
    tail = e * mills(z)
    cdf = 1.0 - tail if x > 0.0 else tail
    return x * cdf, cdf + x * e * (0.5 * _TANH_SCALE)


GELUFunction.cuda(_kernels, "gelu")


class GELUTanhFunction(PointwiseFunction):
    """y = x·σ(2u), u = √(2/π)·(x + 0.044715·x³) · dx = dy·(s + x·s·(1 - s)·2u'), s = σ(2u)"""

    def shared(self, x: Array) -> tuple[Array, Array, Array]:
        near = x.clip(-25, 25)  # for larger |x|, s is 0 or 1
        u = 2 * _TANH_SCALE * _CUBIC * (near * near)
        return near, u, logistic(near * (u + 2 * _TANH_SCALE))

    def value(self, x: Array, shared: tuple[Array, Array, Array]) -> Array:
        return x * shared[2]

    def slope(self, x: Array, shared: tuple[Array, Array, Array]) -> Array:
        near, u, s = shared
        return s + near * s * (1 - s) * (3 * u + 2 * _TANH_SCALE)


@GELUTanhFunction.loop
def gelu_tanh_loop(x: Any) -> tuple[Any, Any]:
    """Return y and dy/dx at one number."""
    near = 25.0 if x > 25.0 else -25.0 if x < -25.0 else x
    u = 2.0 * _TANH_SCALE * _CUBIC * (near * near)
    s = sigmoid(near * (u + 2.0 * _TANH_SCALE))
    return x * s, s + near * s * (1.0 - s) * (3.0 * u + 2.0 * _TANH_SCALE)


GELUTanhFunction.cuda(_kernels, "gelu_tanh")


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """Return input·Φ(input), with Φ the normal CDF; `approximate="tanh"` approximates Φ by a tanh.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if `approximate` is neither "none" nor "tanh".

    Source: Hendrycks, Gimpel 2016, arXiv:1606.08415.
    """
    check_input(input, "gelu")
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate must be 'none' or 'tanh', got {approximate!r}")
    return (GELUFunction if approximate == "none" else GELUTanhFunction).apply(input)


class GELU(Module):
    """gelu as a layer: y = x·Φ(x), of x's shape. Source: Hendrycks, Gimpel 2016, arXiv:1606.08415."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        return gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


def mish_composed(input: Tensor) -> Tensor:
    """Mish from primitives: autograd finds the gradient."""
    return input * input.exp().log1p().tanh()


class MishFunction(PointwiseFunction):
    """y = x·t, t = tanh(softplus(x)) · dx = dy·(t + x·(1 - t²)·σ(x))

    With e = exp(x) and n = (1 + e)² - 1 = e·(e + 2), t = n/(n + 2) and 1 - t² = 4·(n + 1)/(n + 2)².
    """

    def shared(self, x: Array) -> tuple[Array, ...]:
        near = x.clip(-math.inf, 20)  # for larger x, t rounds to 1
        e = namespace(x).exp(near)
        n = e * (e + 2)
        r = 1 / (n + 2)
        return near, e, n, r, n * r

    def value(self, x: Array, shared: tuple[Array, ...]) -> Array:
        return x * shared[4]

    def slope(self, x: Array, shared: tuple[Array, ...]) -> Array:
        near, e, n, r, t = shared
        return t + near * (4 * (n + 1) * r * r * (e / (1 + e)))


@MishFunction.loop
def mish_loop(x: Any) -> tuple[Any, Any]:
    """Return y and dy/dx at one number."""
    near = 20.0 if x > 20.0 else x
    e = exp(near)
    n = e * (e + 2.0)
    r = 1.0 / (n + 2.0)
    t = n * r
    return x * t, t + near * (4.0 * (n + 1.0) * r * r * (e / (1.0 + e)))


MishFunction.cuda(_kernels, "mish")


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """Return input·tanh(softplus(input)).

    `inplace` is accepted but has no effect: see pointwise.py.

    Raises:
        TypeError: if the input is not a floating-point tensor.

    Source: Misra 2019, arXiv:1908.08681.
    """
    check_input(input, "mish")
    return MishFunction.apply(input)


class Mish(InplaceModule):
    """mish as a layer: y = x·tanh(log(1 + exp(x))), of x's shape. Source: Misra 2019, arXiv:1908.08681."""

    def forward(self, input: Tensor) -> Tensor:
        return mish(input)


def glu_composed(input: Tensor, dim: int = -1) -> Tensor:
    """GLU from primitives: autograd finds the gradient."""
    first = (slice(None),) * normalize_dim(dim, input.ndim)
    half = input.shape[dim] // 2
    return input[(*first, slice(half))] * input[(*first, slice(half, None))].sigmoid()


class GLUFunction(Function):
    """y = a·σ(b), with a and b the halves of x · da = dy·σ(b), db = dy·a·σ(b)·(1 - σ(b))"""

    def forward(self, x: Array, *, dim: int) -> Array:
        a, b = namespace(x).split(upcast(x), 2, dim)
        s = logistic(b)
        self.saved = a, s, dim
        return downcast(a * s, x)

    def backward(self, dy: Array) -> Gradients:
        a, s, dim = self.saved
        da = dy * s
        return namespace(dy).concatenate((da, da * (a * (1 - s))), dim)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """Return the first half of axis `dim` times the sigmoid of the second half.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        IndexError: if the axis does not exist.
        ValueError: if the size of the axis is odd.

    Source: Dauphin, Fan, Auli, Grangier 2016, arXiv:1612.08083.
    """
    check_input(input, "glu")
    axis = normalize_dim(dim, input.ndim)
    if not input.ndim or input.shape[axis] % 2:
        raise ValueError(f"glu splits axis {dim} into halves: its size must be even, got shape {input.shape}")
    return GLUFunction.apply(input, dim=axis)


class GLU(Module):
    """glu as a layer: y = a·σ(b), with a and b the halves of x along axis `dim`; y has their shape.

    Source: Dauphin, Fan, Auli, Grangier 2016, arXiv:1612.08083.
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


register_activation(silu, silu_composed, paper="Elfwing, Uchibe, Doya 2017, arXiv:1702.03118")
register_activation(
    gelu,
    gelu_composed,
    {"approximate": "tanh"},
    errors=(ErrorCase(lambda: gelu(ones(2), "fast"), ValueError, "'none' or 'tanh'"),),
    paper="Hendrycks, Gimpel 2016, arXiv:1606.08415",
    bench=tuple(Case((shape,)) for shape in ((64, 64), (512, 768), (4096, 1024))),
)
register_activation(mish, mish_composed, paper="Misra 2019, arXiv:1908.08681")
register(
    name="glu",
    function=glu,
    composed=glu_composed,
    cases=(
        Case(((3, 4),)),
        Case(((2, 4, 3),), {"dim": 1}),
        Case(((4, 2),), {"dim": -2}),
        Case(((0, 4),)),
    ),
    errors=(
        ErrorCase(lambda: glu(ones(2, 3)), ValueError, "must be even"),
        ErrorCase(lambda: glu(ones(2, 4), 2), IndexError, "out of range"),
        ErrorCase(lambda: glu(ones(())), ValueError, "must be even"),
    ),
    paper="Dauphin, Fan, Auli, Grangier 2016, arXiv:1612.08083",
    torch="torch.nn.functional.glu",
)
