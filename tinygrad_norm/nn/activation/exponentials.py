"""Exponential units: the identity for x > 0, an exponential that levels off for x < 0.

    y = s·x where x > 0, else s·a·(exp(x/c) - 1)      y' = s, else (s·a/c)·exp(x/c)

elu has s = c = 1. celu has s = 1 and c = a, so both slopes at 0 are equal. selu has c = 1.
"""

import math
from typing import Any

from ...autograd.tensor import Tensor
from ...backends import Array, namespace
from ...backends.cpu.loop_math import exp, expm1
from ...backends.cuda.elements import ElementSource
from ...ops import ones
from ...ops.arguments import as_number, check_numbers
from ...ops.checks import check_input
from ...registry import ErrorCase
from .pointwise import InplaceModule, PointwiseFunction, register_activation

_kernels = ElementSource(__file__)


class ExponentialUnitFunction(PointwiseFunction):
    """y = s·x where x > 0, else s·a·(exp(x/c) - 1) · dx = s·dy where x > 0, else dy·s·(a/c)·exp(x/c)"""

    def shared(self, x: Array, *, s: float, a: float, c: float) -> Array:
        return x.clip(-math.inf, 0) / c

    def value(self, x: Array, z: Array, *, s: float, a: float, c: float) -> Array:
        return s * x.clip(0, math.inf) + s * a * namespace(x).expm1(z)

    def slope(self, x: Array, z: Array, *, s: float, a: float, c: float) -> Array:
        at_zero = s * a / c
        return at_zero * (namespace(x).exp(z) - (x > 0)) + x.dtype.type(s) * (x > 0)


@ExponentialUnitFunction.loop
def exponential_unit_loop(x: Any, s: Any, a: Any, c: Any) -> tuple[Any, Any]:
    """Return y and dy/dx at one number."""
    z = x / c
    return s * x if x > 0.0 else s * a * expm1(z), s if x > 0.0 else s * a / c * exp(z)


ExponentialUnitFunction.cuda(_kernels, "exponential_unit")


def elu_composed(input: Tensor, alpha: float = 1.0) -> Tensor:
    """ELU from primitives: autograd finds the gradient."""
    return input.clamp(min=0) + alpha * input.clamp(max=0).expm1()


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Return input where it is positive, else alpha·(exp(input) - 1).

    `inplace` is accepted but has no effect: see pointwise.py.

    Raises:
        TypeError: if the input is not a floating-point tensor, or alpha is not a number.

    Source: Clevert, Unterthiner, Hochreiter 2015, arXiv:1511.07289.
    """
    check_input(input, "elu")
    return ExponentialUnitFunction.apply(input, s=1.0, a=as_number(alpha, "alpha"), c=1.0)


class ELU(InplaceModule):
    """elu as a layer: y = x where x > 0, else α·(exp(x) - 1), of x's shape.

    Source: Clevert, Unterthiner, Hochreiter 2015, arXiv:1511.07289.
    """

    shown = ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        check_numbers(alpha=alpha)
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        return elu(input, self.alpha)


def celu_composed(input: Tensor, alpha: float = 1.0) -> Tensor:
    """CELU from primitives: autograd finds the gradient."""
    return input.clamp(min=0) + alpha * (input.clamp(max=0) / alpha).expm1()


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Return input where it is positive, else alpha·(exp(input/alpha) - 1): elu without its kink at 0.

    `inplace` is accepted but has no effect: see pointwise.py.

    Raises:
        TypeError: if the input is not a floating-point tensor, or alpha is not a number.
        ValueError: if alpha is not positive.

    Source: Barron 2017, arXiv:1704.07483.
    """
    check_input(input, "celu")
    alpha = as_number(alpha, "alpha")
    if not alpha > 0:
        raise ValueError(f"alpha of celu must be positive, got {alpha}")
    return ExponentialUnitFunction.apply(input, s=1.0, a=alpha, c=alpha)


class CELU(InplaceModule):
    """celu as a layer: y = x where x > 0, else α·(exp(x/α) - 1), of x's shape.

    Source: Barron 2017, arXiv:1704.07483.
    """

    shown = ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        check_numbers(alpha=alpha)
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        return celu(input, self.alpha)


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def selu_composed(input: Tensor) -> Tensor:
    """SELU from primitives: autograd finds the gradient."""
    return _SELU_SCALE * elu_composed(input, _SELU_ALPHA)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """Return scale·elu(input, alpha), with the constants that keep mean 0 and variance 1.

    `inplace` is accepted but has no effect: see pointwise.py.

    Raises:
        TypeError: if the input is not a floating-point tensor.

    Source: Klambauer, Unterthiner, Mayr, Hochreiter 2017, arXiv:1706.02515.
    """
    check_input(input, "selu")
    return ExponentialUnitFunction.apply(input, s=_SELU_SCALE, a=_SELU_ALPHA, c=1.0)


class SELU(InplaceModule):
    """selu as a layer: y = 1.0507·elu(x, 1.6733), of x's shape.

    Source: Klambauer, Unterthiner, Mayr, Hochreiter 2017, arXiv:1706.02515.
    """

    def forward(self, input: Tensor) -> Tensor:
        return selu(input)


register_activation(
    elu, elu_composed, {"alpha": 0.5}, paper="Clevert, Unterthiner, Hochreiter 2015, arXiv:1511.07289"
)
register_activation(
    celu,
    celu_composed,
    {"alpha": 0.5},
    errors=(ErrorCase(lambda: celu(ones(2), 0.0), ValueError, "positive"),),
    paper="Barron 2017, arXiv:1704.07483",
)
register_activation(
    selu, selu_composed, paper="Klambauer, Unterthiner, Mayr, Hochreiter 2017, arXiv:1706.02515"
)
