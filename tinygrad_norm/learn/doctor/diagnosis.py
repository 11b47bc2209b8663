"""Diagnose a backward: does it pass, and if not, which mistake is it?"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy

from ...autograd.tensor import Tensor
from ...backends import to_numpy
from ...gradient_check.check import jacobians
from ...gradient_check.error import GradcheckError
from ...gradient_check.failure_report import WrongEntry, wrong_entry
from ...gradient_check.jacobian import JacobianPair
from ...gradient_check.registered import NUMERIC_TOLERANCE, cotangent, draw
from ...registry import REGISTRY, Case, Op
from ...suggestions import did_you_mean
from ..formulas import argument_names
from ..smallinputs import MOST_NUMBERS
from .catalogue import Derivation, Mistake, fits_output
from .findings import Diagnosis, Finding
from .fitting import OPS, fits
from .leaks import leak
from .owninputs import candidates, more_inputs, small_errors
from .pathmistakes import fit_paths
from .projection import missing_direction, path_factors
from .roles import roles_of
from .subject import Subject, subject_of
from .trialinputs import Trial
from .unchecked import not_checked, number_warnings, require_checkable, require_inputs, without_constants

KINK = "forward has a kink at one of the inputs, where several gradients are right: checked beside it"
Cause = tuple[Mistake, ...]
"""One mistake, or two that are only right together."""


def diagnose(function: Any, inputs: Any = None, like: str | None = None) -> Diagnosis:
    """Say whether a backward is the derivative of its forward, and if not, which mistake it has.

    The functions run in this process, for as long as they take: if one never returns, neither does this. The
    command `tinygrad-norm doctor FILE.py:NAME` ends after a time limit.

    Args:
        function: a Function class; a pair (forward, backward) of functions of NumPy arrays; a module; or a
            function of tensors. A pair's forward returns y, or y and what backward needs; its backward takes
            dy and that, or dy and forward's arguments, and returns a gradient for each of these.
        inputs: the arguments of forward: arrays, numbers, None; chosen by the arguments' names if not given.
            If some are tensors that require grad, only these are checked; else all arrays are, except
            running statistics: inputs called running_… or moving_…, or constants of a known derivation.
        like: the registered op that forward should compute, such as "layer_norm"; found out if not given.

    Raises:
        TypeError: if the function is none of these, or `inputs` are not arguments.
        ValueError: if no op is called `like`; no input is a finite array of floating-point numbers; forward
            raises, or is NaN or infinite for these inputs; they or y are empty, or have more than 1000
            numbers each; or none are given and none were found that it takes.
    """
    if like is not None and like not in REGISTRY:
        raise ValueError(f"no registered op is called {like!r}{did_you_mean(like, REGISTRY)}")
    subject = subject_of(function)
    if inputs is None:
        return _on_own_inputs(subject, like)
    arguments = given_arguments(subject, inputs)
    require_inputs(subject, arguments)
    require_checkable(subject, arguments, subject.output(arguments).size)
    return _diagnosed(subject, arguments, like)


def chosen_inputs(subject: Subject, like: str | None = None) -> list[Trial]:
    """Return inputs for a subject, found by the arguments' names: those of the op that it computes, if known.

    Raises:
        ValueError: if forward takes none of those that were tried.
    """

    def ops_of(arguments: Sequence[Any], y: numpy.ndarray) -> list[str]:
        return [name for d in _fits(subject, arguments, y) for name in (d.op, *d.also)]

    return candidates(subject, like or _named(subject.name), ops_of)


def _on_own_inputs(subject: Subject, like: str | None) -> Diagnosis:
    failed: list[Diagnosis] = []
    for trial in chosen_inputs(subject, like):
        arguments = subject.arguments(trial.inputs)
        found = _diagnosed(subject, arguments, like)
        if not found.passed:
            failed.append(found)
            if found.failed or trial.equal or "weight" not in roles_of(subject.parameters):
                continue
            return found  # by its name a weight is broadcast, so equal shapes would prove nothing
        for ways in more_inputs(subject, trial, arguments):
            others = (_diagnosed(subject, more, like) for more in ways)
            other = next((other for other in others if not other.doubtful), found)
            if not other.passed:
                return replace(other, checked=f"{other.checked}; it is right for {found.checked}")
            if other is not found:
                found = replace(found, checked=f"{found.checked}; and with {other.checked}")
        if failed:  # they have not the same shape
            note = "the inputs have one shape: sums over broadcast axes were not checked"
            return replace(found, warnings=(*found.warnings, note))
        return found
    return min(failed, key=lambda found: (found.failed, len(found.findings)))


def _diagnosed(subject: Subject, arguments: tuple[Any, ...], like: str | None) -> Diagnosis:
    subject.forget()
    y = subject.output(arguments)
    derivation, notes = chosen_derivation(subject, arguments, y, like)
    checked = ", ".join(
        f"{subject.label(i)} {x.shape if isinstance(x, Tensor) else x}" for i, x in enumerate(arguments)
    )
    warnings = (*notes, *(derivation.notes if derivation else ())) or subject.hiding(arguments)
    name = derivation.op if derivation else ""
    try:
        pairs = jacobians(subject, arguments)
        if moved := _beside_kinks(arguments, pairs):
            warnings = (*warnings, KINK)
            arguments, pairs = moved, jacobians(subject, moved)
            y = subject.output(arguments)
    except GradcheckError as error:
        return Diagnosis(
            subject.name, name, False, (Finding((), subject.in_words(str(error))),), warnings, checked
        )
    pairs, constants = without_constants(subject, pairs, derivation)
    if any(pair.wrong(0.0, NUMERIC_TOLERANCE).any() for pair in pairs):
        derivation = _by_paths(subject, arguments, y, like) or derivation
        if derivation is None and like is not None and not warnings and not _computes(like, arguments, y):
            warnings = (f"forward does not compute {like} for these inputs, so no known mistakes are tried",)
        name = derivation.op if derivation else ""
    findings = tuple(_findings(subject, pairs, derivation))
    warnings = (*warnings, *number_warnings(subject, arguments))
    unchecked = not_checked(subject, arguments, constants)
    passed, doubt = not findings, not subject.problems and small_errors(pairs)
    return Diagnosis(subject.name, name, passed, findings, warnings, checked, unchecked, doubt)


def _computes(like: str, arguments: Sequence[Any], y: numpy.ndarray) -> bool:
    """Return whether the registered op has this result for the arguments, in their order."""
    try:
        result = REGISTRY[like].call(arguments, {})
    except Exception:  # the learner's arguments may be any
        return False
    first = result[0] if isinstance(result, tuple) else result
    return isinstance(first, Tensor) and fits_output(to_numpy(first.array), y)


def _beside_kinks(arguments: Sequence[Any], pairs: Sequence[JacobianPair]) -> tuple[Any, ...] | None:
    """Return arguments moved a little where forward has a kink, or None if it has none."""
    rng, moved = numpy.random.default_rng(0), list(arguments)
    for pair in pairs:
        at = (abs(pair.numeric.bend) > 0.1 * pair.largest).any(0)
        if isinstance(pair.input, int) and at.any():
            x = to_numpy(moved[pair.input].array)
            away = at.reshape(x.shape) * rng.uniform(0.02, 0.05, x.shape) * rng.choice((-1, 1), x.shape)
            moved[pair.input] = Tensor(x + away * (1 + abs(x)), requires_grad=True)
    return None if all(new is old for new, old in zip(moved, arguments, strict=True)) else tuple(moved)


def diagnose_op(op: Op, case: Case, form: Callable[..., Any] | None = None, seed: int = 0) -> Diagnosis:
    """Diagnose one form of a registered op on one of its cases."""
    inputs = draw(case, seed=seed)
    names = op.inputs[: len(inputs)] or argument_names(op.function, len(inputs))

    def call(*tensors: Any) -> Any:
        return op.call(tensors, case.options, form)

    return _diagnosed(Subject(op.name, call, tuple(names)), tuple(inputs), None)


def given_arguments(subject: Subject, inputs: Any) -> tuple[Any, ...]:
    """Return inputs that the user chose as arguments of a subject.

    Raises:
        TypeError: if they are not an array, or a sequence of arguments.
    """
    if isinstance(inputs, Tensor | numpy.ndarray):
        inputs = (inputs,)
    if not isinstance(inputs, Sequence) or isinstance(inputs, str):
        raise TypeError(f"inputs are forward's arguments: pass one array, or a tuple of them, got {inputs!r}")
    return subject.arguments(tuple(inputs))


def _fits(subject: Subject, arguments: Sequence[Any], y: numpy.ndarray) -> list[Derivation]:
    given = {subject.label(i): to_numpy(x.array) for i, x in enumerate(arguments) if isinstance(x, Tensor)}
    if subject.module is not None:
        module = subject.module
        given |= {key: to_numpy(p.array) for key, p in module.named_parameters()}
        given |= {key: to_numpy(p.array) for key, p in module.named_buffers()}
    return fits(given, y)


def chosen_derivation(
    subject: Subject, arguments: Sequence[Any], y: numpy.ndarray, like: str | None
) -> tuple[Derivation | None, list[str]]:
    """Return the derivation of forward: the one of `like`, or of its name, if that fits."""
    found = _fits(subject, arguments, y)
    wanted = like or _named(subject.name)
    fitting = [derivation for derivation in found if wanted in (derivation.op, *derivation.also)]
    if fitting:
        return replace(fitting[0], op=wanted), []
    if not found:
        note = f"forward does not compute {like} for these inputs, so no known mistakes are tried"
        return None, [note] if like in OPS else []
    if like not in OPS:
        return found[0], []
    return found[0], [f"forward does not compute {like} for these inputs: it computes {found[0].op}"]


def _by_paths(
    subject: Subject, arguments: Sequence[Any], y: numpy.ndarray, like: str | None
) -> Derivation | None:
    """Return the paths of a registered op that has no catalogue, if forward is named so and computes it."""
    wanted = like or _named(subject.name)
    if wanted not in REGISTRY or wanted in OPS or subject.module is not None or y.size > MOST_NUMBERS:
        return None
    return next(fit_paths(REGISTRY[wanted], subject.parameters, arguments, y), None)


def _named(name: str) -> str:
    plain = name.lower().replace("_", "")
    known = [op for op in REGISTRY if op.replace("_", "") in plain]
    return max(known, key=len, default="")


def _findings(
    subject: Subject, pairs: list[JacobianPair], derivation: Derivation | None
) -> Iterator[Finding]:
    for i in sorted(subject.through_constants):
        what = (
            "backward gives a gradient to running statistics, or to the vectors of a σ: they are buffers, "
            "constants in the derivation; return None"
        )
        yield Finding((f"d{subject.label(i)}",), what)
    for i, problem in sorted(subject.problems.items()):
        yield Finding((f"d{subject.label(i)}",), problem)
    wrong = [(pair, entry) for pair in pairs if (entry := wrong_entry(pair, 0.0, NUMERIC_TOLERANCE, pairs))]
    wrong, exchanged = _without_exchanged(subject, wrong)
    yield from exchanged
    bad = {id(pair) for pair, _ in wrong}
    right = [pair for pair in pairs if id(pair) not in bad]
    causes = {
        id(pair): _causes(subject, pair, of_output, [p for p in right if p.output == pair.output])
        for pair, _ in wrong
        if (of_output := _of_output(derivation, pair.output)) is not None
    }
    explained: dict[tuple[str, ...], list[JacobianPair]] = {}
    for pair, entry in wrong:
        possible = causes.get(id(pair), [])
        if not possible:
            yield _unknown(subject, pair, entry, derivation)
            continue
        shared = [sum(_has(other, cause) for other in causes.values()) for cause in possible]
        best = possible[int(numpy.argmax(shared))]
        explained.setdefault(tuple(m.name for m in best), []).append(pair)
    for names, own in explained.items():
        yield _known(subject, own, names, causes)


def _without_exchanged(
    subject: Subject, wrong: list[tuple[JacobianPair, WrongEntry]]
) -> tuple[list[tuple[JacobianPair, WrongEntry]], list[Finding]]:
    """Return what is wrong for another reason than that two gradients are returned in each other's place."""
    left, found = list(wrong), []
    for (a, _), (b, _) in itertools.combinations(wrong, 2):
        if a.output == b.output and a.n.shape == b.n.shape and a.input_shape == b.input_shape:
            apart = abs(a.n - b.n).max(initial=0.0)
            crossed = max(abs(a.analytic - b.n).max(initial=0.0), abs(b.analytic - a.n).max(initial=0.0))
            if crossed <= NUMERIC_TOLERANCE * apart:
                names = tuple(f"d{subject.label(pair.input)}" for pair in (a, b))
                what = "they are exchanged: return the gradients in the order of forward's arguments"
                found.append(Finding(names, what, first=_first(subject, a)))
                left = [pair for pair in left if pair[0] not in (a, b)]
    return left, found


def _of_output(derivation: Derivation | None, output: int) -> Derivation | None:
    """Return the derivation of one of a forward's outputs, if it is known."""
    return derivation.of_outputs.get(output) if derivation is not None and output else derivation


def _causes(
    subject: Subject, pair: JacobianPair, derivation: Derivation | None, right: Sequence[JacobianPair]
) -> list[Cause]:
    """Return what explains a wrong gradient; if possible, without changing those that are right."""
    name = subject.label(pair.input)
    if derivation is None or name not in derivation.gradients or pair.nonlinear(0.0, NUMERIC_TOLERANCE).any():
        return []
    if not pair.analytic.any() and not pair.output:
        return []  # all paths are dropped, but it is not that
    dys = _dys(pair)
    found = [_gradient(dy, pair.analytic, pair) for dy in dys]
    true = [_gradient(dy, pair.n, pair) for dy in dys]
    if not all(_close(derivation.gradient(name, dy), dx) for dy, dx in zip(dys, true, strict=True)):
        return []  # the derivation fits forward by chance
    causes = derivation.candidates(name, dys, found)
    names = [other for p in right if (other := subject.label(p.input)) in derivation.gradients]
    spoiled = [sum(derivation.changes(other, cause, dys) for other in names) for cause in causes]
    return [cause for cause, count in zip(causes, spoiled, strict=True) if count == min(spoiled)]


def _close(a: Any, b: numpy.ndarray) -> bool:
    scale = max(float(abs(b).max(initial=0.0)), 1e-6)
    return numpy.shape(a) == b.shape and bool((abs(a - b) <= 1e-6 * scale).all())


def _dys(pair: JacobianPair) -> list[numpy.ndarray]:
    return [cotangent(pair.output_shape, 0, seed) for seed in (0, 1)]


def _gradient(dy: numpy.ndarray, matrix: numpy.ndarray, pair: JacobianPair) -> numpy.ndarray:
    return (dy.reshape(-1) @ matrix).reshape(pair.input_shape)


def _gradient_name(subject: Subject, pair: JacobianPair) -> str:
    return f"d{subject.label(pair.input)}" + (f" through output {pair.output}" if pair.output else "")


def _has(causes: Sequence[Cause], wanted: Cause) -> bool:
    names = [m.name for m in wanted]
    return any([m.name for m in cause] == names for cause in causes)


def _known(
    subject: Subject, pairs: list[JacobianPair], names: tuple[str, ...], causes: dict[int, list[Cause]]
) -> Finding:
    possible = causes[id(pairs[0])]
    best = next(cause for cause in possible if tuple(m.name for m in cause) == names)
    told = " and ".join(names)
    others = dict.fromkeys(" and ".join(m.name for m in cause) for cause in possible)
    return Finding(
        gradients=tuple(_gradient_name(subject, pair) for pair in pairs),
        what="; and ".join(names),
        line="; ".join(m.line for m in best),
        wrong="; ".join(m.wrong for m in best),
        right="; ".join(m.right for m in best),
        first=_first(subject, pairs[0]),
        others=tuple(other for other in others if other != told)[:2],
    )


def _first(subject: Subject, pair: JacobianPair) -> str:
    """Return the first entry, in order, where the gradients for a random dy differ."""
    dy = _dys(pair)[0]
    yours, right = (_gradient(dy, matrix, pair) for matrix in (pair.analytic, pair.n))
    differ = abs(yours - right) > NUMERIC_TOLERANCE * max(
        abs(right).max(initial=0.0), abs(yours).max(initial=0.0)
    )
    if not differ.any():
        return ""
    at = tuple(map(int, numpy.argwhere(differ)[0]))
    place = f"d{subject.label(pair.input)}{list(at) if at else ''}"
    digits = 6 if f"{yours[at]:.6g}" != f"{right[at]:.6g}" else 12
    return f"{place} is {yours[at]:.{digits}g}, right is {right[at]:.{digits}g} (dy random, seed 0)"


def _unknown(
    subject: Subject, pair: JacobianPair, entry: WrongEntry, derivation: Derivation | None
) -> Finding:
    """Return what can be said where no known mistake fits: a leak, a measured pattern, or the residual."""
    gradient = _gradient_name(subject, pair)
    hints = [line.removeprefix("  hint: ") for line in entry.text.splitlines() if line.startswith("  hint: ")]
    nonlinear = pair.nonlinear(0.0, NUMERIC_TOLERANCE).any()  # then the Jacobian says nothing
    leaking = "" if nonlinear else leak(pair)
    if leaking:
        return Finding((gradient,), leaking, first=_first(subject, pair))
    hint = subject.in_words(hints[0]) if hints else ""
    if derivation is not None and "transpose" in hint and pair.input_shape == pair.output_shape:
        hint = ""  # the Jacobian of a normalization is symmetric but for a weight outside
    count = int((pair.relative_error > NUMERIC_TOLERANCE).sum())
    nothing = (
        f"{count} of {pair.n.size} entries of its Jacobian are wrong, in no way that the catalogue knows, "
        "alone or in pairs"
    )
    what = _factors(subject, pair, derivation) or _residual(subject, pair, derivation) or hint or nothing
    return Finding((gradient,), what, first=_first(subject, pair))


def _factors(subject: Subject, pair: JacobianPair, derivation: Derivation | None) -> str:
    name = subject.label(pair.input)
    if (
        derivation is None
        or pair.output
        or not pair.analytic.any()
        or pair.nonlinear(0.0, NUMERIC_TOLERANCE).any()
    ):
        return ""
    dys = _dys(pair)
    return path_factors(derivation, name, dys, [_gradient(dy, pair.analytic, pair) for dy in dys])


def _residual(subject: Subject, pair: JacobianPair, derivation: Derivation | None) -> str:
    if derivation is None or derivation.gradients.get(subject.label(pair.input)) != "dx":
        return ""
    dys = _dys(pair)
    return missing_direction(derivation, dys, [_gradient(dy, pair.analytic - pair.n, pair) for dy in dys])
