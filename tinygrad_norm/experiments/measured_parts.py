"""What several experiments measure: gradients as arrays, the slope of a power law, curves in few digits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..autograd import Tensor


def gradient(parameter: Tensor) -> NDArray[Any]:
    """Return the gradient of a parameter as an array.

    Raises:
        RuntimeError: if it has none.
    """
    if parameter.grad is None:
        raise RuntimeError("the parameter has no gradient: call backward first")
    return parameter.grad.numpy()


def slope(x: NDArray[np.float64] | Sequence[float], y: NDArray[np.float64] | Sequence[float]) -> float:
    """Return k of the power law y = c·x^k that fits best on logarithmic axes."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def few_digits(values: NDArray[np.float64] | Sequence[float], digits: int = 4) -> list[float]:
    """Return a curve with so many significant digits, which keeps the file of the figures small."""
    return [float(f"{value:.{digits}g}") for value in values]
