"""Prove: the verdict on an op, from its registered cases at random points."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ..registry import Case, Op
from .decisions import recorded_decisions
from .errors import NoGradient, NoRoot, NotAlgebraic, NotExact, RootOfSquare, WrongShape, told
from .field import Powers
from .identity import Comparison, Difference

PROVED, REFUTED, NOT_ALGEBRAIC, NOT_TESTED = "proved", "refuted", "not algebraic", "not tested"


LEAST = 1e-300
"""A smaller bound would be rounded to 0, which no probability of an error is."""

CERTAIN, MOST_POINTS = 1e-12, 20
"""Points are added until the bound is below the first; one says little if a formula's degree is large."""


@dataclass(frozen=True)
class Refutation:
    """The smallest case that shows that a form is wrong, and where."""

    case: str
    difference: Difference


@dataclass(frozen=True)
class Skipped:
    """A case that exact numbers cannot run.

    Attributes:
        case: the case.
        reason: why, with the line.
        function: that is not algebraic, if that is why.
        no_point: whether no point was found at which all its roots exist, as with windows that overlap, or
            one of them is that of a square.
        failed: whether an exception was raised that exact numbers do not explain.
    """

    case: str
    reason: str
    function: str = ""
    no_point: bool = False
    failed: bool = False


@dataclass(frozen=True)
class Proof:
    """The verdict on one op.

    Attributes:
        name: of the op.
        kind: of the op.
        verdict: `PROVED`, `REFUTED`, `NOT_ALGEBRAIC` or `NOT_TESTED`.
        cases: how many cases were compared.
        points: at how many points each, at least.
        bound: of the probability that a wrong form passed; None unless proved.
        refutation: where it is wrong; None if a gradient has a wrong shape, which `skipped` says last.
        skipped: the cases that could not be compared.
        seconds: how long it took.
        inputs: the names of the op's inputs.
        decisions: where it compares or rounds, "maximum at relu.py:12": it is proved for the branches that
            the cases take.
        constants: inputs of a function that is not registered which have no gradient, such as running means.
        loops: the kernels whose plain loops gave the numbers of their bodies, too.
    """

    name: str
    kind: str
    verdict: str
    cases: int
    points: int
    bound: float | None
    refutation: Refutation | None
    skipped: tuple[Skipped, ...] = field(default=())
    seconds: float = 0.0
    inputs: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()
    loops: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """Why there is no proof: functions that are not algebraic, or the first step that is not exact."""
        functions = sorted({skipped.function for skipped in self.skipped if skipped.function})
        return ", ".join(functions) or (self.skipped[0].reason if self.skipped else "")


def prove_op(op: Op, points: int = 2, seed: int = 0, advance: Callable[[], None] = lambda: None) -> Proof:
    """Compare the closed form of an op with the composed one and its derivative, at points of the field.

    Cases are taken from the smallest on, those without entries left out; `advance` is called after each.
    """
    with recorded_decisions() as decisions:
        proof = _proof(op, points, seed, advance)
    return replace(proof, decisions=tuple(f"{function} at {line}" for line, function in decisions.items()))


def _proof(op: Op, points: int, seed: int, advance: Callable[[], None]) -> Proof:
    started = time.perf_counter()
    skipped: list[Skipped] = []
    compared, refuted, refutation, probability, without = 0, False, None, 0.0, ""
    loops: set[str] = set()
    for case in sorted(filter(_has_entries, op.cases), key=_size):
        try:
            chance = 1.0
            for k in range(MOST_POINTS):
                comparison, difference = _compare(op, case, f"{seed} {op.name} {case} {k}")
                loops |= comparison.loops
                if difference is not None:
                    refuted, refutation = True, Refutation(_named(case), difference)
                    break
                chance = comparison.bound() if k == 0 else chance
                if k + 1 >= points and chance ** (k + 1) < CERTAIN:
                    break
            if not refuted:
                probability = max(probability, chance ** (k + 1), LEAST)
                compared += 1
        except WrongShape as error:
            refuted = True
            skipped.append(Skipped(_named(case), str(error)))
        except NotAlgebraic as error:
            skipped.append(Skipped(_named(case), told(error), error.function))
        except NoGradient as error:
            without = str(error)
        except (NoRoot, RootOfSquare) as error:
            skipped.append(Skipped(_named(case), str(error), no_point=True))
        except NotExact as error:
            skipped.append(Skipped(_named(case), told(error)))
        except Exception as error:
            reason = f"{type(error).__name__}: {told(error)}"
            skipped.insert(0, Skipped(_named(case), reason, failed=True))
        advance()
        if refuted:
            break
    if without and not compared and not skipped:
        skipped.append(Skipped("", without))
    return Proof(
        name=op.name,
        kind=op.kind,
        verdict=_verdict(compared, refuted, skipped),
        cases=compared,
        points=points,
        bound=probability if compared and not refuted else None,
        refutation=refutation,
        skipped=tuple(skipped),
        seconds=time.perf_counter() - started,
        inputs=op.inputs,
        loops=tuple(sorted(loops)),
    )


def _compare(op: Op, case: Case, seed: str) -> tuple[Comparison, Difference | None]:
    """Compare the forms at a point; if they differ, again at one at which roots of powers are no question."""
    comparison = Comparison(op, case, random.Random(seed))
    difference = comparison.difference()
    if difference is None:
        return comparison, None
    Powers.strict = True
    try:
        again = Comparison(op, case, random.Random(seed))
        return again, again.difference()
    except NoRoot:
        return comparison, difference
    finally:
        Powers.strict = False


def _verdict(compared: int, refuted: bool, skipped: list[Skipped]) -> str:
    if refuted:
        return REFUTED
    if any(each.failed for each in skipped):
        return NOT_TESTED
    not_algebraic = sum(bool(each.function) for each in skipped)
    if compared > not_algebraic or (compared and not not_algebraic):
        return PROVED
    return NOT_ALGEBRAIC if not_algebraic else NOT_TESTED


def _named(case: Case) -> str:
    return " ".join(str(case).split())


def _size(case: Case) -> int:
    return sum(drawn[0].size for drawn in case.draw() if drawn is not None)


def _has_entries(case: Case) -> bool:
    return all(drawn is None or drawn[0].size for drawn in case.draw())
