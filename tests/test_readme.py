"""README and docs stay true: the example runs, the tables are the registry's, commands and paths exist."""

import doctest
import importlib
import operator
import pathlib
import re

import pytest
import typer

import tinygrad_norm
from tinygrad_norm.cli import app
from tinygrad_norm.learn.systems import BEGIN, END, replace_tables
from tinygrad_norm.registry import REGISTRY

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
}


def mentioned(pattern):
    """Every (page, match) of `pattern` in README and docs."""
    found = {(page, match) for page, text in PAGES.items() for match in re.findall(pattern, text)}
    return pytest.mark.parametrize(("page", "name"), sorted(found))


def test_the_python_blocks_print_what_they_show():
    test = doctest.DocTestParser().get_doctest(README, {}, "README.md", "README.md", 0)
    assert len(test.examples) >= 8
    printed = []
    failures, _ = doctest.DocTestRunner(verbose=False).run(test, out=printed.append)
    assert not failures, "".join(printed)


def test_the_page_of_training_prints_what_it_shows():
    page = PAGES["docs/training.md"].partition("\n## In a script\n")[2]
    test = doctest.DocTestParser().get_doctest(page, {}, "training.md", "training.md", 0)
    assert len(test.examples) >= 8
    assert not doctest.DocTestRunner(verbose=False).run(test).failed


def test_the_readme_is_short_beside_its_table():
    before, rest = README.split(BEGIN)
    assert (before + rest.partition(END)[2]).count("\n") <= 150


def test_the_tables_count_loops_of_any_kernel_in_the_file_of_a_system():
    loops = {row.split(" | ")[0]: row.split(" | ")[3] for row in README.splitlines() if row.count(" | ") == 6}
    assert {loops[f"| {name}"] for name in ("Conv2d", "Embedding", "LSTM", "GRU")} == {"✓"}
    assert {loops[f"| {name}"] for name in ("Bilinear", "RNN", "Linear")} == {"–"}


def test_the_page_of_loops_shows_the_code():
    page, folder = PAGES["docs/loops.md"], ROOT / "tinygrad_norm/normalization/sample"
    test = doctest.DocTestParser().get_doctest(page, {}, "loops.md", "loops.md", 0)
    assert test.examples
    assert not doctest.DocTestRunner(verbose=False).run(test).failed
    for language, file in {"python": "layernorm.py", "cuda": "rowgradients.cuh"}.items():
        lines = {line.strip() for line in (folder / file).read_text(encoding="utf-8").splitlines()}
        shown = [
            block for block in re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL) if ">>>" not in block
        ]
        assert len(shown) >= 3
        for block in shown:
            assert {line.strip() for line in block.splitlines()} <= lines


def test_the_tables_of_systems_are_made_from_the_registry():
    assert replace_tables(README) == README, "run: python -m tinygrad_norm.learn.systems README.md"


def test_every_normalization_and_block_is_in_the_tables():
    shown = [op for op in REGISTRY.values() if op.kind in ("normalization", "block")]
    for op in shown:
        assert f"| {op.title or op.name} |" in README


def test_tables_without_markers_are_refused():
    with pytest.raises(ValueError, match="marker lines"):
        replace_tables("no markers")


@mentioned(r"\]\(([^)#:]+)\)")
def test_links_lead_somewhere(page, name):
    if name.startswith("systems/"):  # pages that the build of the site makes
        assert name.split("/")[1].removesuffix(".md") in {"index", "others", *REGISTRY}
    elif name != "api/index.rst":  # which it makes too
        assert ((ROOT / page).parent / name).exists()


@mentioned(r"`([\w.]+(?:/[\w.]+)*/(?:[\w.]+\.(?:py|cu|cuh|svg|md))?)`")
def test_the_files_and_folders_that_pages_name_exist(page, name):
    package = ROOT / "tinygrad_norm"
    roots = (ROOT, package, *(package / folder for folder in ("backends", "normalization", "nn")))
    made = ("runs/", "exercises/", "docs/systems/", "docs/api/", "docs/copied/")
    assert name in made or any((root / name).exists() for root in roots)


@mentioned(r"(?<=[` ])(tests/[\w./*]+)")
def test_the_tests_that_pages_name_exist(page, name):
    assert list(ROOT.glob(name))


@mentioned(r"`(tinygrad_norm/\w+)`")
def test_the_map_names_folders_that_exist(page, name):
    assert (ROOT / name).is_dir()


@mentioned(r"tinygrad-norm (\w+)")
def test_the_commands_exist(page, name):
    assert name in typer.main.get_command(app).commands


def test_the_page_of_commands_has_every_command():
    page = PAGES["docs/commands.md"]
    for name in typer.main.get_command(app).commands:
        assert f"tinygrad-norm {name}" in page or f"`{name}" in page, name


@mentioned(r"\b(?:tn|tinygrad_norm)((?:\.[a-z_]\w*)+)(?=[`(.])")
def test_the_names_that_pages_name_exist(page, name):
    try:
        importlib.import_module("tinygrad_norm" + name)
    except ModuleNotFoundError:
        operator.attrgetter(name[1:])(tinygrad_norm)


def test_the_readme_links_every_page_and_says_what_fast_buys():
    of_the_site = {f"docs/{name}.md" for name in ("index", "start", "guides", "which")}
    for page in PAGES.keys() - of_the_site - {"README.md"}:
        assert f"]({page})" in README
    assert "pip install '.[fast]'" in README


def test_the_page_of_examples_names_all_and_begins_with_the_high_learning_rate():
    named = re.findall(r"`([\w]+\.(?:py|ipynb))`", PAGES["docs/examples.md"])
    assert named[0] == "high_learning_rate.py"
    assert sorted(named) == sorted(path.name for path in ROOT.glob("examples/*.[pi][py]*"))


def test_the_two_commands_set_up_everything_themselves():
    commands = [line for line in README.splitlines() if line.startswith("python3 -m venv .venv && ")]
    assert len(commands) == 2
    assert "tinygrad-norm train digits" in commands[0]
    assert "pytest" in commands[1]
