"""`tinygrad-norm train` with several norms or seeds: train them all, and compare them in a table."""

import math

from rich.console import Console
from rich.table import Table

from ..explore import TrainingCurves
from ..training import Interrupted, NormGrid, Run
from ..training.norm_grid import Spread, Summary
from ..training.task import format_figure
from .progress import backend_line, train_with_progress


def train_norms(
    console: Console,
    grid: NormGrid,
    watch_every: int | None = None,
    curves: TrainingCurves | None = None,
) -> bool:
    """Train what is not finished in `grid`; print the table. After Ctrl-C, say how to continue.

    `watch_every` is that of `watching`; `curves` get the figures for the browser. Returns False after Ctrl-C.
    """
    number = len(grid.configs)
    console.print(backend_line(grid.threads))
    norms, seeds = (
        f"{count} {word}{'s' * (count > 1)}"
        for count, word in ((len(grid.norms), "norm"), (grid.seeds, "seed"))
    )
    console.print(
        f"{grid.config.model} on {grid.config.data_name}: {norms} × {seeds} = "
        f"{number} runs in {grid.out}, {number - len(grid.unfinished)} of them finished",
        markup=False,
        soft_wrap=True,
    )

    def train(run: Run) -> None:
        console.print(f"{run.out.name}: {run.task.describe()}", markup=False, soft_wrap=True)
        train_with_progress(console, run, watch_every, curves)

    try:
        grid.train(train)
    except (Interrupted, KeyboardInterrupt):
        done = number - len(grid.unfinished)
        for line in (
            f"Stopped by Ctrl-C; {done} of {number} runs are finished in {grid.out}.",
            f"Continue with: tinygrad-norm train --resume {grid.out}",
        ):
            console.print(line, markup=False, soft_wrap=True)
        return False
    _report(console, grid)
    return True


def _report(console: Console, grid: NormGrid) -> None:
    summaries = grid.summary()
    if summaries:
        names = list(summaries[0].figures)
        table = Table(title=f"{grid.seeds} seeds: mean ± standard deviation" if grid.seeds > 1 else None)
        table.add_column("norm", no_wrap=True)
        for heading in (
            *(f"{summaries[0].part}\n{name.replace('_', ' ')}" for name in names),
            f"best validation\n{names[0].replace('_', ' ')}",
            "seconds",
        ):
            table.add_column(heading, justify="right", no_wrap=True)
        for summary in summaries:
            table.add_row(*_row(summary, names[0]))
        console.print(table)
    for norm in grid.norms:
        if diverged := grid.diverged(norm):
            console.print(f"{norm}: in {diverged} of {grid.seeds} runs the loss became infinite or NaN")
    if summaries and not (grid.out / "curves.png").exists():
        console.print("curves.png was not drawn: pip install 'tinygrad_norm[plot]'", markup=False)
    console.print(f"results in {grid.out}", markup=False, highlight=False, soft_wrap=True)
    if any(grid.out.glob("*/stats.csv")):
        console.print("the layers of each run in stats.png and stats.csv in its folder", highlight=False)


def _row(summary: Summary, cost: str) -> list[str]:
    figures = [_text(name, spread) for name, spread in summary.figures.items()]
    return [summary.norm, *figures, _text(cost, summary.best), f"{summary.seconds.mean:.1f}"]


def _text(name: str, spread: Spread) -> str:
    """Return "mean ± std", without "± std" for a single seed."""
    mean = format_figure(name, spread.mean)
    return mean if math.isnan(spread.std) else f"{mean} ± {format_figure(name, spread.std)}"
