"""The walk in docs/learn.md: its commands and its Python run in order, and print what the page shows.

A block that starts with `# FILE.py` writes that file, or replaces the functions of the same name in it.
"""

import ast
import doctest
import html
import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tinygrad_norm.cli import app
from tinygrad_norm.learn.draw_op import draw_op
from tinygrad_norm.registry import REGISTRY

PATH = Path(__file__).parent.parent / "docs/learn.md"
PAGE = PATH.read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DRAWN = shutil.which("dot") or importlib.util.find_spec("pygraphviz")


def blocks():
    for title, text in SECTIONS.items():
        if BLOCK.search(text):
            slow = (
                [pytest.mark.slow] if re.search(r"^\$ .* (train|doctor|check)\b", text, re.MULTILINE) else []
            )
            yield pytest.param(text, id=title, marks=slow)


def commands_in(block):
    """Every (command, output) of a block: a command has `$ ` before it."""
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)
    assert not parts[0]
    return list(zip(parts[1::2], parts[2::2], strict=True))


def run(command, expected):
    program, *arguments = shlex.split(command)
    assert program == "tinygrad-norm"
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code in (0, 1), result.output
    got = "".join(f"{line.rstrip()}\n" for line in result.output.splitlines())
    agrees = doctest.OutputChecker().check_output(expected, got, doctest.ELLIPSIS)
    assert agrees, f"{command} printed\n{got}"


def functions_of(text):
    return {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}


def write(block):
    path = Path(re.match(r"# ([\w/]+\.py)\n", block)[1])
    if not path.exists():
        path.write_text(block, encoding="utf-8")
        return
    new = block.splitlines()
    for name, node in functions_of(block).items():
        lines = path.read_text(encoding="utf-8").splitlines()
        old = functions_of("\n".join(lines))[name]
        lines[old.lineno - 1 : old.end_lineno] = new[node.lineno - 1 : node.end_lineno]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("text", list(blocks()))
def test_a_section_does_what_it_says(text, tmp_path, monkeypatch):
    if "$ tinygrad-norm draw" in text and not DRAWN:
        pytest.skip("Graphviz is not installed")
    if " train " in text:
        pytest.importorskip("sklearn")
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    in_this_process = lambda function, *given, **limits: function(*given)  # noqa: E731
    monkeypatch.setattr("tinygrad_norm.cli.exercise.in_own_process", in_this_process)
    names = {}
    for language, block in BLOCK.findall(text):
        if language == "console":
            for command, expected in commands_in(block):
                run(command, expected)
        elif ">>>" in block:
            test = doctest.DocTestParser().get_doctest(block, names, "learn.md", "learn.md", 0)
            printed = []
            failed = (
                doctest.DocTestRunner(verbose=False).run(test, out=printed.append, clear_globs=False).failed
            )
            assert not failed, "".join(printed)
            names = test.globs
        else:
            write(block)


def test_the_page_runs_commands_and_python():
    found = [language for text in SECTIONS.values() for language, _ in BLOCK.findall(text)]
    assert found.count("console") >= 4
    assert found.count("python") >= 6


def words_of(texts):
    return sorted(word for text in texts for word in html.unescape(re.sub("<[^>]*>", " ", text)).split())


def test_the_picture_is_the_one_that_the_command_draws():
    svg = (PATH.parent / "pictures/layer_norm.svg").read_text(encoding="utf-8")
    labels = re.findall(r"label=<((?:[^<>]|<[^<>]*>)*)>", draw_op(REGISTRY["layer_norm"]).dot)
    assert words_of(re.findall(r"<text [^>]*>(.*?)</text>", svg)) == words_of(labels)
