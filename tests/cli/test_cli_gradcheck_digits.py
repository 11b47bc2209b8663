"""`tinygrad-norm gradcheck --digits`: its table, its JSON, its exit status and its answers to wrong calls."""

import json
import sys

import pytest
from typer.testing import CliRunner

from tinygrad_norm.autograd import Function
from tinygrad_norm.cli import app
from tinygrad_norm.registry import REGISTRY, Case, Op

pytest.importorskip("mpmath")


class SlightlyWrongSquare(Function):
    """y = x² · dx = 2·dy·x·(1 + 1e-13), which is wrong"""

    def forward(self, x):
        self.saved = (x,)
        return x * x

    def backward(self, dy):
        return 2.0000000000002 * dy * self.saved[0]


@pytest.fixture
def slightly_wrong(monkeypatch):
    op = Op("slightly_wrong", SlightlyWrongSquare.apply, None, (Case(((2, 3),)), Case(((),))))
    monkeypatch.setitem(REGISTRY, op.name, op)


def run(*arguments, columns="80"):
    return CliRunner(env={"COLUMNS": columns}).invoke(app, ["gradcheck", *arguments])


def row(result, name):
    return next(line.split() for line in result.output.splitlines() if line.split()[:1] == [name])


def words(result):
    """Return the output without the frame of an error message."""
    return " ".join(word for word in result.output.split() if word not in "│╭╮╰╯─")


def test_a_table_of_the_digits():
    result = run("--digits", "50", "exp", "layer_norm", "one_hot")
    assert result.exit_code == 0, result.output
    _, kind, cases, digits, _, verdict = row(result, "exp")
    assert (kind, cases, verdict) == ("primitive", "2", "ok")
    assert 30 <= int(digits) <= 50
    assert row(result, "one_hot")[-2:] == ["no", "gradient"]
    assert "3 ops" in result.output
    assert "on numbers of 50 digits." in result.output
    assert "digits agree (allowed 30)" in result.output
    assert max(map(len, result.output.splitlines())) <= 80


@pytest.mark.usefixtures("slightly_wrong")
def test_a_slightly_wrong_gradient_fails_here_and_only_here():
    assert run("slightly_wrong").exit_code == 0
    result = run("--digits", "50", "slightly_wrong", "exp")
    assert result.exit_code == 1
    assert row(result, "slightly_wrong")[-1] == "FAILED"
    assert row(result, "exp")[-1] == "ok"
    assert "slightly_wrong, case" in result.output
    assert "digits of the gradient against the closed form agree" in result.output
    assert "1 of 2 ops failed: slightly_wrong" in result.output


@pytest.mark.usefixtures("slightly_wrong")
def test_json(tmp_path):
    path = tmp_path / "digits.json"
    result = run("--digits", "40", "slightly_wrong", "tanh", "--json", str(path))
    assert result.exit_code == 1
    assert f"results in {path}" in result.output
    results = json.loads(path.read_text(encoding="utf-8"))
    assert (results["passed"], results["digits"], results["allowed"]) == (False, 40, 24)
    wrong, right = results["ops"]
    assert (wrong["verdict"], right["verdict"]) == ("differs", "agrees")
    assert 12 < wrong["digits"] < 14 < 24 <= right["digits"]
    assert wrong["worst"]["what"] == "gradient against the closed form"
    assert right["cases"] == len(REGISTRY["tanh"].cases) - 1  # one is empty
    assert right["skipped"] == []


@pytest.mark.parametrize("digits", ["0", "3", "-5", "10000"])
def test_impossible_digits(digits):
    result = run("--digits", digits, "exp", columns="200")
    assert result.exit_code == 2
    assert f"digits must be between 20, more than a float has, and 1000, got {digits}" in words(result)


@pytest.mark.parametrize("digits", ["many", "50.5"])
def test_digits_that_are_no_integer(digits):
    result = run("--digits", digits, "exp", columns="200")
    assert result.exit_code == 2
    assert "for '--digits': Input should be a valid integer" in words(result)


REFUSED = {
    "second": (["--second", "exp"], "--digits is for first derivatives: leave out --second"),
    "cupy": (["--backend", "cupy", "exp"], "run on the backend numpy, not on cupy: pass --backend numpy"),
    "emulator": (["--backend", "emulator", "exp"], "run on the backend numpy, not on emulator"),
    "own": (["my.py:square"], "my.py:square is not registered: register it, and find it with --load my.py"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_go_with_digits(name):
    arguments, message = REFUSED[name]
    result = run("--digits", "50", *arguments, columns="200")
    assert result.exit_code == 2
    assert message in words(result)


def test_without_mpmath(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpmath", None)
    for name in ("mpmath_package", "constants", "reals", "agreement"):
        monkeypatch.delitem(sys.modules, f"tinygrad_norm.proof.{name}", raising=False)
    result = run("--digits", "50", "exp", columns="200")
    assert result.exit_code == 2
    assert "need the package mpmath: pip install 'tinygrad_norm[exact]'" in words(result)
