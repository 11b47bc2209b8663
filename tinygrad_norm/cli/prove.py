"""`tinygrad-norm prove`: prove backwards at random points of a finite field, without rounding."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..backends import use_backend
from ..files import replacing
from ..learn.loading import LOADED
from ..learn.ownprocess import in_own_process
from ..learn.ownproof import proof_on
from ..learn.proofs import HEADINGS, report, row, summary, what
from ..proof.proving import PROVED, REFUTED, Proof, prove_op
from ..registry import REGISTRY, Op
from .errors import print_error
from .op_names import Load, find_op
from .tables import wide_console

SECONDS = 60.0
"""After so long a proof of one's own function is given up."""


def prove(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Registered ops, such as layer_norm, or functions of your own: FILE.py:NAME.",
            show_default="all",
        ),
    ] = None,
    points: Annotated[int, typer.Option(min=1, help="At how many random points to compare each case.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of the random points.")] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the results to FILE.")
    ] = None,
    load: Load = None,
) -> None:
    """Prove gradients: closed form against composed form and its derivative, in exact arithmetic.

    Exits with status 1 if one is refuted; with 2 if one that was named can be neither proved nor refuted.
    """
    use_backend("numpy")
    own = [name for name in dict.fromkeys(names or ()) if ":" in name or name.endswith(".py")]
    ops = [find_op(name) for name in dict.fromkeys(names or REGISTRY) if name not in own]
    console = wide_console()
    proofs = _run(console, list({op.name: op for op in ops}.values()), points, seed)
    failed: dict[str, str] = {}
    for target in own:
        found = _prove_own(target, points, seed)
        if isinstance(found, Proof):
            proofs.append(found)
        else:
            failed[target] = found
    if proofs:
        console.print(_table(proofs))
        for text in filter(None, map(report, proofs)):
            console.print(f"{text}\n", markup=False, highlight=False, soft_wrap=True)
        console.print(summary(proofs), highlight=False, soft_wrap=True)
    for text in failed.values():
        print_error(text)
    if json_file is not None:
        _save(json_file, _as_json(proofs, failed, points, seed))
        console.print(f"results in {json_file}", highlight=False, soft_wrap=True)
    status = _status(proofs, failed, bool(names))
    if status:
        raise typer.Exit(status)


def _status(proofs: Iterable[Proof], failed: dict[str, str], named: bool) -> int:
    verdicts = {proof.verdict for proof in proofs}
    if failed:
        return 2
    return 1 if REFUTED in verdicts else 2 if named and verdicts != {PROVED} else 0


def _run(console: Console, ops: list[Op], points: int, seed: int) -> list[Proof]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("cases"),
        TimeElapsedColumn(),
    )
    proofs = []
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=sum(len(op.cases) for op in ops))
        for op in ops:
            bar.update(task, description=op.name)
            proofs.append(prove_op(op, points, seed, advance=lambda: bar.advance(task)))
    return proofs


def _prove_own(target: str, points: int, seed: int) -> Proof | str:
    """Return the proof of FILE.py:NAME, found in a process of its own, or what kept it from being tried."""
    given = target, points, seed, tuple(LOADED)
    try:
        found: Proof | str = in_own_process(proof_on, *given, seconds=SECONDS, file=target.rpartition(":")[0])
    except TimeoutError as error:
        return f"{target}: {error} Exact numbers are slow: give small inputs, NAME_inputs in the file"
    except (RuntimeError, ValueError) as error:
        return f"{target}: {error}"
    return found


def _table(proofs: list[Proof]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for heading in HEADINGS:
        words = heading in ("op", "kind", "verdict")
        table.add_column(
            heading,
            justify="left" if words else "right",
            overflow="fold",
            no_wrap=heading not in ("op", "verdict"),
        )
    for proof in proofs:
        *cells, verdict = map(escape, row(proof))
        style = {PROVED: "green", REFUTED: "bold red"}.get(proof.verdict)
        table.add_row(*cells, f"[{style}]{verdict}[/]" if style else verdict)
    return table


def _save(path: Path, results: dict[str, Any]) -> None:
    try:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written: {error}", param_hint="--json") from None


def _as_json(proofs: list[Proof], failed: dict[str, str], points: int, seed: int) -> dict[str, Any]:
    return {
        "refuted": any(proof.verdict == REFUTED for proof in proofs),
        "points": points,
        "seed": seed,
        "ops": list(map(_proof_as_json, proofs)),
        "failed": [{"name": name, "message": message} for name, message in failed.items()],
    }


def _proof_as_json(proof: Proof) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "name": proof.name,
        "kind": proof.kind,
        "verdict": proof.verdict,
        "cases": proof.cases,
        "points": proof.points,
        "bound": proof.bound,
        "seconds": round(proof.seconds, 6),
        "reason": proof.reason or None,
        "skipped": [{"case": each.case, "reason": each.reason} for each in proof.skipped],
        "decisions": proof.decisions,
        "refutation": None,
    }
    if proof.refutation is not None:
        found = proof.refutation.difference
        fields["refutation"] = {"case": proof.refutation.case, "what": what(proof), "index": found.index} | {
            name: {"residue": number.n, "value": _plain(number.v)}
            for name, number in (("got", found.got), ("expected", found.expected))
        }
    return fields


def _plain(number: float) -> float | str:
    """Return what JSON can hold: NaN and infinity as "nan" and "inf"."""
    return float(number) if math.isfinite(number) else str(number)
