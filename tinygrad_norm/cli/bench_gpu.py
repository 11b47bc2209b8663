"""`tinygrad-norm bench --backend cupy`: time the handwritten kernels on a GPU."""

from collections.abc import Sequence

import typer
from rich.console import Console

from ..backends import use_backend
from ..bench.gpu_ops import SUBJECTS
from ..bench.gpu_timing import Bench, Row, cells, prepare, storage
from ..suggestions import did_you_mean
from .tables import figures_table, print_line


def measure(console: Console, names: Sequence[str], dtype: str, seconds: float) -> tuple[Bench, list[Row]]:
    """Time the named kernels, or all, on the GPU, and print the table."""
    for name in names:
        if name not in SUBJECTS:
            raise typer.BadParameter(
                f"there is no GPU benchmark for {name!r}: choose one of {', '.join(SUBJECTS)}"
                f"{did_you_mean(name, SUBJECTS)}"
            )
    try:
        with use_backend("cupy"):
            stored, bench = storage(dtype), prepare()
            with console.status("measuring"):
                rows = list(bench.rows(names, stored, seconds))
    except (RuntimeError, MemoryError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    ratios = (f"{baseline} / ours" for baseline in bench.against)
    table = figures_table(
        console,
        ("kernels", "inputs", "direction"),
        ("µs", "GB/s", "of a copy", *ratios),
        [cells(row, bench.clock.copy_rate, list(bench.against)) for row in rows],
    )
    table.title = dtype
    console.print(table)
    print_line(console, f"a copy reads and writes {bench.clock.copy_rate / 1e9:.0f} GB/s")
    if not bench.against:
        print_line(console, "PyTorch is not installed with CUDA, so there is nothing to compare with.")
    print_line(console, ", ".join(f"{key} {value}" for key, value in bench.environment.items()))
    return bench, rows
