"""Check a learner's file: the same forward as the exercise's, and a backward that the doctor passes."""

import ast
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy

from ...backends.emulator import CompileError, KernelError, schedule
from ...backends.emulator.build import compiler
from ...gradient_check.registered import cotangent
from ..doctor.catalogue import same_gradient
from ..doctor.diagnosis import diagnose
from ..doctor.findings import Diagnosis, Finding
from ..doctor.targets import import_file
from .exercise import Solved, load
from .kernelerrors import in_words, kernel_error, unset
from .starttext import has_bug, start_text, todo_lines, writes_forward

LIBRARIES = ("tinygrad_norm", "torch", "jax", "autograd", "tensorflow")
"""Packages with backwards of their own."""
LAUNCH_SECONDS = 10.0
"""A launch that takes longer is an endless loop: the emulator then says in which line."""


class State(Enum):
    """How a check ended."""

    RIGHT = "right"
    UNWRITTEN = "not written yet"
    UNMENDED = "not mended yet"
    CHANGED = "forward was changed"
    WRONG = "not right yet"
    FAILED = "cannot be checked"


@dataclass(frozen=True)
class Outcome:
    """How a check ended, and what is to say about it."""

    state: State
    text: str


def check(
    name: str, path: Path, kernel_seconds: float = LAUNCH_SECONDS, tells_formula: bool = True
) -> Outcome:
    """Check the learner's file of the exercise called `name`; its code runs in this process.

    A CUDA kernel is stopped after `kernel_seconds`, with a report that the end of the process does not give.
    Without `tells_formula`, a mistake is named without the formula that would be right.

    Raises:
        ValueError: if there is no such exercise.
    """
    solved = load(name)
    try:
        if solved.exercise.needs_compiler:
            compiler()
        text = path.read_text(encoding="utf-8", errors="replace")
        if todo := _todo(solved.source, text, path):
            return Outcome(State.UNWRITTEN, todo)
        with (
            schedule(checked=sys.platform == "linux", timeout=kernel_seconds),
            numpy.errstate(all="ignore"),
        ):
            outcome = _checked(solved, path, text, tells_formula)
    except (ValueError, TypeError, RuntimeError, OSError, MemoryError) as error:
        return Outcome(State.FAILED, str(error) or type(error).__name__)
    except SystemExit:
        return Outcome(State.FAILED, f"{path} ends the program: leave out exit()")
    unchanged = text.rstrip() == start_text(solved.source, solved.exercise.name).rstrip()
    if unchanged and outcome.state is State.WRONG:
        what = f"the mistake is still in {path}. This is what it does:"
        return Outcome(State.UNMENDED, f"{what}\n\n{outcome.text}")
    return outcome


def _todo(source: str, text: str, path: Path) -> str:
    left = set(todo_lines(source))
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() in left:
            what = line.strip().removeprefix('raise NotImplementedError("').removesuffix('")')
            return (
                f"{path}, line {number}, still is: {line.strip()}\n"
                f"Put your own lines in its place: {what.removeprefix('#error ')}."
            )
    return ""


def _checked(solved: Solved, path: Path, text: str, tells_formula: bool) -> Outcome:
    module, exercise = import_file(path.resolve(), str(path)), solved.exercise
    if libraries := _libraries(text) - _libraries(solved.source):
        what = (
            f"{path} imports {', '.join(sorted(libraries))}: write the derivative yourself, with NumPy alone"
        )
        return Outcome(State.WRONG, what)
    parts = [part for part in ("forward", "backward") if hasattr(solved.module, part)]
    for part in parts:
        if not callable(getattr(module, part, None)):
            raise ValueError(f"{path} has no function {part}: keep its name. {_fresh(exercise.name)}")
    if exercise.needs_compiler and (found := unset(path, module)):
        return Outcome(State.WRONG, found)
    checked = []
    for more in (0, 1):
        inputs = exercise.inputs(numpy.random.default_rng(more), more)
        if exercise.needs_compiler and (error := _kernel_error(module, inputs)):
            state = State.FAILED if isinstance(error, CompileError) else State.WRONG
            return Outcome(state, in_words(error, path, module))
        if wrong := _wrong_forward(solved, module.forward, inputs):
            if writes_forward(solved.source):
                return Outcome(State.WRONG, wrong)
            advice = f"It is given in this exercise: leave it as it was. {_fresh(exercise.name)}"
            return Outcome(State.CHANGED, f"{wrong}. {advice}")
        checked.append(_shapes(solved.module.forward, inputs))
        if len(parts) < 2:
            continue
        diagnosis = diagnose((module.forward, module.backward), inputs, exercise.like)
        if not diagnosis.passed:
            words = _words(diagnosis, solved, module, inputs, tells_formula)
            if more:
                words = f"it is right for {checked[0]}, but not for {checked[1]}.\n\n{words}"
            return Outcome(State.WRONG, words)
    return Outcome(State.RIGHT, f"checked with {' and with '.join(checked)}")


def _libraries(text: str) -> set[str]:
    """Return which of the LIBRARIES a text imports; relative imports are the exercise's own."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module or "")
    return {name.split(".")[0] for name in found} & set(LIBRARIES)


def _wrong_forward(solved: Solved, forward: Callable[..., Any], inputs: Sequence[Any]) -> str:
    """Return where y differs from the exercise's, or "".

    Raises:
        ValueError: if forward raises an exception, or y is not an array of numbers.
    """
    right = _first(solved.module.forward(*_copies(inputs)))
    try:
        y = _first(forward(*_copies(inputs)))
    except Exception as error:
        what = f"raised {type(error).__name__}: {error}"
        raise ValueError(f"forward, called with {_shapes(forward, inputs)}, {what}") from error
    if y.dtype.kind not in "fiu":
        raise ValueError(f"forward returned {y.dtype} values: return an array of numbers")
    if y.dtype.kind == "f" and y.dtype != right.dtype:
        return f"forward returned y in {y.dtype}, but it must be {right.dtype}"
    if y.shape != right.shape:
        return f"forward returned y of shape {y.shape}, but it must be {right.shape}"
    off = ~(abs(y - right) <= solved.exercise.tolerance * max(1.0, float(abs(right).max(initial=0.0))))
    if not off.any():
        return ""
    at = tuple(map(int, numpy.argwhere(off)[0]))
    place = f"y{list(at)}" if at else "y"
    return f"forward computes something else: {place} is {y[at]:.6g}, but must be {right[at]:.6g}"


def _kernel_error(module: ModuleType, inputs: Sequence[Any]) -> KernelError | CompileError | None:
    """Return the error of the first kernel that has one, in forward or in backward."""
    if (error := kernel_error(module.forward, _copies(inputs))) or not hasattr(module, "backward"):
        return error
    y, *kept = module.forward(*_copies(inputs))
    return kernel_error(module.backward, (cotangent(y.shape, 0, 0), *kept))


def _first(result: Any) -> numpy.ndarray:
    return numpy.asarray(result[0] if isinstance(result, tuple) else result)


def _copies(inputs: Sequence[Any]) -> list[Any]:
    return [x.copy() if isinstance(x, numpy.ndarray) else x for x in inputs]


def _shapes(forward: Callable[..., Any], inputs: Sequence[Any]) -> str:
    """Return the names of the arguments, with the shapes of arrays and the values of others."""
    names = inspect.signature(forward).parameters
    given = [
        f"{name} {x.shape}" if isinstance(x, numpy.ndarray) else f"{name} {x!r}"
        for name, x in zip(names, inputs, strict=False)
    ]
    return ", ".join(given)


def _words(
    found: Diagnosis, solved: Solved, module: ModuleType, inputs: Sequence[Any], tells_formula: bool
) -> str:
    """Return what is wrong, by the exercise's typical mistakes and the doctor.

    Where the mistake is to be found, it is only said which numbers are wrong.
    """
    if has_bug(solved.source):
        named = [(", ".join(finding.gradients), finding) for finding in found.findings]
        texts = [f"{names} is wrong: {one.first or one.what}" if names else one.what for names, one in named]
    else:
        typical = {} if found.failed else _typical(solved, module, inputs)
        words = [typical.get(finding.gradients) for finding in found.findings]
        findings = [
            finding if what is None else Finding(finding.gradients, what, first=finding.first)
            for finding, what in zip(found.findings, words, strict=True)
        ]
        texts = [str(finding if tells_formula else replace(finding, right="")) for finding in findings]
    return "\n".join([*texts, *(f"warning: {text}" for text in found.warnings)])


def _typical(solved: Solved, module: ModuleType, inputs: Sequence[Any]) -> dict[tuple[str, ...], str]:
    """Return what is wrong with gradients that are typical mistakes of the exercise."""
    arguments = inspect.signature(solved.module.forward).parameters
    y, *kept = solved.module.forward(*_copies(inputs))
    dy = cotangent(y.shape, 0, 0)
    gradients = module.backward(dy, *_copies(kept))
    found = dict(zip(arguments, gradients if isinstance(gradients, tuple) else (gradients,), strict=False))
    words: dict[tuple[str, ...], str] = {}
    for mistake in solved.exercise.mistakes:
        dx = found.get(mistake.gradient.removeprefix("d"))
        if isinstance(dx, numpy.ndarray | float) and same_gradient(
            mistake.value(dy, *kept), numpy.asarray(dx)
        ):
            words[mistake.gradient,] = mistake.words
    return words


def _fresh(name: str) -> str:
    return f"A fresh copy, with yours kept beside it: tinygrad-norm exercise start {name} --again"
