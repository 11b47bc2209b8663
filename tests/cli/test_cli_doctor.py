"""`tinygrad-norm doctor`: its verdict, its exit status and its errors."""

import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tinygrad_norm.cli import app
from tinygrad_norm.learn.ownprocess import in_own_process

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


def never_even_stopped(dy, cache):
    while True:
        try:
            never(dy, cache)
        except BaseException:
            pass


def never_in_compiled_code(dy, cache):
    return sum(iter(int, 1))  # no signal stops it


def leaving(dy, cache):
    exit()


def interrupting(dy, cache):
    raise KeyboardInterrupt


def failing_later(x, calls=[]):
    calls.append(0)
    return x * x if len(calls) < 12 else x.lost


wrong = norm_forward, dropped
endless = norm_forward, never_even_stopped
compiled = norm_forward, never_in_compiled_code
ending = norm_forward, leaving
nan = norm_forward, lambda dy, cache: (dy * np.nan, dy.sum(0), dy.sum(0))
few = norm_forward, lambda dy: dy
shape = norm_forward, lambda dy, cache: (dy[:, :2], dy.sum(0), dy.sum(0))
nan_forward = lambda x: x * np.nan, norm_backward
wanting = lambda x: x[7, 7], norm_backward
number = 3
interrupted = norm_forward, interrupting
later = failing_later, norm_backward
nothing = lambda: np.ones(3), norm_backward
integers = lambda x: x.astype(int), norm_backward
raising = norm_forward, lambda dy, cache: 1 / 0
half_forward = norm_forward
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "norms.py"
    path.write_text(FILE)
    return path


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Examine in this process, which need not start first."""
    call = lambda function, *arguments, **limits: function(*arguments)  # noqa: E731
    monkeypatch.setattr("tinygrad_norm.cli.doctor.in_own_process", call)


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


def test_one_half_of_a_pair_means_the_pair(tmp_path, file):
    for half in ("norm_forward", "norm_backward"):
        assert "norm_forward (computes layer_norm)" in run("doctor", f"{file}:{half}").output
    path = tmp_path / "own.py"
    path.write_text("def forward(x):\n    return x * x, x\n\n\ndef backward(dy, x):\n    return dy * x\n")
    result = run("doctor", f"{path}:forward")  # not as a function of tensors, whose gradient autograd finds
    assert result.exit_code == 1, result.output


def test_a_file_may_give_inputs(tmp_path):
    path = tmp_path / "own.py"
    text = "import numpy as np\n\ndef {0}forward(x):\n    return x[2, 6] * x, x\n\n"
    text += "def {0}backward(dy, x):\n    dx = x[2, 6] * dy\n    dx[2, 6] += (dy * x).sum()\n    return dx\n"
    for name, part in (("", "forward"), ("own_", "own"), ("own_", "own_backward")):
        code = text.format(name)
        path.write_text(code)
        result = run("doctor", f"{path}:{part}")
        assert result.exit_code == 2
        assert "In a file, call them NAME_inputs: a tuple" in " ".join(result.output.split())
        path.write_text(f"{code}\n{name}inputs = (np.arange(21.0).reshape(3, 7) ** 0.5,)\n")
        result = run("doctor", f"{path}:{part}")
        assert result.exit_code == 0, result.output
        assert "checked with x (3, 7)" in result.output
    path.write_text(f"{code}\n{name}inputs = 3\n")
    result = run("doctor", f"{path}:{part}")
    assert result.exit_code == 2
    assert "own_inputs must be a tuple of arrays and numbers, got 3" in " ".join(result.output.split())


def test_like(file):
    result = run("doctor", f"{file}:norm", "--like", "softmax")
    assert result.exit_code == 0
    assert "forward does not compute softmax for these inputs: it computes layer_norm" in result.output
    result = run("doctor", f"{file}:norm", "--like", "layer")  # as in train --norm
    assert result.exit_code == 0
    assert "warning" not in result.output
    result = run("doctor", f"{file}:norm", "--like", "layer_nrm")
    assert result.exit_code == 2
    assert "layer_norm" in result.output


WHAT_FAILS = [
    (":nrm", "norms.py has neither nrm nor nrm_forward and nrm_backward (did you mean 'norm'"),
    (":half", "has half_forward but no half_backward"),
    (":raising", "raised ZeroDivisionError: division by zero (norms.py, line 71)"),
    (":nan", "is NaN or infinite"),
    (":nan_forward", "the forward of <lambda> is NaN or infinite"),
    (":few", "backward takes dy and then what norm_forward returned after y"),
    (":shape", "returned a gradient of shape (4, 2) for x, whose shape is (4, 5)"),
    (":wanting", "pass inputs: none that were tried suit"),
    (":interrupted", "interrupted cannot be checked: it raised KeyboardInterrupt"),
    (":later", "the forward of failing_later, called with x (4, 5), raised AttributeError"),
    (":nothing", "the forward of <lambda> names no arguments"),
    (":integers", "returned an array of integers"),
    (":number", "pass a Function class, a pair of functions"),
    (":ending", "ends the program: leave out exit()"),
    ("", "pass FILE.py:NAME"),
    (".txt:norm", "pass FILE.py:NAME"),
]


@pytest.mark.parametrize("command", ["doctor", "gradcheck"])
@pytest.mark.parametrize(("name", "words"), WHAT_FAILS)
def test_what_cannot_be_checked(command, file, name, words):
    result = run(command, f"{file}{name}")
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no file"),
        ("x = 1\nimport nothing_there\n", "cannot be imported, line 2: ModuleNotFoundError"),
        ("x = (\n", "cannot be imported: SyntaxError"),
        ("exit()\n", "cannot be imported, line 1: SystemExit"),
        ("\nraise KeyboardInterrupt\n", "cannot be imported, line 2: KeyboardInterrupt"),
    ],
    ids=["missing", "import", "syntax", "exit", "interrupt"],
)
def test_files_that_cannot_be_imported(tmp_path, text, words):
    path = tmp_path / "broken.py"
    if text is not None:
        path.write_text(text)
    result = run("doctor", f"{path}:x")
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())


@pytest.mark.parametrize("seconds", ["1e12", "inf"])
def test_a_time_that_cannot_be_measured(monkeypatch, file, seconds):
    monkeypatch.setattr("tinygrad_norm.cli.doctor.in_own_process", in_own_process)
    result = run("doctor", f"{file}:norm", "--seconds", seconds)
    assert result.exit_code == 2
    assert "the time must be above 0 seconds, at most 86400" in result.output


def ending(target, *options):
    """Exit status and error of the command as a user runs it."""
    command = [sys.executable, "-m", "tinygrad_norm", "doctor", str(target), *options]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("name", "function"), [("endless", "never"), ("compiled", "never_in_compiled_code")])
def test_a_backward_that_never_returns(file, name, function):
    status, error = ending(f"{file}:{name}", "--seconds", "3")
    assert status == 2
    assert f"{name}: stopped after 3 seconds in {function} (norms.py, line " in error
    assert "does a loop never end?" in error


@pytest.mark.slow
def test_a_file_that_never_ends(tmp_path):
    path = tmp_path / "endless.py"
    path.write_text("while True:\n    pass\n")
    status, error = ending(f"{path}:x", "--seconds", "3")
    assert status == 2
    assert "stopped after 3 seconds (endless.py, line " in error


@pytest.mark.slow
def test_a_backward_that_crashes(tmp_path):
    path = tmp_path / "crash.py"
    path.write_text(
        "import os\ndef x_forward(x): return x * x\ndef x_backward(dy, x): os.kill(os.getpid(), 9)\n"
    )
    status, error = ending(f"{path}:x")
    assert status == 2
    assert "ended without a result" in error
    if hasattr(signal, "SIGKILL"):
        assert "signal SIGKILL" in error


@pytest.mark.slow
def test_the_verdict_comes_from_the_own_process(file):
    command = [sys.executable, "-m", "tinygrad_norm", "gradcheck", f"{file}:wrong"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 1
    assert "dx: the path through the mean is dropped" in done.stdout
