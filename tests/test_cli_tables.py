"""Tables of the commands in narrow terminals."""

import io

from rich.console import Console

import tinygrad_norm.cli.bench as cli_bench


def test_a_narrow_terminal_cuts_nothing():
    console = Console(width=60, force_terminal=True, color_system=None, file=io.StringIO())
    headings = ("op", "inputs", "µs", "to PyTorch", "default malloc", "to composed", "of a copy")
    table = cli_bench._table(console, *headings)
    table.add_row("adaptive_avg_pool2d", "128×64×28×28 output_size=(7, 7)", "123456", *["0.12"] * 4)
    console.print(table)
    shown = console.file.getvalue()
    assert "…" not in shown
    cells = [[cell.strip() for cell in line.split("│")] for line in shown.splitlines() if "│" in line]
    assert "".join(row[1] for row in cells) == "adaptive_avg_pool2d"
    assert "".join(row[3] for row in cells) == "123456"
