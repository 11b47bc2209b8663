"""What the bench commands print: tables in narrow terminals, answers to misspelt names."""

import io

import pytest
from rich.console import Console
from typer.testing import CliRunner

import tinygrad_norm.cli.bench as cli_bench
from tinygrad_norm.bench import timing
from tinygrad_norm.cli import app


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


@pytest.mark.parametrize("backend", ["numpy", "cupy"])
def test_a_misspelt_op_is_guessed(monkeypatch, backend):
    for name, value in timing.settings().items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(
        app, ["bench", "ops", "layer_nrm", "--backend", backend], env={"COLUMNS": "2000"}
    )
    assert result.exit_code == 2
    assert "(did you mean 'layer_norm'?)" in result.output
