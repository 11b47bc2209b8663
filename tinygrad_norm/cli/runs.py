"""`tinygrad-norm runs`: finished runs side by side."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..training.run_record import RunRecord, differing_settings, find_runs, read_record
from ..training.task import format_figure
from .errors import errors_printed
from .tables import NOTHING


def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder with runs in it.")] = Path("runs"),
) -> None:
    """List the runs in FOLDER: in what their settings differ, epochs, best validation and test figures.

    For each run, the figure is its accuracy, for regression R², for text the bits per character.
    """
    console = Console()
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
            console.print(runs_table(found, folder))
        for line in left_out:
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def runs_table(found: list[RunRecord], folder: Path | None = None) -> Table:
    """Return the table of runs; their names are relative to `folder`."""
    table = Table("run", title="runs")
    settings = {name: values for name, values in differing_settings(found).items() if name != "epochs"}
    for setting in settings:
        table.add_column(setting.replace("_", " "))
    for column in ("epochs", "figure", "best validation", "in epoch", "test"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for i, run in enumerate(found):
        name, best = run.main_figure, run.best_validation()
        test = run.results.get("test", {}).get(name or "")
        table.add_row(
            str(run.folder.relative_to(folder) if folder else run.folder),
            *(values[i] for values in settings.values()),
            f"{len(run.metrics)}/{run.config.epochs}",
            NOTHING if name is None else name.replace("_", " ").replace("r2", "R²"),
            NOTHING if name is None or best is None else format_figure(name, best[0]),
            NOTHING if best is None else str(best[1]),
            NOTHING if name is None or test is None else format_figure(name, test),
        )
    return table
