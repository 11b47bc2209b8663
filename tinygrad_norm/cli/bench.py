"""`tinygrad-norm bench`: how fast it is, against PyTorch where that is installed."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from ..bench.timing import SETTINGS, best_times, environment, is_fair
from ..files import replacing


class _OpsByDefault(TyperGroup):
    """Options without a command are those of `ops`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for_ops = args and args[0].startswith("-") and args[0] not in self.get_help_option_names(ctx)
        return super().parse_args(ctx, ["ops", *args] if for_ops else args)


bench = typer.Typer(cls=_OpsByDefault, no_args_is_help=True)
DTYPES = ("float32", "float64", "float16", "bfloat16")

Seconds = Annotated[float, typer.Option(help="How long to measure each.", min=0)]
Json = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file too.")]
Plot = Annotated[Path | None, typer.Option("--plot", help="Draw them to this file (PNG or SVG).")]


@bench.callback()
def _fairly() -> None:
    """Measure speed: the same work, interleaved, in one run.

    Options without a command are those of ops: bench --backend cupy times all kernels on a GPU.
    """
    if not is_fair():  # BLAS and malloc read the environment once, so the work is done by a new process
        command = [sys.executable, "-m", "tinygrad_norm", *sys.argv[1:]]
        raise typer.Exit(subprocess.run(command, env={**os.environ, **SETTINGS}, check=False).returncode)


@bench.command()
def ops(
    names: Annotated[list[str] | None, typer.Argument(help="Registered ops.", show_default="all")] = None,
    backend: Annotated[str, typer.Option(help="numpy, or cupy for the kernels on a GPU.")] = "numpy",
    dtype: Annotated[str, typer.Option(help=f"One of {', '.join(DTYPES)} (on a GPU).")] = "float32",
    seconds: Seconds = 0.5,
    json: Json = None,
    plot: Plot = None,
) -> None:
    """Time ops at their benchmark sizes, forward and backward; with --backend cupy, the kernels on a GPU.

    On the CPU, one thread each, ratios below 1 say that ours is faster, and "of a copy" is the time of a
    copy of as many bytes as the op must move, in units of our time. On a GPU, ratios above 1 say that ours
    is faster, and GB/s count the bytes that any implementation must move.
    """
    _check_choices(backend, dtype)
    if backend == "cupy":
        _kernels(names or (), dtype, seconds, json, plot)
        return
    from ..bench.ops import benchmark_cases, measure_all
    from ..bench.pictures import bars

    try:
        benchmark_cases(names or ())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    console = _console()
    with console.status("measuring"):
        rows = list(measure_all(names or (), seconds, dtype))
    table = Table(
        "op", "inputs", "µs", "to PyTorch", "to composed", "of a copy", title="forward and backward"
    )
    for row in rows:
        ratios = map(_ratio, (row.to_torch, row.to_composed, row.bandwidth))
        table.add_row(row.op, row.case, f"{row.ours * 1e6:.0f}", *ratios)
    console.print(table)
    compared = {f"{row.op} {row.case}": row.to_torch for row in rows if row.to_torch is not None}
    _finish(console, json, rows)
    _draw(plot, lambda path: bars(path, compared, "our time / PyTorch's", "forward and backward", 1.0))


def _check_choices(backend: str, dtype: str) -> None:
    if backend not in ("numpy", "cupy"):
        raise typer.BadParameter(f"unknown backend {backend!r}: choose numpy, or cupy for a GPU")
    if dtype not in DTYPES:
        raise typer.BadParameter(f"unknown dtype {dtype!r}: choose one of {', '.join(DTYPES)}")
    if dtype == "bfloat16" and backend == "numpy":
        raise typer.BadParameter("NumPy has no bfloat16: choose another dtype, or --backend cupy")


def _kernels(names: Sequence[str], dtype: str, seconds: float, json: Path | None, plot: Path | None) -> None:
    from ..bench.pictures import bars
    from .gpu import measure

    bench, rows = measure(_console(), names, dtype, seconds)
    _write(json, bench.environment, rows, copy_rate=bench.clock.copy_rate)
    ratios = {f"{row.op} {row.case} {row.direction}": row.ratio("PyTorch eager") for row in rows}
    compared = {name: ratio for name, ratio in ratios.items() if ratio is not None}
    _draw(plot, lambda path: bars(path, compared, "PyTorch's time / ours", dtype, 1.0))


@bench.command()
def step(seconds: Seconds = 5.0, json: Json = None, plot: Plot = None) -> None:
    """Time a whole training step: MLP 64-128-128-10, BatchNorm, batch 64, Adam; one thread each."""
    from ..bench.pictures import bars
    from ..bench.step import contestants, tape_times

    console = _console()
    steps = contestants()
    first = {name: function() for name, function in steps.items()}
    with console.status("measuring"):
        times = best_times(steps, seconds)
        tape = tape_times(seconds / 5)
    reference = times.get("PyTorch eager")
    table = Table("program", "µs per step", "to PyTorch eager", "first loss", title="a whole training step")
    for name, time in times.items():
        ratio = _ratio(time / reference if reference else None)
        table.add_row(name, f"{time * 1e6:.0f}", ratio, f"{first[name]:.6f}")
    console.print(table)
    per_op = ", ".join(f"{name} {time * 1e6:.2f} µs" for name, time in tape.items())
    console.print(f"the tape alone, per op forward and backward: {per_op}", highlight=False)
    rows = [{"program": name, "seconds": time, "first_loss": first[name]} for name, time in times.items()]
    _finish(console, json, rows, tape=tape)
    micro = {name: time * 1e6 for name, time in times.items()}
    _draw(plot, lambda path: bars(path, micro, "µs per step", "a whole training step"))


@bench.command()
def train(
    epochs: Annotated[int, typer.Option(help="Passes through the 1257 samples.", min=1)] = 20,
    json: Json = None,
    plot: Plot = None,
) -> None:
    """Time training on scikit-learn's digits, with the network of `step`; one thread each."""
    from ..bench.pictures import bars
    from ..bench.train import train as train_all

    console = _console()
    try:
        with console.status("training"):
            runs = train_all(epochs)
    except RuntimeError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    reference = next((run.seconds for run in runs if run.program == "PyTorch eager"), None)
    table = Table("program", "ms per epoch", "to PyTorch eager", "first loss", "last loss", title="training")
    for run in runs:
        ratio = _ratio(run.seconds / reference if reference else None)
        losses = (f"{loss:.6f}" for loss in (run.losses[0], run.losses[-1]))
        table.add_row(run.program, f"{run.seconds * 1e3:.1f}", ratio, *losses)
    console.print(table)
    _finish(console, json, runs)
    milli = {run.program: run.seconds * 1e3 for run in runs}
    _draw(plot, lambda path: bars(path, milli, "ms per epoch", "training on digits"))


@bench.command()
def scaling(seconds: Seconds = 0.2, json: Json = None, plot: Plot = None) -> None:
    """Measure how time and memory grow with batch, width, depth and sequence: closed form and composed."""
    from ..bench.pictures import curves
    from ..bench.scaling import measure

    console = _console()
    with console.status("measuring"):
        points = list(measure(seconds))
    table = Table("experiment", "size", "form", "µs", "peak MB", "kept for backward MB", title="scaling")
    for p in points:
        figures = f"{p.seconds * 1e6:.0f}", f"{p.peak / 1e6:.3f}", f"{p.kept / 1e6:.3f}"
        table.add_row(p.experiment, str(p.size), p.form, *figures)
    console.print(table)
    _finish(console, json, points)
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for p in points:
        values = {"µs": p.seconds * 1e6, "peak MB": p.peak / 1e6, "kept MB": p.kept / 1e6}
        for unit, value in values.items():
            lines = panels.setdefault(f"{p.experiment}|{unit}", {})
            lines.setdefault(p.form, []).append((p.size, value))
    _draw(plot, lambda path: curves(path, panels, 3, "forward and backward"))


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _console() -> Console:
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 160)  # a file has room for the whole table
    return console


def _finish(console: Console, path: Path | None, rows: Sequence[Any], **more: Any) -> None:
    """Print what a reader needs to compare the figures; write them, with that, to `path` if given."""
    facts = environment()
    if facts["torch"] == "not installed":
        console.print("PyTorch is not installed, so there is nothing to compare with.")
    console.print(", ".join(f"{key} {value}" for key, value in facts.items()), highlight=False)
    _write(path, facts, rows, **more)


def _write(path: Path | None, facts: Mapping[str, str], rows: Sequence[Any], **more: Any) -> None:
    if path is not None:
        plain = [row if isinstance(row, dict) else dataclasses.asdict(row) for row in rows]
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({"environment": facts, "rows": plain, **more}, indent=2) + "\n")


def _draw(path: Path | None, draw: Callable[[Path], None]) -> None:
    if path is None:
        return
    try:
        draw(path)
    except ImportError:
        typer.echo("error: --plot needs matplotlib: pip install 'tinygrad_norm[plot]'", err=True)
        raise typer.Exit(2) from None
