"""Checks of files that are changed, broken, or written with a library."""

import shutil
from types import SimpleNamespace

import pytest

from tinygrad_norm.backends.emulator import CompileError
from tinygrad_norm.learn.exercises import checking
from tinygrad_norm.learn.exercises.checking import State, check
from tinygrad_norm.learn.exercises.exercise import load
from tinygrad_norm.learn.exercises.kernelerrors import in_words, unset
from tinygrad_norm.learn.exercises.starttext import solution_text, start_text

RIGHT = solution_text(load("linear").source)
DX = "dx = dy @ weight"


def checked(folder, text):
    path = folder / "linear.py"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return check("linear", path)


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        (DX, "dx = (dy @ weight", "SyntaxError: '(' was never closed"),
        (DX, "exit()", "ends the program: leave out exit()"),
        ("def backward(", "def backwards(", "has no function backward: keep its name"),
        ("import numpy as np", "import nunpy as np", "ModuleNotFoundError"),
        ("return y, x, weight", "return None", "forward returned object values: return an array of numbers"),
        (
            "y = x @ weight.T",
            "y = x @ weight",
            "forward, called with x (4, 3), weight (2, 3), bias (2,), raised Val",
        ),
    ],
    ids=[
        "syntax",
        "exit",
        "renamed",
        "import",
        "none",
        "forward",
    ],
)
def test_files_that_cannot_be_checked(right, wrong, words, tmp_path):
    assert right in RIGHT
    outcome = checked(tmp_path, RIGHT.replace(right, wrong))
    assert outcome.state is State.FAILED
    assert words in outcome.text
    assert "Traceback" not in outcome.text


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("dx = 1 / 0", "raised ZeroDivisionError: division by zero (linear.py, line "),
        ("dx = dy @ wieght", "raised NameError: name 'wieght' is not defined"),
        ("dx = dy[:2]", "shape"),
        ("dx = dy @ weight * float('nan')", "is NaN or infinite"),
        (DX + "; weight *= 2", "backward must not change what forward saved"),
    ],
    ids=["raises", "name", "shape", "nan", "in place"],
)
def test_a_backward_that_gives_no_gradient_is_a_try(wrong, words, tmp_path):
    outcome = checked(tmp_path, RIGHT.replace(DX, wrong))
    assert outcome.state is State.WRONG
    assert words in outcome.text
    assert "Traceback" not in outcome.text


def test_forward_must_stay_what_it_was(tmp_path):
    outcome = checked(tmp_path, RIGHT.replace("+ bias", "+ 2 * bias"))
    assert outcome.state is State.CHANGED
    assert "forward computes something else: y[0, 0] is" in outcome.text
    assert "exercise start linear --again" in outcome.text
    assert (
        "y of shape (2, 4), but it must be (4, 2)" in checked(tmp_path, RIGHT.replace("y, x", "y.T, x")).text
    )


def test_a_forward_in_another_dtype_is_told(tmp_path):
    outcome = checked(tmp_path, RIGHT.replace("return y, x", "return y.astype(np.float32), x"))
    assert outcome.state is State.CHANGED
    assert "forward returned y in float32, but it must be float64" in outcome.text


def test_a_backward_that_is_right_for_one_size_only(tmp_path):
    text = RIGHT.replace("dbias = dy.sum(axis=0)", "dbias = 4 * dy.mean(axis=0)")
    outcome = checked(tmp_path, text)
    assert outcome.state is State.WRONG
    assert "right for x (4, 3), weight (2, 3), bias (2,), but not for x (5, 4), weight" in outcome.text


@pytest.mark.parametrize("line", ["import torch", "from jax import grad", "import tinygrad_norm.nn as nn"])
def test_a_backward_by_a_library_does_not_count(line, tmp_path):
    text = RIGHT.replace(DX, f"def unused():\n        {line}\n\n    {DX}")
    outcome = checked(tmp_path, text)
    assert outcome.state is State.WRONG
    assert "write the derivative yourself, with NumPy alone" in outcome.text


def test_lines_left_to_write_are_named(tmp_path):
    start = start_text(load("linear").source, "linear")
    number = next(k for k, line in enumerate(start.splitlines(), 1) if "raise NotImplementedError" in line)
    outcome = checked(tmp_path, start)
    assert outcome.state is State.UNWRITTEN
    assert (
        f'line {number}, still is: raise NotImplementedError("write dx, dweight and dbias")' in outcome.text
    )


def test_a_file_in_another_encoding(tmp_path):
    assert checked(tmp_path, RIGHT.encode("utf-16")).state is State.FAILED
    assert checked(tmp_path, b"").text.endswith("exercise start linear --again")


def test_a_learner_may_keep_other_values(tmp_path):
    text = RIGHT.replace("return y, x, weight", "return y, (x, weight)")
    text = text.replace("dy: np.ndarray, x: np.ndarray, weight: np.ndarray", "dy, cache").replace(
        "    dx =", "    x, weight = cache\n    dx ="
    )
    assert checked(tmp_path, text).state is State.RIGHT


@pytest.mark.parametrize(
    ("kernel", "named"),
    [
        ("float sum; for (;;) sum += x[t];", "sum"),
        ("float sum, square; sum = 0; square = square + 1;", "square"),
        ("float sum;  // sum = 0\n  sum *= 2;", "sum"),
        ("float sum; if (t == 0) sum = 0; sum += 1;", ""),
        ("float sum = 0; sum += 1;", ""),
        ("float sum; sum = x[t]; sum += 1;", ""),
        ("float sum; fill(&sum); sum += 1;", ""),
    ],
    ids=["loop", "second", "comment", "later", "set", "assigned", "filled"],
)
def test_a_variable_without_a_value_is_told(kernel, named, tmp_path):
    code = f"__global__ void f(float* x) {{\n  const int t = threadIdx.x;\n  {kernel}\n}}"
    path = tmp_path / "attempt.py"
    path.write_text(f'KERNEL = r"""\n{code}\n"""\n', encoding="utf-8")
    found = unset(path, SimpleNamespace(KERNEL=f"\n{code}\n"))
    assert found.startswith(f"attempt.py, line 4: {named} has no value") if named else not found


def test_atomics_are_told_not_to_be_there(tmp_path):
    path = tmp_path / "attempt.py"
    path.write_text("", encoding="utf-8")
    error = CompileError("kernel.cu:3:5: error: 'atomicAdd' was not declared in this scope")
    assert "The emulator has no atomics" in in_words(error, path, SimpleNamespace())


def test_a_wrong_shape_in_a_planted_exercise_is_told(tmp_path):
    text = solution_text(load("planted_layer_norm").source).replace("weight * dy", "(weight * dy)[None]")
    path = tmp_path / "attempt.py"
    path.write_text(text, encoding="utf-8")
    assert "dx is wrong: its shape is (1, 3, 5)" in check("planted_layer_norm", path).text


def test_kernels_need_a_compiler(tmp_path, monkeypatch):
    def missing():
        raise RuntimeError("g++ was not found: apt install g++")

    monkeypatch.setattr(checking, "compiler", missing)
    path = tmp_path / "cuda_row_sum.py"
    path.write_text(start_text(load("cuda_row_sum").source, "cuda_row_sum"), encoding="utf-8")
    outcome = check("cuda_row_sum", path)
    assert outcome.state is State.FAILED
    assert outcome.text == "g++ was not found: apt install g++"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
def test_a_kernel_that_never_ends(tmp_path):
    start = start_text(load("cuda_row_sum").source, "cuda_row_sum")
    path = tmp_path / "cuda_row_sum.py"
    path.write_text(start.replace("#error write y[n]", "while (true) {}"), encoding="utf-8")
    outcome = check("cuda_row_sum", path, kernel_seconds=0.3)
    assert outcome.state is State.WRONG
    assert "still running after 0.3 s" in outcome.text
    assert "an endless loop?" in outcome.text
