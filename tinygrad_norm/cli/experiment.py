"""`tinygrad-norm experiment`: claims of papers, measured, with a verdict."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from ..experiments import EXPERIMENTS, Outcome, Row, find, markdown, run
from ..experiments import report as read_report
from ..experiments.experimenting import FOLDER
from ..experiments.result_page import HEADINGS, KINDS, tuned_words
from ..files import replacing
from .errors import errors_printed, exit_with
from .paths import new_file
from .program import Program
from .tables import figures_table, print_line, wide_console, words_table

experiment = Program()


@experiment.callback()
def _experiment() -> None:
    """Measure what papers claim about normalization: each claim ends in a verdict, with its reason."""


@experiment.command("list")
def list_() -> None:
    """List the experiments: the claim and where it is from."""
    console = wide_console()
    for kind, words in KINDS.items():
        rows = [(one.name, one.claim, one.source) for one in EXPERIMENTS.values() if one.kind == kind]
        if rows:
            print_line(console, f"\nClaims that {words}")
            _print_words(console, ("experiment", "claim", "source"), rows)


@experiment.command("run")
def run_(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Experiments; `list` shows them.", show_default=False),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Run all experiments.")] = False,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Write results to DIR.")] = FOLDER,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="How many seeds of each setting.", show_default="those of the experiment"),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Processes side by side.", show_default="one for each core"),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run the jobs on the Dask cluster with this scheduler, as in tcp://10.0.0.1:8786.",
            show_default=False,
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure anew what DIR has already.")] = False,
) -> None:
    """Run experiments, print their tables and verdicts, and write NAME.json and NAME.png to DIR.

    A run that was stopped goes on with the jobs that are left.
    """
    if bool(names) == every:
        raise typer.BadParameter("name one or more experiments, or pass --all", param_hint="NAME")
    console = wide_console()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("jobs")
    with (
        errors_printed(),
        Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar,
    ):
        chosen = list(EXPERIMENTS) if every else [find(name).name for name in names or ()]
        task = bar.add_task("measuring", total=None)
        try:
            outcomes = run(
                chosen,
                out,
                seeds=seeds,
                workers=jobs or os.cpu_count() or 1,
                dask=dask,
                again=again,
                on_job=lambda done, total: bar.update(task, completed=done, total=total),
                on_outcome=lambda outcome: _print(bar.console, outcome),
            )
        except KeyboardInterrupt:
            exit_with(f"stopped; what was measured is in {out}: the same command goes on")
    if len(outcomes) > 1:
        _print_verdicts(console, outcomes)


@experiment.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder of results.")] = FOLDER,
    page: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.md", help="Write the page there.", callback=new_file, show_default="DIR/README.md"
        ),
    ] = None,
    pictures: Annotated[bool, typer.Option(help="Whether the page shows the plots.")] = True,
) -> None:
    """Print the verdicts on the results in DIR, by the rules of today, and write a page in Markdown."""
    console = wide_console()
    with errors_printed():
        found = read_report(folder)
        _print_verdicts(console, found.outcomes)
        for remark in found.remarks:
            print_line(console, remark)
        path = page or folder / "README.md"
        with replacing(path) as temporary:
            temporary.write_text(markdown(found, path.parent, pictures), encoding="utf-8")
    print_line(console, f"page in {path}")


def _print(console: Console, outcome: Outcome) -> None:
    """Print the claim, the table and the verdict."""
    one = outcome.experiment
    console.print(f"\n[bold]{escape(one.title)}[/bold] ({one.name})", highlight=False)
    print_line(console, f"{one.claim} {one.source}.")
    console.print(_table(console, outcome.rows))
    if tuned := tuned_words(outcome):
        print_line(console, tuned)
    print_line(console, f"The paper: {one.paper} ({one.known}).")
    print_line(console, f"Rule: {one.rule}")
    verdict = f"Verdict: [bold]{outcome.verdict.state}[/bold]: {escape(outcome.verdict.reason)}"
    console.print(verdict, highlight=False, soft_wrap=not console.is_terminal)
    print_line(console, f"figures in {outcome.figures}, plot in {outcome.plot}")


def _table(console: Console, rows: Sequence[Row]) -> Table:
    return figures_table(console, HEADINGS[:1], HEADINGS[1:], rows)


def _print_verdicts(console: Console, outcomes: list[Outcome]) -> None:
    rows = [(one.experiment.name, one.verdict.state, one.verdict.reason) for one in outcomes]
    _print_words(console, ("experiment", "verdict", "reason"), rows)


def _print_words(console: Console, headings: tuple[str, str, str], rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table; in a terminal the second and third words of a row are paragraphs of one column."""
    if console.is_terminal:
        name, first, second = headings
        joined = [(row[0], f"{row[1]}\n{row[2]}\n") for row in rows]
        console.print(words_table(console, (name, f"{first}, {second}"), joined))
    else:
        console.print(words_table(console, headings, rows))
