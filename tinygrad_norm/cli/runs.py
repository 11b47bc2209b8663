"""`tinygrad-norm runs`: finished runs side by side."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..training.run_record import RunRecord, differing_settings, find_runs, read_record
from ..training.task import format_figure
from .errors import errors_printed
from .tables import NOTHING, figures_table, wide_console


def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder with runs in it.")] = Path("runs"),
) -> None:
    """List the runs in FOLDER: in what their settings differ, epochs, best validation and test figures.

    For each run, the figure is its accuracy, for regression R², for text the bits per character.
    """
    console = wide_console()
    with errors_printed():
        if not folder.is_dir():
            raise ValueError(
                f"there is no folder {folder}: train a model first, or pass the folder of the runs"
            )
        found, left_out = [], []
        for path in find_runs(folder):
            try:
                found.append(read_record(path))
            except ValueError as error:
                left_out.append(f"left out: {error}")
        if not found and not left_out:
            raise ValueError(f"{folder} holds no runs")
        if found:
            console.print(runs_table(console, found, folder))
        for line in left_out:
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def runs_table(console: Console, found: list[RunRecord], folder: Path | None = None) -> Table:
    """Return the table of runs; their names are relative to `folder`."""
    settings = {name: values for name, values in differing_settings(found).items() if name != "epochs"}
    rows = []
    for i, run in enumerate(found):
        figure, best = run.main_figure, run.best_validation()
        test = run.results.get("test", {}).get(figure or "")
        rows.append(
            (
                str(run.folder.relative_to(folder) if folder else run.folder),
                *(values[i] for values in settings.values()),
                NOTHING if figure is None else figure.replace("_", " ").replace("r2", "R²"),
                f"{len(run.metrics)}/{run.config.epochs}",
                NOTHING if figure is None or best is None else format_figure(figure, best[0]),
                NOTHING if best is None else str(best[1]),
                NOTHING if figure is None or test is None else format_figure(figure, test),
            )
        )
    words = ("run", *(name.replace("_", " ") for name in settings), "figure")
    return figures_table(console, words, ("epochs", "best validation", "in epoch", "test"), rows)
