"""`tinygrad-norm train --watch`: stats.csv and stats.png, the same numbers, resuming, Ctrl-C, divergence."""

import csv
import signal

import pytest
from train_runs import assert_same_numbers, invoke
from typer.testing import CliRunner

from tinygrad_norm.cli import app
from tinygrad_norm.training import Run

pytest.importorskip("sklearn", reason="moons come with scikit-learn")

SHORT = ("moons", "--epochs", 2, "--batch-size", 64)


@pytest.fixture(autouse=True)
def _without_pictures(request, monkeypatch):
    """Pictures take seconds; one test draws them."""
    if "slow" not in request.keywords:
        monkeypatch.setattr("tinygrad_norm.learn.watching.save_picture", lambda *_: True)
        monkeypatch.setattr("tinygrad_norm.training.run.save_curves", lambda *_: True)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def stats(folder):
    with (folder / "stats.csv").open(newline="") as file:
        return [tuple(row.values()) for row in csv.DictReader(file)]


def test_watching_changes_no_bit_and_is_off_by_default(tmp_path):
    assert invoke(*SHORT, "-o", tmp_path / "plain").exit_code == 0
    result = invoke(*SHORT, "--watch", "-o", tmp_path / "watched")
    assert result.exit_code == 0, result.output
    assert_same_numbers(tmp_path / "plain", tmp_path / "watched")
    assert not (tmp_path / "plain" / "stats.csv").exists()
    assert result.output.rstrip().endswith(f"its layers in {tmp_path / 'watched' / 'stats.csv'}")
    quantities = {(layer, quantity) for _, layer, quantity, _ in stats(tmp_path / "watched")}
    assert {
        ("1", "activation_std"),
        ("2", "mean_distance"),
        ("3", "dead"),
        ("7.weight", "grad"),
    } <= quantities
    listed = CliRunner().invoke(app, ["runs", str(tmp_path)])
    assert listed.exit_code == 0, listed.output
    assert "watched" in listed.output
    result = invoke("--resume", tmp_path / "watched")
    assert "stats.csv and stats.png are not continued without --watch" in result.output


def test_a_run_in_two_parts_has_the_rows_of_one(tmp_path, monkeypatch):
    assert invoke(*SHORT, "--watch-every", 3, "-o", tmp_path / "whole").exit_code == 0
    original = Run._step

    def step(run, batch):
        original(run, batch)
        if run.progress.epoch == 1 and run.progress.step == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Run, "_step", step)
    assert invoke(*SHORT, "--watch-every", 3, "-o", tmp_path / "parts").exit_code == 130
    monkeypatch.setattr(Run, "_step", original)
    stopped = stats(tmp_path / "parts")
    assert 0 < len(stopped) < len(stats(tmp_path / "whole"))
    result = invoke("--resume", tmp_path / "parts", "--watch-every", 3)
    assert result.exit_code == 0, result.output
    assert "stats.png was not drawn: pip install" in result.output
    assert stats(tmp_path / "parts") == stats(tmp_path / "whole")
    assert len({row[:3] for row in stats(tmp_path / "whole")}) == len(stats(tmp_path / "whole"))


def test_rows_after_the_last_checkpoint_are_dropped_on_resuming(tmp_path, monkeypatch):
    """A crash in the second epoch leaves rows of steps that the resumed run does again."""
    assert invoke(*SHORT, "--watch-every", 1, "-o", tmp_path / "whole").exit_code == 0
    original = Run._step

    def step(run, batch):
        if run.progress.epoch == 1 and run.progress.step == 3:
            raise ValueError("the lights went out")
        original(run, batch)

    monkeypatch.setattr(Run, "_step", step)
    assert invoke(*SHORT, "--watch-every", 1, "-o", tmp_path / "parts").exit_code == 2
    monkeypatch.setattr(Run, "_step", original)
    last, end = (int(stats(tmp_path / name)[-1][0]) for name in ("parts", "whole"))
    assert last == end // 2 + 3
    assert invoke("--resume", tmp_path / "parts", "--watch-every", 1).exit_code == 0
    assert stats(tmp_path / "parts") == stats(tmp_path / "whole")


def test_a_run_that_diverges_leaves_its_rows(tmp_path):
    result = invoke(*SHORT, "--lr", 1e30, "--optimizer", "sgd", "--norm", "none", "--watch", "-o", tmp_path)
    assert result.exit_code == 2
    assert "the loss became" in result.output
    assert stats(tmp_path)


@pytest.mark.slow
def test_several_norms(tmp_path):
    result = invoke(
        "moons", "--epochs", 1, "--norm", "batch", "--norm", "none", "--watch-every", 5, "-o", tmp_path
    )
    assert result.exit_code == 0, result.output
    assert {row[2] for row in stats(tmp_path / "batch-0")} - {
        row[2] for row in stats(tmp_path / "none-0")
    } == {
        "mean_distance",
        "var_ratio",
    }
    assert invoke("--resume", tmp_path, "--watch").exit_code == 0


def test_a_file_of_another_kind_is_not_overwritten(tmp_path):
    (tmp_path / "stats.csv").write_text("my,numbers\n1,2\n")
    result = invoke(*SHORT, "--watch", "-o", tmp_path)
    assert result.exit_code == 2
    assert "is not a file of watched layers" in result.output
    assert (tmp_path / "stats.csv").read_text() == "my,numbers\n1,2\n"
    assert invoke(*SHORT, "--watch-every", 0, "-o", tmp_path / "run").exit_code == 2


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp", "cnn", "transformer", "lstm", "resnet"])
def test_pictures_of_the_models(tmp_path, model):
    result = invoke("digits", "--model", model, "--epochs", 1, "--watch-every", 10, "-o", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "stats.png").read_bytes().startswith(b"\x89PNG")
