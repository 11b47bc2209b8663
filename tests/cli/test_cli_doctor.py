"""`tinygrad-norm doctor`: its verdict, its exit status and its errors."""

import pytest
from typer.testing import CliRunner

from tinygrad_norm.cli import app

FILE = """
import numpy as np


def mean(x):
    return x.mean(-1, keepdims=True)


def norm_forward(x, w, b):
    c = x - mean(x)
    r = 1 / np.sqrt(mean(c * c) + 1e-5)
    return w * c * r + b, (c * r, r, w)


def norm_backward(dy, cache):
    x_hat, r, w = cache
    g = w * dy
    return r * (g - mean(g) - x_hat * mean(g * x_hat)), (dy * x_hat).sum(0), dy.sum(0)


def dropped(dy, cache):
    x_hat, r, w = cache
    g = w * dy
    return r * (g - x_hat * mean(g * x_hat)), (dy * x_hat).sum(0), dy.sum(0)


def never(dy, cache):
    while True:
        pass


wrong = norm_forward, dropped
endless = norm_forward, never
raising = norm_forward, lambda dy, cache: 1 / 0
half_forward = norm_forward
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "norms.py"
    path.write_text(FILE)
    return path


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_a_right_pair(file):
    result = run("doctor", f"{file}:norm")
    assert result.exit_code == 0, result.output
    assert "norm_forward (computes layer_norm): the backward is right" in result.output


@pytest.mark.parametrize("command", ["doctor", "gradcheck"])
def test_a_wrong_pair(file, command):
    result = run(command, f"{file}:wrong")
    assert result.exit_code == 1
    assert "dx: the path through the mean is dropped" in result.output


def test_like(file):
    result = run("doctor", f"{file}:norm", "--like", "softmax")
    assert result.exit_code == 0
    assert "forward does not compute softmax for these inputs: it computes layer_norm" in result.output
    result = run("doctor", f"{file}:norm", "--like", "layernorm")
    assert result.exit_code == 2
    assert "layer_norm" in result.output


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (":nrm", "norms.py has neither nrm nor nrm_forward and nrm_backward"),
        (":half", "has half_forward but no half_backward"),
        (":raising", "raised ZeroDivisionError: division by zero"),
        ("", "pass FILE.py:NAME"),
    ],
)
def test_what_cannot_be_checked(file, name, words):
    result = run("doctor", f"{file}{name}")
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())


def test_files_that_cannot_be_imported(tmp_path):
    assert "there is no file" in run("doctor", f"{tmp_path}/none.py:x").output
    path = tmp_path / "broken.py"
    path.write_text("x = 1\nimport nothing_there\n")
    result = run("doctor", f"{path}:x")
    assert result.exit_code == 2
    assert "broken.py cannot be imported, line 2: ModuleNotFoundError" in result.output


def test_a_backward_that_never_returns(file):
    result = run("doctor", f"{file}:endless", "--seconds", "0.3")
    assert result.exit_code == 2
    assert "stopped after 0.3 seconds" in result.output
    assert "does a loop never end?" in result.output
