"""Early stopping: when a run ends, which weights it keeps, and that it can be resumed."""

import math
import signal

import pytest
from train_runs import assert_same_numbers, invoke, metrics

from tinygrad_norm.training import Config, Interrupted, Run
from tinygrad_norm.training.early_stopping import EarlyStopping


@pytest.mark.parametrize(
    ("costs", "best", "stops"),
    [
        ([], None, False),
        ([3.0], 0, False),
        ([3.0, 2.0, 2.5], 1, False),
        ([3.0, 2.0, 2.5, 2.0], 1, True),  # equal is not better
        ([3.0, math.nan, math.nan], 0, True),
        ([3.0, 2.0, 2.5, 1.9], 3, False),
    ],
)
def test_stops_after_as_many_epochs_without_a_better_cost(costs, best, stops):
    history = [{"cost": cost} for cost in costs]
    rule = EarlyStopping(2, "cost")
    assert rule.stops(history) == stops
    assert best is None or rule.best_epoch(history) == best
    assert not EarlyStopping(None, "cost").stops(history)


CONFIG = Config(epochs=12, lr=0.05, schedule="constant", early_stop=2, norm="none", augment="noise")
"""A run that becomes worse soon."""


def test_the_run_ends_with_the_weights_of_its_best_epoch(tmp_path):
    run = Run(CONFIG, tmp_path / "run")
    run.train()
    costs = [float(row["validation_loss"]) for row in metrics(tmp_path / "run")]
    assert run.finished
    assert len(costs) < 12
    assert run.kept_epoch == costs.index(min(costs)) + 1 == len(costs) - 2
    assert run.task.evaluate("validation")["loss"] == pytest.approx(min(costs), rel=1e-12)
    assert run.figures()["validation"]["loss"] == min(costs)
    again = Run(CONFIG, tmp_path / "run", resume=True)
    assert again.finished
    assert again.figures() == run.figures()


def test_resume_gives_the_numbers_of_an_uninterrupted_run(tmp_path):
    whole = Run(CONFIG, tmp_path / "whole")
    whole.train()

    def stop_after_the_best_epoch(run):
        if run.progress.epoch == whole.kept_epoch and run.progress.step == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        Run(CONFIG, tmp_path / "parts").train(on_step=stop_after_the_best_epoch)
    Run(CONFIG, tmp_path / "parts", resume=True).train()
    assert_same_numbers(tmp_path / "whole", tmp_path / "parts")


def test_the_report_names_the_best_epoch(tmp_path):
    options = ("--lr", 0.05, "--schedule", "constant", "--norm", "none", "--early-stop", 1, "--epochs", 9)
    result = invoke("digits", *options, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    epochs = len(metrics(tmp_path / "run"))
    assert epochs < 9
    assert f"after epoch {epochs - 1}, the best of {epochs}" in " ".join(result.output.split())
    assert "schedule constant, warm-up 10%, weight decay 0, early stop 1\n" in result.output
    result = invoke("--resume", tmp_path / "run", "--early-stop", 1)
    assert f"already finished ({epochs} of 9 epochs)" in result.output
