"""Inputs of the doctor's own choice: which to check first, and which to check after that."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy

from ...gradient_check.jacobian import JacobianPair
from ...gradient_check.registered import NUMERIC_TOLERANCE
from .roles import role_of
from .subject import Subject
from .trialinputs import Inputs, Trial, flipped, trials
from .unchecked import require_checkable

OpsOf = Callable[[Inputs, numpy.ndarray], list[str]]
"""Which registered ops give y for these arguments."""


def candidates(subject: Subject, wanted: str, ops_of: OpsOf) -> list[Trial]:
    """Return inputs that forward takes: one trial if it is a known op, `wanted` if possible.

    For other functions there are several of different shapes. It is not known which shapes forward is for,
    so backward is right if it is right for one of them.

    Raises:
        ValueError: if there are none.
    """
    if not subject.parameters:
        raise ValueError(f"the forward of {subject.name} names no arguments: name them, or pass inputs")
    subject.vary_parameters()
    problem = ""
    for positive in (False, True):
        named: list[Trial] = []
        equal: list[Trial] = []
        fitting: list[Trial] = []
        for trial in trials(subject, positive):
            arguments = subject.arguments(trial.inputs)
            try:
                y = subject.output(arguments)
                require_checkable(subject, arguments, y.size)
            except ValueError as error:
                problem = problem or str(error)
                continue
            if trial.equal:
                equal.append(trial)
                continue
            found = ops_of(arguments, y)
            if wanted in found:
                return [trial]
            (fitting if found else named).append(trial)
        if fitting:
            return fitting[:1]
        if named or equal:
            return [*named[:1], *equal] if _all_known(subject.signature) else [*equal, *named[:1]]
    raise ValueError(
        f"pass inputs: none that were tried suit {subject.name}. {problem}. In a file, call them "
        "NAME_inputs: a tuple of arrays and numbers, the arguments of forward"
    )


def _all_known(signature: tuple[inspect.Parameter, ...]) -> bool:
    return all(role_of(p.name) for p in signature if p.default is p.empty)


def more_inputs(subject: Subject, trial: Trial, arguments: Inputs) -> Iterator[list[Inputs]]:
    """Yield the arguments to check after `arguments`, those of the trial, have passed; one of each list.

    They have other sizes and larger values, or the other value of a flag such as `training`. A module is in
    evaluation for the last, if that makes a difference.
    """
    yield [other for inputs in trial.again if (other := _runs(subject, inputs)) is not None]
    other_flag = flipped(subject, arguments)
    if other_flag is not None and (other := _runs(subject, other_flag)) is not None:
        yield [other]
    if subject.module is not None and subject.module.training:
        y = subject.output(arguments)
        subject.module.eval()
        other = _runs(subject, arguments)
        if other is not None and not numpy.array_equal(subject.output(other), y):
            yield [other]


def small_errors(pairs: Sequence[JacobianPair]) -> bool:
    """Return whether backward is wrong only where the gradient is small beside its largest entry.

    With large inputs that may be rounding in forward: 1 + tanh(-9) is 1 - 1, but for the last digit.
    """
    wrong = [pair for pair in pairs if pair.wrong(0.0, NUMERIC_TOLERANCE).any()]
    return bool(wrong) and all(
        numpy.where(pair.known, pair.difference, 0.0).max() <= 1e-4 * abs(pair.n).max()
        and not pair.nonlinear(0.0, NUMERIC_TOLERANCE).any()
        for pair in wrong
    )


def _runs(subject: Subject, inputs: Any) -> Inputs | None:
    """Return inputs as arguments if forward takes them."""
    arguments = subject.arguments(inputs)
    try:
        require_checkable(subject, arguments, subject.output(arguments).size)
    except ValueError:
        return None
    return arguments
