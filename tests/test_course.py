"""The pages of the site that compute: the chapters of the course, the start, the front page.

Quick: each chapter has a goal, exercises and links that lead somewhere, its cells parse, and its prose has
no results that a cell should print. Slow: the cells run. The build of the site runs them too.
"""

import ast
import contextlib
import importlib.util
import io
import os
import re
import shutil
from pathlib import Path

import pytest

from tinygrad_norm.learn.exercises import NAMES

DOCS = Path(__file__).parent.parent / "docs"
CHAPTERS = sorted(DOCS.glob("course/[1-8]-*.md"))
COMPUTED = [*CHAPTERS, DOCS / "start.md", DOCS / "index.md"]
CELL = re.compile(r"^```\{code-cell\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS = {
    "6-pool": ("matplotlib", "IPython"),
    "start": ("matplotlib", "IPython", "sklearn"),
    "index": ("matplotlib", "IPython", "sklearn"),
}


def text_of(page):
    return page.read_text(encoding="utf-8")


def cells_of(page):
    """The code of every cell, without its options."""
    for cell in CELL.findall(text_of(page)):
        yield re.sub(r"\A(---\n(.*\n)*?---\n|(:.*\n)+)", "", cell)


def prose_of(page):
    """The text without code, formulas, links' targets and the header."""
    text = re.sub(r"\A---\n.*?^---\n", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    for pattern in (r"^```.*?^```$", r"\$\$.*?\$\$", r"\$[^$]+\$", r"`[^`]+`", r"\]\([^)]*\)"):
        text = re.sub(pattern, "", text, flags=re.MULTILINE | re.DOTALL)
    return text


def run(source, names):
    """Run a cell; what it shows at its end is made, as a notebook does."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if last is not None:
        shown = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        for way in ("_repr_html_", "_repr_mimebundle_"):
            getattr(shown, way, lambda: None)()


def of_each(pages):
    return pytest.mark.parametrize("page", [pytest.param(page, id=page.stem) for page in pages])


def test_there_are_eight_chapters_in_the_order_of_the_index():
    index = text_of(DOCS / "course/index.md")
    assert [page.name[0] for page in CHAPTERS] == list("12345678")
    (listed,) = re.findall(r"^```\{toctree\}\n:hidden:\n\n(.*?)^```$", index, re.MULTILINE | re.DOTALL)
    assert listed.split() == [page.stem for page in CHAPTERS]
    assert re.findall(r"\]\((\d-\S+)\.md\)", index) == listed.split()


@of_each(CHAPTERS)
def test_a_chapter_has_a_goal_exercises_and_a_derivation(page):
    text = text_of(page)
    assert text.startswith("---\nfile_format: mystnb\n")
    assert re.search(rf"^# {page.name[0]} · .+\n\n\*\*At the end you will know\*\* ", text, re.MULTILINE)
    exercises = text.partition("\n## Exercises\n")[2]
    assert "**A question.**" in exercises
    assert "Show the answer" in exercises
    assert re.search(r"\*\*The files?\.\*\* \[`\w+\.\w+`\]\(\.\./\.\./tinygrad_norm/", exercises)
    started = re.findall(r"^tinygrad-norm exercise \w+ (\w+)$", exercises, re.MULTILINE)
    assert set(started) <= set(NAMES)


@of_each(COMPUTED)
def test_links_lead_to_files(page):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", text_of(page))
    generated = {"systems/index.md", "api/index.rst"}
    missing = [
        target
        for target in targets
        if target.removeprefix("../") not in generated and not (page.parent / target).exists()
    ]
    assert not missing


@of_each(COMPUTED)
def test_cells_are_python_that_fits_the_page(page):
    cells = list(cells_of(page))
    assert cells
    for cell in cells:
        ast.parse(cell)
        assert not [line for line in cell.splitlines() if len(line) > 104]


@of_each(COMPUTED)
def test_the_prose_has_no_numbers_that_look_measured(page):
    """Such a number has a decimal point or a per cent sign: it belongs into what a cell prints."""
    found = re.findall(r"\S*\d\.\d\S*|\d+ ?%", prose_of(page))
    assert [number for number in found if number not in ("3.11",)] == []


@pytest.mark.slow
@of_each(COMPUTED)
def test_the_cells_run(page, monkeypatch):
    for module in NEEDS.get(page.stem, ("matplotlib",)):
        pytest.importorskip(module)
    code = "\n".join(cells_of(page))
    if "emulator" in code and shutil.which("g++") is None:
        pytest.skip("the emulator needs g++")
    if "tn.draw(" in code and not (shutil.which("dot") or importlib.util.find_spec("pygraphviz")):
        pytest.skip("Graphviz is not installed")
    import matplotlib.pyplot

    for name in ("PYTHONPATH", "COLUMNS", "TERM", "NO_COLOR", "FORCE_COLOR"):  # a page sets them
        monkeypatch.setenv(name, os.environ.get(name, ""))
    names = {"__name__": "__main__"}
    with contextlib.chdir(page.parent), contextlib.redirect_stdout(io.StringIO()):
        matplotlib.pyplot.switch_backend("agg")
        try:
            for cell in cells_of(page):
                run(cell, names)
        finally:
            matplotlib.pyplot.close("all")
