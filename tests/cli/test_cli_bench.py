"""What the bench commands print: tables in narrow terminals, answers to misspelt names."""

import io

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tinygrad_norm.bench import timing
from tinygrad_norm.cli import app
from tinygrad_norm.cli.tables import figures_table

WORDS = "op", "inputs"
NUMBERS = "µs", "to PyTorch", "default malloc", "to composed", "of a copy"
ROWS = [
    ("layer_norm", "4096×1024 1024 1024 normalized_shape=(1024,)", "123456", *["0.12"] * 4),
    ("scaled_dot_product_attention", "16×4×64×32 16×4×64×32 16×4×64×32 –", "1639", *["0.78"] * 4),
]


def shown(width, rows, terminal=True):
    file = io.StringIO()
    console = Console(width=width, force_terminal=terminal, color_system=None, file=file)
    console.print(figures_table(console, WORDS, NUMBERS, rows))
    return file.getvalue()


def test_a_table_in_80_columns_folds_between_words_and_never_in_a_number():
    printed = shown(80, ROWS)
    assert max(map(len, printed.splitlines())) <= 80
    words = printed.split()
    for row in ROWS:
        assert {word for cell in row for word in cell.split()} <= set(words)
    assert len(printed.splitlines()) <= 4 + 2 * len(ROWS)


def test_a_narrow_terminal_cuts_no_number_and_leaves_nothing_out():
    printed = shown(60, [("adaptive_avg_pool2d", "128×64×28×28 output_size=(7, 7)", "123456", *["0.12"] * 4)])
    assert "…" not in printed
    assert "123456" in printed
    assert "adaptive_avg_pool2d" in "".join(line[:20].strip() for line in printed.splitlines())


@pytest.mark.parametrize("terminal", [True, False])
def test_a_column_without_figures_is_left_out(terminal):
    without = [(*row[:3], "–", "–", "0.5", "–") for row in ROWS]
    without[0] = (*without[0][:-1], "0.04")
    headings = " ".join(shown(200, without, terminal).split("layer_norm")[0].split())
    assert "PyTorch" not in headings
    assert "malloc" not in headings
    assert "composed" in headings
    assert "copy" in headings
    assert "0.04" in shown(200, without, terminal)


@pytest.mark.parametrize(
    ("backend", "hint"), [("numpy", "Did you mean layer_norm"), ("cupy", "(did you mean 'layer_norm'?)")]
)
def test_a_misspelt_op_is_guessed(monkeypatch, backend, hint):
    for name, value in timing.settings().items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(
        app, ["bench", "ops", "layer_nrm", "--backend", backend], env={"COLUMNS": "2000"}
    )
    assert result.exit_code == 2
    assert hint in result.output
