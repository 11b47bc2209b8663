"""`tinygrad-norm bench`: measure speed, compared with PyTorch if it is installed."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from ..bench import network_baselines
from ..bench.timing import environment, is_fair, settings
from .figure_files import draw, plain, write
from .op_names import Load, find_op
from .paths import new_file, new_plot
from .program import Program
from .tables import NOTHING, figures_table, print_line, wide_console

if TYPE_CHECKING:
    from ..bench.cpu_ops import Row as OpRow
    from ..bench.training_step import Row as StepRow


class _AllByDefault(TyperGroup):
    """A group that runs `all` if no command is given."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        has_command = args and (not args[0].startswith("-") or args[0] in self.get_help_option_names(ctx))
        return super().parse_args(ctx, args if has_command else ["all", *args])


bench = Program(cls=_AllByDefault)
DTYPES = ("float32", "float64", "float16", "bfloat16")

Backend = Annotated[str, typer.Option(help="numpy, or cupy to time the kernels on a GPU.")]
Dtype = Annotated[
    str, typer.Option(help=f"Dtype of the ops: one of {', '.join(DTYPES)} (bfloat16 only on a GPU).")
]
Seconds = Annotated[float, typer.Option(help="Seconds to measure each comparison.", min=0)]
Threads = Annotated[int, typer.Option(help="Threads for tinygrad_norm, BLAS and PyTorch, each.", min=1)]
AsIs = Annotated[
    bool,
    typer.Option(
        "--as-is",
        help="Measure what you get by default: leave the threads of all programs and malloc as they are.",
    ),
]
Quick = Annotated[
    bool,
    typer.Option(
        "--quick",
        help="With --backend cupy: every second size, torch.compile at one of them; at most six minutes.",
    ),
]
Json = Annotated[
    Path | None, typer.Option("--json", help="Also write the figures to this file.", callback=new_file)
]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", help="Plot the figures to this file (PNG or SVG).", callback=new_plot),
]


@bench.callback()
def _bench() -> None:
    """Measure speed: all programs do the same work, taking turns in one run.

    Without a command, runs `all`; so `bench --backend cupy` times all kernels on a GPU. If the output goes
    to a file or a pipe, the tables are Markdown.
    """


def _fairly(threads: int, as_is: bool) -> None:
    if as_is and threads > 1:
        raise typer.BadParameter("--as-is leaves the threads as they are: leave out --threads")
    if as_is:
        return
    if not is_fair(threads):  # BLAS and malloc read the environment only at start: use a new process
        command = [sys.executable, *sys.orig_argv[1:]]
        environment = {**os.environ, **settings(threads)}
        raise typer.Exit(subprocess.run(command, env=environment, check=False).returncode)


@bench.command("all")
def everything(
    backend: Backend = "numpy",
    dtype: Dtype = "float32",
    seconds: Seconds = 0.5,
    threads: Threads = 1,
    as_is: AsIs = False,
    json: Json = None,
    plot: Plot = None,
    quick: Quick = False,
    load: Load = None,
) -> None:
    """Time all ops, a training step, and the overhead of autograd: `ops` and `step` in one run.

    The training step of each network takes ten times --seconds. The plot shows the ops.
    """
    if backend == "cupy":
        ops(None, backend, dtype, seconds, threads, as_is, json, plot, quick)
        return
    _check_choices(backend, dtype, quick)
    _fairly(threads, as_is)
    console = wide_console()
    rows, found = _time_ops(console, (), dtype, seconds)
    steps, tape = _time_step(console, (), 10 * seconds)
    more = {**found, "steps": list(map(plain, steps)), "tape": tape}
    facts = _finish(console, json, rows, dtype, network_baselines.facts(), seconds=seconds, **more)
    _draw_ops(plot, rows, facts)


@bench.command()
def ops(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Registered ops, such as layer_norm.", show_default="all"),
    ] = None,
    backend: Backend = "numpy",
    dtype: Dtype = "float32",
    seconds: Seconds = 0.5,
    threads: Threads = 1,
    as_is: AsIs = False,
    json: Json = None,
    plot: Plot = None,
    quick: Quick = False,
    load: Load = None,
) -> None:
    """Time ops at their benchmark sizes, forward and backward; with --backend cupy, the kernels on a GPU.

    On the CPU, each op runs as loops, if Numba is installed and the op has them, and as NumPy bodies. Ratios
    are our time / theirs: below 1, ours is faster. The columns after those two are about the loops if there
    are any. "default malloc" is the ratio to PyTorch if freed memory returns to the system, for inputs of
    1 MB or more. "of a copy" is the time to copy the bytes that the op must move / our time. On a GPU,
    ratios are their time / ours: above 1, ours is faster. GB/s counts the bytes that any implementation
    must move.
    """
    _check_choices(backend, dtype, quick)
    if backend == "cupy" and threads > 1:
        raise typer.BadParameter("--threads applies only to the CPU: leave it out with --backend cupy")
    _fairly(threads, as_is)
    if backend == "cupy":
        from .bench_gpu import time_kernels

        time_kernels(wide_console(), names or (), dtype, seconds, quick, json, plot)
        return
    console = wide_console()
    rows, found = _time_ops(console, names or (), dtype, seconds)
    facts = _finish(console, json, rows, dtype, seconds=seconds, **found)
    _draw_ops(plot, rows, facts)


def _time_ops(
    console: Console, names: Sequence[str], dtype: str, seconds: float
) -> tuple[list["OpRow"], dict[str, Any]]:
    """Print and return the rows; also return their means, and the bytes per second of a copy."""
    from ..bench.cpu_ops import benchmark_cases, copy_bandwidth, mean_ratios, measure_all

    timed = {op.name for op, _ in benchmark_cases(())}
    names = [find_op(name, timed).name for name in names]
    try:
        benchmark_cases(names)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    with console.status("measuring"):
        copy_rate = copy_bandwidth()
        rows = list(measure_all(names, seconds, dtype, copy_rate))
    numbers = ["loops µs", "loops to PyTorch", "NumPy µs", "NumPy to PyTorch"]
    numbers += ["default malloc", "to composed", "of a copy"]
    cells = []
    for row in rows:
        more = row.to_torch_default_malloc, row.to_composed, row.bandwidth
        by_rung = (row.loops, row.loops_to_torch), (row.numpy, row.numpy_to_torch)
        figures = [text for time, ratio in by_rung for text in (_micro(time), _ratio(ratio))]
        cells.append((row.op, row.case, *figures, *map(_ratio, more)))
    console.print(figures_table(console, ("op", "inputs"), numbers, cells))
    means = mean_ratios(rows)
    if means:
        shown = ", ".join(f"{rung} {mean:.2f}" for rung, mean in means.items())
        print_line(console, f"geometric mean to PyTorch, all rows: {shown}")
    compared = ["to PyTorch"] * any(row.to_torch is not None for row in rows)
    compared += ["to composed"] * any(row.to_composed is not None for row in rows)
    if compared:
        print_line(console, f"{', '.join(compared)}: our time / theirs, below 1 is faster")
    print_line(console, "of a copy: time to copy the same bytes / our time")
    return rows, {"copy_rate": copy_rate, "means": means}


def _draw_ops(path: Path | None, rows: Sequence["OpRow"], facts: Mapping[str, str]) -> None:
    from ..bench.charts import ratios

    found = {f"{row.op} {row.case}": row for row in rows}
    compared = {name: row.to_torch for name, row in found.items() if row.to_torch is not None}
    numpy = {
        name: row.numpy_to_torch
        for name, row in found.items()
        if row.loops is not None and row.numpy_to_torch is not None
    }
    unit, title = "our time / PyTorch's", "forward and backward"
    sides = "ours is faster", "PyTorch is faster"
    draw(path, lambda path: ratios(path, compared, unit, title, facts, sides, numpy, "our NumPy bodies"))


def _check_choices(backend: str, dtype: str, quick: bool) -> None:
    if backend not in ("numpy", "cupy"):
        raise typer.BadParameter(f"unknown backend {backend!r}: choose numpy, or cupy for a GPU")
    if dtype not in DTYPES:
        raise typer.BadParameter(f"unknown dtype {dtype!r}: choose one of {', '.join(DTYPES)}")
    if dtype == "bfloat16" and backend == "numpy":
        raise typer.BadParameter("NumPy has no bfloat16: choose another dtype, or --backend cupy")
    if quick and backend == "numpy":
        raise typer.BadParameter("--quick applies only to a GPU: choose --backend cupy, or fewer --seconds")


@bench.command()
def step(
    networks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NETWORK",
            help="mlp, cnn-batch, cnn-group, cnn-layer or encoder.",
            show_default="all",
        ),
    ] = None,
    seconds: Seconds = 5.0,
    threads: Threads = 1,
    as_is: AsIs = False,
    json: Json = None,
    plot: Plot = None,
) -> None:
    """Time a training step (forward, backward, Adam) of five networks, and the overhead of autograd.

    They are an MLP 64-128-128-10 with BatchNorm, batch 64; a CNN of three 3×3 convolutions (16, 32, 32
    channels) on 64×1×28×28 with BatchNorm, GroupNorm, LayerNorm; and a pre-LN encoder layer of 8×128×96. All
    programs start from the same weights, so they have the same first loss.
    """
    from ..bench.training_step import networks_named

    try:
        networks_named(networks or ())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    _fairly(threads, as_is)
    from ..bench.charts import ratios

    console = wide_console()
    rows, tape = _time_step(console, networks or (), seconds)
    facts = _finish(console, json, rows, more_facts=network_baselines.facts(), seconds=seconds, tape=tape)
    compared = {
        f"{row.network}: {row.program}": row.to_eager for row in rows if row.to_eager not in (None, 1)
    }
    unit, title = "time / PyTorch eager's", "a training step: forward, backward, Adam"
    sides = "faster than PyTorch eager", "slower"
    draw(plot, lambda path: ratios(path, compared, unit, title, facts, sides))


def _time_step(
    console: Console, names: Sequence[str], seconds: float
) -> tuple[list["StepRow"], dict[str, float]]:
    """Print and return the rows, and the seconds that the tape takes per op."""
    from ..bench.training_step import measure, networks_named, tape_times

    with console.status("measuring"):
        rows = [row for network in networks_named(names) for row in measure(network, seconds)]
        tape = tape_times(seconds / 5)
    numbers = "µs per step", "to PyTorch eager", "default malloc", "first loss"
    cells = []
    for row in rows:
        ratios = map(_ratio, (row.to_eager, row.to_eager_default_malloc))
        words = row.network, row.program
        cells.append((*words, f"{row.seconds * 1e6:.0f}", *ratios, f"{row.first_loss:.6f}"))
    console.print(figures_table(console, ("network", "program"), numbers, cells))
    per_op = ", ".join(f"{name} {time * 1e6:.2f} µs" for name, time in tape.items())
    _print_left_out(console)
    print_line(console, f"the tape alone (autograd's overhead), per op forward and backward: {per_op}")
    return rows, tape


@bench.command()
def train(
    epochs: Annotated[int, typer.Option(help="Passes over the 1257 samples.", min=1)] = 20,
    threads: Threads = 1,
    as_is: AsIs = False,
    json: Json = None,
    plot: Plot = None,
) -> None:
    """Time training on scikit-learn's digits, with the network of `bench step`."""
    _fairly(threads, as_is)
    from ..bench.charts import bars
    from ..bench.training_epochs import train as train_all

    console = wide_console()
    try:
        with console.status("training"):
            runs = train_all(epochs)
    except RuntimeError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    numbers = "ms per epoch", "to PyTorch eager", "first loss", "last loss"
    cells = []
    for run in runs:
        losses = (f"{loss:.6f}" for loss in (run.losses[0], run.losses[-1]))
        cells.append((run.program, f"{run.seconds * 1e3:.1f}", _ratio(run.to_eager), *losses))
    console.print(figures_table(console, ("program",), numbers, cells))
    _print_left_out(console)
    facts = _finish(console, json, runs, more_facts=network_baselines.facts(), epochs=epochs)
    milli = {run.program: run.seconds * 1e3 for run in runs}
    title = "training on digits: MLP 64-128-128-10, BatchNorm, batch 64, Adam"
    draw(plot, lambda path: bars(path, milli, "ms of the best epoch", title, facts))


@bench.command()
def scaling(seconds: Seconds = 0.2, as_is: AsIs = False, json: Json = None, plot: Plot = None) -> None:
    """Measure how time and memory grow with batch, width, depth and sequence length, in both forms.

    The closed form computes a layer with a hand-derived gradient; the composed form is built from
    primitives. "peak" is the maximum of memory in use, "kept" is the memory kept for backward.
    """
    _fairly(1, as_is)
    from ..bench.charts import curves
    from ..bench.growth import FORMS, Point, measure

    console = wide_console()
    with console.status("measuring"):
        points = list(measure(seconds))
    units: dict[str, Callable[[Point], float]] = {
        "µs": lambda p: p.seconds * 1e6,
        "peak MB": lambda p: p.peak / 1e6,
        "kept MB": lambda p: p.kept / 1e6,
    }
    numbers = [f"{unit} {form}" for unit in units for form in FORMS]
    cells = []
    for pair in zip(points[::2], points[1::2], strict=True):
        values = (_three_digits(value(p)) for value in units.values() for p in pair)
        cells.append((pair[0].experiment, f"{pair[0].variable} = {pair[0].size}", *values))
    console.print(figures_table(console, ("experiment", "size"), numbers, cells))
    facts = _finish(console, json, points, seconds=seconds)
    panels: dict[tuple[str, str, str], dict[tuple[str, bool], list[tuple[float, float]]]] = {}
    for p in points:
        for unit, value in units.items():
            label = unit if unit == "µs" else "MB: peak, kept (dashed)"
            lines = panels.setdefault((p.experiment, p.variable, label), {})
            lines.setdefault((p.form, unit == "kept MB"), []).append((p.size, value(p)))
    title = "forward and backward as sizes grow: time, peak memory, memory kept for backward"
    draw(plot, lambda path: curves(path, panels, 2, title, facts))


def _print_left_out(console: Console) -> None:
    missing = ", ".join(f"{name} ({reason})" for name, reason in network_baselines.left_out().items())
    if missing:
        print_line(console, f"left out: {missing}")


def _ratio(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _micro(seconds: float | None) -> str:
    return NOTHING if seconds is None else f"{seconds * 1e6:.0f}"


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _finish(
    console: Console,
    path: Path | None,
    rows: Sequence[Any],
    dtype: str = "float32",
    more_facts: Mapping[str, str] = MappingProxyType({}),
    **more: Any,
) -> dict[str, str]:
    """Print the environment (versions, threads, processor); write it with the figures to `path` if given."""
    facts = {**environment(), **more_facts, "dtype": dtype}
    if facts["torch"] == "not installed":
        console.print("PyTorch is not installed, so there is nothing to compare with.")
    print_line(console, ", ".join(f"{key} {value}" for key, value in facts.items()))
    write(path, facts, rows, **more)
    return facts
