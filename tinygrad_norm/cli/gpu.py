"""`tinygrad-norm bench gpu`: the handwritten kernels on a GPU, against a copy and against PyTorch."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..backends import use_backend
from ..bench.gpu import SIZES, cells, prepare

DTYPES = ("float32", "float16", "float64")


def gpu(
    ops: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(SIZES)}.", show_default="all")
    ] = None,
    dtype: Annotated[str, typer.Option(help=f"One of {', '.join(DTYPES)}.")] = "float32",
) -> None:
    """Time the handwritten kernels on a GPU: µs, GB/s, fraction of a copy, ratios to PyTorch.

    The bytes are those that any implementation must move. Ratios above 1 say that the rival takes longer.
    """
    for name in ops or ():
        if name not in SIZES:
            raise typer.BadParameter(f"nothing is timed for {name!r}: choose of {', '.join(SIZES)}")
    if dtype not in DTYPES:
        raise typer.BadParameter(f"unknown dtype {dtype!r}: choose one of {', '.join(DTYPES)}")
    try:
        chosen = use_backend("cupy")
    except RuntimeError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    with chosen:
        bench = prepare()
        console = Console()
        with console.status("measuring"):
            rows = list(bench.rows(ops or (), dtype))
    if not console.is_terminal:
        console.width = max(console.width, 160)  # a file has room for the whole table
    table = Table("op", "inputs", "direction", "µs", "GB/s", "of a copy", *bench.against, title=dtype)
    for row in rows:
        table.add_row(*cells(row, bench.clock.copy_rate, list(bench.against)))
    console.print(table)
    console.print(f"a copy reads and writes {bench.clock.copy_rate / 1e9:.0f} GB/s", highlight=False)
    if not bench.against:
        console.print("PyTorch is not installed with CUDA, so there is nothing to compare with.")
    console.print(", ".join(f"{key} {value}" for key, value in bench.environment.items()), highlight=False)
