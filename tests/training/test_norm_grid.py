"""Training with several norms and seeds: the runs, the table, the picture, and how it continues."""

import csv
import json
import shutil
import signal

import numpy as np
import pytest
from train_runs import assert_same_numbers, invoke, metrics

from tinygrad_norm import data
from tinygrad_norm.cli.progress import backend_line
from tinygrad_norm.training import Config, Diverged, Interrupted, NormGrid, Run

ARGUMENTS = ("digits", "--norm", "batch", "--norm", "layer", "--seeds", 2, "--epochs", 2)


@pytest.fixture(autouse=True)
def _sigint_interrupts():
    """Make SIGINT interrupt even in the background of a shell, where it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_every_norm_and_seed_is_an_ordinary_run_and_the_table_has_their_means(tmp_path):
    result = invoke(*ARGUMENTS, "--out", tmp_path / "grid")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"{backend_line(1)}\nmlp on digits: 2 norms × 2 seeds = 4 runs")
    runs = ["batch-0", "batch-1", "layer-0", "layer-1"]
    assert sorted(path.name for path in (tmp_path / "grid").iterdir()) == [
        *runs[:2], "curves.png", "grid.json", *runs[2:], "results.csv",
    ]  # fmt: skip
    Run(Config(norm="layer", seed=1, epochs=2), tmp_path / "alone").train()
    assert_same_numbers(tmp_path / "alone", tmp_path / "grid" / "layer-1")
    with (tmp_path / "grid" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["norm"], row["seed"]) for row in rows] == [(n, s) for n in ("batch", "layer") for s in "01"]
    for norm in ("batch", "layer"):
        accuracies = [100 * float(row["test_accuracy"]) for row in rows if row["norm"] == norm]
        costs = [
            min(float(row["validation_loss"]) for row in metrics(tmp_path / "grid" / f"{norm}-{seed}"))
            for seed in (0, 1)
        ]
        (line,) = [line for line in result.output.splitlines() if line.startswith(f"│ {norm} ")]
        assert f"{np.mean(accuracies):.2f}% ± {np.std(accuracies, ddof=1):.2f}%" in line
        assert f"{np.mean(costs):.4f} ± {np.std(costs, ddof=1):.4f}" in line
        assert len(line) <= 80


@pytest.mark.slow
def test_ctrl_c_says_how_to_continue_and_finished_runs_are_not_repeated(tmp_path, monkeypatch):
    original, steps = Run._step, []

    def step(run, *batch):
        original(run, *batch)
        steps.append(run.out.name)
        if run.out.name == "layer-0" and run.progress.epoch == 1:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Run, "_step", step)
    result = invoke(*ARGUMENTS, "--out", tmp_path / "grid")
    assert result.exit_code == 130
    output = " ".join(result.output.split())
    assert f"Stopped by Ctrl-C; 1 of 4 runs are finished in {tmp_path / 'grid'}." in output
    assert f"Continue with: tinygrad-norm train --resume {tmp_path / 'grid'}" in output
    steps.clear()
    monkeypatch.setattr(Run, "_step", lambda run, *batch: (original(run, *batch), steps.append(run.out.name)))
    result = invoke("--resume", tmp_path / "grid")
    assert result.exit_code == 0, result.output
    assert [steps.count(f"{norm}-{seed}") for seed in (0, 1) for norm in ("batch", "layer")] == [
        0,
        19,
        40,
        40,
    ]
    assert invoke(*ARGUMENTS, "--out", tmp_path / "whole").exit_code == 0
    for norm in ("batch", "layer"):
        assert_same_numbers(tmp_path / "whole" / f"{norm}-0", tmp_path / "grid" / f"{norm}-0")


@pytest.mark.slow
def test_norms_and_seeds_can_be_added_and_a_removed_run_is_repeated(tmp_path):
    moons = data.load_toy("moons")
    config = Config(epochs=1)
    NormGrid(config, ["batch"], 1, tmp_path, dataset=moons).train()
    trained = []
    more = NormGrid(config, ["rms", "batch"], 2, tmp_path, dataset=moons)
    more.train(lambda run: (trained.append(run.out.name), run.train()))
    assert trained == ["rms-0", "rms-1", "batch-1"]
    assert [summary.norm for summary in more.summary()] == ["rms", "batch"]
    shutil.rmtree(tmp_path / "rms-0")
    assert NormGrid(config, ["rms", "batch"], 2, tmp_path, dataset=moons).unfinished == ["rms-0"]
    with pytest.raises(ValueError, match="run with other settings"):
        NormGrid(Config(epochs=2), ["batch"], 1, tmp_path, dataset=moons)


def test_the_summary_has_means_and_deviations_for_regression(tmp_path):
    grid = NormGrid(Config("sine", epochs=2), ["layer", "none"], 3, tmp_path)
    grid.train()
    layer = grid.summary()[0]
    assert (layer.norm, layer.runs, layer.diverged, layer.part) == ("layer", 3, 0, "test")
    entries = [json.loads((tmp_path / f"layer-{seed}" / "results.json").read_text()) for seed in range(3)]
    for name in ("mse", "r2"):
        values = [entry["test"][name] for entry in entries]
        assert layer.figures[name] == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert NormGrid.load(tmp_path).summary() == grid.summary()
    assert NormGrid.load(tmp_path).unfinished == []


def test_one_seed_has_no_deviation(tmp_path):
    result = invoke("moons", "--norm", "batch", "--norm", "none", "--epochs", 1, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "±" not in result.output
    assert "nan" not in result.output


def test_text_reports_bits_per_character(tmp_path):
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog;\n" * 67)
    options = ("--model", "lstm", "--norm", "layer", "--seeds", 2, "--epochs", 1, "--batch-size", 4)
    result = invoke("text", "--file", tmp_path / "text.txt", *options, "--out", tmp_path / "grid")
    assert result.exit_code == 0, result.output
    assert "bits per character" in result.output
    assert NormGrid.load(tmp_path / "grid").summary()[0].part == "validation"


def test_a_run_that_diverges_does_not_stop_the_others(tmp_path, monkeypatch):
    original = Run._step

    def step(run, *batch):
        if run.out.name == "none-0":
            raise Diverged("the loss became nan")
        original(run, *batch)

    monkeypatch.setattr(Run, "_step", step)
    result = invoke("moons", "--norm", "none", "--norm", "layer", "--epochs", 1, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "none: in 1 of 1 runs the loss became infinite or NaN" in result.output
    grid = NormGrid.load(tmp_path)
    assert [summary.norm for summary in grid.summary()] == ["layer"]
    assert grid.unfinished == []


def test_the_picture_has_a_curve_and_a_band_for_each_norm(tmp_path, monkeypatch):
    figure = pytest.importorskip("matplotlib.figure").Figure
    drawn = []
    grid = NormGrid(Config("moons", epochs=3), ["batch", "none"], 2, tmp_path)
    original = figure.savefig
    monkeypatch.setattr(figure, "savefig", lambda self, path: (drawn.append(self), original(self, path)))
    grid.train()
    cost, accuracy = drawn[-1].axes
    assert [line.get_label() for line in accuracy.lines] == ["batch", "none"]
    rows = [metrics(tmp_path / f"batch-{seed}") for seed in (0, 1)]
    expected = np.mean([[float(row["validation_loss"]) for row in run] for run in rows], 0)
    np.testing.assert_allclose(cost.lines[0].get_ydata(), expected)
    assert len(cost.collections) == 2
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits", "--norm", "batch", "--norm", "bach"], "unknown norm 'bach'"),
        (["digits", "--norm", "batch", "--norm", "instance"], "Norms that fit: batch, "),
        (["digits", "--seeds", "0"], "--seeds"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_call_prints_an_error_before_training(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())


def test_a_grid_takes_no_other_settings(tmp_path):
    grid = NormGrid(Config("moons", epochs=1), ["none"], 2, tmp_path)
    grid.train()
    result = invoke("--resume", tmp_path, "--epochs", 3)
    assert result.exit_code == 2
    assert "leave out --epochs" in " ".join(result.output.split())
    with pytest.raises(ValueError, match=r"no grid\.json"):
        NormGrid.load(tmp_path / "none-0")
    with pytest.raises(ValueError, match="at least one norm and one seed"):
        NormGrid(Config(), [], 2, tmp_path)


def test_ctrl_c_in_a_script_raises_and_keeps_the_seconds(tmp_path):
    grid = NormGrid(Config("moons", epochs=2), ["none"], 1, tmp_path)

    def train(run):
        run.train(on_step=lambda run: signal.raise_signal(signal.SIGINT))

    with pytest.raises(Interrupted):
        grid.train(train)
    assert json.loads((tmp_path / "grid.json").read_text())["runs"]["none-0"]["seconds"] > 0


def test_a_grid_of_an_older_version_continues(tmp_path):
    """Its config says norm_first instead of placement."""
    pytest.importorskip("sklearn")
    config = Config(model="transformer", epochs=1, placement="post")
    NormGrid(config, ["rms"], 1, tmp_path)._save()
    state = json.loads((tmp_path / "grid.json").read_text())
    del state["config"]["qk_norm"], state["config"]["placement"]
    state["config"]["norm_first"] = False
    (tmp_path / "grid.json").write_text(json.dumps(state))
    assert NormGrid.load(tmp_path).config == config
