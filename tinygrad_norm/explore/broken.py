"""Break a backward: drop a path, turn its sign, take a mean over the wrong pool; see what goes wrong."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy

from ..learn.doctor.catalogue import Derivation
from ..learn.doctor.fitting import fits
from ..learn.explained import ExplainedOp, InputGradient

_SEEN = 1e-6
"""The relative error from which an entry counts as wrong; finite differences are exact to about 1e-9."""
_MOST = 60


@dataclass(frozen=True)
class Broken:
    """A mistake in words, both formulas, and the gradient of one input with it; `wrong` has its entries.

    No two of an input have the same name.
    """

    name: str
    line: str
    wrong_formula: str
    right_formula: str
    input: str
    gradient: numpy.ndarray
    wrong: numpy.ndarray


def broken(found: ExplainedOp) -> list[Broken]:
    """Return the mistakes that make the gradient of an input wrong: those of its paths, then the doctor's.

    The doctor's catalogue has formulas for normalizations over a pool; of other ops, the paths are broken.
    """
    made: list[Broken] = []
    names: set[tuple[str, str]] = set()
    paths = (mistake for gradient in found.gradients for mistake in _of_paths(gradient))
    for mistake in itertools.chain(paths, _of_catalogue(found)):
        if mistake.wrong.any() and len(made) < _MOST and not any(_same(mistake, one) for one in made):
            if (mistake.input, mistake.name) in names:
                mistake = replace(mistake, name=f"{mistake.name}: {mistake.wrong_formula}")
            names.add((mistake.input, mistake.name))
            made.append(mistake)
    return made


def _same(a: Broken, b: Broken) -> bool:
    """Return whether two mistakes have the same gradient, but for rounding."""
    scale = float(numpy.abs(a.gradient).max(initial=0.0)) or 1.0
    return a.input == b.input and bool((numpy.abs(a.gradient - b.gradient) < _SEEN * scale).all())


def _of_paths(gradient: InputGradient) -> Iterator[Broken]:
    if len(gradient.paths) < 2:
        return
    for path in gradient.paths:
        where = "the straight path" if path.name == "straight" else f"the path {path.name}"
        for name, formula, factor in (
            (f"{where} is dropped", "0", 0.0),
            (f"the sign of {where} is wrong", "its negative", -1.0),
            (f"{where} counts twice", "2 times", 2.0),
        ):
            changed = gradient.total + (factor - 1.0) * path.gradient
            yield _broken(name, path.name, formula, path.formula, gradient, changed)


def _of_catalogue(found: ExplainedOp) -> Iterator[Broken]:
    gradients = {gradient.name.removeprefix("d"): gradient for gradient in found.gradients}
    if "x" not in gradients or len(found.dys) != 1:
        return
    inputs = {value.name: value.array for value in found.values if not value.expression}
    derivation = _derivation({name: inputs[name] for name in gradients if name in inputs}, found["y"])
    if derivation is None:
        return
    dy = found.dys[0].array
    for mistake in derivation.mistakes:
        for name in derivation.gradients:
            changed = derivation.gradient(name, dy, mistake.steps)
            shape = gradients[name].finite_difference.shape
            if numpy.shape(changed) == shape and numpy.isfinite(changed).all():
                yield _broken(
                    mistake.name, mistake.line, mistake.wrong, mistake.right, gradients[name], changed
                )


def _derivation(inputs: dict[str, numpy.ndarray], y: numpy.ndarray) -> Derivation | None:
    found = fits(inputs, y) if len(inputs) <= 3 else []
    return next((one for one in found if set(one.gradients) <= set(inputs)), None)


def _broken(
    name: str, line: str, wrong: str, right: str, gradient: InputGradient, changed: numpy.ndarray
) -> Broken:
    right_values = gradient.finite_difference
    scale = float(numpy.abs(right_values).max(initial=0.0)) or 1.0
    entries = numpy.abs(changed - gradient.tape) > _SEEN * scale
    return Broken(name, line, wrong, right, gradient.name, numpy.asarray(changed), entries)
