"""Sigmoids, which level off at both ends; softplus, the integral of σ; log-sigmoid, its logarithm.

    σ(x) = 1/(1 + exp(-x))               σ' = σ·(1 - σ)
    softplus(x) = log(1 + exp(β·x))/β    softplus' = σ(β·x)
    log σ(x) = -softplus(-x)             (log σ)' = σ(-x)
    softsign(x) = x/(1 + |x|)            softsign' = 1/(1 + |x|)²

All formulas hold for any finite x: if an exponential overflows, its reciprocal is 0, which is correct.
"""

from typing import Any

from ...autograd.tensor import Tensor
from ...backends import Array, namespace
from ...backends.cpu.loop_math import sigmoid as sigmoid_of_number
from ...backends.cpu.loop_math import softplus as softplus_of_number
from ...backends.cuda.elements import ElementSource
from ...module import Module
from ...ops import ones, sigmoid, tanh
from ...ops.arguments import as_number, check_numbers
from ...ops.checks import check_input
from ...ops.elementwise import logistic
from ...registry import ErrorCase
from .pointwise import PointwiseFunction, register_activation

_kernels = ElementSource(__file__)


def log1p_exp(x: Array) -> Array:
    """Return log(1 + exp(x)), computed from exp(-|x|), which never overflows."""
    xp = namespace(x)
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-abs(x)))


class Sigmoid(Module):
    """sigmoid as a layer: y = 1/(1 + exp(-x)), of x's shape, between 0 and 1."""

    def forward(self, input: Tensor) -> Tensor:
        return sigmoid(input)


class Tanh(Module):
    """tanh as a layer: y = tanh(x), of x's shape, between -1 and 1."""

    def forward(self, input: Tensor) -> Tensor:
        return tanh(input)


def softplus_composed(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Softplus from primitives: autograd finds the gradient."""
    linear = input * beta > threshold
    smooth = (input * beta).masked_fill(linear, 0.0).exp().log1p() / beta
    return input.where(linear, smooth)


class SoftplusFunction(PointwiseFunction):
    """y = log(1 + exp(β·x))/β, or x where β·x > threshold · dx = dy·σ(β·x), or dy"""

    def shared(self, x: Array, *, beta: float, threshold: float) -> Array:
        return beta * x

    def value(self, x: Array, z: Array, *, beta: float, threshold: float) -> Array:
        return namespace(x).where(z > threshold, x, log1p_exp(z) / beta)

    def slope(self, x: Array, z: Array, *, beta: float, threshold: float) -> Array:
        return namespace(x).where(z > threshold, 1, logistic(z))


@SoftplusFunction.loop
def softplus_loop(x: Any, beta: Any, threshold: Any) -> tuple[Any, Any]:
    """Return y and dy/dx at one number."""
    z = beta * x
    y, slope = softplus_of_number(z) / beta, sigmoid_of_number(z)
    return x if z > threshold else y, 1.0 if z > threshold else slope


SoftplusFunction.cuda(_kernels, "softplus")


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Return log(1 + exp(beta·input))/beta, or input itself if beta·input is greater than `threshold`.

    Raises:
        TypeError: if the input is not a floating-point tensor, or beta or threshold is not a number.
        ValueError: if beta is 0.

    Source: Dugas, Bengio, Bélisle, Nadeau, Garcia 2000.
    """
    check_input(input, "softplus")
    beta, threshold = as_number(beta, "beta"), as_number(threshold, "threshold")
    if beta == 0:
        raise ValueError("beta, the steepness of softplus, must not be 0")
    return SoftplusFunction.apply(input, beta=beta, threshold=threshold)


class Softplus(Module):
    """softplus as a layer: y = log(1 + exp(β·x))/β, of x's shape, positive. Source: Dugas et al. 2000."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        check_numbers(beta=beta, threshold=threshold)
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Tensor) -> Tensor:
        return softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


def logsigmoid_composed(input: Tensor) -> Tensor:
    """Log-sigmoid from primitives: autograd finds the gradient."""
    return -(-input).exp().log1p()


class LogSigmoidFunction(PointwiseFunction):
    """y = log σ(x) = -softplus(-x) · dx = dy·σ(-x)"""

    def value(self, x: Array, _: None) -> Array:
        return -log1p_exp(-x)

    def slope(self, x: Array, _: None) -> Array:
        return logistic(-x)


@LogSigmoidFunction.loop
def logsigmoid_loop(x: Any) -> tuple[Any, Any]:
    """Return y and dy/dx at one number."""
    return -softplus_of_number(-x), sigmoid_of_number(-x)


LogSigmoidFunction.cuda(_kernels, "logsigmoid")


def logsigmoid(input: Tensor) -> Tensor:
    """Return log(sigmoid(input)), finite for any finite input.

    Raises:
        TypeError: if the input is not a floating-point tensor.
    """
    check_input(input, "logsigmoid")
    return LogSigmoidFunction.apply(input)


class LogSigmoid(Module):
    """logsigmoid as a layer: y = log(1/(1 + exp(-x))), of x's shape, negative."""

    def forward(self, input: Tensor) -> Tensor:
        return logsigmoid(input)


def softsign_composed(input: Tensor) -> Tensor:
    """Softsign from primitives: autograd finds the gradient."""
    return input / (1 + input.abs())


class SoftsignFunction(PointwiseFunction):
    """y = x/(1 + |x|) · dx = dy/(1 + |x|)²"""

    def shared(self, x: Array) -> Array:
        return 1 / (1 + abs(x))

    def value(self, x: Array, r: Array) -> Array:
        return x * r

    def slope(self, x: Array, r: Array) -> Array:
        return r * r


@SoftsignFunction.loop
def softsign_loop(x: Any) -> tuple[Any, Any]:
    """Return y and dy/dx at one number."""
    r = 1.0 / (1.0 + abs(x))
    return x * r, r * r


SoftsignFunction.cuda(_kernels, "softsign")


def softsign(input: Tensor) -> Tensor:
    """Return input/(1 + |input|), which approaches ±1 more slowly than tanh.

    Raises:
        TypeError: if the input is not a floating-point tensor.

    Source: Bergstra, Desjardins, Lamblin, Bengio 2009.
    """
    check_input(input, "softsign")
    return SoftsignFunction.apply(input)


class Softsign(Module):
    """softsign as a layer: y = x/(1 + |x|), of x's shape, between -1 and 1. Source: Bergstra et al. 2009."""

    def forward(self, input: Tensor) -> Tensor:
        return softsign(input)


register_activation(
    softplus,
    softplus_composed,
    {"beta": 2.0},
    {"beta": 0.5, "threshold": 0.3},
    errors=(
        ErrorCase(lambda: softplus(ones(2), beta=0.0), ValueError, "must not be 0"),
        ErrorCase(lambda: softplus(ones(2), threshold="20"), TypeError, "threshold must be a number"),  # type: ignore[arg-type]
    ),
    paper="Dugas, Bengio, Bélisle, Nadeau, Garcia 2000",
)
register_activation(logsigmoid, logsigmoid_composed)
register_activation(softsign, softsign_composed, paper="Bergstra, Desjardins, Lamblin, Bengio 2009")
