"""What activations share: each is a function of one number, applied to all."""

from typing import Any

from ..autograd.function import Function, Gradients
from ..backends import Array
from ..ops.half import narrow, widen
from ..ops.ieee import silent


class Pointwise(Function):
    """y = value(x) · dx = dy·slope(x), element by element

    A subclass says `value` and `slope` on arrays of float32 or float64; half types are widened. Both run
    without NumPy's warnings, so that an exponential may overflow where the formula takes care of it.
    """

    def value(self, x: Array, *args: Any, **options: Any) -> Array:
        """Return y; every activation defines its own."""
        raise NotImplementedError(f"{type(self).__name__} must define value")

    def slope(self, x: Array, *args: Any, **options: Any) -> Array:
        """Return dy/dx; every activation defines its own."""
        raise NotImplementedError(f"{type(self).__name__} must define slope")

    def forward(self, x: Array, **options: Any) -> Array:
        self.saved = x, options
        return narrow(silent.run(self.value, widen(x), **options), x)

    def backward(self, dy: Array) -> Gradients:
        x, options = self.saved
        return silent.run(self._chain, dy, widen(x), options)

    def _chain(self, dy: Array, x: Array, options: dict[str, Any]) -> Array:
        return dy * self.slope(x, **options)
