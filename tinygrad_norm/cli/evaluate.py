"""`tinygrad-norm evaluate`: how well the model of a finished run predicts."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from .. import data
from ..backends.cpu.threads import use_threads
from ..training import load_run
from ..training.evaluation import Evaluation, evaluate_run, save_confusion
from ..training.task import format_figure
from .errors import errors_printed
from .paths import new_plot

MOST_CLASSES = 20
"""The most classes for which the confusion matrix is printed."""


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    source: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Evaluate all samples of this name, file or folder (default: a part of its own data).",
        ),
    ] = None,
    part: Annotated[str, typer.Option(help="Part of its own data: train, validation or test.")] = "test",
    label: Annotated[str | None, typer.Option(help="In a table, the column with the classes.")] = None,
    target: Annotated[str | None, typer.Option(help="In a table, the column with the target values.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Picture to write, .png or .svg (default: confusion.png in the folder of the run).",
            callback=new_plot,
        ),
    ] = None,
) -> None:
    """Print the accuracy of RUN, the confusion matrix and figures per class; or R² and errors.

    Also draws the confusion matrix, for regression the predicted against the true values.
    """
    console = Console()
    with errors_printed(), use_threads(1):
        finished = load_run(run)
        dataset = None
        if source is not None:
            config = finished.config
            dataset = data.load(
                source,
                label=label or (config.label if target is None else None),
                target=target or (config.target if label is None else None),
                size=config.size,
            )
        evaluation = evaluate_run(finished, dataset, part=part)
        count = f"{len(evaluation.targets)} samples of " if len(evaluation.targets) else ""
        console.print(f"{finished.config.title}: {count}{evaluation.name}", markup=False, soft_wrap=True)
        if evaluation.classes:
            console.print(_per_class(evaluation))
            if len(evaluation.classes) <= MOST_CLASSES:
                console.print(_confusion(evaluation))
        for name, value in evaluation.figures.items():
            text = f"{name.replace('_', ' ').replace('r2', 'R²')}: {format_figure(name, value)}"
            console.print(text, highlight=False)
        if len(evaluation.targets):
            path = run / "confusion.png" if out is None else out
            drawn = save_confusion(path, evaluation)
            console.print(
                f"picture in {path}" if drawn else "no picture: pip install 'tinygrad_norm[plot]'",
                markup=False,
                soft_wrap=True,
            )


def _per_class(evaluation: Evaluation) -> Table:
    table = Table("class", title="per class")
    for name in ("precision", "recall", "F1", "samples"):
        table.add_column(name, justify="right")
    for name, figures in evaluation.per_class().items():
        precision, recall, f1, samples = figures.values()
        table.add_row(name, f"{precision:.1%}", f"{recall:.1%}", f"{f1:.3f}", f"{samples:.0f}")
    return table


def _confusion(evaluation: Evaluation) -> Table:
    table = Table("true ╲ predicted", title="confusion matrix")
    for name in evaluation.classes:
        table.add_column(name, justify="right")
    for name, row in zip(evaluation.classes, evaluation.confusion().tolist(), strict=True):
        table.add_row(name, *(str(count) if count else "·" for count in row))
    return table
