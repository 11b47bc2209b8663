"""JacobianPair: one Jacobian computed twice, by backward and by finite differences, and where they differ.

An entry a (analytic) and its n (numeric) are compared by

    relative error = |a - n| / max(|a|, |n|, scale)
    scale          = max(largest |n| of its row, size) / 1000
    size           = min(|y| / max(1, |x|), 10¹⁰ · 4 · machine epsilon · |y| / h)

with y the output entry (its row), x the input entry that is moved (its column) and h the step of n. The
scale keeps zeros and roundoff from counting as errors, and shrinks with the function, so that tiny gradients
are checked as strictly as large ones. Because of `size`, an error passes at rtol = 10⁻⁷ if it is no larger
than what rounding y does to n, and no error beyond 10⁻¹⁰·|y| ever does. If f only rounds and a is as small,
nothing distinguishes either from 0, and the error is 0 (`numeric.py`).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy

from .analytic import Analytic
from .closeness import CLOSE
from .numeric import Derivative
from .probing import Index, Key

ROUNDING = 1e10 * 4 * numpy.finfo(numpy.float64).eps


@dataclass(frozen=True)
class JacobianPair:
    """The Jacobian of one output with respect to one input, from backward and from finite differences.

    Both are matrices with a row per output entry and a column per input entry; in fast mode their only
    entry is vᵀJu along random directions. `arguments` are all tensors that func was given, `y` has |y| of
    every row, `reach` has 1 / max(1, |x|) of every column.
    """

    input: Key
    output: int
    arguments: dict[Key, numpy.ndarray]
    output_shape: Index
    backward: Analytic
    numeric: Derivative
    y: numpy.ndarray
    reach: numpy.ndarray
    fast_mode: bool

    @property
    def x(self) -> numpy.ndarray:
        """The input."""
        return self.arguments[self.input]

    @property
    def input_shape(self) -> Index:
        """The shape of the input."""
        return self.x.shape

    @property
    def analytic(self) -> numpy.ndarray:
        """The analytic entries."""
        return self.backward.matrix

    @cached_property
    def known(self) -> numpy.ndarray:
        """Where finite differences found a value: where the function is finite nearby."""
        return numpy.isfinite(self.numeric.error)

    @cached_property
    def n(self) -> numpy.ndarray:
        """The numeric entries, 0 where there is none."""
        return numpy.where(self.known, self.numeric.value, 0.0)

    @cached_property
    def largest(self) -> numpy.ndarray:
        """The denominator of the relative error: max(|a|, |n|, scale)."""
        y = self.y[:, None]
        size = numpy.minimum(y * self.reach, ROUNDING * y / self.numeric.step)
        scale = numpy.maximum(abs(self.n).max(1, initial=0.0, keepdims=True), size) / 1000
        return numpy.maximum(numpy.maximum(abs(self.analytic), abs(self.n)), scale)

    @cached_property
    def difference(self) -> numpy.ndarray:
        """|a - n|, infinite where there is no n, 0 where both are rounding."""
        nothing = numpy.maximum(abs(self.analytic), abs(self.n)) <= self.numeric.floor
        return numpy.where(self.known, numpy.where(nothing, 0.0, abs(self.analytic - self.n)), numpy.inf)

    @cached_property
    def relative_error(self) -> numpy.ndarray:
        """|a - n| / max(|a|, |n|, scale); 0 where all three are 0."""
        return self.difference / numpy.where(self.largest == 0, 1.0, self.largest)

    @property
    def worst(self) -> float:
        """The largest relative error."""
        return float(self.relative_error.max(initial=0.0))

    def allowed(self, atol: float, rtol: float) -> numpy.ndarray:
        """Return how large |a - n| may be: atol + rtol·max(|a|, |n|, scale)."""
        return atol + rtol * self.largest

    def wrong(self, atol: float, rtol: float) -> numpy.ndarray:
        """Return where |a - n| is larger than allowed."""
        return self.difference > self.allowed(atol, rtol)

    @cached_property
    def kinked(self) -> numpy.ndarray:
        """Where func has a kink, and a lies between the slopes on its two sides: a subgradient.

        In fast mode several kinks may nearly cancel, so any kink counts that is not small beside a - n.
        """
        return self.difference <= abs(self.numeric.bend) * (100 if self.fast_mode else 0.501)

    @cached_property
    def nonlinearity(self) -> numpy.ndarray:
        """|what backward gives for a mixed dy - the mixture of what it gives|, for every input entry."""
        _, mixed, weights = self.backward
        added = weights @ self.analytic
        return numpy.where(mixed == added, 0.0, abs(mixed - added))  # both may overflow

    @cached_property
    def relative_nonlinearity(self) -> numpy.ndarray:
        """The nonlinearity relative to the mixture of the largest; 0 where both are 0."""
        largest = abs(self.backward.weights) @ self.largest
        return self.nonlinearity / numpy.where(largest == 0, 1.0, largest)

    def nonlinear(self, atol: float, rtol: float) -> numpy.ndarray:
        """Return at which input entries backward is not linear in dy, by more than is allowed."""
        rounding = self.numeric.floor.max(initial=0.0)
        return ~(self.nonlinearity <= abs(self.backward.weights) @ (self.allowed(atol, rtol) + rounding))

    def close(self, a: numpy.ndarray, b: numpy.ndarray) -> bool:
        """Return whether two matrices are equal at every entry, up to a small relative error."""
        return bool((abs(a - b) <= CLOSE * self.largest).all())
