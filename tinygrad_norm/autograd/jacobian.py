"""Block: one Jacobian computed twice, where the two differ, and what that difference looks like.

An entry a (analytic) and its n (numeric) are compared by

    relative error = |a - n| / max(|a|, |n|, scale)
    scale          = max(largest |n| of its row, |y| / max(1, |x|)) / 1000

with y the output entry (its row) and x the input entry that is moved (its column). The scale keeps
zeros and roundoff from counting as errors, and shrinks with the function, so that tiny gradients are
checked as strictly as large ones. Where f only rounds and a is as small, both are 0 as far as can be known,
and the error is 0 (`finite_differences.py`).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy

from .finite_differences import Derivative

Index = tuple[int, ...]


@dataclass(frozen=True)
class Block:
    """The Jacobian of one output with respect to one input, from backward and from finite differences.

    Both are matrices with a row per output entry and a column per input entry; in fast mode their only
    entry is vᵀJu along random directions. `size` is |y| / max(1, |x|), entry by entry.
    """

    input: int
    output: int
    input_shape: Index
    output_shape: Index
    analytic: numpy.ndarray
    numeric: Derivative
    size: numpy.ndarray
    fast_mode: bool

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
        scale = numpy.maximum(abs(self.n).max(1, initial=0.0, keepdims=True), self.size) / 1000
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

    def describe(self, atol: float, rtol: float) -> str:
        """Return where the two differ most among the wrong entries, by how much, and a hint at the cause."""
        wrong = self.wrong(atol, rtol)
        row, column = divmod(int(numpy.where(wrong, self.relative_error, -1.0).argmax()), wrong.shape[1])
        a, n = self.analytic[row, column], self.numeric.value[row, column]
        error, step = self.numeric.error[row, column], self.numeric.step[row, column]
        relative = self.relative_error[row, column]
        place = f"output {self.output}{_at(row, self.output_shape, self.fast_mode)} with respect to "
        place += f"input {self.input}{_at(column, self.input_shape, self.fast_mode)}"
        lines = [
            f"wrong gradient of {place} (shapes {self.output_shape} and {self.input_shape})",
            f"  analytic        {a + 0.0:.10g}",
            f"  numeric         {n:.10g}  (estimated error {error:.1e}, step {step:.1e})",
            f"  relative error  {relative:.3g}  (allowed: rtol {rtol:g}, atol {atol:g})",
        ]
        if self.fast_mode:
            lines.append("  both along random directions: fast_mode=False finds the entry")
        else:
            lines.append(f"  wrong entries   {wrong.sum()} of {wrong.size}{_only(wrong)}")
        hint = self._hint(wrong, unsure=bool((self.numeric.error > self.allowed(atol, rtol))[wrong].any()))
        return "\n".join([*lines, f"  hint: {hint}"] if hint else lines)

    def _hint(self, wrong: numpy.ndarray, unsure: bool) -> str:
        a, n = self.analytic, self.n
        if not self.known.all():
            return "func is NaN or infinite around this input: check it where it is smooth"
        if unsure:
            return "finite differences are unsure here: a kink, a jump or noise near this input?"
        if not a.any():
            return "the analytic gradient is 0 everywhere: was the input detached, or its gradient left out?"
        if self._alike(a, -n):
            return "the sign is flipped"
        factor = float((a * n).sum() / max((n * n).sum(), numpy.finfo(float).tiny))
        if factor != 0 and wrong.sum() > 1 and self._alike(a, factor * n):
            return f"the analytic gradient is {factor:.8g} × the numeric one: a factor too many or too few?"
        shape = self.input_shape
        if not self.fast_mode and len(shape) > 1 and shape[-1] == shape[-2]:
            turned = n.reshape(-1, *shape).swapaxes(-1, -2).reshape(n.shape)
            if self._alike(a, turned):
                return "the analytic gradient is the transpose of the numeric one over the last two axes"
        return ""

    def _alike(self, a: numpy.ndarray, b: numpy.ndarray) -> bool:
        return bool((abs(a - b) <= 1e-8 * self.largest).all())


def _at(flat: int, shape: Index, fast_mode: bool) -> str:
    if fast_mode or not shape:
        return ""
    return str([int(i) for i in numpy.unravel_index(flat, shape)])


def _only(wrong: numpy.ndarray) -> str:
    if wrong.shape[1] > 1 and wrong.any(0).sum() == 1:
        return ", all at this entry of the input"
    if wrong.shape[0] > 1 and wrong.any(1).sum() == 1:
        return ", all at this entry of the output"
    return ""
