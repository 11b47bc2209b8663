"""The notebook runs without Jupyter, shows what its text says, and has no outputs in git."""

import ast
import contextlib
import io
import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parent.parent / "examples/learn_normalization.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def run(source, names):
    """Run a cell; return what it prints, and what a notebook would show of its last expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed, shown = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), names)
        if last is not None:
            shown = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    return printed.getvalue(), shown


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(folder))
        names = {"__name__": "__main__"}
        return [run("".join(cell["source"]), names) for cell in CELLS if cell["cell_type"] == "code"]


def printed_by(results, text):
    """What the one cell with `text` in its source printed."""
    sources = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]
    (found,) = [printed for source, (printed, _) in zip(sources, results, strict=True) if text in source]
    return found


def test_it_is_a_notebook_without_outputs():
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in CELLS}) == len(CELLS)
    for cell in CELLS:
        assert set(cell) >= {"cell_type", "id", "metadata", "source"}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@pytest.mark.slow
def test_the_explanation_is_a_table_and_the_picture_can_be_shown(results):
    shown = [value for _, value in results if value is not None]
    (page,) = [value._repr_html_() for value in shown if hasattr(value, "_repr_html_")]
    assert "<table" in page
    assert "through m" in page
    (bundle,) = [value._repr_mimebundle_() for value in shown if hasattr(value, "_repr_mimebundle_")]
    assert "image/svg+xml" in bundle or "digraph" in bundle["text/plain"]


@pytest.mark.slow
def test_paths_gradients_and_checks_are_printed(results):
    assert "sum        [[ 0.2482 -0.21   -0.1336  0.0954]]" in printed_by(results, "path.gradient")
    assert "dx tensor([[ 0.2482, -0.2100, -0.1336,  0.0954]])" in printed_by(results, "m.retain_grad()")
    assert printed_by(results, "tn.gradcheck(") == "True\nTrue\n"


@pytest.mark.slow
def test_the_doctor_names_the_path_and_passes_the_mended_backward(results):
    wrong = printed_by(results, "def forward(x, eps")
    assert "the path through the variance is dropped" in wrong
    right = printed_by(results, "(dy * x_hat).mean(-1, keepdims=True))\n\n\nprint")
    assert "the backward is right" in right


@pytest.mark.slow
def test_the_exercise_is_started_failed_and_solved(results):
    assert "is written" in printed_by(results, 'tinygrad_norm("exercise start')
    assert "hint 1 of" in printed_by(results, "return dy * y\n")
    assert "sigmoid: right, after 2 tries" in printed_by(results, "return dy * y * (1 - y)\n")


@pytest.mark.slow
def test_only_the_normalized_network_learns(results):
    without, batch = printed_by(results, "def train(model").splitlines()
    assert float(without.split()[-1]) > 0.4
    assert float(batch.split()[-1]) < 0.2
    first, second = printed_by(results, "watched.table()").split("with BatchNorm:")
    dead = [float(line.split()[5]) for line in first.splitlines() if line.split()[1:2] == ["ReLU"]]
    assert max(dead) > 0.3
    assert second.count("ReLU") == 5
