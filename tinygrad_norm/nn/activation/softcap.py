"""Soft cap: a tanh that lets small numbers pass and holds large ones below c.

    x, any shape   c > 0, a constant   t = tanh(x/c)   y = c·t

In the code: c cap. |y| ≤ c, and y = x - x³/(3c²) + … near 0.

Gemma Team 2024 (Gemma 2), arXiv:2408.00118: c = 50 for the scores of attention, before the mask
(scaleddotproduct.py), and 30 for the logits at the end of the model.

Backward, from dy = dL/dy. Every entry is on its own, and c cancels: ∂y/∂t = c, ∂t/∂x = (1 - t²)/c,

    dx = dy·(1 - t²)

Insight: the cap takes the size out of the gradient as it takes it out of the logits. At x = c the slope is
0.42, at x = 3c it is 0.01: a logit that far out hardly learns to come back.
"""

from typing import Any

import numpy

from ...autograd.tensor import Tensor
from ...backends import Array, namespace
from ...backends.cpu.loop_math import tanh as tanh_of_number
from ...backends.cuda.elements import ElementSource
from ...ops import ones
from ...ops.arguments import as_number
from ...ops.checks import check_input, check_normal
from ...registry import Case, ErrorCase, distinct, register, uniform
from .pointwise import PointwiseFunction

_kernels = ElementSource(__file__)


def softcap_composed(input: Tensor, cap: float) -> Tensor:
    """Soft cap from primitives: autograd finds the gradient."""
    return (input / cap).tanh() * cap


class SoftcapFunction(PointwiseFunction):
    """y = c·t, t = tanh(x/c) · dx = dy·(1 - t²)"""

    def shared(self, x: Array, *, cap: float) -> Array:
        return namespace(x).tanh(x / cap)

    def value(self, x: Array, t: Array, *, cap: float) -> Array:
        return cap * t

    def slope(self, x: Array, t: Array, *, cap: float) -> Array:
        return 1 - t * t


@SoftcapFunction.loop
def softcap_loop(x: Any, cap: Any) -> tuple[Any, Any]:
    """Return y and dy/dx at one number."""
    t = tanh_of_number(x / cap)
    return cap * t, 1.0 - t * t


SoftcapFunction.cuda(_kernels, "softcap")


def as_cap(cap: Any, name: str, x: Tensor | None = None) -> float:
    """Return a soft cap as a float; `x` is what it will cap, if known.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not positive and finite, or not a normal number of the dtype x is computed in.
    """
    if isinstance(cap, bool):
        raise TypeError(f"{name} must be a number, such as 30.0, got {cap}")
    cap = as_number(cap, name)
    if not 0 < cap < numpy.inf:
        raise ValueError(f"{name} must be a positive finite number, such as 30.0, got {cap}")
    if x is not None:
        check_normal(cap, x, name)
    return cap


def softcap(input: Tensor, cap: float) -> Tensor:
    """Return cap·tanh(input/cap): numbers far below `cap` hardly change, none exceeds it.

    Args:
        input: any shape.
        cap: c, in units of the input.

    Raises:
        TypeError: if the input is not a floating-point tensor, or cap is not a number.
        ValueError: if cap is not positive and finite, or too small or large for a normal number of the dtype
            (float32 for half types).

    Source: Gemma Team 2024, arXiv:2408.00118.
    """
    check_input(input, "softcap")
    return SoftcapFunction.apply(input, cap=as_cap(cap, "cap", input))


register(
    name="softcap",
    function=softcap,
    composed=softcap_composed,
    cases=(
        Case((distinct(3, 4),), {"cap": 1.0}),
        Case((uniform(-3, 3, 2, 3, 2),), {"cap": 0.7}),
        Case((distinct(),), {"cap": 2.0}),
        Case(((0, 3),), {"cap": 30.0}),
    ),
    errors=(
        ErrorCase(lambda: softcap([1.0], 1.0), TypeError, "softcap takes a Tensor"),  # type: ignore[arg-type]
        ErrorCase(lambda: softcap(ones(2, dtype=int), 1.0), TypeError, "floating-point"),
        ErrorCase(lambda: softcap(ones(2), 0.0), ValueError, "cap must be a positive finite number"),
        ErrorCase(lambda: softcap(ones(2), 1e39), ValueError, "cap must be from 1.2e-38 to 3.4e+38"),
        ErrorCase(lambda: softcap(ones(2), "30"), TypeError, "cap must be a number"),  # type: ignore[arg-type]
    ),
    paper="Gemma Team 2024, arXiv:2408.00118",
)
