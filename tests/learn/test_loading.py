"""Ops of a user's own file: loaded by name, found by every command, and clear errors for a wrong file."""

import json
import shutil
import sys

import pytest
from typer.testing import CliRunner

from tinygrad_norm.bench import timing
from tinygrad_norm.bench.cpu_ops import ratio_to_torch
from tinygrad_norm.cli import app
from tinygrad_norm.learn.loading import LOADED, load_all, load_ops
from tinygrad_norm.registry import REGISTRY

TWICE = """
from tinygrad_norm.registry import Case, register

def twice(x):
    return x * 2

register(
    name="twice", function=twice, composed=lambda x: x + x, cases=(Case(((2, 3),)),), bench=(Case(((9,),)),)
)
"""


pytestmark = pytest.mark.usefixtures("forget_loaded")


@pytest.fixture
def write(tmp_path):
    """Write a file in a new folder, and return its path."""

    def written(text, name="my_ops.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return written


def run(*words):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(word) for word in words])


def test_the_ops_of_a_file_are_registered(write):
    path = write(TWICE)
    load_ops(path)
    assert REGISTRY["twice"].family == "function"
    assert [str(path)] == LOADED
    load_ops(path)  # a second time is nothing new
    assert [str(path)] == LOADED


def test_a_file_imports_its_neighbours_and_one_in_a_package_its_relatives(write):
    write("FACTOR = 2\n", "neighbour.py")
    load_ops(write(TWICE.replace("x * 2", "x * FACTOR") + "from neighbour import FACTOR\n"))
    for name in ("mine/__init__.py", "mine/deep/__init__.py"):
        write("", name)
    write("NAME = 'thrice'\n", "mine/names.py")
    load_ops(write("from ..names import NAME" + TWICE.replace('"twice"', "NAME"), "mine/deep/ops.py"))
    assert {"twice", "thrice"} <= set(REGISTRY)
    assert sys.modules["mine.deep.ops"].NAME == "thrice"


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (None, "none.py", "there is no file .*none.py"),
        ("", "notes.txt", "notes.txt is not a Python file: its name must end in .py"),
        ("x = 1\n1 / 0", "a.py", "a.py cannot be loaded, line 2: ZeroDivisionError: division by zero"),
        ("import nowhere_at_all", "b.py", "line 1: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def f(:", "c.py", r"c.py cannot be loaded: SyntaxError: .*\(c.py, line 1\)"),
        ("raise SystemExit(3)", "d.py", "d.py cannot be loaded, line 1: SystemExit: 3"),
        ("x = 1", "e.py", "e.py registers no op: call tinygrad_norm.registry.register in it"),
        (TWICE, "fractions.py", "the module 'fractions' is .*fractions.py: rename the file, or move it"),
        (
            TWICE.replace('"twice"', '"layer_norm"'),
            "g.py",
            "g.py cannot be loaded, line 7: ValueError: an op named 'layer_norm' is already registered: "
            "choose another name",
        ),
    ],
)
def test_a_wrong_file_raises_and_registers_nothing(write, tmp_path, text, name, message):
    path = tmp_path / name if text is None else write(text, name)
    before = dict(REGISTRY)
    for _ in range(2):  # it is not taken for imported
        with pytest.raises((OSError, ValueError), match=message):
            load_ops(path)
    assert before == REGISTRY
    assert LOADED == []
    result = run("gradcheck", "neg", "--load", path)
    assert result.exit_code == 2
    assert "Invalid value for '--load'" in result.output


def test_what_a_file_registered_before_its_error_is_forgotten(write):
    with pytest.raises(ValueError, match="KeyError: 'lost'"):
        load_ops(write(TWICE + "raise KeyError('lost')"))
    assert "twice" not in REGISTRY


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("gradcheck", "twice", "thrice"), "2 ops, 2 cases"),
        (("draw", "twice", "--out", "twice.dot"), "twice drawn to"),
        (("kernel", "twice"), "twice has no CUDA kernel of its own"),
        (("bench", "ops", "twice", "--seconds", 0, "--json", "twice.json"), "| twice | 9"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_every_command_finds_loaded_ops(write, tmp_path, monkeypatch, words, shown):
    if words[0] == "kernel":
        shutil.which("g++") or pytest.skip("the emulator needs g++")
    for name, value in timing.settings().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    files = write(TWICE), write(TWICE.replace('"twice"', '"thrice"'), "more_ops.py")
    result = run(*words, *(word for file in files for word in ("--load", file)))
    assert result.exit_code == 0, result.output
    assert shown in " ".join(result.output.split())
    if words[0] == "bench":
        assert [row["op"] for row in json.loads((tmp_path / "twice.json").read_text())["rows"]] == ["twice"]


@pytest.mark.slow
def test_a_new_process_of_the_benchmarks_loads_them_too(write):
    load_all([write(TWICE)])
    assert timing.with_default_malloc(ratio_to_torch, "twice", 0, 0, "float32") is None  # no KeyError
