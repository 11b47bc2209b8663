"""The catalogue's machinery: a derivation as named steps, a mistake as a change of some of them.

A derivation is a table of steps, each a formula in the values of others:

    "mean_g": lambda s: s.mean(s.g)        "through_m": lambda s: -s.r * s.mean_g

A mistake replaces one or two of them. Its gradient is then computed like the right one, and compared with the
learner's: if every entry agrees, for dys that are random, that is the mistake. Two mistakes that replace
different steps are also tried together.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

Step = Callable[[Any], Any]
Steps = dict[str, Step]

EQUAL = 1e-8
"""The relative error up to which the gradient of a mistake is the learner's; eps = 1e-5 shows at 1e-6."""

FITS = 1e-9
"""The same for the output of a forward."""


class Values:
    """The values of a derivation: those that are given, and the steps, computed when first asked for."""

    def __init__(self, steps: Steps, given: dict[str, Any]) -> None:
        self.__dict__.update(given)
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        steps = self.__dict__.get("_steps", {})
        if name not in steps:
            raise AttributeError(f"the derivation has no value called {name!r}")
        value = steps[name](self)
        self.__dict__[name] = value
        return value


def times(step: Step, factor: Step | float) -> Step:
    """Return a step times a number, or times what another step gives."""
    return lambda s: step(s) * (factor(s) if callable(factor) else factor)


@dataclass(frozen=True)
class Mistake:
    """A mistake in words, the line of the derivation that it is in, both formulas, and its changed steps.

    `line` is the left side of `wrong` and `right`: "through m" of "-r·mean(g)".
    """

    name: str
    line: str
    wrong: str
    right: str
    steps: Steps


@dataclass(frozen=True)
class Derivation:
    """The derivation of one function, fitted to inputs: its steps, what is given, and known mistakes.

    `gradients` has the step that is the gradient of an input, by the input's name. `notes` say how the
    function differs from the registered op, and which mistakes the inputs would hide. `also` are ops that
    have this derivation too, for other shapes. `of_outputs` are the derivations of outputs after the first.
    """

    op: str
    given: dict[str, Any]
    steps: Steps
    gradients: dict[str, str]
    mistakes: tuple[Mistake, ...]
    notes: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    of_outputs: dict[int, "Derivation"] = field(default_factory=dict)

    def gradient(self, name: str, dy: numpy.ndarray, changes: Steps | None = None) -> Any:
        """Return the gradient of an input, with some steps changed; NaN if their shapes do not fit."""
        values = Values(self.steps | (changes or {}), self.given | {"dy": dy})
        try:
            with numpy.errstate(all="ignore"):
                return getattr(values, self.gradients[name])
        except ValueError:
            return numpy.asarray(numpy.nan)

    def candidates(
        self, name: str, dys: Sequence[numpy.ndarray], found: Sequence[numpy.ndarray]
    ) -> list[tuple[Mistake, ...]]:
        """Return the mistakes whose gradient of input `name` is `found` for these dys: alone, else in pairs.

        Empty if none fits, or if `found` is right.
        """
        if self._equals(name, {}, dys, found):
            return []
        alone: list[tuple[Mistake, ...]] = [
            (m,) for m in self.mistakes if self._equals(name, m.steps, dys, found)
        ]
        if alone:
            return alone
        # A mistake that changes nothing in this gradient adds nothing to another.
        right = [self.gradient(name, dy) for dy in dys]
        active = [m for m in self.mistakes if not self._equals(name, m.steps, dys, right)]
        return [
            pair for pair in _pairs(active) if self._equals(name, pair[0].steps | pair[1].steps, dys, found)
        ]

    def changes(self, name: str, mistakes: Sequence[Mistake], dys: Sequence[numpy.ndarray]) -> bool:
        """Return whether mistakes make the gradient of an input wrong."""
        steps: Steps = {}
        for m in mistakes:
            steps = steps | m.steps
        return not self._equals(name, steps, dys, [self.gradient(name, dy) for dy in dys])

    def _equals(
        self, name: str, changes: Steps, dys: Sequence[numpy.ndarray], found: Sequence[numpy.ndarray]
    ) -> bool:
        return all(
            same_gradient(self.gradient(name, dy, changes), dx) for dy, dx in zip(dys, found, strict=True)
        )


def _pairs(mistakes: Sequence[Mistake]) -> Iterator[tuple[Mistake, Mistake]]:
    for first, second in itertools.combinations(mistakes, 2):
        if not first.steps.keys() & second.steps.keys():
            yield first, second


def fits_output(a: numpy.ndarray, y: numpy.ndarray) -> bool:
    """Return whether a formula gives the output of a forward, up to rounding."""
    return a.shape == y.shape and bool(abs(a - y).max(initial=0.0) <= FITS * abs(y).max(initial=0.0))


def same_gradient(a: Any, b: numpy.ndarray) -> bool:
    """Return whether two gradients have one shape, and differ nowhere by more than rounding."""
    a = numpy.asarray(a)
    scale = max(float(abs(b).max(initial=0.0)), float(abs(a).max(initial=0.0)))
    return a.shape == b.shape and bool((abs(a - b) <= EQUAL * scale).all())
