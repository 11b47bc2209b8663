"""`tinygrad-norm compare`: the curves of several runs in one picture."""

from pathlib import Path
from typing import Annotated

import typer

from ..training.curves import save_comparison
from ..training.run_record import read_record
from .errors import errors_printed
from .paths import new_plot
from .runs import runs_table
from .tables import wide_console


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Folders of two or more runs.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Picture to write, .png or .svg.", callback=new_plot)
    ] = Path("comparison.png"),
) -> None:
    """Draw the curves of the RUNs in one picture, and print them side by side."""
    console = wide_console()
    with errors_printed():
        if len(set(runs)) < 2:
            raise ValueError("pass the folders of two or more different runs")
        found = [read_record(path) for path in runs]
        for run in found:
            if not run.metrics:
                raise ValueError(f"{run.folder} has no complete epoch yet: there is nothing to draw")
        columns = [set(run.metrics[0]) for run in found]
        shared = set.intersection(*columns)
        names = [name for name in found[0].figure_names if f"validation_{name}" in shared]
        if any(run.figure_names[0] != found[0].figure_names[0] for run in found):
            raise ValueError("the runs have different losses: compare runs of one task")
        console.print(runs_table(console, found))
        histories = {str(run.folder): run.metrics for run in found}
        labels = {name: name.replace("_", " ").replace("r2", "R²") for name in names}
        save_comparison(out, histories, labels, "validation solid, training dotted")
        console.print(f"picture in {out}", markup=False, soft_wrap=True)
