"""Activations without corners; those made of straight pieces are in rectifiers.py.

    σ(x) = 1/(1 + exp(-x))          σ' = σ·(1 - σ)
    softplus(x) = log(1 + exp(x))   softplus' = σ
    Φ(x) = (1 + erf(x/√2))/2        Φ' = φ = exp(-x²/2)/√(2π)

All formulas hold for any finite x: where an exponential overflows, its reciprocal is the right 0.
"""

import math
from typing import Any

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..module import Module
from ..normalization.checks import check_input
from ..ops import ones, sigmoid, tanh
from ..ops.arguments import as_number
from ..ops.dims import normalize_dim
from ..ops.erf import erf_forward
from ..ops.half import narrow, widen
from ..ops.ieee import silent
from ..registry import Case, ErrorCase, distinct, register, uniform
from .pointwise import Pointwise


def logistic(x: Array) -> Array:
    """Return σ(x); to be run under `silent`, as exp(-x) may overflow to give the right 0."""
    return 1 / (1 + namespace(x).exp(-x))


def log1p_exp(x: Array) -> Array:
    """Return softplus(x) = log(1 + exp(x)), from an exponential that is at most 1."""
    xp = namespace(x)
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-abs(x)))


class Tanh(Module):
    """tanh as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        return tanh(input)


class Sigmoid(Module):
    """sigmoid as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        return sigmoid(input)


def silu_composed(input: Tensor) -> Tensor:
    """Silu from primitives: autograd finds the gradient."""
    return input * input.sigmoid()


class Silu(Pointwise):
    """y = x·σ(x) · dx = dy·σ(x)·(1 + x·(1 - σ(x)))"""

    def value(self, x: Array) -> Array:
        return x * logistic(x)

    def slope(self, x: Array) -> Array:
        s = logistic(x)
        return s * (1 + x * (1 - s))


def silu(input: Tensor) -> Tensor:
    """Return input·sigmoid(input), also called swish. Source: Elfwing et al. 2017, arXiv:1702.03118."""
    check_input(input, "silu")
    return Silu.apply(input)


class SiLU(Module):
    """silu as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        return silu(input)


_TANH_SCALE, _CUBIC = math.sqrt(2 / math.pi), 0.044715


def gelu_composed(input: Tensor, approximate: str = "none") -> Tensor:
    """Gelu from primitives: autograd finds the gradient."""
    if approximate == "tanh":
        return input * 0.5 * (1 + (_TANH_SCALE * (input + _CUBIC * input**3)).tanh())
    return input * 0.5 * (1 + (input / math.sqrt(2)).erf())


class Gelu(Function):
    """y = x·Φ(x) · dx = dy·(Φ(x) + x·φ(x))"""

    def forward(self, x: Array) -> Array:
        wide = widen(x)
        cdf = 0.5 + 0.5 * erf_forward(wide / math.sqrt(2))
        self.saved = x, cdf  # Φ is dear: kept, where the other activations compute theirs again
        return narrow(wide * cdf, x)

    def backward(self, dy: Array) -> Gradients:
        return silent.run(self._chain, dy, *(self.saved or ()))

    def _chain(self, dy: Array, x: Array, cdf: Array) -> Array:
        x = widen(x)
        density = namespace(x).exp(x * x * -0.5)
        return dy * (cdf + x * density * (1 / math.sqrt(2 * math.pi)))


class GeluTanh(Pointwise):
    """y = x·σ(2u), u = √(2/π)·(x + 0.044715·x³) · dx = dy·(s + x·s·(1 - s)·2u'), s = σ(2u)"""

    def value(self, x: Array) -> Array:
        return x * logistic(2 * _TANH_SCALE * (x + _CUBIC * x * x * x))

    def slope(self, x: Array) -> Array:
        x = namespace(x).clip(x, -20, 20)  # beyond, s is 0 or 1 to the last bit
        s = logistic(2 * _TANH_SCALE * (x + _CUBIC * x * x * x))
        return s + x * s * (1 - s) * (2 * _TANH_SCALE * (1 + 3 * _CUBIC * x * x))


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """Return input times the normal distribution function of input; `approximate="tanh"` is close to it.

    Raises:
        TypeError: for an input that is no floating-point tensor.
        ValueError: for an unknown approximation.

    Source: Hendrycks, Gimpel 2016, arXiv:1606.08415.
    """
    check_input(input, "gelu")
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate must be 'none' or 'tanh', got {approximate!r}")
    return (Gelu if approximate == "none" else GeluTanh).apply(input)


class GELU(Module):
    """gelu as a layer."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        return gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


def softplus_composed(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Softplus from primitives: autograd finds the gradient."""
    linear = input * beta > threshold
    smooth = (input * beta).masked_fill(linear, 0.0).exp().log1p() / beta
    return input.where(linear, smooth)


class SoftplusFunction(Pointwise):
    """y = log(1 + exp(β·x))/β, or x where β·x > threshold · dx = dy·σ(β·x), or dy"""

    def value(self, x: Array, *, beta: float, threshold: float) -> Array:
        xp = namespace(x)
        z = beta * x
        return xp.where(z > threshold, x, log1p_exp(z) / beta)

    def slope(self, x: Array, *, beta: float, threshold: float) -> Array:
        z = beta * x
        return namespace(x).where(z > threshold, 1, logistic(z))


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Return log(1 + exp(beta·input))/beta, or input itself where beta·input is above `threshold`.

    Raises:
        TypeError: for an input that is no floating-point tensor.
        ValueError: for beta = 0.
    """
    check_input(input, "softplus")
    beta, threshold = as_number(beta, "beta"), as_number(threshold, "threshold")
    if beta == 0:
        raise ValueError("beta is the steepness of softplus: it must not be 0")
    return SoftplusFunction.apply(input, beta=beta, threshold=threshold)


class Softplus(Module):
    """softplus as a layer."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Tensor) -> Tensor:
        return softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


def mish_composed(input: Tensor) -> Tensor:
    """Mish from primitives: autograd finds the gradient."""
    return input * input.exp().log1p().tanh()


class MishFunction(Pointwise):
    """y = x·t, t = tanh(softplus(x)) · dx = dy·(t + x·(1 - t²)·σ(x))

    With e = exp(x) and n = (1 + e)² - 1 = e·(e + 2), t = n/(n + 2) and 1 - t² = 4·(n + 1)/(n + 2)².
    """

    def value(self, x: Array) -> Array:
        e = namespace(x).exp(namespace(x).minimum(x, 20))  # beyond, t is 1 to the last bit
        n = e * (e + 2)
        return x * (n / (n + 2))

    def slope(self, x: Array) -> Array:
        x = namespace(x).minimum(x, 20)
        e = namespace(x).exp(x)
        n = e * (e + 2)
        r = 1 / (n + 2)
        return n * r + x * (4 * (n + 1) * r * r * (e / (1 + e)))


def mish(input: Tensor) -> Tensor:
    """Return input·tanh(softplus(input)). Source: Misra 2019, arXiv:1908.08681."""
    check_input(input, "mish")
    return MishFunction.apply(input)


class Mish(Module):
    """mish as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        return mish(input)


def logsigmoid_composed(input: Tensor) -> Tensor:
    """Log-sigmoid from primitives: autograd finds the gradient."""
    return -(-input).exp().log1p()


class LogSigmoidFunction(Pointwise):
    """y = log σ(x) = -softplus(-x) · dx = dy·σ(-x)"""

    def value(self, x: Array) -> Array:
        return -log1p_exp(-x)

    def slope(self, x: Array) -> Array:
        return logistic(-x)


def logsigmoid(input: Tensor) -> Tensor:
    """Return log(sigmoid(input)), finite for any finite input."""
    check_input(input, "logsigmoid")
    return LogSigmoidFunction.apply(input)


class LogSigmoid(Module):
    """logsigmoid as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        return logsigmoid(input)


def softsign_composed(input: Tensor) -> Tensor:
    """Softsign from primitives: autograd finds the gradient."""
    return input / (1 + input.abs())


class SoftsignFunction(Pointwise):
    """y = x/(1 + |x|) · dx = dy/(1 + |x|)²"""

    def value(self, x: Array) -> Array:
        return x / (1 + abs(x))

    def slope(self, x: Array) -> Array:
        return namespace(x).square(1 / (1 + abs(x)))


def softsign(input: Tensor) -> Tensor:
    """Return input/(1 + |input|)."""
    check_input(input, "softsign")
    return SoftsignFunction.apply(input)


class Softsign(Module):
    """softsign as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        return softsign(input)


class ExponentialUnit(Pointwise):
    """y = s·x where x > 0, else s·a·(exp(x/c) - 1) · dx = s·dy where x > 0, else dy·s·(a/c)·exp(x/c)

    elu has s = c = 1, celu s = 1 and c = a, selu c = 1.
    """

    def value(self, x: Array, *, s: float, a: float, c: float) -> Array:
        xp = namespace(x)
        return s * xp.maximum(x, 0) + s * a * xp.expm1(xp.minimum(x, 0) / c)

    def slope(self, x: Array, *, s: float, a: float, c: float) -> Array:
        at_zero = s * a / c
        return at_zero * namespace(x).exp(namespace(x).minimum(x, 0) / c) + x.dtype.type(s - at_zero) * (
            x > 0
        )


def elu_composed(input: Tensor, alpha: float = 1.0) -> Tensor:
    """Elu from primitives: autograd finds the gradient."""
    return input.clamp(min=0) + alpha * input.clamp(max=0).expm1()


def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """Return input where it is positive, else alpha·(exp(input) - 1).

    Source: Clevert, Unterthiner, Hochreiter 2015, arXiv:1511.07289.
    """
    check_input(input, "elu")
    return ExponentialUnit.apply(input, s=1.0, a=as_number(alpha, "alpha"), c=1.0)


class ELU(Module):
    """elu as a layer."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        return elu(input, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


def celu_composed(input: Tensor, alpha: float = 1.0) -> Tensor:
    """Celu from primitives: autograd finds the gradient."""
    return input.clamp(min=0) + alpha * (input.clamp(max=0) / alpha).expm1()


def celu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """Return input where it is positive, else alpha·(exp(input/alpha) - 1): elu without its corner.

    Raises:
        TypeError: for an input that is no floating-point tensor.
        ValueError: for an alpha that is not positive.

    Source: Barron 2017, arXiv:1704.07483.
    """
    check_input(input, "celu")
    alpha = as_number(alpha, "alpha")
    if not alpha > 0:
        raise ValueError(f"alpha of celu must be positive, got {alpha}")
    return ExponentialUnit.apply(input, s=1.0, a=alpha, c=alpha)


class CELU(Module):
    """celu as a layer."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        return celu(input, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def selu_composed(input: Tensor) -> Tensor:
    """Selu from primitives: autograd finds the gradient."""
    return _SELU_SCALE * elu_composed(input, _SELU_ALPHA)


def selu(input: Tensor) -> Tensor:
    """Return scale·elu(input, alpha), with the two constants that keep mean 0 and variance 1.

    Source: Klambauer, Unterthiner, Mayr, Hochreiter 2017, arXiv:1706.02515.
    """
    check_input(input, "selu")
    return ExponentialUnit.apply(input, s=_SELU_SCALE, a=_SELU_ALPHA, c=1.0)


class SELU(Module):
    """selu as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        return selu(input)


def glu_composed(input: Tensor, dim: int = -1) -> Tensor:
    """Glu from primitives: autograd finds the gradient."""
    first = (slice(None),) * normalize_dim(dim, input.ndim)
    half = input.shape[dim] // 2
    return input[(*first, slice(half))] * input[(*first, slice(half, None))].sigmoid()


class GluFunction(Function):
    """y = a·σ(b), a and b the halves of x · da = dy·σ(b), db = dy·a·σ(b)·(1 - σ(b))"""

    def forward(self, x: Array, *, dim: int) -> Array:
        a, b = namespace(x).split(widen(x), 2, dim)
        s = silent.run(logistic, b)
        self.saved = a, s, dim
        return narrow(a * s, x)

    def backward(self, dy: Array) -> Gradients:
        a, s, dim = self.saved
        da = dy * s
        return namespace(dy).concatenate((da, da * (a * (1 - s))), dim)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """Return the first half of axis `dim` times the sigmoid of the second half.

    Raises:
        TypeError: for an input that is no floating-point tensor.
        IndexError: for an axis that does not exist.
        ValueError: for an axis of odd size.

    Source: Dauphin, Fan, Auli, Grangier 2016, arXiv:1612.08083.
    """
    check_input(input, "glu")
    axis = normalize_dim(dim, input.ndim)
    if not input.ndim or input.shape[axis] % 2:
        raise ValueError(f"glu halves axis {dim}, which must have even size, got shape {input.shape}")
    return GluFunction.apply(input, dim=axis)


class GLU(Module):
    """glu as a layer."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


def _register(
    function: Any,
    composed: Any,
    *options: dict[str, Any],
    errors: tuple[ErrorCase, ...] = (),
    paper: str = "",
) -> None:
    """Register an activation on the shapes and values that all of them are checked on."""
    name = function.__name__
    plain = (
        Case((distinct(3, 4),)),
        Case((uniform(-3, 3, 2, 3, 2),)),
        Case((distinct(),)),
        Case(((0, 3),)),
    )
    register(
        name=name,
        function=function,
        composed=composed,
        cases=(*plain, *(Case((distinct(3, 4),), option) for option in options)),
        errors=(
            ErrorCase(lambda: function([1.0]), TypeError, f"{name} takes a Tensor"),
            ErrorCase(lambda: function(ones(2, dtype=int)), TypeError, "floating-point"),
            *errors,
        ),
        paper=paper,
        torch=f"torch.nn.functional.{name}",
    )


_register(silu, silu_composed, paper="Elfwing, Uchibe, Doya 2017, arXiv:1702.03118")
_register(
    gelu,
    gelu_composed,
    {"approximate": "tanh"},
    errors=(ErrorCase(lambda: gelu(ones(2), "fast"), ValueError, "'none' or 'tanh'"),),
    paper="Hendrycks, Gimpel 2016, arXiv:1606.08415",
)
_register(
    softplus,
    softplus_composed,
    {"beta": 2.0},
    {"beta": 0.5, "threshold": 0.3},
    errors=(ErrorCase(lambda: softplus(ones(2), beta=0.0), ValueError, "must not be 0"),),
)
_register(mish, mish_composed, paper="Misra 2019, arXiv:1908.08681")
_register(logsigmoid, logsigmoid_composed)
_register(softsign, softsign_composed)
_register(elu, elu_composed, {"alpha": 0.5}, paper="Clevert, Unterthiner, Hochreiter 2015, arXiv:1511.07289")
_register(
    celu,
    celu_composed,
    {"alpha": 0.5},
    errors=(ErrorCase(lambda: celu(ones(2), 0.0), ValueError, "positive"),),
    paper="Barron 2017, arXiv:1704.07483",
)
_register(selu, selu_composed, paper="Klambauer, Unterthiner, Mayr, Hochreiter 2017, arXiv:1706.02515")
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
        ErrorCase(lambda: glu(ones(2, 3)), ValueError, "even size"),
        ErrorCase(lambda: glu(ones(2, 4), 2), IndexError, "out of range"),
        ErrorCase(lambda: glu(ones(())), ValueError, "even size"),
    ),
    paper="Dauphin, Fan, Auli, Grangier 2016, arXiv:1612.08083",
    torch="torch.nn.functional.glu",
)
