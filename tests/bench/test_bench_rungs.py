"""`tinygrad-norm bench` measures loops and NumPy bodies side by side, and says which of them ran."""

import dataclasses
import json
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pytest
from typer.testing import CliRunner

from tinygrad_norm import use_loops
from tinygrad_norm.autograd import Tensor
from tinygrad_norm.backends.cpu.loop_compiler import NotCompiled
from tinygrad_norm.backends.cpu.loop_mode import loop_mode
from tinygrad_norm.backends.cpu.loops import Loop
from tinygrad_norm.bench import charts, cpu_ops, timing
from tinygrad_norm.bench.rungs import LOOPS, NUMPY, on_rung, rungs, runs_a_loop
from tinygrad_norm.cli import app
from tinygrad_norm.registry import REGISTRY

LAYER_NORM, LINEAR = REGISTRY["layer_norm"], REGISTRY["linear"]


@pytest.fixture
def small(monkeypatch):
    """A process that starts no other, and measures two small cases: one with loops, one without."""
    for name, value in timing.settings().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cpu_ops, "copy_bandwidth", lambda: 1e10)
    cases = [(op, op.cases[0]) for op in (LAYER_NORM, LINEAR)]
    monkeypatch.setattr(cpu_ops, "benchmark_cases", lambda names: cases)


def measured(*words):
    result = CliRunner().invoke(app, ["bench", "ops", "--seconds", "0", *map(str, words)])
    assert result.exit_code == 0, result.output
    return result.output


def test_each_contestant_runs_on_its_rung():
    seen = {"a": set(), "b": set()}
    contestants = {name: lambda name=name: seen[name].add(loop_mode.mode) for name in seen}
    with use_loops("python"):
        timing.best_times(contestants, 0, {"b": NUMPY})
        assert loop_mode.mode == "python"
    assert seen == {"a": {"python"}, "b": {"off"}}


def test_a_row_has_both_rungs_where_a_loop_runs():
    with use_loops("python"):
        row, without = (cpu_ops.measure(op, op.cases[0], 0, 1e10) for op in (LAYER_NORM, LINEAR))
    assert (row.ours, row.loops > row.numpy) == (row.loops, True)  # uncompiled, it is much slower
    assert (without.ours, without.loops) == (without.numpy, None)
    with use_loops("off"):
        assert cpu_ops.measure(LAYER_NORM, LAYER_NORM.cases[0], 0, 1e10).loops is None


def test_a_case_that_the_loop_leaves_to_the_body_has_no_loops():
    rows = np.ones((2, 3), np.float16)
    with use_loops("python"):
        assert not runs_a_loop(lambda: LAYER_NORM.function(Tensor(rows), 3))
        assert runs_a_loop(lambda: LAYER_NORM.function(Tensor(rows.astype(np.float32)), 3))


def test_the_means_are_geometric_and_count_the_default_rung():
    one = cpu_ops.Row("a", "1", loops=1.0, numpy=4.0, composed=None, torch=2.0, floor=0.1)
    two = dataclasses.replace(one, loops=None, numpy=9.0, torch=9.0)
    alone = dataclasses.replace(one, torch=None)
    assert cpu_ops.mean_ratios([one, two, alone]) == pytest.approx({LOOPS: 0.5**0.5, NUMPY: 2**0.5})
    assert cpu_ops.mean_ratios([two]) == {NUMPY: 1}
    assert cpu_ops.mean_ratios([alone]) == {}


def test_table_json_and_picture_have_both(small, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("torch")
    figures = []
    save = charts._save
    monkeypatch.setattr(charts, "_save", lambda figure, path: (figures.append(figure), save(figure, path)))
    with use_loops("python"):
        output = measured("--json", tmp_path / "a.json", "--plot", tmp_path / "a.svg")
    saved = json.loads((tmp_path / "a.json").read_text())
    with_loops, without = saved["rows"]
    assert with_loops["to_torch"] == with_loops["loops_to_torch"] == with_loops["loops"] / with_loops["torch"]
    assert with_loops["numpy_to_torch"] == with_loops["numpy"] / with_loops["torch"]
    assert (without["loops"], without["loops_to_torch"]) == (None, None)
    assert saved["environment"]["loops"] == "python"
    for rung, mean in saved["means"].items():
        assert f"{rung} {mean:.2f}" in output
    assert list(saved["means"]) == [LOOPS, NUMPY]
    assert "loops to PyTorch" in output
    (axes,) = figures[0].axes
    assert len(axes.patches) == 2
    assert axes.lines[0].get_xdata() == [with_loops["numpy_to_torch"]]
    assert "our NumPy bodies" in [text.get_text() for text in figures[0].legends[0].get_texts()]


def test_with_loops_off_there_is_one_rung(small):
    with use_loops("off"):
        output = measured()
    assert "loops µs" not in output
    assert "NumPy µs" in output
    assert "loops off" in output


def test_the_environment_names_numba(monkeypatch):
    facts = timing.environment()
    assert facts["loops"] == loop_mode.mode
    if facts["numba"] != "not installed":
        assert facts["numba"] == version("numba")

    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("tinygrad_norm.bench.rungs.version", absent)
    assert timing.environment()["numba"] == "not installed"


def test_loops_that_cannot_be_compiled_are_no_rung(monkeypatch):
    def fail(loop, *args):
        raise NotCompiled("no compiler")

    with use_loops("python"):
        assert rungs() == (LOOPS, NUMPY)
        monkeypatch.setattr(Loop, "__call__", fail)
        assert rungs() == (NUMPY,)
    with use_loops("off"):
        assert rungs() == (NUMPY,)


def test_a_rung_ends_with_its_block():
    with use_loops("python"):
        with on_rung(NUMPY):
            assert not loop_mode.on
        with on_rung(LOOPS):
            assert loop_mode.mode == "python"
