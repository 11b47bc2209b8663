"""`tinygrad-norm kernel NAME`: run the CUDA kernels of an op on the CPU, thread by thread."""

from typing import Annotated

import numpy
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from ..backends import KERNELS, use_backend
from ..backends.emulator import KernelError, Launch, record, schedule
from ..gradient_check.registered import Result, evaluate, places_of_nan
from ..learn.formulas import argument_names
from ..registry import REGISTRY, Case, Op
from .op_names import Load, find_op
from .tables import print_line

TOLERANCE = 2e-5
"""Twice the largest float32 rounding error of any registered case (that of a transformer layer)."""
ZERO = 1e-12
"""Float64 values below this count as 0: inputs around 1 leave such rounding errors of a true zero."""


def kernel(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A registered op, such as layer_norm.")],
    case: Annotated[
        int | None,
        typer.Option(
            help="Index of the op's registered case, from 0.",
            show_default="the first benchmark case, else case 0",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0, max=2**64 - 1, help="Seed for the order of blocks, warps and lanes; 0: ascending order."
        ),
    ] = 0,
    load: Load = None,
) -> None:
    """Run an op's CUDA kernels on the CPU, forward and backward, in float32. Needs no GPU.

    Prints the grid of every launch, the bytes that its threads read and write, and its time on the CPU;
    then the largest difference from NumPy in float64. Exits with status 1 if that exceeds rounding errors.
    Data races and out-of-bounds accesses stop the command with an explanation.
    """
    with_kernels = _ops_with_kernels()
    op = find_op(name, with_kernels)
    chosen = _choose(op, case)
    reference = evaluate(op, op.function, chosen)
    try:
        with use_backend("emulator"), schedule(checked=True, seed=seed), record() as launches:
            result = evaluate(op, op.function, chosen, numpy.float32)
    except RuntimeError as error:
        kind = "error in the kernel" if isinstance(error, KernelError) else "cannot run the emulator"
        typer.echo(f"{kind}: {error}", err=True)
        raise typer.Exit(1) from None
    console = Console()
    if not launches:
        print_line(console, f"{name} has no CUDA kernel of its own:")
        print_line(console, "on a GPU, its NumPy code runs on CuPy arrays.")
        print_line(console, f"These ops have one: {', '.join(with_kernels)}")
        return
    console.print(_table(launches))
    moved, floor = (sum(map(count, launches)) for count in (_bytes, _floor))
    found = _differences(op, result, reference)
    wrong = [f"{name} by {value:.1e}" for name, value in found.items() if not value <= TOLERANCE]
    wrong += [f"{name}, {places}" for name, places in places_of_nan(result).items()]
    for line in (
        f"{name} of {' '.join(str(chosen).split())}",
        f"threads read and write {moved:,} bytes: {moved / floor:.1f} times the {floor:,}",
        "needed to read and write each launch's arrays once; caches serve part of them",
        "largest difference from NumPy in float64,",
        f"relative to the largest value: {max(found.values()):.1e}",
        f"DISAGREES in {', '.join(wrong)} (allowed {TOLERANCE:.0e})"
        if wrong
        else f"ok (allowed {TOLERANCE:.0e})",
    ):
        print_line(console, line)
    if wrong:
        raise typer.Exit(1)


def _ops_with_kernels() -> list[str]:
    forwards = {name: KERNELS.get(f"{name}_forward") for name in sorted(REGISTRY)}
    return [name for name, forward in forwards.items() if forward is not None and "cuda" in forward.versions]


def _choose(op: Op, case: int | None) -> Case:
    if case is None:
        return op.bench[0] if op.bench else op.cases[0]
    if not 0 <= case < len(op.cases):
        listed = "; ".join(f"{i}: {known}" for i, known in enumerate(op.cases))
        raise typer.BadParameter(f"{op.name} has no case {case}. Its cases are {listed}", param_hint="--case")
    return op.cases[case]


def _table(launches: list[Launch]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    table.add_column("kernel", overflow="fold")
    for heading in ("blocks", "threads", "shared memory", "bytes read", "bytes written", "ms (CPU)"):
        table.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    for launch in launches:
        table.add_row(
            launch.name.replace(", ", ",").replace("<", " <"),  # may fold only before the template arguments
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


def _floor(launch: Launch) -> int:
    moved = launch.traffic.items()
    return sum(launch.sizes[i] * ((read > 0) + (written > 0)) for i, (read, written) in moved)


def _differences(op: Op, result: Result, reference: Result) -> dict[str, float]:
    """Return the largest difference in every output and gradient, relative to its largest value.

    It is infinite if shapes differ, or only one value is finite; relative to 1 if all should be 0.
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
    largest = abs(b[numpy.isfinite(b)]).max(initial=0)
    differs = ~((a == b) | (numpy.isnan(a) & numpy.isnan(b)))
    a, b = a[differs], b[differs]
    if not (numpy.isfinite(a).all() and numpy.isfinite(b).all()):
        return numpy.inf
    return float(abs(a - b).max(initial=0) / (largest if largest > ZERO else 1))
