"""`bench --as-is`: what a user gets by default, with the threads that each program takes, and malloc."""

import json
import os
import time

import pytest
from typer.testing import CliRunner

import tinygrad_norm.cli.bench as cli_bench
from tinygrad_norm.backends.cpu.threads import use_threads
from tinygrad_norm.bench import cpu_ops, timing
from tinygrad_norm.cli import app


@pytest.fixture(autouse=True)
def default_environment(monkeypatch):
    for name in timing.settings():
        monkeypatch.delenv(name, raising=False)


def run(*words):
    return CliRunner().invoke(app, ["bench", *map(str, words)], env={"COLUMNS": "200"})


@pytest.mark.parametrize("words", [("ops", "softmax"), ("step",), ("train",), ("scaling",), ()])
def test_it_starts_no_other_process_and_sets_nothing(monkeypatch, words):
    class Measured(Exception):
        pass

    def measure(*arguments, **options):
        raise Measured

    for name in ("wide_console", "environment"):
        monkeypatch.setattr(cli_bench, name, measure)
    monkeypatch.setattr(cli_bench.subprocess, "run", None)
    before = dict(os.environ)
    result = run(*words, "--as-is")
    assert isinstance(result.exception, Measured)
    assert {name for name in timing.settings() if name in os.environ} == set()
    assert before.items() <= os.environ.items()


def test_the_figures_say_how_many_threads_each_program_has(monkeypatch, torch, tmp_path):
    monkeypatch.setattr(cpu_ops, "copy_bandwidth", lambda: 1e10)
    monkeypatch.setattr(cpu_ops, "with_default_malloc", lambda function, *arguments: function(*arguments))
    before = torch.get_num_threads()
    with use_threads(2):
        result = run("ops", "max_pool2d", "--seconds", 0, "--as-is", "--json", tmp_path / "ops.json")
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "ops.json").read_text())["environment"]
    assert [facts[name] for name in ("threads", "BLAS threads", "clock")] == ["1", "2", "wall"]
    assert facts["torch threads"] == str(before) == str(torch.get_num_threads())


def test_the_clock_is_that_of_the_wall(monkeypatch):
    assert timing.thread_limit() is None
    assert timing.clock_of_calls() is time.perf_counter
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # not all programs
    assert timing.thread_limit() is None


def test_a_number_of_threads_contradicts_it():
    result = run("step", "--as-is", "--threads", 2)
    assert result.exit_code == 2
    assert "leave out --threads" in result.output
