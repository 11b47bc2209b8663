"""`tinygrad-norm bench`: how fast it is, against PyTorch where that is installed."""

import os
import subprocess
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..bench.timing import SETTINGS, best_times, environment, is_fair
from .gpu import gpu

bench = typer.Typer(no_args_is_help=True, help="Measure speed: the same work, interleaved, in one run.")
bench.command()(gpu)


@bench.callback()
def _fairly() -> None:
    """Measure speed: the same work, interleaved, in one run."""
    if not is_fair():  # BLAS and malloc read the environment once, so the work is done by a new process
        command = [sys.executable, "-m", "tinygrad_norm", *sys.argv[1:]]
        raise typer.Exit(subprocess.run(command, env={**os.environ, **SETTINGS}, check=False).returncode)


@bench.command()
def step(
    seconds: Annotated[float, typer.Option(help="How long to measure.")] = 5.0,
) -> None:
    """Time a whole training step: MLP 64-128-128-10, BatchNorm, batch 64, Adam; one thread each."""
    from ..bench.step import contestants

    console = Console()
    steps = contestants()
    first = {name: function() for name, function in steps.items()}
    with console.status("measuring"):
        times = best_times(steps, seconds)
    headings = "program", "µs per step", "ratio to PyTorch eager", "first loss"
    table = Table(*headings, title="a whole training step")
    reference = times.get("PyTorch eager")
    for name, time in times.items():
        ratio = f"{time / reference:.2f}" if reference else "–"
        table.add_row(name, f"{time * 1e6:.0f}", ratio, f"{first[name]:.6f}")
    console.print(table)
    if reference is None:
        console.print("PyTorch is not installed, so there is nothing to compare with.")
    console.print(", ".join(f"{key} {value}" for key, value in environment().items()), highlight=False)
