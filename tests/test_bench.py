"""`tinygrad-norm bench`: its commands with tiny budgets, and what they are made of."""

import json
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import tinygrad_norm as tn
from tinygrad_norm.autograd import Tensor
from tinygrad_norm.bench import ops, scaling, step, timing, train
from tinygrad_norm.bench.networks import mlp, programs
from tinygrad_norm.cli import app
from tinygrad_norm.registry import REGISTRY


@pytest.fixture
def fair(monkeypatch):
    for name, value in timing.SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ops, "copy_bandwidth", lambda: 1e10)


def run(*words):
    return CliRunner().invoke(app, ["bench", *map(str, words)], env={"COLUMNS": "200"})


def hide(monkeypatch, *modules):
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)


def test_ops(fair, tmp_path):
    result = run("ops", "cross_entropy", "max_pool2d", "--seconds", 0, "--json", tmp_path / "ops.json")
    assert result.exit_code == 0, result.output
    saved = json.loads((tmp_path / "ops.json").read_text())
    assert {row["op"] for row in saved["rows"]} == {"cross_entropy", "max_pool2d"}
    assert {"processor", "numpy", "threads"} <= set(saved["environment"])
    for words in ("to PyTorch", "to composed", "of a copy", "2048×128", saved["environment"]["numpy"]):
        assert words in result.output


def test_every_op_with_benchmark_sizes_can_be_measured(fair):
    """On its smallest ordinary case instead, which has the same inputs and options."""
    timed = [op for op in REGISTRY.values() if op.bench]
    assert {"layer_norm", "lstm", "conv2d", "linear", "scaled_dot_product_attention"} <= {
        o.name for o in timed
    }
    for op in timed:
        row = ops.measure(op, op.cases[0], 0, 1e10)
        assert row.ours > 0, op.name
        assert row.composed is None or row.to_composed == row.ours / row.composed
        assert row.floor > 0


def test_the_floor_counts_what_must_be_moved():
    case = REGISTRY["layer_norm"].cases[0]  # x (4, 8), weight and bias (8,)
    row = ops.measure(REGISTRY["layer_norm"], case, 0, 1.0)
    inputs, y = (32 + 8 + 8) * 4, 32 * 4
    assert row.floor == inputs + inputs + 2 * y  # inputs and dy read, gradients and y written


def test_an_op_without_benchmark_sizes_is_refused(fair):
    for name in ("nonsense", "neg"):
        result = run("ops", name)
        assert result.exit_code == 2
        assert name in result.output
        assert "layer_norm" in result.output


def test_step(fair, tmp_path):
    result = run("step", "--seconds", 0, "--json", tmp_path / "a" / "step.json")
    assert result.exit_code == 0, result.output
    saved = json.loads((tmp_path / "a" / "step.json").read_text())
    assert saved["rows"][0]["program"] == "tinygrad_norm"
    losses = [row["first_loss"] for row in saved["rows"]]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)
    assert saved["tape"]["tinygrad_norm"] > 0
    assert "tinygrad_norm" in result.output


def test_step_without_others_says_so(fair, monkeypatch):
    hide(monkeypatch, "torch", "autograd", "autograd.numpy")
    result = run("step", "--seconds", 0)
    assert result.exit_code == 0, result.output
    assert "PyTorch is not installed" in result.output
    assert list(step.contestants()) == ["tinygrad_norm"]


def test_train(fair, tmp_path):
    pytest.importorskip("sklearn")
    result = run("train", "--epochs", 1, "--json", tmp_path / "train.json")
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "train.json").read_text())["rows"]
    np.testing.assert_allclose([row["losses"] for row in rows], [rows[0]["losses"]] * len(rows), rtol=1e-4)


def test_train_without_scikit_learn_says_what_to_install(fair, monkeypatch):
    hide(monkeypatch, "sklearn")
    result = run("train")
    assert result.exit_code == 2
    assert "pip install" in result.output


def test_all_programs_learn_the_same():
    rng = np.random.default_rng(0)
    images, labels = rng.random((64, 64), np.float32), rng.integers(0, 10, 64)
    losses = {
        name: [program.step(program.tensor(images), program.tensor(labels)) for _ in range(5)]
        for name, program in programs().items()
    }
    for name, values in losses.items():
        np.testing.assert_allclose(values, losses["tinygrad_norm"], rtol=1e-3, err_msg=name)
    assert losses["tinygrad_norm"][-1] < losses["tinygrad_norm"][0]


def test_training_lowers_the_loss():
    pytest.importorskip("sklearn")
    ours = train.train(3)[0]
    assert ours.program == "tinygrad_norm"
    assert ours.losses[2] < ours.losses[1] < ours.losses[0]


def test_scaling(fair, monkeypatch, tmp_path):
    small = {name: (build, sizes[:2]) for name, (build, sizes) in scaling.EXPERIMENTS.items()}
    monkeypatch.setattr(scaling, "EXPERIMENTS", small)
    pictures = ("--plot", tmp_path / "s.svg") if matplotlib_is_there() else ()
    result = run("scaling", "--seconds", 0, "--json", tmp_path / "s.json", *pictures)
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "s.json").read_text())["rows"]
    assert len(rows) == 2 * 2 * len(small)
    for closed, composed in zip(rows[::2], rows[1::2], strict=True):
        assert (closed["form"], composed["form"]) == scaling.FORMS
        assert closed["kept"] < composed["kept"]
        assert closed["peak"] < composed["peak"]
    assert not pictures or (tmp_path / "s.svg").read_text().count("attention") >= 1


def matplotlib_is_there():
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def test_depth_costs_memory_in_proportion():
    build, _ = scaling.EXPERIMENTS["depth: LayerNorm (64, 128)"]
    for composed in (False, True):
        one, four = (scaling.kept_bytes(build(depth, composed)()) for depth in (2, 5))
        assert 2 < four / one < 3 or 2 < (four - one) / one < 4


def test_kept_bytes_count_each_array_once_and_no_leaf():
    x = Tensor(np.ones(100, np.float32), requires_grad=True)
    assert scaling.kept_bytes(x * x) == 0
    y = x.exp()
    assert scaling.kept_bytes(y) == 400
    assert scaling.kept_bytes(y * y) == 400
    assert scaling.kept_bytes(x) == 0


def test_peak_bytes_is_what_numpy_held():
    assert 8_000_000 <= scaling.peak_bytes(lambda: np.ones(1_000_000).sum()) < 8_100_000


@pytest.mark.parametrize("words", [("step", "--seconds", 0), ("ops", "max_pool2d", "--seconds", 0)])
def test_pictures(fair, tmp_path, words):
    pytest.importorskip("matplotlib")
    pytest.importorskip("torch")
    for suffix, start in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        result = run(*words, "--plot", tmp_path / f"p.{suffix}")
        assert result.exit_code == 0, result.output
        assert (tmp_path / f"p.{suffix}").read_bytes().startswith(start)


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


def test_the_unfair_start_themselves_anew(monkeypatch):
    started = {}

    def record(command, env, check):
        started.update(command=command, env=env)
        return type("Done", (), {"returncode": 7})

    for name in timing.SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tinygrad_norm.cli.bench.subprocess.run", record)
    assert run("step").exit_code == 7
    assert started["env"].items() >= timing.SETTINGS.items()
    assert started["command"][1:3] == ["-m", "tinygrad_norm"]


def test_the_network_is_the_same_in_both(torch):
    ours, theirs = mlp(tn.nn), mlp(torch.nn)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in theirs.state_dict().items()
    }
