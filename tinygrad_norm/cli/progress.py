"""The progress of a run: a chart and a bar on a terminal, otherwise lines; steps per second, time to go."""

import time
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import timedelta

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
from rich.table import Column

from ..backends import current_backend
from ..backends.cpu.loops import version_on_cpu
from ..explore import TrainingCurves
from ..training import Run
from ..training.task import Figures, format_figure
from .cost_chart import CostChart
from .watched_run import watching

PLAIN_INTERVAL = 10.0
"""Seconds between progress lines if the output is not a terminal."""
BAR_INTERVAL = 0.2
"""Seconds between new figures, in the chart and beside the bar, on a terminal."""
FIRST_STEPS = 5
"""Steps after which the speed is known well enough to print it."""


def backend_line(threads: int) -> str:
    """Return the first line that a training prints: the backend, the threads, and what kernels run."""
    words = f"backend {current_backend().name}, {threads} thread{'s' * (threads > 1)}"
    return f"{words}, {version_on_cpu()}" if current_backend().name == "numpy" else words


class Speed:
    """The speed of a run since its first step, which is slower; validation and saving count too."""

    def __init__(self, steps_to_go: int) -> None:
        self.done, self.to_go = 0, steps_to_go

    def step(self) -> None:
        """Count a step, which is complete now."""
        self.done, self.to_go = self.done + 1, self.to_go - 1
        self.last = time.perf_counter()
        if self.done == 1:
            self.after_first = self.last

    def __str__(self) -> str:
        """Return steps per second and the time to go, or "" while there are too few steps."""
        if self.done < FIRST_STEPS:
            return ""
        rate = (self.done - 1) / max(self.last - self.after_first, 1e-9)
        return (
            f"{rate:,.{0 if rate >= 10 else 2}f} steps/s, {timedelta(seconds=round(self.to_go / rate))} to go"
        )


class ChartAndBar(Progress):
    """A bar with a chart above it; what is printed meanwhile scrolls by above them."""

    def __init__(self, chart: CostChart, *columns: ProgressColumn, console: Console, disable: bool) -> None:
        self.chart = chart
        super().__init__(*columns, console=console, disable=disable, refresh_per_second=1 / BAR_INTERVAL)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.chart
        yield from super().get_renderables()


def train_with_progress(
    console: Console, run: Run, watch_every: int | None = None, curves: TrainingCurves | None = None
) -> None:
    """Train; print the figures of each epoch, and show how far it is and how long it will take.

    `watch_every` is that of `watching`; `curves` get the figures for the browser.
    """
    steps = len(run.loader)
    done, total = run.progress.epoch * steps + run.progress.step, run.config.epochs * steps
    columns = (
        TextColumn("{task.description}", table_column=_column(f"epoch {run.config.epochs}")),
        BarColumn(bar_width=None),  # what the texts leave
        MofNCompleteColumn(table_column=_column(f"{total}/{total}")),
        TextColumn("{task.fields[numbers]}"),
    )
    chart = CostChart(run)
    unseen = nullcontext((lambda run: None, lambda run: None))
    with (
        watching(run, watch_every) as record,
        unseen if curves is None else curves.following(run) as (draw_steps, draw_epoch),
        ChartAndBar(chart, *columns, console=console, disable=not console.is_terminal) as bar,
    ):
        task = bar.add_task("training", total=total, completed=done, numbers="")
        speed, last_print = Speed(total - done), time.monotonic()

        def on_step(run: Run) -> None:
            nonlocal last_print
            record(run)
            draw_steps(run)
            speed.step()
            epoch = f"epoch {run.progress.epoch + 1}"
            bar.update(task, advance=1, description=epoch)
            interval = PLAIN_INTERVAL if bar.disable else BAR_INTERVAL
            if console.quiet:  # another process shows it
                return
            if speed.done != FIRST_STEPS and time.monotonic() - last_print < interval:
                return  # reading the figures makes a GPU wait
            shard = "  (process 0's part)" if run.ranks.several else ""
            figures = run.figures_so_far()
            chart.add_steps(run, figures[chart.name])
            numbers, last_print = f"{_text(figures)}{shard}  {speed}", time.monotonic()
            bar.update(task, numbers=numbers)
            if bar.disable:
                console.print(f"{epoch}, step {run.progress.step}/{steps}  {numbers}", soft_wrap=True)

        def on_epoch(run: Run) -> None:
            nonlocal last_print
            chart.add_epoch(run)
            draw_epoch(run)
            bar.update(task, numbers=f"{_train_text(run)}  {speed}")
            console.print(_epoch_text(run), soft_wrap=True)
            last_print = time.monotonic()

        run.train(on_step, on_epoch)


def _text(figures: Figures) -> str:
    return "  ".join(
        f"{name.replace('_', ' ')} {format_figure(name, value, 1)}" for name, value in figures.items()
    )


def _train_text(run: Run) -> str:
    row = run.progress.history[-1]
    return _text({name: row[f"train_{name}"] for name in run.task.figure_names})


def _epoch_text(run: Run) -> str:
    row, names = run.progress.history[-1], run.task.figure_names
    validation = "  ".join(format_figure(name, row[f"validation_{name}"], 1) for name in names)
    epochs = str(run.config.epochs)
    return f"epoch {row['epoch']:>{len(epochs)}}/{epochs}  {_train_text(run)}  validation {validation}"


def _column(longest: str) -> Column:
    """Return a column that a narrow terminal does not shorten."""
    return Column(no_wrap=True, min_width=len(longest))
