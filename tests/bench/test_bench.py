"""`tinygrad-norm bench`: its commands with tiny budgets, and their parts."""

import dataclasses
import itertools
import json
import os
import pickle
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import tinygrad_norm as tn
import tinygrad_norm.cli.bench as cli_bench
from tinygrad_norm.autograd import Tensor
from tinygrad_norm.bench import charts, cpu_ops, growth, timing, training_epochs, training_step
from tinygrad_norm.bench.benchmark_network import MLP, mlp
from tinygrad_norm.bench.network_baselines import BASELINES, COMPILED, left_out, programs
from tinygrad_norm.bench.rungs import rungs
from tinygrad_norm.cli import app
from tinygrad_norm.registry import REGISTRY


def limit_threads(monkeypatch, threads):
    for name, value in timing.settings(threads).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def fair(monkeypatch):
    """A process that already has the environment of a fair comparison, so that it starts no other."""
    limit_threads(monkeypatch, 1)
    monkeypatch.setenv("CXX", "no-compiler")  # torch.compile takes seconds
    monkeypatch.setattr(cpu_ops, "copy_bandwidth", lambda: 1e10)
    monkeypatch.setattr(training_step, "NETWORKS", {"mlp": MLP})  # the others take seconds
    for module in (cpu_ops, training_step):
        monkeypatch.setattr(module, "with_default_malloc", lambda function, *arguments: function(*arguments))


def run(*words):
    return CliRunner().invoke(app, ["bench", *map(str, words)], env={"COLUMNS": "200"})


def printed(output):
    """Return the Markdown table in `output`: a dict from heading to cell for each row."""
    head, _, *rows = (
        [cell.strip() for cell in line.split("|")[1:-1]] for line in output.splitlines() if "|" in line
    )
    return [dict(zip(head, row, strict=True)) for row in rows]


def ratio(value):
    return "–" if value is None else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def test_small_ratios_keep_two_digits():
    shown = [cli_bench._ratio(value) for value in (1.234, 0.456, 0.0123, 0.00057)]
    assert shown == ["1.23", "0.46", "0.012", "0.00057"]


def hide(monkeypatch, *modules):
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def large_from_10_kilobytes(monkeypatch):
    monkeypatch.setattr(cpu_ops, "LARGE", 10_000)


def test_ops(fair, large_from_10_kilobytes, tmp_path):
    pytest.importorskip("torch")
    result = run("ops", "cross_entropy", "max_pool2d", "--seconds", 0, "--json", tmp_path / "ops.json")
    assert result.exit_code == 0, result.output
    saved = json.loads((tmp_path / "ops.json").read_text())
    table = printed(result.output)
    assert {row["op"] for row in table} == {"cross_entropy", "max_pool2d"}
    for row, shown in zip(saved["rows"], table, strict=True):
        figures = {
            "op": row["op"],
            "inputs": row["case"],
            "loops µs": "–" if row["loops"] is None else f"{row['loops'] * 1e6:.0f}",
            "loops to PyTorch": ratio(row["loops_to_torch"]),
            "NumPy µs": f"{row['numpy'] * 1e6:.0f}",
            "NumPy to PyTorch": ratio(row["numpy_to_torch"]),
            "default malloc": ratio(row["to_torch_default_malloc"]),
            "to composed": ratio(row["to_composed"]),
            "of a copy": ratio(row["bandwidth"]),
        }
        assert shown == {name: text for name, text in figures.items() if name in table[0]}
        is_small = row["case"].startswith("64×10 ")
        assert (row["to_torch_default_malloc"] is None) is is_small
        assert row["to_torch"] == row["ours"] / row["torch"]
    assert ", ".join(f"{name} {value}" for name, value in saved["environment"].items()) in result.output


def test_a_run_says_its_dtype_and_when_and_how_long(fair, drawn, tmp_path):
    words = "--dtype", "float64", "--json", tmp_path / "a.json", "--plot", tmp_path / "a.png"
    result = run("ops", "max_pool2d", "--seconds", 0.01, *words)
    assert result.exit_code == 0, result.output
    saved = json.loads((tmp_path / "a.json").read_text())
    assert (saved["seconds"], saved["copy_rate"]) == (0.01, 1e10)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(saved["date"])) < timedelta(minutes=5)
    assert saved["environment"]["dtype"] == "float64"
    assert "dtype float64" in result.output
    assert "dtype float64" in " ".join(drawn[0].get_suptitle().split())


@pytest.mark.parametrize("words", [(), ("all",)])
def test_one_run_for_everything(fair, drawn, monkeypatch, tmp_path, words):
    softmax = REGISTRY["softmax"]
    monkeypatch.setattr(cpu_ops, "benchmark_cases", lambda names: [(softmax, softmax.bench[0])])
    result = run(*words, "--seconds", 0, "--json", tmp_path / "a.json", "--plot", tmp_path / "a.png")
    assert result.exit_code == 0, result.output
    saved = json.loads((tmp_path / "a.json").read_text())
    assert [row["op"] for row in saved["rows"]] == ["softmax"]
    assert saved["steps"][0]["program"].startswith("tinygrad_norm")
    assert saved["tape"].keys() >= {"tinygrad_norm"}
    lines = result.output.splitlines()
    heads = [line.split("|")[1].strip() for line, rule in itertools.pairwise(lines) if rule.startswith("|--")]
    assert heads == ["op", "network"]
    assert "the tape alone" in result.output
    assert result.output.count("dtype float32") == 1
    assert len(drawn) == 1


def test_without_a_command_it_is_all(fair, monkeypatch):
    asked = []
    monkeypatch.setattr(cpu_ops, "benchmark_cases", lambda names: [])
    monkeypatch.setattr(training_step, "measure", lambda network, seconds: asked.append(seconds) or [])
    monkeypatch.setattr(training_step, "tape_times", lambda seconds: asked.append(seconds) or {})
    result = run()
    assert result.exit_code == 0, result.output
    assert asked == [5, 1]
    assert "Usage" in run("--help").output
    assert "Usage" not in result.output


@pytest.mark.parametrize("threads", [1, 2])
def test_a_copy_is_measured_with_the_clock_of_the_calls(monkeypatch, threads):
    taken = []
    clock = timing.clock_of_calls
    monkeypatch.setattr(cpu_ops, "clock_of_calls", lambda: (taken.append(clock()), clock())[1])
    limit_threads(monkeypatch, threads)
    assert cpu_ops.copy_bandwidth(1 << 12) > 1e6
    assert taken == [time.process_time if threads == 1 else time.perf_counter]


def test_the_environment_says_versions_processor_and_threads(fair, torch):
    facts = timing.environment()
    assert (facts["numpy"], facts["torch"]) == (np.__version__, torch.__version__)
    assert facts["processor"]
    assert facts["clock"] == "processor time"
    assert [facts[name] for name in ("threads", "BLAS threads", "torch threads")] == ["1", "1", "1"]


@pytest.fixture
def two_threads(monkeypatch, torch):
    before = torch.get_num_threads()
    limit_threads(monkeypatch, 2)
    yield
    torch.set_num_threads(before)


def test_two_threads_are_reported_with_the_clock_of_the_wall(fair, two_threads, torch, tmp_path):
    result = run("ops", "max_pool2d", "--seconds", 0, "--threads", 2, "--json", tmp_path / "two.json")
    assert result.exit_code == 0, result.output
    assert "threads 2, BLAS threads 2, torch threads 2, clock wall" in result.output
    facts = json.loads((tmp_path / "two.json").read_text())["environment"]
    assert [facts[name] for name in ("threads", "BLAS threads", "torch threads")] == ["2", "2", "2"]
    assert torch.get_num_threads() == 2


@pytest.mark.slow
def test_the_clock_counts_waiting_only_with_several_threads(monkeypatch):
    for threads, waits in ((1, False), (2, True)):
        limit_threads(monkeypatch, threads)
        best = timing.best_times({"sleeper": lambda: time.sleep(2e-3)}, 0)
        assert (best["sleeper"] >= 2e-3) is waits


def test_0_threads_and_threads_on_a_gpu_are_errors(fair):
    assert run("ops", "--threads", 0).exit_code == 2
    assert run("step", "--threads", 0).exit_code == 2
    result = run("ops", "--backend", "cupy", "--threads", 2)
    assert result.exit_code == 2
    assert "--threads" in result.output


@pytest.mark.slow
def test_a_process_with_the_default_malloc(monkeypatch):
    for name, value in timing.settings().items():
        monkeypatch.setenv(name, value)
    for name in timing.KEEPING:
        assert timing.with_default_malloc(os.getenv, name) is None
        assert os.environ[name] == timing.KEEPING[name]
    assert timing.with_default_malloc(os.getenv, "OMP_NUM_THREADS") == "1"


def test_the_default_malloc_is_measured_in_another_process(monkeypatch, torch):
    asked = []

    def elsewhere(function, *arguments):
        asked.append((pickle.loads(pickle.dumps(function)), arguments))
        return 0.5

    monkeypatch.setattr(cpu_ops, "with_default_malloc", elsewhere)
    monkeypatch.setattr(cpu_ops, "LARGE", 1 << 14)
    cross_entropy, softmax = REGISTRY["cross_entropy"], REGISTRY["softmax"]
    chosen = [
        (cross_entropy, cross_entropy.bench[0]),
        (softmax, softmax.bench[0]),
        (dataclasses.replace(softmax, torch=""), softmax.bench[0]),
    ]
    monkeypatch.setattr(cpu_ops, "benchmark_cases", lambda names: chosen)
    rows = list(cpu_ops.measure_all((), 0, "float32", 1e10))
    assert [row.to_torch_default_malloc for row in rows] == [None, 0.5, None]
    assert asked == [(cpu_ops.ratio_to_torch, ("softmax", 0, 0, "float32"))]
    assert 0.01 < cpu_ops.ratio_to_torch("softmax", 0, 0, "float32") < 100


@pytest.mark.slow
def test_every_op_with_benchmark_sizes_can_be_measured(fair):
    """On its smallest ordinary case instead, which has the same inputs and options."""
    timed = [op for op in REGISTRY.values() if op.bench]
    assert {"layer_norm", "lstm", "conv2d", "linear", "scaled_dot_product_attention"} <= {
        o.name for o in timed
    }
    for op in timed:
        row = cpu_ops.measure(op, op.cases[0], 0, 1e10)
        assert row.ours > 0, op.name
        assert row.composed is None or row.to_composed == row.ours / row.composed
        assert row.floor > 0


def test_the_floor_counts_what_must_be_moved():
    case = REGISTRY["layer_norm"].cases[0]  # x (4, 8), weight and bias (8,)
    row = cpu_ops.measure(REGISTRY["layer_norm"], case, 0, 1.0)
    inputs, y = (32 + 8 + 8) * 4, 32 * 4
    assert row.floor == inputs + inputs + 2 * y  # inputs and dy read, gradients and y written


def test_an_op_without_benchmark_sizes_raises(fair):
    for name in ("nonsense", "neg"):
        result = run("ops", name)
        assert result.exit_code == 2
        assert name in result.output
        assert "layer_norm" in result.output


def test_step(fair, tmp_path):
    pytest.importorskip("torch")
    result = run("step", "--seconds", 0, "--json", tmp_path / "step.json")
    assert result.exit_code == 0, result.output
    assert f"figures in {tmp_path / 'step.json'}" in result.output
    saved = json.loads((tmp_path / "step.json").read_text())
    rows = saved["rows"]
    assert [row["program"] for row in rows[: len(rungs())]] == [f"tinygrad_norm, {rung}" for rung in rungs()]
    np.testing.assert_allclose([row["first_loss"] for row in rows], rows[0]["first_loss"], rtol=1e-5)
    eager = next(row for row in rows if row["program"] == "PyTorch eager")
    for row, shown in zip(rows, printed(result.output), strict=True):
        assert row["to_eager"] == row["seconds"] / eager["seconds"]
        assert (row["to_eager_default_malloc"] is None) is (row["program"] == "JAX, jit")
        assert shown == {
            "network": "MLP, BatchNorm",
            "program": row["program"],
            "µs per step": f"{row['seconds'] * 1e6:.0f}",
            "to PyTorch eager": ratio(row["to_eager"]),
            "default malloc": ratio(row["to_eager_default_malloc"]),
            "first loss": f"{row['first_loss']:.6f}",
        }
    assert eager["to_eager"] == eager["to_eager_default_malloc"] == 1
    for name, seconds in saved["tape"].items():
        assert f"{name} {seconds * 1e6:.2f} µs" in result.output
    assert saved["environment"]["numpy"] in result.output


def test_step_without_other_libraries_says_so(fair, monkeypatch):
    hide(monkeypatch, "torch", "jax", "autograd")
    result = run("step", "--seconds", 0)
    assert result.exit_code == 0, result.output
    assert "PyTorch is not installed" in result.output
    for name in BASELINES:
        assert f"{name} (" in result.output
    assert "jax is not installed" in result.output
    rows = printed(result.output)
    assert len(rows) == len(rungs())
    assert rows[0].keys() == {"network", "program", "µs per step", "first loss"}


def test_train(fair, tmp_path):
    pytest.importorskip("sklearn")
    result = run("train", "--epochs", 1, "--json", tmp_path / "train.json")
    assert result.exit_code == 0, result.output
    saved = json.loads((tmp_path / "train.json").read_text())
    rows = saved["rows"]
    assert saved["environment"]["processor"] in result.output
    for row, shown in zip(rows, printed(result.output), strict=True):
        to_eager = () if row["to_eager"] is None else (ratio(row["to_eager"]),)
        assert list(shown.values()) == [
            row["program"],
            f"{row['seconds'] * 1e3:.1f}",
            *to_eager,
            *(f"{row['losses'][i]:.6f}" for i in (0, -1)),
        ]
    np.testing.assert_allclose([row["losses"] for row in rows], [rows[0]["losses"]] * len(rows), rtol=1e-4)


def test_train_without_scikit_learn_says_what_to_install(fair, monkeypatch):
    hide(monkeypatch, "sklearn")
    result = run("train")
    assert result.exit_code == 2
    assert "pip install" in result.output


def test_without_a_compiler_nothing_is_compiled(fair, torch):
    assert left_out()[COMPILED] == "no C++ compiler"
    assert COMPILED not in programs()
    assert "PyTorch eager" in programs()


def test_jax_is_as_limited_as_it_can_be(fair):
    pytest.importorskip("jax")
    result = run("step", "--seconds", 0)
    assert "JAX, jit" in {row["program"] for row in printed(result.output)}
    assert "jax threads 1 to compute, its runtime threads not limited" in result.output


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch, from within
@pytest.mark.parametrize("compiler", ["no-compiler", pytest.param("g++", marks=pytest.mark.slow)])
def test_all_programs_learn_the_same(monkeypatch, compiler):
    monkeypatch.setenv("CXX", compiler)
    rng = np.random.default_rng(0)
    images, labels = rng.random((64, 64), np.float32), rng.integers(0, 10, 64)
    losses = {
        name: [program.step(program.tensor(images), program.tensor(labels)) for _ in range(5)]
        for name, program in programs().items()
    }
    for name, values in losses.items():
        np.testing.assert_allclose(values, losses["tinygrad_norm, NumPy"], rtol=1e-3, err_msg=name)
    assert losses["tinygrad_norm, NumPy"][-1] < losses["tinygrad_norm, NumPy"][0]


def test_training_lowers_the_loss(fair, monkeypatch):
    pytest.importorskip("sklearn")
    first = dict(itertools.islice(programs().items(), 1))
    monkeypatch.setattr(training_epochs, "programs", lambda: first)
    ours = training_epochs.train(3)[0]
    assert ours.program == f"tinygrad_norm, {rungs()[0]}"
    assert ours.losses[2] < ours.losses[1] < ours.losses[0]


def test_scaling(fair, monkeypatch, tmp_path):
    small = {
        name: (variable, build, sizes[:2]) for name, (variable, build, sizes) in growth.EXPERIMENTS.items()
    }
    monkeypatch.setattr(growth, "EXPERIMENTS", small)
    result = run("scaling", "--seconds", 0, "--json", tmp_path / "s.json")
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "s.json").read_text())["rows"]
    assert len(rows) == 2 * 2 * len(small)
    for closed, composed, shown in zip(rows[::2], rows[1::2], printed(result.output), strict=True):
        assert (closed["form"], composed["form"]) == growth.FORMS
        assert closed["kept"] < composed["kept"]
        assert closed["peak"] < composed["peak"]
        assert shown["experiment"] == closed["experiment"]
        assert shown["size"] == f"{closed['variable']} = {closed['size']}"
        for row in (closed, composed):
            for unit, value in (("µs", row["seconds"]), ("peak MB", row["peak"]), ("kept MB", row["kept"])):
                scale = 1e6 if unit == "µs" else 1e-6
                assert float(shown[f"{unit} {row['form']}"]) == pytest.approx(value * scale, rel=6e-3)


def test_depth_costs_memory_in_proportion():
    _, build, _ = growth.EXPERIMENTS["LayerNorm (64, 128), deep"]
    for composed in (False, True):
        one, four = (growth.kept_bytes(build(depth, composed)()) for depth in (2, 5))
        assert 2 < four / one < 3 or 2 < (four - one) / one < 4


def test_kept_bytes_count_each_array_once_and_no_leaf():
    x = Tensor(np.ones(100, np.float32), requires_grad=True)
    assert growth.kept_bytes(x * x) == 0
    y = x.exp()
    assert growth.kept_bytes(y) == 400
    assert growth.kept_bytes(y * y) == 400
    assert growth.kept_bytes(x) == 0


def test_peak_bytes_is_what_numpy_held():
    assert 8_000_000 <= growth.peak_bytes(lambda: np.ones(1_000_000).sum()) < 8_100_000


FACTS = {"processor": "Abacus", "threads": "1"}


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved."""
    pytest.importorskip("matplotlib")
    figures = []
    save = charts._save
    monkeypatch.setattr(charts, "_save", lambda figure, path: (figures.append(figure), save(figure, path)))
    return figures


def check_that_all_is_inside(figure):
    """No text ends outside the picture, and no two labels of an axis overlap."""
    figure.canvas.draw()
    inside = figure.bbox.padded(1)
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            boxes = [tick.label1.get_window_extent() for tick in ticks if tick.label1.get_text()]
            assert len(boxes) >= 1
            assert all(box.x0 >= inside.x0 and box.x1 <= inside.x1 for box in boxes)
            assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
            assert not any(tick.label1.get_text() for tick in axis.get_minor_ticks())
        for text in axes.texts:
            assert axes.bbox.padded(1).containsx(text.get_window_extent().x0)
            assert axes.bbox.padded(1).containsx(text.get_window_extent().x1)
    title = figure.get_suptitle()
    assert all(f"{name} {value}" in title for name, value in FACTS.items())


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_pictures_of_ratios(drawn, tmp_path, suffix):
    values = {"faster": 0.2, "as fast": 1.0, "slower, with a rather long name" * 2: 3.7}
    path = tmp_path / f"p.{suffix}"
    charts.ratios(path, values, "ours / theirs", "all of it", FACTS, ("ours wins", "theirs wins"))
    (figure,) = drawn
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    faster, _, slower = (bar.get_facecolor() for bar in axes.patches)
    keys = {patch.get_label(): patch.get_facecolor() for patch in figure.legends[0].get_patches()}
    assert keys == {"ours wins": faster, "theirs wins": slower}
    assert faster != slower
    assert [bar.get_x() + bar.get_width() for bar in axes.patches] == pytest.approx(list(values.values()))
    assert [label.get_text() for label in axes.get_yticklabels()] == list(values)
    assert axes.get_xlabel() == "ours / theirs"
    check_that_all_is_inside(figure)
    assert path.read_bytes().startswith(b"\x89PNG" if suffix == "png" else b"<?xml")


def test_a_picture_without_pytorch(fair, drawn, monkeypatch, tmp_path):
    hide(monkeypatch, "torch")
    result = run("ops", "rnn", "--seconds", 0, "--plot", tmp_path / "p.png")
    assert result.exit_code == 0, result.output
    assert not drawn[0].axes[0].patches


def test_pictures_of_times(drawn, tmp_path):
    charts.bars(tmp_path / "p.png", {"ours": 11.72, "theirs": 1565.4}, "µs", "a step", FACTS)
    (figure,) = drawn
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["11.7", "1565"]
    ours, theirs = (bar.get_facecolor() for bar in axes.patches)
    assert ours != theirs
    check_that_all_is_inside(figure)


@pytest.mark.slow
def test_the_picture_of_scaling(fair, drawn, monkeypatch, tmp_path):
    """From figures as large as real ones, without measuring."""
    points = [
        dataclasses.replace(
            growth.Point(name, variable, size, form, 0, 0, 0), seconds=size * c, peak=s, kept=s // 9
        )
        for name, (variable, _, sizes) in growth.EXPERIMENTS.items()
        for size in sizes
        for form, c, s in zip(growth.FORMS, (2e-6, 9e-6), (size * 1000, size * 9000), strict=True)
    ]
    monkeypatch.setattr(growth, "measure", lambda seconds: points)
    monkeypatch.setattr("tinygrad_norm.cli.bench.environment", lambda: {**FACTS, "torch": "9"})
    for suffix in ("png", "svg", "svg"):
        result = run("scaling", "--plot", tmp_path / f"{len(drawn)}.{suffix}")
        assert result.exit_code == 0, result.output
    figure = drawn[0]
    assert len(figure.axes) == 2 * len(growth.EXPERIMENTS)
    for (name, (variable, _, sizes)), (times, memory) in zip(
        growth.EXPERIMENTS.items(), zip(figure.axes[::2], figure.axes[1::2], strict=True), strict=True
    ):
        for axes in (times, memory):
            assert (axes.get_title(), axes.get_xlabel()) == (name, variable)
            assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
            assert [label.get_text() for label in axes.get_xticklabels()] == [str(size) for size in sizes]
        assert [line.get_linestyle() for line in memory.lines] == ["-", "--", "-", "--"]
        closed, composed = (line.get_color() for line in times.lines)
        assert closed != composed
        assert [line.get_color() for line in memory.lines] == [closed, closed, composed, composed]
        assert list(times.lines[1].get_ydata()) == pytest.approx([9 * size for size in sizes])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(growth.FORMS)
    check_that_all_is_inside(figure)
    first, again = ((tmp_path / f"{i}.svg").read_bytes() for i in (1, 2))
    assert first == again  # no date, no random names: a diff shows what changed
    assert len(first) < 60_000


@pytest.mark.parametrize("words", [("step", "--seconds", 0), ("train", "--epochs", 1), ("ops", "max_pool2d")])
def test_pictures_of_what_was_measured(fair, drawn, tmp_path, words):
    for module in ("torch", "sklearn"):
        pytest.importorskip(module)
    result = run(*words, "--plot", tmp_path / "p.png")
    assert result.exit_code == 0, result.output
    assert f"plot in {tmp_path / 'p.png'}" in result.output
    assert ("below 1 is faster" in result.output) == (words[0] == "ops")
    assert f"numpy {np.__version__}" in drawn[0].get_suptitle()
    bars = len(printed(result.output)) - (words[0] == "step")  # PyTorch eager's own ratio is 1
    assert len(drawn[0].axes[0].patches) == bars


def test_a_picture_without_matplotlib_says_what_to_install(fair, monkeypatch, tmp_path):
    hide(monkeypatch, "matplotlib", "matplotlib.figure")
    result = run("step", "--seconds", 0, "--plot", tmp_path / "p.png")
    assert result.exit_code == 2
    assert "tinygrad_norm[plot]" in result.output


def test_contestants_take_turns():
    order = []
    names = "abc"
    best = timing.best_times({name: lambda name=name: order.append(name) for name in names}, 0)
    assert set(best) == set(names)
    assert all(time >= 0 for time in best.values())
    turns = [name for name, after in zip(order, [*order[1:], None], strict=True) if name != after]
    assert "".join(turns) in "abc" * len(turns)
    assert len(turns) >= 30


def test_an_unfair_process_starts_a_fair_one(monkeypatch):
    started = {}

    def record(command, env, check):
        started.update(command=command, env=env)
        return type("Done", (), {"returncode": 7})

    for name in timing.settings():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tinygrad_norm.cli.bench.subprocess.run", record)
    for words in (("ops", "softmax"), ("step",), ("train",), ("scaling",)):
        started.clear()
        assert run(*words).exit_code == 7
        assert started["env"].items() >= timing.settings().items()
        assert started["command"] == [sys.executable, *sys.orig_argv[1:]]
    assert {"TINYGRAD_NORM_THREADS", "OMP_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_"} <= set(timing.settings())


def test_a_package_of_this_name_in_the_current_folder_is_not_started(tmp_path):
    (tmp_path / "tinygrad_norm").mkdir()
    (tmp_path / "tinygrad_norm" / "__main__.py").write_text("print('another package')")
    environment = {name: value for name, value in os.environ.items() if name not in timing.settings()}
    environment["PYTHONPATH"] = str(Path(tn.__file__).parents[1])
    command = [sys.executable, "-P", "-m", "tinygrad_norm", "bench", "ops", "softmx"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "softmx" in done.stderr
    assert "another package" not in done.stdout


@pytest.mark.parametrize("option", ["--plot", "--json"])
@pytest.mark.parametrize("command", ["ops", "step", "train", "scaling"])
def test_a_file_that_cannot_be_written_is_an_error_before_measuring(
    fair, monkeypatch, tmp_path, command, option
):
    if option == "--plot":
        pytest.importorskip("matplotlib")
    monkeypatch.setattr(cli_bench, "_fairly", None)  # calling it raises
    (tmp_path / "folder.svg").mkdir()
    (tmp_path / "file").write_text("precious")
    wrong = {"missing/b.svg": "create", "folder.svg": "is a folder", "file/b.svg": "is not a folder"}
    if option == "--plot":
        wrong["b.xyz"] = "must end in .png or .svg"
    for path, message in wrong.items():
        result = run(command, option, tmp_path / path)
        assert result.exit_code == 2
        assert message in result.output
        assert option in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.svg"]


@pytest.mark.parametrize("words", [("ops", "softmax"), ("step",), ("train",)])
def test_two_threads_start_a_new_process(fair, monkeypatch, words):
    started = {}

    def record(command, env, check):
        started.update(env)
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr("tinygrad_norm.cli.bench.subprocess.run", record)
    assert run(*words, "--threads", 2).exit_code == 0
    assert started.items() >= timing.settings(2).items()
    assert started["TINYGRAD_NORM_THREADS"] == started["OMP_NUM_THREADS"] == "2"


def test_the_network_is_the_same_in_both(torch):
    ours, theirs = mlp(tn.nn), mlp(torch.nn)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in theirs.state_dict().items()
    }
