"""`tinygrad-norm kernel NAME`: the CUDA kernels of an op, run on the CPU, thread by thread."""

from typing import Annotated

import numpy
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from ..backends import use_backend
from ..backends.emulator import KernelError, Launch, record, schedule
from ..learn.check import Result, evaluate
from ..learn.dot import argument_names
from ..registry import Case, Op
from .names import find_op

TOLERANCE = 2e-5
"""Three times the largest rounding error in float32 of any registered case, a transformer layer's."""


def kernel(
    name: Annotated[str, typer.Argument(help="A registered op, such as layer_norm.")],
    case: Annotated[
        int | None,
        typer.Option(
            help="Which of the op's registered cases, counted from 0.", show_default="one of 64 rows"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The order of blocks, warps and lanes; 0: ascending.")] = 0,
) -> None:
    """Run an op's CUDA kernels on the CPU, forward and backward, in float32.

    Prints every launch with its shape and the bytes that its threads ask for, the time that the CPU takes
    to run it, and how far the results are from NumPy's in float64. Exits with status 1 where that is more
    than rounding. Races and accesses out of bounds end it with an explanation.
    """
    op = find_op(name)
    chosen = _choose(op, case)
    reference = evaluate(op, op.function, chosen)
    try:
        with use_backend("emulator"), schedule(checked=True, seed=seed), record() as launches:
            result = evaluate(op, op.function, chosen, numpy.float32)
    except RuntimeError as error:
        kind = "the kernel goes wrong" if isinstance(error, KernelError) else "the emulator cannot run"
        typer.echo(f"{kind}: {error}", err=True)
        raise typer.Exit(1) from None
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 100)  # a file has room for the longest names
    if not launches:
        console.print(
            f"{name} has no CUDA kernel of its own: on a GPU its NumPy-style body runs, on CuPy's arrays",
            highlight=False,
            soft_wrap=True,
        )
        return
    console.print(_table(launches))
    moved, floor = sum(map(_bytes, launches)), _floor(result, chosen)
    found = _differences(op, result, reference)
    wrong = [f"{name} by {value:.1e}" for name, value in found.items() if not value <= TOLERANCE]
    for line in (
        f"{name} of {' '.join(str(chosen).split())}",
        f"threads ask for {moved:,} bytes; every input read once and every result written once are "
        f"{floor:,}: {moved / floor:.1f} times that, part of it from caches",
        f"largest difference from NumPy in float64, relative to the largest value: {max(found.values()):.1e}",
        f"DISAGREES in {', '.join(wrong)} (allowed {TOLERANCE:.0e})"
        if wrong
        else f"ok (allowed {TOLERANCE:.0e})",
    ):
        console.print(line, highlight=False, soft_wrap=True)
    if wrong:
        raise typer.Exit(1)


def _choose(op: Op, case: int | None) -> Case:
    if case is None:
        return op.bench[0] if op.bench else op.cases[0]
    if not 0 <= case < len(op.cases):
        listed = "; ".join(f"{i}: {one}" for i, one in enumerate(op.cases))
        raise typer.BadParameter(f"{op.name} has no case {case}. Its cases are {listed}", param_hint="--case")
    return op.cases[case]


def _table(launches: list[Launch]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("kernel", overflow="fold")
    for heading in ("blocks", "threads", "shared memory", "bytes read", "bytes written", "ms here"):
        table.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    for launch in launches:
        table.add_row(
            launch.name,
            "×".join(str(size) for size in launch.grid if size > 1) or "1",
            "×".join(str(size) for size in launch.block if size > 1) or "1",
            f"{launch.shared_mem:,}",
            f"{sum(read for read, _ in launch.traffic.values()):,}",
            f"{sum(written for _, written in launch.traffic.values()):,}",
            f"{launch.seconds * 1000:.0f}",
        )
    return table


def _bytes(launch: Launch) -> int:
    return sum(read + written for read, written in launch.traffic.values())


def _floor(result: Result, case: Case) -> int:
    """Forward reads the inputs and writes y; backward reads both dy and the inputs and writes gradients."""
    inputs = sum(numpy.size(drawn[0]) for drawn in case.draw() if drawn is not None)
    values = sum(y.size for y in result.values)
    gradients = sum(dx.size for dx in result.gradients.values())
    return 4 * (2 * inputs + 2 * values + gradients)


def _differences(op: Op, result: Result, reference: Result) -> dict[str, float]:
    """Return the largest difference in every output and gradient, relative to its largest value, at least 1.

    It is infinite where shapes differ, or only one is finite.
    """
    names = op.inputs or argument_names(op.function, max(reference.gradients, default=0) + 1)
    outputs = ["y"] if len(reference.values) == 1 else [f"y[{k}]" for k in range(len(reference.values))]
    pairs = dict(zip(outputs, zip(result.values, reference.values, strict=True), strict=True))
    pairs |= {f"d{names[i]}": (result.gradients[i], dx) for i, dx in reference.gradients.items()}
    return {name: _difference(a, b) for name, (a, b) in pairs.items()}


def _difference(a: numpy.ndarray, b: numpy.ndarray) -> float:
    if a.shape != b.shape:
        return numpy.inf
    a, b = a.astype(numpy.float64), b.astype(numpy.float64)
    scale = max(abs(b[numpy.isfinite(b)]).max(initial=0), 1)
    differs = ~((a == b) | (numpy.isnan(a) & numpy.isnan(b)))
    a, b = a[differs], b[differs]
    if not (numpy.isfinite(a).all() and numpy.isfinite(b).all()):
        return numpy.inf
    return float(abs(a - b).max(initial=0) / scale)
