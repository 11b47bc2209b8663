"""`tinygrad-norm prove`: its table, its JSON, its exit status and its answers to wrong calls."""

import json
import subprocess
import sys
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from tinygrad_norm.autograd import Function
from tinygrad_norm.cli import app
from tinygrad_norm.registry import REGISTRY, Case, Op

FILE = """
import numpy as np


def mean(x):
    return x.mean(-1, keepdims=True)


def norm_forward(x, w, b, eps=1e-5):
    c = x - mean(x)
    r = 1 / np.sqrt(mean(c * c) + eps)
    return w * c * r + b, (c * r, r, w)


def norm_backward(dy, cache, factor=1):
    x_hat, r, w = cache
    g = w * dy
    return factor * r * (g - mean(g) - x_hat * mean(g * x_hat)), (dy * x_hat).sum(0), dy.sum(0)


def small(dy, cache):
    return norm_backward(dy, cache, 1 + 1e-13)


wrong = norm_forward, small
rounding = lambda x: x * float(x.sum()), lambda dy, x: dy
exponential = lambda x: np.exp(x), lambda dy, x: dy
random = lambda x: x * np.random.rand(), lambda dy, x: dy
lonely_forward = norm_forward
ending = lambda x: exit(), lambda dy, x: dy
interrupted = lambda x: x, lambda dy, x: (_ for _ in ()).throw(KeyboardInterrupt)
"""


class WrongSquare(Function):
    """y = x² · dx = 3·dy·x, which is wrong"""

    def forward(self, x):
        self.saved = (x,)
        return x * x

    def backward(self, dy):
        return 3 * dy * self.saved[0]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "norms.py"
    path.write_text(FILE)
    return path


@pytest.fixture
def wrong(monkeypatch):
    op = Op("wrong_square", lambda x: WrongSquare.apply(x), None, (Case(((2, 3),)), Case(((2,),))))
    monkeypatch.setitem(REGISTRY, op.name, op)


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Prove in this process, which need not start first."""
    call = lambda function, *arguments, **limits: function(*arguments)  # noqa: E731
    monkeypatch.setattr("tinygrad_norm.cli.prove.in_own_process", call)


def run(*arguments):
    return CliRunner().invoke(app, ["prove", *map(str, arguments)])


def row(result, name):
    return next(line.split() for line in result.output.splitlines() if line.split()[:1] == [name])


def test_a_table_with_one_row_per_op():
    result = run("neg", "rms_norm")
    assert result.exit_code == 0, result.output
    name, kind, cases, points, _, _, verdict = row(result, "rms_norm")
    assert (name, kind, points, verdict) == ("rms_norm", "normalization", "2", "proved")
    assert int(cases) == len(REGISTRY["rms_norm"].cases) - 1  # one is empty
    assert "2 of 2 ops proved" in result.output
    assert "\x1b" not in result.output


def test_in_a_pipe_no_name_is_folded():
    longest = max(REGISTRY, key=len)
    result = CliRunner(env={"COLUMNS": "40"}).invoke(app, ["prove", "exp", longest, "--points", "1"])
    assert row(result, longest)
    assert "not algebraic: exp\n" in result.output


def test_without_a_name_all_ops_are_tried():
    few = {name: REGISTRY[name] for name in ("neg", "exp")}
    with patch.dict(REGISTRY, few, clear=True):
        result = run()
    assert result.exit_code == 0, result.output  # exp is not algebraic, which is no mistake
    assert "1 of 2 ops proved" in result.output
    assert "1 not algebraic" in result.output


def test_names_of_layers_and_of_train():
    result = run("Identity", "RMSNorm", "rms", "rms_norm", "--points", "1")
    assert result.exit_code == 2  # Identity has no op
    result = run("RMSNorm", "rms", "rms_norm", "--points", "1")
    assert result.exit_code == 0, result.output
    assert result.output.count("normalization") == 1


def test_a_refuted_op(wrong):
    result = run("neg", "wrong_square")
    assert result.exit_code == 1
    assert "wrong_square is refuted: the gradient of x is wrong at [0]\n  case        2\n" in result.output
    assert "1 refuted" in result.output


def test_json(wrong, file, tmp_path):
    path = tmp_path / "proofs.json"
    result = run("neg", "wrong_square", f"{file}:norm", f"{file}:nothing", "--json", path, "--seed", 3)
    assert result.exit_code == 2
    found = json.loads(path.read_text())
    assert (found["refuted"], found["points"], found["seed"]) == (True, 2, 3)
    assert [op["verdict"] for op in found["ops"]] == ["proved", "refuted", "proved"]
    refutation = found["ops"][1]["refutation"]
    assert (refutation["what"], refutation["index"], refutation["case"]) == ("the gradient of x", [0], "2")
    got, expected = refutation["got"], refutation["expected"]
    assert got["value"] == pytest.approx(1.5 * expected["value"])
    assert isinstance(got["residue"], int)
    assert "nothing" in found["failed"][0]["message"]
    result = run("neg", "--json", tmp_path)
    assert result.exit_code == 2
    assert "cannot be written" in " ".join(result.output.replace("│", " ").split())


def test_a_pair_of_ones_own(file):
    result = run(f"{file}:norm", f"{file}:norm_backward")
    assert result.exit_code == 0, result.output
    assert row(result, "norm")[1] == "own"


def test_a_mistake_that_gradcheck_does_not_see(file, monkeypatch):
    call = lambda function, *arguments, **limits: function(*arguments)  # noqa: E731
    monkeypatch.setattr("tinygrad_norm.cli.doctor.in_own_process", call)
    assert CliRunner().invoke(app, ["gradcheck", f"{file}:wrong"]).exit_code == 0
    result = run(f"{file}:wrong")
    assert result.exit_code == 1
    assert "gradcheck, which allows 1e-07, does not see it" in result.output


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (":nrm", "norms.py has neither nrm nor nrm_forward and nrm_backward (did you mean 'norm'"),
        (":lonely", "has lonely_forward but no lonely_backward"),
        (":rounding", "which would round it, in “rounding ="),
        (":exponential", "exp is not algebraic, at norms.py:27"),
        (":random", "gives other numbers when it is called again"),
        (":ending", "ends the program: leave out exit()"),
        (":interrupted", "cannot be proved: it raised KeyboardInterrupt"),
        (":mean", "has no backward of its own"),
        ("", "pass FILE.py:NAME"),
    ],
)
def test_what_can_be_neither_proved_nor_refuted(file, name, words):
    result = run(f"{file}{name}")
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no file"),
        ("x = (\n", "imported: SyntaxError"),
        ("import nothing_there\n", "line 1"),
    ],
    ids=["missing", "syntax", "import"],
)
def test_files_that_cannot_be_imported(tmp_path, text, words):
    path = tmp_path / "broken.py"
    if text is not None:
        path.write_text(text)
    result = run(f"{path}:x")
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())


def test_what_takes_too_long(file, monkeypatch):
    def too_long(*arguments, **limits):
        raise TimeoutError("stopped after 60 seconds: does a loop never end?")

    monkeypatch.setattr("tinygrad_norm.cli.prove.in_own_process", too_long)
    result = run(f"{file}:norm")
    assert result.exit_code == 2
    assert "does a loop never end? Exact numbers are slow: give small inputs" in " ".join(
        result.output.split()
    )


def test_wrong_names_and_numbers():
    result = run("layer_nrm")
    assert result.exit_code == 2
    assert "Did you mean" in result.output
    assert "layer_norm" in result.output
    for option in ("--points", "--seed"):
        assert run("neg", option, -1).exit_code == 2


@pytest.mark.slow
def test_from_another_folder(tmp_path):
    (tmp_path / "mine.py").write_text(FILE)
    command = [sys.executable, "-m", "tinygrad_norm", "prove", "mine.py:norm"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "1 of 1 op proved" in done.stdout
