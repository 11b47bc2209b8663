"""Wrong attempts at the later exercises are told, those with kernels too; mistakes to find are found."""

import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from advanced_attempts import ATTEMPTS, KERNEL_ATTEMPTS

from tinygrad_norm.backends.cuda import nvrtc
from tinygrad_norm.learn.exercises import NAMES
from tinygrad_norm.learn.exercises.checking import State, check
from tinygrad_norm.learn.exercises.exercise import load
from tinygrad_norm.learn.exercises.starttext import solution_text, start_text

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")


def rows(attempts, slow=()):
    return [
        pytest.param(*row, id=f"{row[0]}-{k}", marks=[pytest.mark.slow] if row[0] in slow else [])
        for k, row in enumerate(attempts)
    ]


def checked(name, folder, old="", new="", text=solution_text, **options):
    source = load(name).source
    text = text(source) if text is solution_text else text(source, name)
    assert not old or text.count(old) == 1
    path = folder / f"{name}.py"
    path.write_text(text.replace(old, new) if old else text, encoding="utf-8")
    return check(name, path, **options)


@pytest.mark.parametrize(("name", "right", "wrong", "words"), rows(ATTEMPTS, slow=["lstm_cell"]))
def test_wrong_attempts_are_told(name, right, wrong, words, tmp_path):
    outcome = checked(name, tmp_path, right, wrong)
    assert outcome.state is State.WRONG
    assert words in outcome.text
    assert "no way that the catalogue knows" not in outcome.text


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize(("name", "right", "wrong", "words"), rows(KERNEL_ATTEMPTS))
def test_wrong_kernels_are_told(name, right, wrong, words, tmp_path):
    outcome = checked(name, tmp_path, right, wrong)
    assert outcome.state is State.WRONG
    assert words in outcome.text


@needs_compiler
@pytest.mark.slow
def test_a_kernel_that_does_not_compile_is_told_with_the_line_of_the_file(tmp_path):
    outcome = checked("cuda_row_sum", tmp_path, "float sum = 0;", "float sum = 0")
    assert outcome.state is State.FAILED
    assert outcome.text.startswith("the kernel does not compile:\n")
    number = int(re.search(r"cuda_row_sum\.py:(\d+): error", outcome.text)[1])
    lines = (tmp_path / "cuda_row_sum.py").read_text(encoding="utf-8").splitlines()
    assert "for (int i = t" in lines[number - 1]


@needs_compiler
@pytest.mark.slow
def test_an_endless_loop_in_a_kernel_is_told_with_its_line(tmp_path):
    outcome = checked("cuda_row_sum", tmp_path, "i += 128", "i += 0", kernel_seconds=0.5)
    assert outcome.state is State.WRONG
    assert "still running after 0.5 s" in outcome.text
    assert "cuda_row_sum.py:" in outcome.text


@needs_compiler
@pytest.mark.slow
def test_the_race_is_reported_with_the_lines_of_the_file(tmp_path):
    outcome = checked("planted_kernel", tmp_path, text=start_text)
    assert outcome.state is State.UNMENDED
    assert "race on __shared__ of_warp" in outcome.text
    assert outcome.text.endswith("add __syncthreads()")
    lines = (tmp_path / "planted_kernel.py").read_text(encoding="utf-8").splitlines()
    named = [lines[int(at) - 1] for at in re.findall(r"planted_kernel\.py:(\d+)", outcome.text)]
    assert sorted(line.strip()[:10] for line in named) == ["const floa", "if (thread"]


@needs_compiler
@pytest.mark.slow
def test_where_races_are_not_reported_the_planted_one_shows_in_the_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("tinygrad_norm.learn.exercises.checking.sys", SimpleNamespace(platform="darwin"))
    assert checked("planted_kernel", tmp_path).state is State.RIGHT
    outcome = checked("planted_kernel", tmp_path, text=start_text)
    assert outcome.state is State.UNMENDED
    assert "forward computes something else" in outcome.text


def test_where_a_mistake_is_to_be_found_the_check_does_not_name_it(tmp_path):
    outcome = checked("planted_layer_norm", tmp_path, "dm = -(g * r)", "dm = (g * r)")
    assert outcome.state is State.WRONG
    assert outcome.text.startswith("dx is wrong: dx[0, 0] is ")
    assert "path" not in outcome.text


@pytest.mark.skipif(not nvrtc.available(), reason=f"no NVRTC: {nvrtc.REMEDY}")
@pytest.mark.parametrize("name", ["cuda_row_sum", "planted_kernel", "cuda_layer_norm"])
def test_the_kernels_compile_for_a_gpu(name):
    module = load(name).module.module
    names = re.findall(r"__global__ void (\w+)", module.code)
    compiled = nvrtc.compile(module.code, names, architecture="sm_90")
    assert [kernel.spill_bytes for kernel in compiled.kernels.values()] == [0] * len(names)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("planted_")])
def test_a_planted_mistake_is_in_one_place(name):
    source = load(name).source
    wrong, right = start_text(source, name).splitlines(), solution_text(source).splitlines()
    assert sum(line not in right for line in wrong[: len(right)]) == 1


def test_planted_mistakes_break_the_property_that_the_text_names():
    """Rows of the softmax leak; Σ dx is not 0 in LayerNorm; Σ dx·(x - m) is not 0 in BatchNorm."""

    def backwards(name):
        for text in (solution_text(load(name).source), start_text(load(name).source, name)):
            names = {}
            exec(text, names)
            yield names["forward"], names["backward"]

    rng = np.random.default_rng(0)
    x, weight, dy = rng.normal(1, 2, (5, 3)), rng.uniform(0.5, 2, 3), rng.normal(size=(5, 3))
    one_row = dy * (np.arange(5) == 0)[:, None]
    found = {name: [] for name in NAMES if name.startswith("planted_") and name != "planted_kernel"}
    for name, values in found.items():
        for forward, backward in backwards(name):
            if name == "planted_softmax":
                _, *kept = forward(x)
                values.append(backward(one_row, *kept)[1:])
                continue
            _, *kept = forward(x, weight, weight)
            dx = backward(dy, *kept)[0]
            values.append(dx.sum(1) if name == "planted_layer_norm" else (dx * kept[0]).sum(0))
    assert len(found) == 3
    for right, wrong in found.values():
        assert abs(right).max() < 1e-4
        assert abs(wrong).max() > 1e-2


def test_the_numbers_in_the_texts_are_right():
    weight_norm, spectral_norm = load("weight_norm").module, load("spectral_norm").module
    w, *kept = weight_norm.forward(np.array([[3.0, 4.0]]), np.array([[10.0]]))
    np.testing.assert_allclose(w, [[6, 8]])
    dv, dg = weight_norm.backward(np.array([[1.0, 0.0]]), *kept)
    np.testing.assert_allclose(dv, [[1.28, -0.96]])
    np.testing.assert_allclose(dg, [[0.6]])
    np.testing.assert_allclose(dv - [[2, 0]], [[-0.72, -0.96]])
    u = np.array([1.0, 0.0])
    _, *kept = spectral_norm.forward(np.array([[2.0, 0.0], [0.0, 1.0]]), u, u)
    dw = spectral_norm.backward(np.ones((2, 2)), *kept)[0]
    np.testing.assert_allclose(dw, [[-0.25, 0.5], [0.5, 0.5]])
