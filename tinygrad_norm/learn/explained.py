"""What is known of an explained op: its values, its steps, and each gradient by its paths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy

from ..gradient_check.registered import COMPOSED_TOLERANCE, relative_error
from ..registry import Op
from .steps import Step, Value

SUM_TOLERANCE = 1e-12


@dataclass(frozen=True)
class PathGradient:
    """One way from y back to an input: its name, its formula in the derivation or "", its contribution.

    Derivations have formulas for the first input only.
    """

    name: str
    formula: str
    gradient: numpy.ndarray


@dataclass(frozen=True)
class InputGradient:
    """The gradient of one input four times: the sum of its paths, tape, closed form, finite differences."""

    name: str
    paths: tuple[PathGradient, ...]
    tape: numpy.ndarray
    closed_form: numpy.ndarray
    finite_difference: numpy.ndarray
    agrees: bool  # closed form and finite differences, where those are exact enough to tell
    at_kink: bool  # where forward has a kink, several gradients are right

    @property
    def total(self) -> numpy.ndarray:
        """The sum of the paths."""
        return numpy.sum([path.gradient for path in self.paths], axis=0)

    @property
    def correct(self) -> bool:
        """Whether all four agree: the sum to 1e-12, the closed form to 1e-9, finite differences to 1e-7.

        At a kink they need not.
        """
        return self.at_kink or bool(
            self.agrees
            and self.error_of(self.total) <= SUM_TOLERANCE
            and self.error_of(self.closed_form) <= COMPOSED_TOLERANCE
        )

    def error_of(self, gradient: numpy.ndarray) -> float:
        """Return the relative error of a gradient against the tape's."""
        return relative_error(gradient, self.tape)


@dataclass(frozen=True)
class ExplainedOp:
    """The steps of an op on small numbers.

    `values` are the inputs and everything computed from them, in order; `steps` the calls of primitives;
    `gradients` one entry per input that has one.
    """

    op: Op
    options: dict[str, Any]
    values: tuple[Value, ...]
    outputs: tuple[Value, ...]
    dys: tuple[Value, ...]
    steps: tuple[Step, ...]
    gradients: tuple[InputGradient, ...]
    closed_formula: str

    def __getitem__(self, name: str) -> numpy.ndarray:
        """Return the value called `name`, such as "m" or "y"."""
        named = {value.name: value.array for value in (*self.values, *self.outputs, *self.dys)}
        if name not in named:
            raise KeyError(f"no value is called {name!r}: there are {', '.join(named)}")
        return named[name]

    @property
    def correct(self) -> bool:
        """Whether every step and every gradient agrees with finite differences."""
        return all(g.correct for g in self.gradients) and all(
            flow.correct is not False for step in self.steps for flow in step.flows
        )
