"""The README stays true: its example runs, its table is the registry's, its commands and paths exist."""

import doctest
import pathlib
import re

import pytest
import typer

from tinygrad_norm.cli import app
from tinygrad_norm.learn.systems import replace_table

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_blocks_print_what_they_show():
    test = doctest.DocTestParser().get_doctest(README, {}, "README.md", "README.md", 0)
    assert len(test.examples) >= 8
    printed = []
    failures, _ = doctest.DocTestRunner(verbose=False).run(test, out=printed.append)
    assert not failures, "".join(printed)


def test_the_table_of_systems_is_made_from_the_registry():
    assert replace_table(README) == README, "run: python -m tinygrad_norm.learn.systems README.md"


def test_a_table_without_markers_is_refused():
    with pytest.raises(ValueError, match="marker lines"):
        replace_table("no markers")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_lead_somewhere(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(tinygrad_norm/\w+)`", README))))
def test_the_map_names_folders_that_exist(path):
    assert (ROOT / path).is_dir()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`tinygrad-norm (\w+)", README))))
def test_the_commands_exist(command):
    assert command in typer.main.get_command(app).commands


def test_the_two_commands_set_up_everything_themselves():
    commands = [line for line in README.splitlines() if line.startswith("python3 -m venv .venv && ")]
    assert len(commands) == 2
    assert "tinygrad-norm train digits" in commands[0]
    assert "pytest" in commands[1]
