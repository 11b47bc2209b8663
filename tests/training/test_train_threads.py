"""Threads of a training run: one unless asked for more; and how fast it is, on a terminal and in a pipe."""

import io
import re

import pytest
from rich.console import Console
from train_runs import invoke

from tinygrad_norm.backends.cpu import blocks
from tinygrad_norm.backends.cpu.loops import version_on_cpu
from tinygrad_norm.backends.cpu.threads import blas_threads, use_threads
from tinygrad_norm.cli import progress
from tinygrad_norm.training import Config, Run

pytest.importorskip("sklearn", reason="the digits come with scikit-learn")


def threads_in_use():
    return blas_threads(), blocks._settings.threads


@pytest.mark.parametrize(("given", "used"), [({}, 1), ({"threads": 2}, 2)])
def test_training_and_evaluation_use_the_number_and_restore_the_others(tmp_path, monkeypatch, given, used):
    with use_threads(3):
        seen = []
        run = Run(Config(epochs=1), tmp_path / "run", **given)
        evaluate = run.task.evaluate
        monkeypatch.setattr(
            run.task, "evaluate", lambda part: (seen.append(threads_in_use()), evaluate(part))[1]
        )
        run.train(on_step=lambda run: seen.append(threads_in_use()))
        assert len(seen) == 20 + 1
        assert threads_in_use() == (3, 3)
        run.figures()
        assert len(seen) == 20 + 2
        assert set(seen) == {(used, used)}
        assert threads_in_use() == (3, 3)


def test_an_error_while_training_restores_them_too(tmp_path):
    def fail(run):
        raise KeyError

    with use_threads(2):
        with pytest.raises(KeyError):
            Run(Config(epochs=1), tmp_path / "run").train(on_step=fail)
        assert threads_in_use() == (2, 2)


def test_no_threads_raise(tmp_path):
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        Run(Config(epochs=1), tmp_path / "run", threads=0)
    assert invoke("digits", "--threads", 0, "-o", tmp_path / "run").exit_code == 2


def test_the_command_says_what_it_uses_and_threads_are_no_setting(tmp_path):
    one = invoke("digits", "--epochs", 1, "-o", tmp_path / "one")
    two = invoke("digits", "--epochs", 1, "-o", tmp_path / "two", "--threads", 2)
    assert one.output.startswith(f"backend numpy, 1 thread, {version_on_cpu()}\n")
    assert two.output.startswith("backend numpy, 2 threads, ")
    configs = [(tmp_path / name / "config.json").read_bytes() for name in ("one", "two")]
    assert configs[0] == configs[1]
    resumed = invoke("--resume", tmp_path / "one", "--threads", 2)
    assert resumed.exit_code == 0
    assert "already finished" in resumed.output


# -- the speed


def test_after_a_few_steps_a_pipe_gets_the_speed(tmp_path):
    result = invoke("digits", "--epochs", 1, "-o", tmp_path / "run")
    assert (
        len(re.findall(r"^epoch 1, step 5/20 .* [\d,.]+ steps/s, 0:00:0\d to go$", result.output, re.M)) == 1
    )


def test_a_terminal_gets_the_speed_beside_the_bar(tmp_path):
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    progress.train_with_progress(console, Run(Config(epochs=1), tmp_path / "run"))
    assert re.search(r"20/20\S* loss .* [\d,.]+ steps/s, 0:00:00 to go", console.file.getvalue())


def test_the_speed_leaves_out_the_first_step_and_counts_the_pauses(monkeypatch):
    times = iter([100.0, 100.5, 101.0, 103.5, 104.0])
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(times))
    speed = progress.Speed(steps_to_go=65)
    for shown in ("", "", "", "", "1.00 steps/s, 0:01:00 to go"):
        speed.step()
        assert str(speed) == shown
