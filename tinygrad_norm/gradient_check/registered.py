"""Check registered ops: closed form against composed, and both against finite differences.

Every case of an op is drawn from a fixed seed, in float64. The loss behind a gradient is
L = Σ y·dy over all outputs y that have a gradient, with a random dy for each: L = Σ y would make every
gradient of a normalization 0. Arrays a and b are compared by

    relative error = |a - b| / max(|a|, |b|, scale)      scale = max(largest |b|, 1) / 1000

where 1 stands for the size of the drawn inputs and of dy.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

from ..autograd.differentiation import grad
from ..autograd.tensor import Tensor
from ..backends import to_numpy
from ..registry import Case, Op
from .check import jacobians
from .failure_report import WrongEntry, disagreement

Form = Callable[..., Any]

COMPOSED_TOLERANCE = 1e-9
NUMERIC_TOLERANCE = 1e-7


@dataclass(frozen=True)
class Allowed:
    """The relative errors that a check allows: against the composed form, and against finite differences.

    `fast_mode` is that of gradcheck: differences along random directions only.
    """

    composed: float = COMPOSED_TOLERANCE
    numeric: float = NUMERIC_TOLERANCE
    fast_mode: bool = False


FIRST = Allowed()
SECOND = Allowed(composed=1e-8, numeric=1e-6, fast_mode=True)
"""Of second derivatives: rounding grows with every derivative."""


@dataclass(frozen=True)
class Result:
    """The result of one call: the values of its outputs, and dL/dx for every input x that has a gradient."""

    values: tuple[numpy.ndarray, ...]
    gradients: dict[int, numpy.ndarray]


@dataclass(frozen=True)
class Failure:
    """One failed check: the op, the case, the form (closed form or composed), and what is wrong.

    `entry` is the worst entry of a gradient that differs from finite differences; None for other failures.
    """

    op: str
    case: str
    form: str
    message: str
    relative_error: float | None = None
    entry: WrongEntry | None = None

    @property
    def text(self) -> str:
        """The whole report."""
        return f"{self._place}: {self.message}"

    @property
    def summary(self) -> str:
        """The report in one line."""
        return f"{self._place}: {self.entry.summary if self.entry else self.message.splitlines()[0]}"

    @property
    def _place(self) -> str:
        return f"{self.op}, case {self.case}" + (f", {self.form}" if self.form else "")


@dataclass(frozen=True)
class Verdict:
    """The result of the checks of one op; an error is None if there was nothing to compare.

    `composed_error` is the worst relative error of the closed form against the composed one,
    `numeric_error` that of both against finite differences; `failures` is empty if all checks passed.
    """

    name: str
    kind: str
    cases: int
    composed_error: float | None
    numeric_error: float | None
    seconds: float
    failures: tuple[Failure, ...]

    @property
    def worst(self) -> float | None:
        """The larger of the two errors."""
        errors = [e for e in (self.composed_error, self.numeric_error) if e is not None]
        return max(errors, default=None)


def draw(case: Case, dtype: Any = numpy.float64, seed: int = 0) -> list[Tensor | None]:
    """Return a case's inputs as tensors; its floating-point numbers in `dtype`."""
    return [
        None
        if drawn is None
        else Tensor(
            drawn[0].astype(dtype) if drawn[0].dtype.kind == "f" else drawn[0], requires_grad=drawn[1]
        )
        for drawn in case.draw(seed)
    ]


def evaluate(op: Op, form: Form, case: Case, dtype: Any = numpy.float64, seed: int = 0) -> Result:
    """Run one form of an op on a case, forward and backward."""
    inputs = draw(case, dtype, seed)
    result = op.call(inputs, case.options, form)
    ys = result if isinstance(result, tuple) else (result,)
    differentiable = [y for y in ys if y.requires_grad]
    dys = [cotangent(y.shape, k, seed).astype(dtype) for k, y in enumerate(differentiable)]
    xs = {i: x for i, x in enumerate(inputs) if x is not None and x.requires_grad}
    dxs = grad(differentiable, list(xs.values()), dys, allow_unused=True) if differentiable else ()
    return Result(
        values=tuple(to_numpy(y.array) for y in ys),
        gradients={
            i: numpy.zeros(xs[i].shape, dtype) if dx is None else to_numpy(dx.array)
            for i, dx in zip(xs, dxs, strict=False)
        },
    )


def cotangent(shape: tuple[int, ...], output: int, seed: int = 0) -> numpy.ndarray:
    """Return the random dy of one differentiable output."""
    # output + 1, because the seeds [0, 0] and 0 give the same numbers: dy would be the first input.
    return numpy.random.default_rng([seed, output + 1]).normal(size=shape)


def relative_error(a: numpy.ndarray, b: numpy.ndarray) -> float:
    """Return the largest relative error of `a` against `b`; infinite if only one is finite, or true."""
    if a.shape != b.shape:
        return numpy.inf
    if b.dtype.kind != "f":
        return 0.0 if numpy.array_equal(a, b) else numpy.inf
    largest = float(abs(numpy.where(numpy.isfinite(b), b, 0.0)).max(initial=0.0))
    same = (a == b) | (numpy.isnan(a) & numpy.isnan(b))
    a, b = numpy.where(same, 0.0, a), numpy.where(same, 0.0, b)
    if not (numpy.isfinite(a).all() and numpy.isfinite(b).all()):
        return numpy.inf
    scale = max(largest, 1.0) / 1000
    return float((abs(a - b) / numpy.maximum(numpy.maximum(abs(a), abs(b)), scale)).max(initial=0.0))


def differences(result: Result, reference: Result) -> dict[str, float]:
    """Return the relative error of every output and every gradient, by name."""
    found = {}
    for k, (a, b) in enumerate(zip(result.values, reference.values, strict=True)):
        found[f"output {k}"] = relative_error(a, b)
    for i in reference.gradients:
        found[f"gradient of input {i}"] = relative_error(result.gradients[i], reference.gradients[i])
    return found


def places_of_nan(result: Result) -> dict[str, str]:
    """Return where an output or a gradient is NaN, by name: "NaN in 2 of 12 places"."""
    arrays = {f"output {k}": a for k, a in enumerate(result.values)}
    arrays |= {f"gradient of input {i}": a for i, a in result.gradients.items()}
    counts = {name: int(numpy.isnan(a).sum()) for name, a in arrays.items() if a.dtype.kind == "f"}
    return {name: f"NaN in {n} of {arrays[name].size} places" for name, n in counts.items() if n}


def forms(op: Op) -> dict[str, Form]:
    """Return the forms of an op, by name: the closed form, and the composed form if there is one."""
    return {"closed form": op.function} | ({} if op.composed is None else {"composed": op.composed})


def numeric_error(
    op: Op, form: Form, case: Case, allowed: Allowed = FIRST
) -> tuple[float, WrongEntry | None] | None:
    """Return the worst relative error of one form's gradients against finite differences, and what is wrong.

    None if the case has nothing to differentiate.
    """
    inputs = tuple(draw(case))
    if not any(x is not None and x.requires_grad for x in inputs):
        return None
    pairs = jacobians(lambda *xs: op.call(xs, case.options, form), inputs, fast_mode=allowed.fast_mode)
    return max(pair.worst for pair in pairs), disagreement(pairs, 0.0, allowed.numeric)


def check(op: Op, advance: Callable[[], None] = lambda: None, allowed: Allowed = FIRST) -> Verdict:
    """Check all cases of an op; `advance` is called after each. An exception counts as a failure."""
    started = time.perf_counter()
    composed_errors: list[float] = []
    numeric_errors: list[float] = []
    failures: list[Failure] = []
    for case in op.cases:
        failed, name = functools.partial(Failure, op.name, " ".join(str(case).split())), ""
        try:
            if op.composed is not None:
                result, reference = evaluate(op, op.function, case), evaluate(op, op.composed, case)
                failures += [
                    failed(name, f"{what} of the closed form is {places}")
                    for what, places in places_of_nan(result).items()
                ]
                found = differences(result, reference)
                composed_errors += found.values()
                failures += [
                    failed(
                        name,
                        f"{what} of the closed form differs from the composed form's by a relative error of "
                        f"{error:.1e} (allowed {allowed.composed:.0e})",
                        error,
                    )
                    for what, error in found.items()
                    if not error <= allowed.composed
                ]
            for name, form in forms(op).items():
                numeric = numeric_error(op, form, case, allowed)
                if numeric is not None:
                    numeric_errors.append(numeric[0])
                    entry = numeric[1]
                    if entry:
                        failures.append(failed(name, entry.text, entry.relative_error, entry))
        except Exception as error:
            failures.append(failed(name, f"{type(error).__name__}: {error}"))
        advance()
    return Verdict(
        name=op.name,
        kind=op.kind,
        cases=len(op.cases),
        composed_error=max(composed_errors, default=None),
        numeric_error=max(numeric_errors, default=None),
        seconds=time.perf_counter() - started,
        failures=tuple(failures),
    )
