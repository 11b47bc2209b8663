"""The report of a failed check: the worst entry of a wrong gradient, and a hint at the cause."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy

from .jacobian import JacobianPair
from .mistakes.general import hint, nonlinear_hint, swapped
from .probing import Index, label


@dataclass(frozen=True)
class WrongEntry:
    """What is wrong with a gradient: its worst entry in numbers, and `text`, the whole report.

    An index is None if no single entry is meant. `step` is None if no step was taken: `numerical` is then
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


def disagreement(pairs: Sequence[JacobianPair], atol: float, rtol: float) -> WrongEntry | None:
    """Return what is wrong with these Jacobians, at the worst entry, or None if all agree."""
    found = [entry for pair in pairs if (entry := wrong_entry(pair, atol, rtol, pairs))]
    if len(found) < 2:
        return found[0] if found else None
    places = ", ".join(f"output {entry.output} / {entry.input}" for entry in found)
    worst = max(found, key=lambda entry: entry.relative_error)
    return replace(worst, text=f"{worst.text}\n  wrong in all: {places}")


def wrong_entry(
    pair: JacobianPair, atol: float, rtol: float, pairs: Sequence[JacobianPair]
) -> WrongEntry | None:
    """Return where the two differ most among the wrong entries, by how much, and a hint at the cause.

    `pairs` are the Jacobians for all inputs: the gradients of two may be swapped.
    """
    nonlinear, wrong = pair.nonlinear(atol, rtol), pair.wrong(atol, rtol)
    if nonlinear.any():
        return _nonlinear_entry(pair, nonlinear, atol, rtol)
    if not wrong.any():
        return None
    smooth = wrong & ~pair.kinked
    reported = smooth if smooth.any() else wrong
    row, column = divmod(int(numpy.where(reported, pair.relative_error, -1.0).argmax()), wrong.shape[1])
    a, n = pair.analytic[row, column], pair.numeric.value[row, column]
    error, step = pair.numeric.error[row, column], pair.numeric.step[row, column]
    relative = pair.relative_error[row, column]
    output_at, input_at = _index(pair, row, pair.output_shape), _index(pair, column, pair.input_shape)
    lines = [
        _place(pair, output_at, input_at),
        f"  analytic        {a + 0.0:.10g}",
        f"  numeric         {n:.10g}  (estimated error {error:.1e}, step {step:.1e})",
        f"  relative error  {relative:.3g}  (allowed: rtol {rtol:g}, atol {atol:g})",
    ]
    if pair.fast_mode:
        lines.append("  both along random directions: fast_mode=False finds the entry")
    else:
        not_zero = wrong | (numpy.maximum(abs(pair.analytic), abs(pair.n)) > pair.allowed(atol, rtol))
        among = f" ({wrong.sum()} of the {not_zero.sum()} that are not 0)" if not not_zero.all() else ""
        lines.append(f"  wrong entries   {wrong.sum()} of {wrong.size}{among}{_only(wrong)}")
    unsure = bool((pair.numeric.error > pair.allowed(atol, rtol))[wrong].any())
    cause = swapped(pair, pairs) or hint(pair, wrong, unsure)
    return WrongEntry(
        input=label(pair.input),
        input_index=input_at,
        output=pair.output,
        output_index=output_at,
        analytic=float(a),
        numerical=float(n),
        relative_error=float(relative),
        step=float(step),
        text="\n".join([*lines, f"  hint: {cause}"] if cause else lines),
    )


def _nonlinear_entry(pair: JacobianPair, nonlinear: numpy.ndarray, atol: float, rtol: float) -> WrongEntry:
    _, mixed, weights = pair.backward
    added, errors = weights @ pair.analytic, pair.relative_nonlinearity
    column = int(numpy.where(nonlinear, errors, -1.0).argmax())
    input_at = _index(pair, column, pair.input_shape)
    lines = [
        f"{_place(pair, None, input_at)}: backward is not linear in dy",
        f"  analytic        {mixed[column] + 0.0:.10g}  (for a mixture of dys)",
        f"  added up        {added[column] + 0.0:.10g}  (the mixture of what each of them gives)",
        f"  relative error  {errors[column]:.3g}  (allowed: rtol {rtol:g}, atol {atol:g})",
        f"  hint: {nonlinear_hint(pair)}",
    ]
    return WrongEntry(
        input=label(pair.input),
        input_index=input_at,
        output=pair.output,
        output_index=None,
        analytic=float(mixed[column]),
        numerical=float(weights @ pair.n[:, column]),
        relative_error=float(errors[column]),
        step=None,
        text="\n".join(lines),
    )


def _place(pair: JacobianPair, output_at: Index | None, input_at: Index | None) -> str:
    return (
        f"wrong gradient of output {pair.output}{_at(output_at)} with respect to {label(pair.input)}"
        f"{_at(input_at)} (shapes {pair.output_shape} and {pair.input_shape})"
    )


def _index(pair: JacobianPair, flat: int, shape: Index) -> Index | None:
    return None if pair.fast_mode else tuple(int(i) for i in numpy.unravel_index(flat, shape))


def _at(index: Index | None) -> str:
    return str(list(index)) if index else ""


def _only(wrong: numpy.ndarray) -> str:
    if wrong.shape[1] > 1 and wrong.any(0).sum() == 1:
        return ", all at this entry of the input"
    if wrong.shape[0] > 1 and wrong.any(1).sum() == 1:
        return ", all at this entry of the output"
    return ""
