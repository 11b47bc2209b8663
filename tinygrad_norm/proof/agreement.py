"""How many digits agree: forms and gradients of an op on numbers of many digits.

For formulas with exp, log or erf there is no field to compare them in. But with numbers of n digits a finite
difference is no longer a rough check. For L = Σ dy·y, and a random direction v over all inputs,

    (L(x + h·v) - L(x - h·v))/(2h) = Σ dx·v + O(h²)          h = 10^(-n/3)

loses n/3 digits to the step and has an error of order h², so that about 2n/3 digits agree if dx is right.
Compared are

    dx of the closed form     with differences of the closed form, and with those of the composed form
    y of the closed form      with y of the composed form

A mistake of relative size 1e-13 leaves 13 digits. The forms run with `GUARD` more digits than asked for.

Needs mpmath, the extra `exact`.
"""

import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy

from ..registry import Case, Op
from .apart import told_apart
from .errors import NotExact, told
from .identity import Recorded
from .numberarray import NumberArray, each, numbers
from .proving import Skipped
from .reals import Real, exact, mp, precise, written

GUARD = 10
"""Digits more than asked for."""

LARGEST = 400
"""Numbers in the inputs of a case at most; larger cases are left out."""

LEAST_DIGITS, MOST_DIGITS = 20, 1000


AGREES, DIFFERS, ROUNDED, NOT_RUN = "agrees", "differs", "rounded", "not run"

ROUNDING = 15
"""Digits that agree at least if only the rounding of floats is in the way."""


@dataclass(frozen=True)
class Agreement:
    """How many digits agree in one case, and in which comparison the fewest do.

    Attributes:
        case: the case.
        digits: that agree, at most those asked for.
        what: "outputs", "gradient against the closed form", or "gradient against the composed form".
        floats: that came in on the way and could not be read; no more than about 16 digits agree then.
        verdict: `AGREES`, `DIFFERS` or `ROUNDED`.
    """

    case: str
    digits: float
    what: str
    floats: tuple[float, ...]
    verdict: str


@dataclass(frozen=True)
class Digits:
    """How many digits agree for an op.

    Attributes:
        name: of the op.
        kind: of the op.
        asked: the digits of the numbers.
        agreements: the cases that were compared.
        skipped: the cases that could not run, and why.
        large: how many cases were left out because they have more than `LARGEST` numbers.
        seconds: how long it took.
    """

    name: str
    kind: str
    asked: int
    agreements: tuple[Agreement, ...]
    skipped: tuple[Skipped, ...]
    large: int
    seconds: float

    @property
    def worst(self) -> Agreement | None:
        """The case in which the fewest digits agree, of those that differ if there are any."""
        order = DIFFERS, ROUNDED, AGREES
        return min(self.agreements, key=lambda a: (order.index(a.verdict), a.digits), default=None)

    @property
    def verdict(self) -> str:
        """`AGREES`, `DIFFERS`, `ROUNDED`, or `NOT_RUN` if no case was compared."""
        return NOT_RUN if self.worst is None else self.worst.verdict


def allowed(digits: int) -> int:
    """Return how many of so many digits must agree: 30 of 50."""
    return digits * 3 // 5


def digits_of(op: Op, digits: int = 50, seed: int = 0, advance: Callable[[], None] = lambda: None) -> Digits:
    """Run the forms of an op on numbers of so many digits, and count how many agree.

    `advance` is called after each case.

    Raises:
        TypeError: if `digits` is not an int.
        ValueError: if it is not between 20 and 1000.
    """
    if type(digits) is not int:
        raise TypeError(f"digits must be an int, got {digits!r}")
    if not LEAST_DIGITS <= digits <= MOST_DIGITS:
        raise ValueError(
            f"digits must be between {LEAST_DIGITS}, more than a float has, and {MOST_DIGITS}, got {digits}"
        )
    started = time.perf_counter()
    agreements: list[Agreement] = []
    skipped: list[Skipped] = []
    large = 0
    for case in op.cases:
        sizes = [drawn[0].size for drawn in case.draw() if drawn is not None]
        if sum(sizes) > LARGEST:
            large += 1
        elif all(sizes):
            name = " ".join(str(case).split())
            try:
                found = _agreement(op, case, name, digits, random.Random(f"{seed} {op.name} {name}"))
            except Exception as error:  # of any body, which knows floats only
                kind = "" if isinstance(error, NotExact) else f"{type(error).__name__}: "
                skipped.append(Skipped(name, f"{kind}{told(error)}"))
            else:
                agreements += [] if found is None else [found]
        advance()
    return Digits(
        name=op.name,
        kind=op.kind,
        asked=digits,
        agreements=tuple(agreements),
        skipped=tuple(skipped),
        large=large,
        seconds=time.perf_counter() - started,
    )


def _agreement(op: Op, case: Case, name: str, digits: int, rng: random.Random) -> Agreement | None:
    """Return how many digits agree in a case; None if there is no gradient."""
    with precise(digits + GUARD):
        found = _Comparison(op, case, digits, rng).found()
        floats = tuple(dict.fromkeys(Real.unread))
    if found is None:
        return None
    count, what = found
    verdict = AGREES if count >= allowed(digits) else ROUNDED if floats and count >= ROUNDING else DIFFERS
    return Agreement(name, count, what, floats, verdict)


class _Comparison:
    """The forms of an op at the numbers of a case."""

    def __init__(self, op: Op, case: Case, digits: int, rng: random.Random) -> None:
        self.digits, self.h = digits, mp.mpf(10) ** -(mp.dps // 3)
        self.closed = Recorded(op, case)
        self.chosen = [k for k, y in enumerate(self.closed.outputs) if y.requires_grad]
        self.closed.outputs = [self.closed.outputs[k] for k in self.chosen]
        self.composed = None if op.composed is None else self._recorded(op, case)
        self.inputs = {
            i: each(exact, drawn[0])
            for i, drawn in enumerate(told_apart(case))
            if drawn is not None and drawn[0].dtype.kind == "f"
        }
        self.directions = {
            i: _random(rng, x.shape)
            for i, x in enumerate(self.closed.inputs)
            if x is not None and x.requires_grad
        }
        self.dys = [_random(rng, y.shape) for y in self.closed.outputs]

    def _recorded(self, op: Op, case: Case) -> Recorded:
        """Return the composed form, recorded with all its steps if it takes constants with a gradient."""
        try:
            form = Recorded(op, case, op.composed, constants=True)
        except (ValueError, RuntimeError):
            form = Recorded(op, case, op.composed)
        form.outputs = [form.outputs[k] for k in self.chosen]
        return form

    def found(self) -> tuple[float, str] | None:
        """Return the fewest digits that agree, and in what; None if there is no gradient."""
        if not self.chosen:
            return None
        run = self.closed.run(self.inputs, written)
        for y, dy in zip(run.outputs, self.dys, strict=True):
            dy[~numpy.isfinite(y)] = exact(0)  # infinity does not change
        gradients = self.closed.gradients(run, self.dys)
        terms = [
            term
            for i, dx in gradients.items()
            if i in self.directions
            for term in _products(dx, self.directions[i])
        ]
        derivative, scale = mp.fsum(terms), mp.fsum(terms, absolute=True)
        found = {"gradient against the closed form": self._agreeing(derivative, self.closed, scale)}
        if self.composed is not None:
            reference = self.composed.run(self.inputs, written)
            found["gradient against the composed form"] = self._agreeing(derivative, self.composed, scale)
            found["outputs"] = min(map(self._equal, run.outputs, reference.outputs))
        what = min(found, key=lambda key: found[key])
        return found[what], what

    def _agreeing(self, derivative: Any, form: Recorded, scale: Any) -> float:
        """Return how many digits of the derivative agree with a finite difference of the form."""
        difference = (self._loss(form, self.h) - self._loss(form, -self.h)) / (2 * self.h)
        return self._digits(derivative, difference, max(scale, self.h))

    def _loss(self, form: Recorded, step: Any) -> Any:
        """Return Σ dy·y at x + step·v."""
        moved = {
            i: x + self.directions[i] * Real(step) if i in self.directions else x
            for i, x in self.inputs.items()
        }
        pairs = zip(form.run(moved, written).outputs, self.dys, strict=True)
        return mp.fsum(term for y, dy in pairs for term in _products(y, dy) if mp.isfinite(term))

    def _equal(self, y: NumberArray, reference: NumberArray) -> float:
        """Return how many digits of an output agree, of entries as large as the largest."""
        pairs = [
            (written(a).x, written(b).x) for a, b in zip(numpy.ravel(y), numpy.ravel(reference), strict=True)
        ]
        scale = max((abs(b) for _, b in pairs if mp.isfinite(b)), default=mp.mpf(1))
        return min((self._digits(a, b, max(scale, self.h)) for a, b in pairs), default=float(self.digits))

    def _digits(self, a: Any, b: Any, scale: Any) -> float:
        if a == b or (mp.isnan(a) and mp.isnan(b)):
            return float(self.digits)
        if not (mp.isfinite(a) and mp.isfinite(b)):
            return 0.0
        return min(max(float(-mp.log10(abs(a - b) / scale)), 0.0), float(self.digits))


def _random(rng: random.Random, shape: tuple[int, ...]) -> Any:
    return numbers([exact(rng.uniform(-1, 1)) for _ in range(math.prod(shape))]).reshape(shape)


def _products(a: Any, b: Any) -> Iterator[Any]:
    """Yield the products of the entries, of type mpf."""
    for x, y in zip(numpy.ravel(a), numpy.ravel(b), strict=True):
        yield written(x).x * written(y).x
