"""Piecewise linear functions: a line between two bounds, and the sigmoid and silu built from it.

    hardtanh(x)    = min(max(x, low), high)        relu6 has the bounds 0 and 6
    hardsigmoid(x) = min(max(x/6 + 1/2, 0), 1)
    hardswish(x)   = x·hardsigmoid(x)

The derivative has one formula per piece. At a kink there is none: there it is the one PyTorch chooses.
"""

from typing import Any

from ...autograd.tensor import Tensor
from ...backends import Array
from ...backends.cpu.loop_helpers import helper
from ...backends.cuda.elements import ElementSource
from ...ops import ones
from ...ops.arguments import as_number, check_numbers
from ...ops.checks import check_input
from ...registry import Case, ErrorCase, distinct
from .pointwise import InplaceModule, PointwiseFunction, register_activation

_kernels = ElementSource(__file__)


def hardtanh_composed(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """Hard tanh from primitives: autograd finds the gradient."""
    return input.clamp(min_val, max_val)


class HardtanhFunction(PointwiseFunction):
    """y = min(max(x, low), high) · dx = dy where low < x < high, else 0"""

    def value(self, x: Array, _: None, *, low: float, high: float) -> Array:
        return x.clip(low, high)

    def slope(self, x: Array, _: None, *, low: float, high: float) -> Array:
        return (x > low) & (x < high)


@HardtanhFunction.loop
def hardtanh_loop(x: Any, low: Any, high: Any) -> tuple[Any, Any]:
    """Return y and dy/dx at one number."""
    return low if x < low else high if x > high else x, 1.0 if low < x < high else 0.0


HardtanhFunction.cuda(_kernels, "hardtanh")


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """Return input clipped to the range from `min_val` to `max_val`.

    `inplace` is accepted but has no effect: see pointwise.py.

    Raises:
        TypeError: if the input is not a floating-point tensor, or the bounds are not numbers.
        ValueError: if min_val is greater than max_val.

    Source: Collobert 2004.
    """
    check_input(input, "hardtanh")
    low, high = as_number(min_val, "min_val"), as_number(max_val, "max_val")
    if low > high:
        raise ValueError(f"hardtanh needs min_val <= max_val, got {min_val} and {max_val}")
    return HardtanhFunction.apply(input, low=low, high=high)


class Hardtanh(InplaceModule):
    """hardtanh as a layer: y = min(max(x, min_val), max_val), of x's shape. Source: Collobert 2004."""

    shown = ("min_val", "max_val")

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        check_numbers(min_val=min_val, max_val=max_val)
        self.min_val, self.max_val = min_val, max_val

    def forward(self, input: Tensor) -> Tensor:
        return hardtanh(input, self.min_val, self.max_val)


def relu6_composed(input: Tensor) -> Tensor:
    """ReLU6 from primitives: autograd finds the gradient."""
    return input.clamp(0, 6)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """Return input clipped to the range from 0 to 6.

    `inplace` is accepted but has no effect: see pointwise.py.

    Raises:
        TypeError: if the input is not a floating-point tensor.

    Source: Krizhevsky 2010.
    """
    check_input(input, "relu6")
    return HardtanhFunction.apply(input, low=0.0, high=6.0)


class ReLU6(InplaceModule):
    """relu6 as a layer: y = min(max(x, 0), 6), of x's shape. Source: Krizhevsky 2010."""

    def forward(self, input: Tensor) -> Tensor:
        return relu6(input)


def hardsigmoid_composed(input: Tensor) -> Tensor:
    """Hard sigmoid from primitives: autograd finds the gradient."""
    return (input / 6 + 0.5).clamp(0, 1)


class HardsigmoidFunction(PointwiseFunction):
    """y = min(max(x/6 + 1/2, 0), 1) · dx = dy/6 where -3 < x < 3, else 0"""

    def value(self, x: Array, _: None) -> Array:
        return (x / 6 + 0.5).clip(0, 1)

    def slope(self, x: Array, _: None) -> Array:
        return (abs(x) < 3) * x.dtype.type(1 / 6)


@HardsigmoidFunction.loop
def hardsigmoid_loop(x: Any) -> tuple[Any, Any]:
    """Return y and dy/dx at one number."""
    return gate_of_number(x), 1.0 / 6.0 if abs(x) < 3.0 else 0.0


HardsigmoidFunction.cuda(_kernels, "hardsigmoid")


@helper
def gate_of_number(x: Any) -> Any:
    """Return min(max(x/6 + 1/2, 0), 1)."""
    y = (x + 3.0) * (1.0 / 6.0)
    return 0.0 if y < 0.0 else 1.0 if y > 1.0 else y


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """Return input/6 + 1/2, clipped to the range from 0 to 1.

    `inplace` is accepted but has no effect: see pointwise.py.

    Raises:
        TypeError: if the input is not a floating-point tensor.

    Source: Howard et al. 2019, arXiv:1905.02244.
    """
    check_input(input, "hardsigmoid")
    return HardsigmoidFunction.apply(input)


class Hardsigmoid(InplaceModule):
    """hardsigmoid as a layer: y = min(max(x/6 + 1/2, 0), 1), of x's shape.

    Source: Howard et al. 2019, arXiv:1905.02244.
    """

    def forward(self, input: Tensor) -> Tensor:
        return hardsigmoid(input)


def hardswish_composed(input: Tensor) -> Tensor:
    """Hard swish from primitives: autograd finds the gradient."""
    return input * (input / 6 + 0.5).clamp(0, 1)


class HardswishFunction(PointwiseFunction):
    """y = x·min(max(x/6 + 1/2, 0), 1) · dx = dy·(x/3 + 1/2) where -3 < x < 3, dy above, 0 below"""

    def shared(self, x: Array) -> Array:
        return (x / 6 + 0.5).clip(0, 1)

    def value(self, x: Array, gate: Array) -> Array:
        return x * gate

    def slope(self, x: Array, gate: Array) -> Array:
        return gate + (abs(x) < 3) * (gate - 0.5)


@HardswishFunction.loop
def hardswish_loop(x: Any) -> tuple[Any, Any]:
    """Return y and dy/dx at one number."""
    gate = gate_of_number(x)
    return x * gate, gate + (gate - 0.5 if abs(x) < 3.0 else 0.0)


HardswishFunction.cuda(_kernels, "hardswish")


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """Return input·hardsigmoid(input).

    `inplace` is accepted but has no effect: see pointwise.py.

    Raises:
        TypeError: if the input is not a floating-point tensor.

    Source: Howard et al. 2019, arXiv:1905.02244.
    """
    check_input(input, "hardswish")
    return HardswishFunction.apply(input)


class Hardswish(InplaceModule):
    """hardswish as a layer: y = x·min(max(x/6 + 1/2, 0), 1), of x's shape.

    Source: Howard et al. 2019, arXiv:1905.02244.
    """

    def forward(self, input: Tensor) -> Tensor:
        return hardswish(input)


_BEYOND_THE_KINKS = (Case((distinct(9, 9),)),)
register_activation(
    hardtanh,
    hardtanh_composed,
    {"min_val": -0.25, "max_val": 1.4},
    errors=(ErrorCase(lambda: hardtanh(ones(2), 1.0, -1.0), ValueError, "min_val <= max_val"),),
    paper="Collobert 2004",
)
register_activation(relu6, relu6_composed, cases=_BEYOND_THE_KINKS, paper="Krizhevsky 2010")
register_activation(
    hardsigmoid,
    hardsigmoid_composed,
    cases=_BEYOND_THE_KINKS,
    paper="Howard et al. 2019, arXiv:1905.02244",
    torch="",  # PyTorch rounds its slope of 1/6 to float32
)
register_activation(
    hardswish,
    hardswish_composed,
    cases=_BEYOND_THE_KINKS,
    title="Hard swish",
    paper="Howard et al. 2019, arXiv:1905.02244",
)
