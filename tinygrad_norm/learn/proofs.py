"""tn.prove: proofs of registered ops and of functions of one's own, and what they say as text."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..backends import current_backend
from ..gradient_check.registered import NUMERIC_TOLERANCE
from ..ops.arguments import as_size
from ..proof.proving import NOT_ALGEBRAIC, NOT_TESTED, PROVED, REFUTED, Proof, prove_op
from ..proof.written import UNREADABLE
from ..registry import REGISTRY
from ..suggestions import did_you_mean
from .doctor.targets import find
from .formulas import argument_names
from .ownproof import OWN, prove_own

HEADINGS = ("op", "kind", "cases", "points", "bound", "ms", "verdict")


class Proofs(tuple[Proof, ...]):
    """Proofs in the order asked for; `print` shows a table, and below it what is refuted or not proved."""

    def __str__(self) -> str:
        rows = [HEADINGS, *map(row, self)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if k in (0, 1, len(HEADINGS) - 1) else cell.rjust(width)
                for k, (cell, width) in enumerate(zip(cells, widths, strict=True))
            ).rstrip()
            for cells in rows
        ]
        return "\n".join([*lines, *(f"\n{text}" for text in map(report, self) if text), f"\n{summary(self)}"])

    def __repr__(self) -> str:
        return f"<proofs of {', '.join(proof.name for proof in self)}: print shows them>"


def prove(*names: Any, inputs: Any = None, points: int = 2, seed: int = 0) -> Proofs:
    """Prove backwards exactly: at random points of a finite field, without rounding (`docs/proof.md`).

        print(tn.prove("layer_norm", "rms_norm"))

    Args:
        names: of registered ops, all if none is given; or functions of your own: FILE.py:NAME, or what
            `tn.learn.diagnose` takes, such as a pair (forward, backward) of functions of NumPy arrays.
        inputs: the arguments of the function of your own, chosen by their names if not given.
        points: at how many points each case is compared; a mistake passes one with a chance below 1e-15.
        seed: of the points.

    Returns:
        A tuple of proofs, which `print` shows as a table; each has a `verdict`: "proved", "refuted", "not
        algebraic" or "not tested".

    Raises:
        TypeError: if a name is neither a text nor such a function, or points or seed is not an integer.
        ValueError: if no registered op is called so; or the function cannot be proved or refuted, because
            of what its forward does; or `points` is less than 1; or `inputs` are given without a function.
        RuntimeError: if the backend is not numpy.
    """
    points, seed = as_size(points, "points", 1), as_size(seed, "seed", 0)
    if current_backend().name != "numpy":
        raise RuntimeError(f"proofs run on NumPy, not on {current_backend().name}: use_backend('numpy')")
    if inputs is not None and (len(names) != 1 or _is_registered(names[0])):
        raise ValueError("inputs are those of one function of your own: pass it alone")
    return Proofs(_prove(name, inputs, points, seed) for name in names or REGISTRY)


def _is_registered(name: Any) -> bool:
    return isinstance(name, str) and ":" not in name and not name.endswith(".py")


def _prove(name: Any, inputs: Any, points: int, seed: int) -> Proof:
    if not _is_registered(name):
        function, own = find(name) if isinstance(name, str) else (name, None)
        called = name.rpartition(":")[2] if isinstance(name, str) else ""
        return prove_own(function, own if inputs is None else inputs, called, points, seed)
    if name not in REGISTRY:
        raise ValueError(f"no registered op is called {name!r}{did_you_mean(name, REGISTRY)}")
    return prove_op(REGISTRY[name], points, seed)


def row(proof: Proof) -> tuple[str, ...]:
    """Return the cells of a proof's row, one for each of `HEADINGS`."""
    cases = f"{proof.cases} of {proof.cases + len(proof.skipped)}" if proof.skipped else f"{proof.cases}"
    verdict = proof.verdict
    if verdict == NOT_ALGEBRAIC:
        verdict = f"{verdict}: {proof.reason}"
    bound = "–" if proof.bound is None else f"{proof.bound:.0e}"
    return proof.name, proof.kind, cases, f"{proof.points}", bound, f"{proof.seconds * 1e3:.0f}", verdict


def report(proof: Proof) -> str:
    """Return what is to say about a proof below the table, or ""."""
    if proof.verdict == REFUTED:
        return _refutation(proof)
    if proof.verdict == NOT_TESTED:
        advice = f". {UNREADABLE}" if proof.kind == OWN and "came in on the way" in proof.reason else ""
        return f"{proof.name} was not tested: {proof.reason or 'it has no case with a gradient'}{advice}"
    if proof.verdict == NOT_ALGEBRAIC and proof.kind == OWN:
        return f"{proof.name}: {_reasons(proof)}. `tinygrad-norm gradcheck` compares it with differences."
    return "\n".join(_limits(proof)) if proof.verdict == PROVED else ""


def _limits(proof: Proof) -> Iterator[str]:
    """Yield what a proof does not cover."""
    if proof.constants:
        yield f"{proof.name}: {', '.join(proof.constants)} held constant, without a gradient."
    if proof.kind == OWN and proof.decisions:
        yield (
            f"{proof.name} is proved for the branches that its inputs take: {_few(proof.decisions)}. Other "
            "inputs, NAME_inputs in the file, may take others."
        )
    if proof.skipped:
        count = len(proof.skipped)
        cases = f"{count} of its {proof.cases + count} cases"
        yield f"{proof.name}: {cases} {'was' if count == 1 else 'were'} not tested: {_reasons(proof)}"


def _few(parts: Sequence[str], most: int = 4) -> str:
    more = len(parts) - most
    return ", ".join(parts[:most]) + (f" and {more} more" if more > 0 else "")


def _reasons(proof: Proof) -> str:
    return "; ".join(dict.fromkeys(skipped.reason for skipped in proof.skipped))


def _refutation(proof: Proof) -> str:
    """Return where a form is wrong, in which case, and by how much."""
    if proof.refutation is None:
        skipped = proof.skipped[-1]
        return f"{proof.name} is refuted: {skipped.reason}\n  case      {skipped.case}"
    found = proof.refutation.difference
    place = f" at {list(found.index)}" if found.index else ""
    got, expected = found.got.v, found.expected.v
    digits = 17 if _relative(got, expected) < 1e-8 else 9
    forms = ("backward", "derivative") if "gradient" in found.what else ("forward", "composed")
    return "\n".join(
        [
            f"{proof.name} is refuted: {what(proof)} is wrong{place}",
            f"  case        {proof.refutation.case}",
            f"  {forms[0]:<10}  {got:.{digits}g}",
            f"  {forms[1]:<10}  {expected:.{digits}g}",
            f"  {_apart(got, expected)}",
        ]
    )


def what(proof: Proof) -> str:
    """Return what is refuted, with the name of the input: "the gradient of weight"."""
    assert proof.refutation is not None
    text = proof.refutation.difference.what

    def name(found: re.Match[str]) -> str:
        i = int(found[1])
        op = REGISTRY.get(proof.name)
        names: Sequence[str] = proof.inputs or (argument_names(op.function, i + 1) if op is not None else ())
        return names[i] if i < len(names) else found[0]

    text = re.sub(r"input ([0-9]+)", name, text)
    return text if text.startswith("output") else f"the {text}"


def _relative(got: float, expected: float) -> float:
    """Return by how much two real values differ, relative to the larger one."""
    if not (math.isfinite(got) and math.isfinite(expected)):
        return 0.0 if got == expected or (math.isnan(got) and math.isnan(expected)) else math.inf
    return abs(got - expected) / (max(abs(got), abs(expected)) or 1.0)


def _apart(got: float, expected: float) -> str:
    """Return in words how the real values differ."""
    relative = _relative(got, expected)
    if relative > NUMERIC_TOLERANCE:
        return f"They differ by {relative:.1e} of the larger one."
    if relative > 0:
        return (
            f"They differ by {relative:.1e} of the larger one: gradcheck, which allows "
            f"{NUMERIC_TOLERANCE:.0e}, does not see it."
        )
    return "As floats they are equal, so gradcheck does not see it; the exact numbers differ."


def summary(proofs: Iterable[Proof]) -> str:
    """Return how many were proved, with how many cases, and how many were not."""
    proofs = tuple(proofs)
    verdicts = PROVED, REFUTED, NOT_ALGEBRAIC, NOT_TESTED
    count = {verdict: sum(proof.verdict == verdict for proof in proofs) for verdict in verdicts}
    cases = sum(proof.cases for proof in proofs if proof.verdict == PROVED)
    ops = "op" if len(proofs) == 1 else "ops"
    text = f"{count[PROVED]} of {len(proofs)} {ops} proved"
    if cases:
        text += f", in {cases} {'case' if cases == 1 else 'cases'}"
    text += "".join(f", {n} {v}" for v, n in count.items() if v != PROVED and n)
    bounds = [proof.bound for proof in proofs if proof.bound is not None]
    if bounds:
        text += f". A wrong one would pass with a probability of at most {max(bounds):.0e}"
    return f"{text}."
