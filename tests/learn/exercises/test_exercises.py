"""Every exercise: its solution passes, what the learner gets does not, and typical mistakes are told."""

import ast
import inspect
import re
import shutil
from types import SimpleNamespace

import pytest
from advanced_attempts import ATTEMPTS, KERNEL_ATTEMPTS

from tinygrad_norm.learn.exercises import NAMES, checking
from tinygrad_norm.learn.exercises.checking import State, check
from tinygrad_norm.learn.exercises.exercise import load
from tinygrad_norm.learn.exercises.starttext import has_bug, solution_text, start_text, todo_lines
from tinygrad_norm.registry import REGISTRY

WRONG = [
    ("sigmoid", "dy * y * (1 - y)", "y * (1 - y)", "dx: the gradient is the same whatever dy is"),
    ("sigmoid", "dy * y * (1 - y)", "dy * y", "dx: the factor 1 - y is missing"),
    ("sigmoid", "dy * y * (1 - y)", "None", "it returned None: is `return` missing?"),
    ("linear", "dy @ weight", "x @ weight.T @ weight", "dx: the gradient is the same whatever dy is"),
    ("linear", "dbias = dy.sum(axis=0)", "dbias = dy", "dbias: it is not summed over the axes"),
    ("linear", "dweight = dy.T @ x", "dweight = x.T @ dy", "dweight: its shape is that of x.T @ dy"),
    ("linear", "dweight = dy.T @ x", "dweight = dy.T @ x / 4", "dweight: a mean over the samples stands"),
    (
        "softmax_cross_entropy",
        "truth = np.zeros_like(p)",
        "truth = p",
        "dx: it is 0 everywhere",
    ),
    ("softmax_cross_entropy", "dy * (p", "(p", "dx: the gradient is the same whatever dy is"),
    ("batch_norm_steps", "g * r + dv * 2 * c / n", "g * r", "dx: the path through the variance is dropped"),
    ("batch_norm_steps", "dc + dm / n", "dc", "dx: the path through the mean is dropped"),
    ("batch_norm_steps", "r**3 / 2", "r**3", "dx: the path through the variance counts twice"),
    ("batch_norm", "g - mean_g -", "g -", "dx: the path through the mean is dropped"),
    ("batch_norm", " - x_hat * mean_gx", "", "dx: the path through the variance is dropped"),
    ("batch_norm", "g = weight * dy", "g = dy", "dx: the weight is forgotten"),
    ("batch_norm", "r * (g", "(g", "dx: r is forgotten"),
    ("batch_norm", "g.mean(POOL", "g.mean((2, 3)", "dx: "),
    ("batch_norm", "g.mean(POOL", "g.sum(POOL", "dx: Σ g stands where mean(g) belongs"),
    ("batch_norm_eval", "r * weight * dy", "r * dy", "dx: the weight is forgotten"),
    ("batch_norm_eval", "r * weight * dy", "weight * dy", "dx: r is forgotten"),
    (
        "batch_norm_eval",
        "dx = r * weight * dy",
        "g = weight * dy; dx = r * (g - g.mean(0) - x_hat * (g * x_hat).mean(0))",
        "dx: training's backward in evaluation",
    ),
    ("sigmoid", "dy * y * (1 - y)", "list(dy * y * (1 - y))", "it returned a list, not an array"),
    (
        "linear",
        "dx = dy @ weight",
        "dx = np.zeros((2, 7))",
        "backward returned a gradient of shape (2, 7) for",
    ),
    (
        "layer_norm",
        "x_hat * mean_gx",
        "x_hat * mean_gx / 4",
        "the path through the variance is 0.25 times what it should be (1/4: averaged twice, or a mean",
    ),
    ("layer_norm", "g = weight * dy", "g = dy", "dx: the weight is forgotten"),
    ("layer_norm", "dx = r * (g", "dx = weight * r * (g", "dx: the weight is also applied at the end"),
    (
        "layer_norm",
        "g - mean_g - x_hat * mean_gx",
        "g",
        "dx: the paths through the mean and the variance are",
    ),
    ("layer_norm", "g.mean(axis=1", "g.mean(axis=0", "dx: "),
    ("layer_norm", "dy.sum(axis=0)", "dy", "dbias: it is not summed over the axes"),
    (
        "rms_norm",
        "x_hat * (g * x_hat)",
        "g.mean(axis=1, keepdims=True) - x_hat * (g * x_hat)",
        "dx: there is a path",
    ),
    ("rms_norm", "g = weight * dy", "g = dy", "dx: the weight is forgotten"),
    ("rms_norm", "(g * x_hat).mean(", "(g * x_hat).sum(", "dx: Σ g·x̂ stands where mean(g·x̂) belongs"),
    ("group_norm", "x_hat.T.reshape(x.shape)", "x_hat.reshape(x.shape)", "forward computes something else"),
    (
        "group_norm",
        "x.reshape(pools, -1).T, eps",
        "x.reshape(-1, pools), eps",
        "forward computes something else",
    ),
]
"""Attempts: what is replaced in the solution of an exercise, by what, and what the check then says."""


KERNELS = [name for name in NAMES if load(name).exercise.needs_compiler]

TYPICAL = [
    pytest.param(name, mistake, id=f"{name}-{k}", marks=[pytest.mark.slow] * (name in KERNELS))
    for name in NAMES
    for k, mistake in enumerate(load(name).exercise.mistakes)
]


@pytest.fixture(params=NAMES)
def solved(request):
    return load(request.param)


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] * (name in KERNELS)) for name in NAMES])
def checked(request):
    """An exercise to be checked; those with kernels are compiled first, which takes its time."""
    if request.param in KERNELS and shutil.which("g++") is None:
        pytest.skip("the emulator needs g++: apt install g++")
    return load(request.param)


def write(folder, text):
    path = folder / "attempt.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_exercise_is_described(solved):
    exercise = solved.exercise
    assert exercise.level in (1, 2, 3, 4)
    assert 3 <= len(exercise.hints) <= 5
    assert exercise.like is None or exercise.like in REGISTRY
    assert len({load(name).exercise.title for name in NAMES}) == len(NAMES)
    assert [load(name).exercise.name for name in NAMES] == list(NAMES)
    assert (
        NAMES.index(exercise.name) < 1
        or exercise.level >= load(NAMES[NAMES.index(exercise.name) - 1]).exercise.level
    )


def test_the_solution_is_right(checked, tmp_path):
    outcome = check(checked.exercise.name, write(tmp_path, solution_text(checked.source)))
    assert outcome.state is State.RIGHT, outcome.text
    assert outcome.text.startswith("checked with ")


def test_what_the_learner_gets_is_not_written(checked, tmp_path):
    text = start_text(checked.source, checked.exercise.name)
    ast.parse(text)
    outcome = check(checked.exercise.name, write(tmp_path, text))
    assert outcome.state is (State.UNMENDED if has_bug(checked.source) else State.UNWRITTEN)
    what = (
        "the mistake is still in" if has_bug(checked.source) else f"still is: {todo_lines(checked.source)[0]}"
    )
    assert what in outcome.text


def test_the_learner_gets_neither_solution_nor_hints(solved):
    exercise, text = solved.exercise, start_text(solved.source, solved.exercise.name)
    written = re.findall(
        r"(?:#|//) begin solution.*?\n(.*?)(?:#|//) (?:begin bug|end solution)", solved.source, re.S
    )
    assert written
    for block in written:
        assert block.strip() not in text
    for absent in (
        "EXERCISE",
        "Exercise",
        "TypicalMistake",
        "def _",
        "begin ",
        "end solution",
        *exercise.hints,
    ):
        assert absent not in text
    assert "begin " not in solution_text(solved.source)
    assert "EXERCISE" not in solution_text(solved.source)


@pytest.mark.parametrize(("name", "mistake"), TYPICAL)
def test_typical_mistakes_are_told(name, mistake, tmp_path, monkeypatch):
    """In the words of the exercise."""
    right = load(name).module
    inputs = list(inspect.signature(right.forward).parameters)

    def backward(dy, *kept):
        gradients = right.backward(dy, *kept)
        gradients = list(gradients) if isinstance(gradients, tuple) else [gradients]
        gradients[inputs.index(mistake.gradient.removeprefix("d"))] = mistake.value(dy, *kept)
        return tuple(gradients)

    module = SimpleNamespace(forward=right.forward, backward=backward)
    monkeypatch.setattr(checking, "import_file", lambda path, name: module)
    outcome = check(name, write(tmp_path, ""))
    assert outcome.state is State.WRONG
    assert f"{mistake.gradient}: {mistake.words}" in outcome.text


@pytest.mark.parametrize(
    ("name", "right", "wrong", "words"), WRONG, ids=[f"{row[0]}-{k}" for k, row in enumerate(WRONG)]
)
def test_wrong_attempts_are_told(name, right, wrong, words, tmp_path):
    text = solution_text(load(name).source)
    assert text.count(right) == 1
    outcome = check(name, write(tmp_path, text.replace(right, wrong)))
    assert outcome.state is State.WRONG
    assert words in outcome.text


def test_every_exercise_has_wrong_attempts(solved):
    exercise = solved.exercise
    rows = [row for row in (*WRONG, *ATTEMPTS, *KERNEL_ATTEMPTS) if row[0] == exercise.name]
    assert has_bug(solved.source) or len(exercise.mistakes) + len(rows) >= 3
