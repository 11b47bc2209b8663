"""`tinygrad-norm`: what all its commands have in common."""

import io

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tinygrad_norm.cli import app, gradcheck
from tinygrad_norm.gradient_check.registered import Verdict

COMMANDS = ("train", "datasets", "models", "norms", "gradcheck", "prove", "draw", "kernel", "bench", "new")


def run(*arguments):
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, arguments)


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS), ("bench", "ops")], ids=" ".join)
def test_help_has_a_short_option_too(command):
    long, short = run(*command, "--help"), run(*command, "-h")
    assert long.exit_code == short.exit_code == 0
    assert long.output == short.output
    assert "Usage: root" in long.output


def test_the_version():
    assert run("--version").output.startswith("tinygrad_norm 0.")


def test_the_lines_of_a_paragraph_are_joined_to_the_width_of_the_terminal():
    assert " time on the CPU; then the largest difference from NumPy in" in run("kernel", "--help").output


def test_the_table_of_gradcheck_shows_all_digits_in_80_columns():
    name = "scaled_dot_product_attention"
    verdict = Verdict(name, "normalization", 12, 3.5e-13, 4e-9, 12.345, failures=())
    console = Console(width=80, file=io.StringIO())
    console.print(gradcheck._table([verdict]))
    printed = console.file.getvalue()
    assert printed.splitlines()[-1].split() == [name, "normalization", "12", "4.0e-09", "12345", "ok"]
    assert "…" not in printed
