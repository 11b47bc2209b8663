"""`tinygrad-norm draw`: its pictures and its errors."""

import re
import shutil

import pytest
from typer.testing import CliRunner

from tinygrad_norm.cli import app
from tinygrad_norm.registry import REGISTRY

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's program dot is not installed")


def run(*arguments):
    return CliRunner().invoke(app, ["draw", *arguments])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@needs_dot
def test_the_command_draws_both_forms_into_the_current_folder(folder):
    result = run("layer_norm")
    assert result.exit_code == 0
    assert "layer_norm.svg" in result.output
    svg = (folder / "layer_norm.svg").read_text()
    assert "composed" in svg
    assert "closed" in svg


def test_options_of_the_op_are_given_as_in_python(folder):
    result = run("group_norm", "--x", "1,2,3,6", "--option", "num_groups=2", "--out", "picture.dot")
    assert result.exit_code == 0
    assert "num_groups=2" in (folder / "picture.dot").read_text()
    assert "unknown option of group_norm" in " ".join(run("group_norm", "--option", "n=2").output.split())


@pytest.mark.parametrize(("form", "frames"), [("composed", 1), ("closed", 1), ("both", 2)])
def test_the_command_draws_the_form_asked_for(folder, form, frames):
    result = run("rms_norm", "--form", form, "--case", "1", "--before", "--out", "picture.dot")
    assert result.exit_code == 0
    assert f"rms_norm (case 1: {REGISTRY['rms_norm'].cases[1]}) drawn to" in " ".join(result.output.split())
    dot = (folder / "picture.dot").read_text()
    assert dot.count("subgraph cluster_") == frames
    assert "grad: not computed" in dot
    assert str(REGISTRY["rms_norm"].cases[1]) in dot.replace("&#160;&#160;", "  ")


def test_the_command_draws_the_numbers_that_explain_takes(folder):
    result = run("layer_norm", "--x", "1,2,3,6", "--dy", "0,1,0,0", "--out", "picture.dot")
    assert result.exit_code == 0
    dot = re.sub("(?:&#160;| )+", " ", (folder / "picture.dot").read_text())
    assert "data: 1.000 2.000 3.000 6.000" in dot
    assert "grad: 0 1.000 0 0" in dot
    run("layer_norm", "--shape", "2x3", "--seed", "3", "--out", "random.dot")
    assert "(2, 3) float64" in (folder / "random.dot").read_text()


def test_the_command_says_how_much_it_leaves_out(folder):
    result = run("conv_transpose3d", "--max-nodes", "10", "--form", "composed", "--out", "picture.dot")
    assert result.exit_code == 0
    assert "89 functions are not drawn: raise --max-nodes (10)" in result.output


def test_the_command_says_what_to_install(folder, without_dot):
    result = run("mul", "-o", "mul.png")
    assert result.exit_code == 1
    assert "drawn to" not in result.output
    assert "pip install 'tinygrad_norm[graph]'" in result.output
    assert "apt install graphviz" in result.output
    assert "mul.dot" in result.output
    assert (folder / "mul.dot").read_text().startswith("digraph")


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["layer_nrm"], "layer_norm"),
        (["layer_norm", "--case", "99"], "has no case 99"),
        (["layer_norm", "--case", "-1"], "0: 4×8 8 8"),
        (["layer_norm", "--x", "1,2", "--case", "0"], "--x and --case each give x: choose one"),
        (["layer_norm", "--x", "1,two"], "'1,two' must be numbers"),
        (["layer_norm", "--x", "1,2", "--dy", "1,2,3"], "a number for each of y, 2"),
        (["layer_norm", "--shape", "2x"], "must be sizes such as 2x4"),
        (["layer_norm", "--max-nodes", "0"], "--max-nodes"),
        (["mul", "--form", "composed"], "primitive"),
        (["mul", "--out", "mul.jpg"], ".svg, .png, .pdf, .dot"),
        (["mul", "--form", "fused"], "composed"),
        (["mul", "--out", "missing/mul.svg"], "missing is not a folder: create it first"),
        (["mul", "--out", "."], "is a folder"),
    ],
)
def test_wrong_calls_print_an_error(folder, arguments, answer):
    result = run(*arguments)
    assert result.exit_code == 2
    assert answer in re.sub(r"[\s│]+", " ", result.output)
    assert list(folder.iterdir()) == []
