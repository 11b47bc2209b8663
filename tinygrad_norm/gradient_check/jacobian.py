"""Block: one Jacobian computed twice, where the two differ, and what that difference looks like.

An entry a (analytic) and its n (numeric) are compared by

    relative error = |a - n| / max(|a|, |n|, scale)
    scale          = max(largest |n| of its row, size) / 1000
    size           = min(|y| / max(1, |x|), 10¹⁰ · 4 · machine epsilon · |y| / h)

with y the output entry (its row), x the input entry that is moved (its column) and h the step of n. The
scale keeps zeros and roundoff from counting as errors, and shrinks with the function, so that tiny gradients
are checked as strictly as large ones. Through `size` an error may pass, at rtol = 10⁻⁷, that is no larger
than what rounding y does to n, and never one beyond 10⁻¹⁰·|y|. Where f only rounds and a is as small, both
are 0 as far as can be known, and the error is 0 (`finite_differences.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy

from .analytic import Analytic
from .mistakes.general import hint, nonlinear_hint, swapped
from .numeric import Derivative
from .probing import Index, Key, label

ROUNDING = 1e10 * 4 * numpy.finfo(numpy.float64).eps


@dataclass(frozen=True)
class WrongEntry:
    """What is wrong with a gradient: its worst entry in numbers, and `text`, the whole of it in words.

    An index is None where no single entry is meant; `step` where no step was taken: `numerical` is then
    the sum of several numerical gradients.
    """

    input: str
    input_index: Index | None
    output: int
    output_index: Index | None
    analytic: float
    numerical: float
    relative_error: float
    step: float | None
    text: str

    @property
    def summary(self) -> str:
        """One line: where, both numbers, and how far apart they are."""
        return (
            f"{self.text.splitlines()[0]}: analytic {self.analytic + 0.0:.6g}, numeric "
            f"{self.numerical:.6g}, relative error {self.relative_error:.3g}"
        )


@dataclass(frozen=True)
class Block:
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

        In fast mode several kinks may nearly cancel: there any that is not small beside a - n counts.
        """
        return self.difference <= abs(self.numeric.bend) * (100 if self.fast_mode else 0.501)

    @cached_property
    def nonlinearity(self) -> numpy.ndarray:
        """|what backward gives for a mixed dy - the mixture of what it gives|, for every input entry."""
        _, mixed, weights = self.backward
        return abs(mixed - weights @ self.analytic)

    @cached_property
    def relative_nonlinearity(self) -> numpy.ndarray:
        """The nonlinearity relative to the mixture of the largest; 0 where both are 0."""
        largest = abs(self.backward.weights) @ self.largest
        return self.nonlinearity / numpy.where(largest == 0, 1.0, largest)

    def nonlinear(self, atol: float, rtol: float) -> numpy.ndarray:
        """Return at which input entries backward is not linear in dy, by more than is allowed."""
        rounding = self.numeric.floor.max(initial=0.0)
        return ~(self.nonlinearity <= abs(self.backward.weights) @ (self.allowed(atol, rtol) + rounding))

    def wrong_entry(self, atol: float, rtol: float, blocks: Sequence["Block"]) -> WrongEntry | None:
        """Return where the two differ most among the wrong entries, by how much, and a hint at the cause.

        `blocks` are the Jacobians for all inputs: the gradients of two may be swapped.
        """
        nonlinear, wrong = self.nonlinear(atol, rtol), self.wrong(atol, rtol)
        if nonlinear.any():
            return self._nonlinear_entry(nonlinear, atol, rtol)
        if not wrong.any():
            return None
        told = wrong & ~self.kinked if (wrong & ~self.kinked).any() else wrong
        row, column = divmod(int(numpy.where(told, self.relative_error, -1.0).argmax()), wrong.shape[1])
        a, n = self.analytic[row, column], self.numeric.value[row, column]
        error, step = self.numeric.error[row, column], self.numeric.step[row, column]
        relative = self.relative_error[row, column]
        output_at, input_at = self._index(row, self.output_shape), self._index(column, self.input_shape)
        lines = [
            self._place(output_at, input_at),
            f"  analytic        {a + 0.0:.10g}",
            f"  numeric         {n:.10g}  (estimated error {error:.1e}, step {step:.1e})",
            f"  relative error  {relative:.3g}  (allowed: rtol {rtol:g}, atol {atol:g})",
        ]
        if self.fast_mode:
            lines.append("  both along random directions: fast_mode=False finds the entry")
        else:
            not_zero = wrong | (numpy.maximum(abs(self.analytic), abs(self.n)) > self.allowed(atol, rtol))
            among = f" ({wrong.sum()} of the {not_zero.sum()} that are not 0)" if not not_zero.all() else ""
            lines.append(f"  wrong entries   {wrong.sum()} of {wrong.size}{among}{_only(wrong)}")
        unsure = bool((self.numeric.error > self.allowed(atol, rtol))[wrong].any())
        cause = swapped(self, blocks) or hint(self, wrong, unsure)
        return WrongEntry(
            input=label(self.input),
            input_index=input_at,
            output=self.output,
            output_index=output_at,
            analytic=float(a),
            numerical=float(n),
            relative_error=float(relative),
            step=float(step),
            text="\n".join([*lines, f"  hint: {cause}"] if cause else lines),
        )

    def _nonlinear_entry(self, nonlinear: numpy.ndarray, atol: float, rtol: float) -> WrongEntry:
        _, mixed, weights = self.backward
        added, errors = weights @ self.analytic, self.relative_nonlinearity
        column = int(numpy.where(nonlinear, errors, -1.0).argmax())
        input_at = self._index(column, self.input_shape)
        lines = [
            f"{self._place(None, input_at)}: backward is not linear in dy",
            f"  analytic        {mixed[column] + 0.0:.10g}  (for a mixture of dys)",
            f"  added up        {added[column] + 0.0:.10g}  (the mixture of what each of them gives)",
            f"  relative error  {errors[column]:.3g}  (allowed: rtol {rtol:g}, atol {atol:g})",
            f"  hint: {nonlinear_hint(self)}",
        ]
        return WrongEntry(
            input=label(self.input),
            input_index=input_at,
            output=self.output,
            output_index=None,
            analytic=float(mixed[column]),
            numerical=float(weights @ self.n[:, column]),
            relative_error=float(errors[column]),
            step=None,
            text="\n".join(lines),
        )

    def _place(self, output_at: Index | None, input_at: Index | None) -> str:
        return (
            f"wrong gradient of output {self.output}{_at(output_at)} with respect to {label(self.input)}"
            f"{_at(input_at)} (shapes {self.output_shape} and {self.input_shape})"
        )

    def _index(self, flat: int, shape: Index) -> Index | None:
        return None if self.fast_mode else tuple(int(i) for i in numpy.unravel_index(flat, shape))


def _at(index: Index | None) -> str:
    return str(list(index)) if index else ""


def _only(wrong: numpy.ndarray) -> str:
    if wrong.shape[1] > 1 and wrong.any(0).sum() == 1:
        return ", all at this entry of the input"
    if wrong.shape[0] > 1 and wrong.any(1).sum() == 1:
        return ", all at this entry of the output"
    return ""
