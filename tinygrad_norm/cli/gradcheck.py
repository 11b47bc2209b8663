"""`tinygrad-norm gradcheck`: check registered ops' gradients against finite differences."""

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from ..backends import current_backend, use_backend
from ..backends.cpu.loops import version_on_cpu
from ..files import replacing
from ..gradient_check.gradient_op import gradient_op
from ..gradient_check.registered import FIRST, SECOND, Allowed, Failure, Verdict, check, forms
from ..learn.doctor.diagnosis import diagnose_op
from ..learn.doctor.subject import in_plain_words
from ..learn.doctor.verdict import FAILED, RIGHT
from ..learn.formulas import argument_names
from ..registry import REGISTRY, Op
from .case_bar import case_bar
from .doctor import examine
from .gradcheck_digits import check_digits
from .op_names import Load, find_op


def gradcheck(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Registered ops, such as layer_norm, or functions of your own: FILE.py:NAME.",
            show_default="all",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the results to FILE.")
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="numpy, cupy (a GPU) or emulator (CUDA kernels on the CPU).",
            show_default="TINYGRAD_NORM_BACKEND, else numpy",
        ),
    ] = None,
    second: Annotated[
        bool, typer.Option("--second", help="Check second derivatives instead, in random directions.")
    ] = False,
    digits: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Compute with numbers of N digits instead, such as 50, and count the digits that agree.",
        ),
    ] = None,
    load: Load = None,
) -> None:
    """Check gradients: closed form against composed form, and both against finite differences.

    If a check fails, prints what is wrong and exits with status 1; with 2 if a function cannot be checked.
    """
    own = [name for name in dict.fromkeys(names or ()) if ":" in name or name.endswith(".py")]
    ops = [find_op(name) for name in dict.fromkeys(names or REGISTRY) if name not in own]
    if digits is not None:
        _check_for_digits(own, backend, second)
        passed, results = check_digits(Console(), ops, digits)
        if json_file is not None:
            _save(json_file, results)
            typer.echo(f"results in {json_file}")
        raise typer.Exit(0 if passed else 1)
    if backend is not None:
        try:
            use_backend(backend)
        except (ValueError, RuntimeError) as error:
            raise typer.BadParameter(str(error), param_hint="--backend") from None
    if second and own:
        raise typer.BadParameter(
            f"{own[0]} is not registered: check it in Python, with tn.gradgradcheck(function, inputs)",
            param_hint="--second",
        )
    functions = {target: examine(target) for target in own}
    worst = max((status for status, _ in functions.values()), default=0)
    console = Console()
    allowed = SECOND if second else FIRST
    verdicts = _run(console, ops, second)
    if ops:
        console.print(_table(verdicts))
        _report_failures(console, verdicts, second)
    if json_file is not None:
        _save(json_file, _as_json(verdicts, functions, allowed))
        console.print(f"results in {json_file}", highlight=False, soft_wrap=True)
    if not ops:
        raise typer.Exit(worst)
    failed = [verdict.name for verdict in verdicts if verdict.failures]
    cases = sum(verdict.cases for verdict in verdicts)
    if failed:
        console.print(
            f"{len(failed)} of {len(ops)} ops failed: {', '.join(failed)}", highlight=False, soft_wrap=True
        )
        raise typer.Exit(max(worst, 1))
    numeric, composed = (
        _number(_worst(errors))
        for errors in ((v.numeric_error for v in verdicts), (v.composed_error for v in verdicts))
    )
    if worst:
        raise typer.Exit(worst)
    for line in (
        f"{len(ops)} {'op' if len(ops) == 1 else 'ops'}, {cases} cases, all correct{_version()}.",
        f"Worst relative errors{' of second derivatives' if second else ''}:",
        f"  {numeric} against finite differences (allowed {allowed.numeric:.0e})",
        f"  {composed} closed form against composed form (allowed {allowed.composed:.0e})",
    ):
        console.print(line, highlight=False, soft_wrap=True)


def _check_for_digits(own: list[str], backend: str | None, second: bool) -> None:
    if second:
        raise typer.BadParameter("--digits is for first derivatives: leave out --second")
    chosen = current_backend().name if backend is None else backend
    if chosen != "numpy":
        raise typer.BadParameter(
            f"numbers of many digits run on the backend numpy, not on {chosen}: pass --backend numpy",
            param_hint="--digits",
        )
    use_backend(chosen)
    if own:
        raise typer.BadParameter(
            f"{own[0]} is not registered: register it, and find it with --load {own[0].split(':')[0]}",
            param_hint="--digits",
        )


def _version() -> str:
    """Return which version of the kernels was checked, if there are several."""
    return f" ({version_on_cpu()})" if current_backend().name == "numpy" else ""


def _run(console: Console, ops: list[Op], second: bool) -> list[Verdict]:
    allowed = SECOND if second else FIRST
    with case_bar(console, ops) as counted:
        return [check(gradient_op(op) if second else op, counted(op), allowed) for op in ops]


def _table(verdicts: list[Verdict]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    table.add_column("op", overflow="fold")
    table.add_column("kind", no_wrap=True)
    for heading in ("cases", "worst\nrelative\nerror", "ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for verdict in verdicts:
        table.add_row(
            verdict.name,
            verdict.kind,
            str(verdict.cases),
            _number(verdict.worst),
            f"{verdict.seconds * 1e3:.0f}",
            "[bold red]FAILED[/]" if verdict.failures else "[green]ok[/]",
        )
    return table


def _report_failures(console: Console, verdicts: list[Verdict], second: bool) -> None:
    """Print the first failure of every op in full, one line for each further failure, and the mistake."""
    for verdict in verdicts:
        texts = [_named(failure.text, verdict.name) for failure in verdict.failures[:1]]
        texts += [_named(failure.summary, verdict.name) for failure in verdict.failures[1:]]
        for text in (*texts, *(() if second else _mistakes(verdict, "\n".join(texts)))):
            console.print(text, markup=False, highlight=False, soft_wrap=True)
        if verdict.failures:
            console.print()


def _mistakes(verdict: Verdict, told: str) -> list[str]:
    """Return what the doctor finds in the first wrong gradient, except what has been told already."""
    failure = next((failure for failure in verdict.failures if failure.entry is not None), None)
    if failure is None:
        return []
    op = REGISTRY[verdict.name]
    case = next(case for case in op.cases if " ".join(str(case).split()) == failure.case)
    try:
        found = diagnose_op(op, case, forms(op)[failure.form])
    except (ValueError, TypeError):
        return []
    return [
        str(finding) for finding in found.findings if finding.line or finding.what not in in_plain_words(told)
    ]


def _named(text: str, name: str) -> str:
    """Return a report with the names of arguments instead of their numbers."""
    op = REGISTRY[name]
    count = max(len(case.inputs) for case in op.cases)
    names = op.inputs or argument_names(op.function, count)
    return re.sub(
        r"(with respect to |gradient of | / |^)input (\d+)",
        lambda found: found[1] + (names[int(found[2])] if int(found[2]) < len(names) else "dy"),
        text,
    )


def _worst(errors: Iterable[float | None]) -> float | None:
    return max((error for error in errors if error is not None), default=None)


def _number(error: float | None) -> str:
    return "–" if error is None else f"{error:.1e}"


def _save(path: Path, results: dict[str, Any]) -> None:
    try:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written: {error}", param_hint="--json") from None


def _plain(number: float | None) -> float | str | None:
    """Return what JSON can hold: NaN and infinity as "nan" and "inf"; None is no number."""
    return number if number is None or math.isfinite(number) else str(number)


def _failure_as_json(failure: Failure) -> dict[str, Any]:
    fields: dict[str, Any] = {"case": failure.case, "form": failure.form or None}
    fields["message"] = _named(failure.message, failure.op)
    fields["relative_error"] = _plain(failure.relative_error)
    entry = failure.entry
    if entry is None:
        return fields
    return fields | {
        "input": _named(entry.input, failure.op),
        "index": entry.input_index,
        "output": entry.output,
        "output_index": entry.output_index,
        "analytic": _plain(entry.analytic),
        "numerical": _plain(entry.numerical),
        "step": entry.step,
    }


def _as_json(
    verdicts: list[Verdict], functions: dict[str, tuple[int, str]], allowed: Allowed
) -> dict[str, Any]:
    return {
        "passed": not any(verdict.failures for verdict in verdicts)
        and not any(s for s, _ in functions.values()),
        "allowed": {"composed_error": allowed.composed, "numeric_error": allowed.numeric},
        "ops": [
            {
                "name": verdict.name,
                "kind": verdict.kind,
                "cases": verdict.cases,
                "composed_error": _plain(verdict.composed_error),
                "numeric_error": _plain(verdict.numeric_error),
                "seconds": round(verdict.seconds, 6),
                "passed": not verdict.failures,
                "failures": [_failure_as_json(failure) for failure in verdict.failures],
            }
            for verdict in verdicts
        ],
        "functions": [
            {"name": target, "passed": status == RIGHT, "checked": status != FAILED, "verdict": text}
            for target, (status, text) in functions.items()
        ],
    }
