"""`tinygrad-norm new`: what it writes, what it says to do next, and wrong calls."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tinygrad_norm.cli import app
from tinygrad_norm.learn.skeleton import normalization_skeleton
from tinygrad_norm.registry import REGISTRY


@pytest.fixture(autouse=True)
def _in_a_new_folder(tmp_path, monkeypatch, forget_loaded):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def checkout():
    """The folders of a checkout."""
    Path("tinygrad_norm/normalization/vector").mkdir(parents=True)


def run(*words):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, words)


def test_the_file_passes_the_check_that_is_shown():
    result = run("new", "normalization", "my_norm")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("mynorm.py is written, with a small normalization to change. Next:\n")
    command = re.search(r"tinygrad-norm (gradcheck --load .*)", result.output).group(1)
    checked = run(*command.split())
    assert checked.exit_code == 0, checked.output
    assert "1 op, 4 cases" in checked.output
    assert REGISTRY["my_norm"].family == "normalization"


def test_a_folder_may_be_named():
    Path("a folder").mkdir()
    result = run("new", "normalization", "my_norm", "--out", "a folder")
    assert result.exit_code == 0, result.output
    assert "gradcheck --load 'a folder/mynorm.py' my_norm" in result.output
    assert Path("a folder/mynorm.py").read_text() == normalization_skeleton("my_norm")[1]
    assert [path.name for path in Path("a folder").iterdir()] == ["mynorm.py"]


@pytest.mark.usefixtures("checkout")
def test_a_checkout_gets_it_in_its_family_and_hears_which_lines_to_add():
    result = run("new", "normalization", "my_norm", "--family", "vector")
    assert result.exit_code == 0, result.output
    path = Path("tinygrad_norm/normalization/vector/mynorm.py")
    assert path.read_text() == normalization_skeleton("my_norm", in_package=True)[1]
    assert "functions.py: from .vector.mynorm import my_norm as my_norm" in result.output
    assert "layers.py: from .vector.mynorm import MyNorm as MyNorm" in result.output
    assert "python -m tinygrad_norm.learn.systems README.md" in result.output


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("old_norm",), "oldnorm.py exists: choose another name, or move it away"),
        (("layer_norm",), "an op named 'layer_norm' is already registered"),
        (("MyNorm",), "'MyNorm' is not a name for a function: use lower-case words, as in my_norm"),
        (("fractions",), "there is a module named 'fractions' already"),
        (("my_norm", "--out", "nowhere"), "nowhere is not a folder"),
        (("my_norm", "--family", "batch"), "change to a checkout of tinygrad_norm, or use --out DIR"),
        (("my_norm", "--family", "vector", "--out", "."), "not both"),
        (("my_norm", "--family", "layers"), "is not one of"),
    ],
)
def test_wrong_calls_write_nothing(words, message):
    Path("oldnorm.py").write_text("mine")
    result = run("new", "normalization", *words)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert [path.name for path in Path().rglob("*.py")] == ["oldnorm.py"]
    assert Path("oldnorm.py").read_text() == "mine"
