"""The curves of a training: what they hold, and that the training is the same with them."""

import json
import math

import numpy
import pytest

from tinygrad_norm.explore import TrainingCurves
from tinygrad_norm.explore.livecurves import POINTS
from tinygrad_norm.training import Config, Diverged, Interrupted, NormGrid, Run
from tinygrad_norm.training.run_record import read_metrics


def train(folder, curves=None, resume=False, stop_at=None, **settings):
    run = Run(Config(**({"epochs": 2} | settings)), folder, resume)
    if curves is None:
        run.train()
        return run

    with curves.following(run) as (on_step, on_epoch):

        def step(run):
            on_step(run)
            if stop_at == (run.progress.epoch, run.progress.step):
                run._save()
                raise Interrupted

        run.train(step, on_epoch)
    return run


@pytest.mark.parametrize("dataset", ["digits", "sine"])
def test_the_results_are_the_same_to_the_bit(tmp_path, dataset):
    train(tmp_path / "without", dataset=dataset)
    train(tmp_path / "with", TrainingCurves("", ""), dataset=dataset)
    for name in ("metrics.csv", "model.safetensors", "checkpoint.safetensors"):
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()


@pytest.mark.parametrize("dataset", ["digits", "sine"])
def test_the_points_add_up_to_the_figures_of_the_epochs(tmp_path, dataset):
    curves = TrainingCurves("title", "folder")
    run = train(tmp_path / "run", curves, dataset=dataset, epochs=3, batch_size=64)
    found = json.loads(json.dumps(curves.since(), allow_nan=False))
    (curve,) = found["runs"]
    steps = len(run.loader)
    assert (curve["state"], curve["done"], curve["epochs"]) == ("finished", 3, 3)
    assert len(curve["training"]) == 3 * steps <= POINTS
    numpy.testing.assert_allclose(
        [row["epoch"] for row in curve["training"]], (numpy.arange(3 * steps) + 0.5) / steps
    )
    cost = run.task.cost.name
    sizes = numpy.array([len(batch[0]) for batch in run.loader], float)
    for k, row in enumerate(run.progress.history):
        losses = [point[cost] for point in curve["training"][k * steps : (k + 1) * steps]]
        assert numpy.dot(losses, sizes) / sizes.sum() == pytest.approx(row[f"train_{cost}"], rel=1e-9)
        for name in run.task.figure_names:
            assert curve["validation"][k] | {name: row[f"validation_{name}"]} == curve["validation"][k]
            assert curve["trained"][k] | {name: row[f"train_{name}"]} == curve["trained"][k]
    assert list(found["labels"]) == list(run.task.figure_names)


def test_a_long_run_has_few_points(tmp_path):
    curves = TrainingCurves("", "")
    run = train(tmp_path / "run", curves, epochs=3, batch_size=2, model="mlp")
    (curve,) = curves.since()["runs"]
    assert 3 * len(run.loader) > 4 * POINTS
    assert POINTS - 3 <= len(curve["training"]) <= POINTS + 3


def test_only_what_changed_is_told_again(tmp_path):
    curves = TrainingCurves("", "")
    for seed in (0, 1):
        curves.expect(f"batch-{seed}", Config(seed=seed))
    version = curves.since()["version"]
    assert curves.since(version)["runs"] == []
    train(tmp_path / "batch-1", curves, epochs=1)
    assert [run["name"] for run in curves.since(version)["runs"]] == ["batch-1"]
    assert [run["state"] for run in curves.since()["runs"]] == ["waiting", "finished"]


def test_a_run_that_is_continued_shows_its_former_epochs(tmp_path):
    curves = TrainingCurves("", "")
    with pytest.raises(Interrupted):
        train(tmp_path / "run", curves, stop_at=(1, 3))
    (stopped,) = curves.since()["runs"]
    assert (stopped["state"], stopped["words"]) == ("stopped", "stopped by Ctrl-C")
    again = TrainingCurves("", "")
    train(tmp_path / "run", again, resume=True)
    (curve,) = again.since()["runs"]
    assert [row["epoch"] for row in curve["validation"]] == [1, 2]
    assert curve["training"][0]["epoch"] == 0.5
    train(tmp_path / "whole")
    assert (tmp_path / "run/metrics.csv").read_bytes() == (tmp_path / "whole/metrics.csv").read_bytes()


def test_a_loss_that_is_not_finite_ends_the_curve_with_words(tmp_path):
    curves = TrainingCurves("", "")
    with pytest.raises(Diverged), numpy.errstate(all="ignore"):
        train(tmp_path / "run", curves, dataset="sine", norm="none", optimizer="sgd", lr=1e30, epochs=5)
    (curve,) = curves.since()["runs"]
    assert curve["state"] == "diverged"
    assert "try a smaller --lr" in curve["words"]
    assert all(math.isfinite(value or 0.0) for row in curve["training"] for value in row.values())


def test_a_finished_run_says_which_epoch_its_results_are_of(tmp_path):
    curves = TrainingCurves("", "")
    run = train(tmp_path / "run", curves, epochs=40, lr=0.05, early_stop=1)
    (curve,) = curves.since()["runs"]
    assert curve["kept"] == run.kept_epoch < run.progress.epoch
    again = TrainingCurves("", "")
    again.expect("run", run.config, read_metrics(run.out / "metrics.csv"), state="finished")
    assert again.since()["runs"][0]["kept"] == run.kept_epoch
    again.expect("run", run.config, read_metrics(run.out / "metrics.csv"), state="waiting")
    assert again.since()["runs"][0]["kept"] == 0


def test_a_grid_is_one_picture(tmp_path):
    curves = TrainingCurves("", "")
    grid = NormGrid(Config(epochs=1), ["batch", "layer"], 1, tmp_path)

    def one(run):
        with curves.following(run) as (on_step, on_epoch):
            run.train(on_step, on_epoch)

    grid.train(one)
    assert [(run["norm"], run["state"]) for run in curves.since()["runs"]] == [
        ("batch", "finished"),
        ("layer", "finished"),
    ]
    assert curves.is_training
    curves.end()
    assert not curves.is_training
