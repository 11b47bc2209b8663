"""`tinygrad-norm exercise`: the path of a newcomer, progress, and errors."""

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tinygrad_norm.cli import app
from tinygrad_norm.learn.exercises import NAMES
from tinygrad_norm.learn.exercises.exercise import load
from tinygrad_norm.learn.ownprocess import in_own_process

SIGMOID = Path("exercises", "sigmoid.py")
PROGRESS = Path("exercises", "progress.json")
TODO = 'raise NotImplementedError("write dx and return it")'


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Check in this process, which need not start first."""
    monkeypatch.setattr(
        "tinygrad_norm.cli.exercise.in_own_process", lambda function, *given, **limits: function(*given)
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments, status=0):
    result = CliRunner().invoke(app, ["exercise", *arguments])
    assert result.exit_code == status, result.output
    return " ".join(result.output.split())


def write(line):
    text = SIGMOID.read_text(encoding="utf-8")
    SIGMOID.write_text(text.replace(TODO, line), encoding="utf-8")


def test_the_path_of_a_newcomer():
    hints = load("sigmoid").exercise.hints
    assert "sigmoid | 1" in run("list")
    assert "exercises/sigmoid.py is written" in run("start", "sigmoid").replace("\\", "/")
    said = run("check", status=1)
    assert "sigmoid: not written yet" in said
    assert hints[0] not in said

    write("return dy * y")
    for tries in (1, 2):
        said = run("check", status=1)
        assert f"sigmoid: not right yet, try {tries}" in said
        assert "dx: the factor 1 - y is missing" in said
        assert f"hint {tries} of 4: {hints[tries - 1]}" in said
        assert hints[tries] not in said
    assert f"hint 3 of 4: {hints[2]}" in run("hint")
    assert f"hint 4 of 4: {hints[3]}" in run("check", "sigmoid", status=1)
    said = run("check", status=1)
    assert all(hint in said for hint in hints)
    assert "There is no other hint. The solution: tinygrad-norm exercise solution sigmoid" in said
    assert "begun, 4 tries, next" in run("list")

    assert "return dy * y * (1 - y)" in run("solution", "sigmoid")
    SIGMOID.write_text(
        SIGMOID.read_text(encoding="utf-8").replace("dy * y", "dy * y * (1 - y)"), encoding="utf-8"
    )
    said = run("check")
    assert "sigmoid: right, after 5 tries" in said
    assert "Next: linear" in said
    assert "tinygrad-norm exercise start linear" in said
    said = run("list")
    assert "done, 5 tries" in said
    assert "| next |" in said


def test_the_formula_is_told_from_the_third_try_on():
    run("start", "layer_norm")
    path = Path("exercises", "layer_norm.py")
    text = path.read_text(encoding="utf-8")
    wrong = "g = weight * dy\n    dx = r * (g - x_hat * (g * x_hat).mean(axis=1, keepdims=True))"
    path.write_text(
        text.replace(
            'raise NotImplementedError("write dx, dweight and dbias")',
            f"dweight, dbias = (dy * x_hat).sum(0), dy.sum(0)\n    {wrong}",
        ),
        encoding="utf-8",
    )
    for told in (False, False, True):
        said = run("check", status=1)
        assert "dx: the path through the mean is dropped" in said
        assert ("right -r·mean(g)" in said) == told


def test_the_first_that_is_not_done_is_started():
    assert "sigmoid.py is written" in run("start").replace("\\", "/")
    write("return dy * y * (1 - y)")
    run("check")
    assert "linear.py is written" in run("start").replace("\\", "/")


def test_a_file_is_never_overwritten():
    run("start", "sigmoid")
    SIGMOID.write_text("mine", encoding="utf-8")
    assert "is there already" in run("start", "sigmoid", status=2)
    assert SIGMOID.read_text(encoding="utf-8") == "mine"
    for number in (1, 2):
        SIGMOID.write_text(f"mine {number}", encoding="utf-8")
        assert f"sigmoid_{number}.py" in run("start", "sigmoid", "--again")
        assert SIGMOID.with_name(f"sigmoid_{number}.py").read_text(encoding="utf-8") == f"mine {number}"
        assert TODO in SIGMOID.read_text(encoding="utf-8")


def test_what_cannot_be_checked_is_no_try():
    run("start", "sigmoid")
    write("return dy *")
    assert "sigmoid cannot be checked: " in run("check", status=2)
    assert json.loads(PROGRESS.read_text()) == {"current": "sigmoid", "exercises": {}}


def test_done_stays_done_until_it_is_wrong_again():
    run("start", "sigmoid")
    write("return dy * y * (1 - y)")
    run("check")
    SIGMOID.write_text(SIGMOID.read_text(encoding="utf-8").replace("(1 - y)", "1"), encoding="utf-8")
    run("check", status=1)
    assert "begun, 2 tries, next" in run("list")


def test_inside_the_folder(monkeypatch):
    run("start", "sigmoid")
    monkeypatch.chdir("exercises")
    assert "not written yet" in run("check", status=1)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"exercises": 1}',
        '{"exercises": {"sigmoid": {"tries": "2", "hints": 0, "done": true}}}',
        "\xff",
    ],
    ids=["cut", "list", "number", "types", "bytes"],
)
def test_a_broken_progress_file_is_not_lost(text):
    PROGRESS.parent.mkdir()
    PROGRESS.write_text(text, encoding="latin-1")
    for arguments in (("list",), ("start", "sigmoid"), ("check",), ("hint",)):
        assert "progress.json cannot be read as your progress" in run(*arguments, status=2)
    assert PROGRESS.read_text(encoding="latin-1") == text
    assert not SIGMOID.exists()


def test_errors():
    for verb in ("start", "check", "hint", "solution"):
        assert "unknown exercise 'sigmiod': choose one of" in run(verb, "sigmiod", status=2)
    assert "did you mean 'sigmoid'?" in run("start", "sigmiod", status=2)
    assert "no exercise is begun in this folder" in run("check", status=2)
    assert "tinygrad-norm exercise start linear" in run("check", "linear", status=2)


def test_all_done():
    PROGRESS.parent.mkdir()
    done = {"tries": 1, "hints": 0, "done": True}
    progress = {"current": "sigmoid", "exercises": dict.fromkeys(NAMES, done)}
    PROGRESS.write_text(json.dumps(progress))
    assert "Next" not in run("list")
    run("start", "sigmoid")
    write("return dy * y * (1 - y)")
    assert "That was the last: all are done." in run("check")


@pytest.mark.parametrize(("name", "limit"), [("sigmoid", 20), ("cuda_row_sum", 60)])
def test_a_check_that_takes_long_says_so(name, limit, monkeypatch):
    limits = {}

    def slow(function, *given, **options):
        limits.update(options)
        time.sleep(0.3)
        raise TimeoutError("stopped")

    monkeypatch.setattr("tinygrad_norm.cli.exercise.in_own_process", slow)
    monkeypatch.setattr("tinygrad_norm.cli.exercise.WAITING_SECONDS", 0.05)
    run("start", name)
    assert f"still running; it is stopped after {limit} seconds" in run("check", status=2)
    assert limits["seconds"] == limit


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("while True: dy", "stopped after 2 seconds in backward (sigmoid.py, line"),
        ("os._exit(3)", "the process that ran it ended without a result (status 3)"),
        ("return dy * y", "dx: the factor 1 - y is missing"),
    ],
    ids=["endless", "exit", "wrong"],
)
def test_a_check_runs_in_a_process_of_its_own(line, words, monkeypatch):
    monkeypatch.setattr("tinygrad_norm.cli.exercise.in_own_process", in_own_process)
    run("start", "sigmoid")
    write(f"import os; {line}" if "os." in line else line)
    seconds = "2" if "while" in line else "60"
    assert words in run("check", "--seconds", seconds, status=1 if "dx" in words else 2)
