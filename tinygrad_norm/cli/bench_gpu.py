"""`tinygrad-norm bench --backend cupy`: time the handwritten kernels on a GPU."""

import math
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import numpy
import typer
from rich.console import Console

from ..backends import use_backend
from ..bench.charts import ratios
from ..bench.gpu_ops import SUBJECTS
from ..bench.gpu_plan import QUICK_SECONDS, Planned, planned
from ..bench.gpu_timing import Bench, Row, cells, prepare, storage
from ..suggestions import did_you_mean
from .figure_files import draw, save, write
from .tables import figures_table, print_line


def time_kernels(
    console: Console,
    names: Sequence[str],
    dtype: str,
    seconds: float,
    quick: bool,
    json: Path | None,
    plot: Path | None,
) -> None:
    """Time the named kernels, or all, on the GPU; print the table, and write the files that are given."""
    for name in names:
        if name not in SUBJECTS:
            raise typer.BadParameter(
                f"there is no GPU benchmark for {name!r}: choose one of {', '.join(SUBJECTS)}"
                f"{did_you_mean(name, SUBJECTS)}"
            )
    try:
        with use_backend("cupy"):
            bench, stored = prepare(), storage(dtype)
            facts = {**bench.environment, "dtype": dtype}
            more = {"seconds": seconds, "quick": quick, "copy_rate": bench.clock.copy_rate}
            rows, left_out = _measured(
                console,
                bench,
                planned(names, quick),
                stored,
                seconds,
                QUICK_SECONDS if quick else math.inf,
                lambda rows: save(json, facts, rows, **more),
            )
    except (RuntimeError, MemoryError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    _print_table(console, dtype, bench, rows)
    if left_out:
        print_line(console, f"not measured, for lack of time: {'; '.join(map(str, left_out))}")
    write(json, facts, rows, **more)
    found = {f"{row.op} {row.case} {row.direction}": row.ratio("PyTorch eager") for row in rows}
    compared = {name: ratio for name, ratio in found.items() if ratio is not None}
    unit, title = "PyTorch's time / ours", "kernels on a GPU"
    sides = "PyTorch is faster", "ours is faster"
    draw(plot, lambda path: ratios(path, compared, unit, title, facts, sides))


def _measured(
    console: Console,
    bench: Bench,
    plan: Sequence[Planned],
    dtype: numpy.dtype,
    seconds: float,
    limit: float,
    keep: Callable[[list[Row]], None],
) -> tuple[list[Row], Sequence[Planned]]:
    """Return the rows, and the cases for which there was no time; pass the rows so far to `keep`."""
    rows: list[Row] = []
    with Progress(console, plan) as progress:
        for measured in bench.rows(plan, dtype, seconds, limit):
            rows += measured
            keep(rows)
            progress.show(measured, bench.clock.copy_rate)
    return rows, plan[progress.done :]


class Progress:
    """Shows the case in work on a terminal; elsewhere, a line on stderr for each case that is done.

    The lines have the figures, so that a run that is stopped has not been in vain.
    """

    def __init__(self, console: Console, plan: Sequence[Planned]) -> None:
        self.plan, self.done, self.start = plan, 0, time.monotonic()
        self.status = console.status(self._coming()) if console.is_terminal else None

    def __enter__(self) -> "Progress":
        if self.status is not None:
            self.status.__enter__()
        return self

    def __exit__(self, *how: object) -> None:
        if self.status is not None:
            self.status.__exit__(*how)  # type: ignore[arg-type]

    def show(self, rows: Sequence[Row], copy_rate: float) -> None:
        """Show that the next case of the plan is done, with these rows."""
        self.done += 1
        if self.status is not None:
            self.status.update(self._coming())
            return
        figures = []
        for row in rows:
            _, _, direction, micro, _, fraction = cells(row, copy_rate, ())
            figures.append(f"{direction} {micro} µs, {fraction} of a copy")
        done = f"{self.done}/{len(self.plan)} {self.plan[self.done - 1]}"
        typer.echo(f"{done}: {'; '.join(figures)}; {self._times()}", err=True)

    def _coming(self) -> str:
        coming = self.plan[self.done] if self.done < len(self.plan) else "done"
        return f"{self.done}/{len(self.plan)} {coming}; {self._times()}"

    def _times(self) -> str:
        elapsed = time.monotonic() - self.start
        if not self.done:
            return "preparing"
        to_go = elapsed / self.done * (len(self.plan) - self.done)
        return f"{timedelta(seconds=round(elapsed))}, about {timedelta(seconds=round(to_go))} to go"


def _print_table(console: Console, dtype: str, bench: Bench, rows: Sequence[Row]) -> None:
    compared = (f"{baseline} / ours" for baseline in bench.against)
    table = figures_table(
        console,
        ("kernels", "inputs", "direction"),
        ("µs", "GB/s", "of a copy", *compared),
        [cells(row, bench.clock.copy_rate, list(bench.against)) for row in rows],
    )
    table.title = dtype
    console.print(table)
    print_line(console, f"a copy reads and writes {bench.clock.copy_rate / 1e9:.0f} GB/s")
    if not bench.against:
        print_line(console, "PyTorch is not installed with CUDA, so there is nothing to compare with.")
    print_line(console, ", ".join(f"{key} {value}" for key, value in bench.environment.items()))
