"""`tinygrad-norm gradcheck --digits 50`: count the digits that agree on numbers of so many digits."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from ..registry import Op
from .case_bar import case_bar

if TYPE_CHECKING:
    from ..proof.agreement import Digits

FLOATS = 3
"""Floats that a report shows at most."""


def check_digits(console: Console, ops: Sequence[Op], digits: int) -> tuple[bool, dict[str, Any]]:
    """Print how many digits agree for each op; return whether all do that could run, and the results as JSON.

    Raises:
        typer.BadParameter: if mpmath is missing, or the number of digits is not possible.
    """
    try:
        from ..proof.agreement import allowed, digits_of

        with case_bar(console, ops) as counted:
            found = [digits_of(op, digits, advance=counted(op)) for op in ops]
    except (RuntimeError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="--digits") from None
    console.print(_table(found))
    for line in filter(None, map(_report, found)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for line in _summary(found, digits, allowed(digits)):
        console.print(line, highlight=False, soft_wrap=True)
    passed = not any(each.verdict == "differs" for each in found)
    return passed, {
        "passed": passed,
        "digits": digits,
        "allowed": allowed(digits),
        "ops": list(map(_as_json, found)),
    }


def _table(found: Sequence["Digits"]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    table.add_column("op", overflow="fold")
    table.add_column("kind", no_wrap=True)
    for heading in ("cases", "digits\nthat\nagree", "ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    verdicts = {"agrees": "[green]ok[/]", "differs": "[bold red]FAILED[/]"}
    for each in found:
        table.add_row(
            each.name,
            each.kind,
            str(len(each.agreements)),
            "–" if each.worst is None else str(int(each.worst.digits)),
            f"{each.seconds * 1e3:.0f}",
            verdicts.get(each.verdict, each.verdict if each.worst or each.skipped else "no gradient"),
        )
    return table


def _report(found: "Digits") -> str:
    """Return where an op lacks digits, and what could not run; "" if there is nothing to say."""
    lines = []
    worst = found.worst
    if worst is not None and found.verdict != "agrees":
        line = f"{found.name}, case {worst.case}: {int(worst.digits)} digits of the {worst.what} agree"
        if worst.floats:
            some = ", ".join(map(repr, worst.floats[:FLOATS])) + (", …" if worst.floats[FLOATS:] else "")
            line += f"; these floats came in on the way, with 16 digits: {some}"
        lines.append(line)
    if found.skipped:
        first = found.skipped[0]
        lines.append(
            f"{found.name}: {_cases(len(found.skipped))} could not run, such as {first.case}: {first.reason}"
        )
    return "\n".join(lines)


def _summary(found: Sequence["Digits"], digits: int, least: int) -> list[str]:
    compared = sum(len(each.agreements) for each in found)
    failed = [each.name for each in found if each.verdict == "differs"]
    rounded = [each.name for each in found if each.verdict == "rounded"]
    agreeing = [a.digits for each in found for a in each.agreements if a.verdict == "agrees"]
    ops = f"{len(found)} {'op' if len(found) == 1 else 'ops'}"
    lines = [f"{ops}, {_cases(compared)}, on numbers of {digits} digits."]
    if agreeing:
        count = int(min(agreeing))
        lines.append(f"At least {count} digits agree (allowed {least}) in {_cases(len(agreeing))}.")
    if rounded:
        lines.append(f"Limited to the 16 digits of floats: {', '.join(rounded)}.")
    if large := sum(each.large for each in found):
        lines.append(f"Left out as large: {_cases(large)}.")
    if failed:
        lines.append(f"{len(failed)} of {ops} failed: {', '.join(failed)}")
    return lines


def _cases(count: int) -> str:
    return f"{count} case{'' if count == 1 else 's'}"


def _as_json(found: "Digits") -> dict[str, Any]:
    worst = found.worst
    return {
        "name": found.name,
        "kind": found.kind,
        "verdict": found.verdict,
        "cases": len(found.agreements),
        "digits": None if worst is None else round(worst.digits, 2),
        "worst": None
        if worst is None
        else {"case": worst.case, "what": worst.what, "floats": list(worst.floats)},
        "skipped": [{"case": each.case, "reason": each.reason} for each in found.skipped],
        "large": found.large,
        "seconds": round(found.seconds, 6),
    }
