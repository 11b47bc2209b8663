"""The quick run of the GPU benchmark: which cases it measures, what ends it, and what is kept of it."""

import functools
import math
import time

import numpy as np

from tinygrad_norm.bench import gpu_timing
from tinygrad_norm.bench.gpu_ops import SUBJECTS, Memory
from tinygrad_norm.bench.gpu_plan import Planned, planned
from tinygrad_norm.bench.gpu_timing import Bench
from tinygrad_norm.cli.bench_gpu import Progress
from tinygrad_norm.cli.tables import wide_console
from tinygrad_norm.registry import Case

FLOAT32 = np.dtype(np.float32)
SOFTMAX = [Planned("softmax", Case(((4, D),)), compiled=D == 1) for D in (1, 2, 3, 4)]


def test_a_quick_run_measures_every_second_size():
    plan, whole = planned((), quick=True), planned(())
    assert [one.name for one in whole] == [name for name in SUBJECTS for _ in SUBJECTS[name].cases]
    assert all(one.compiled for one in whole)
    assert dict.fromkeys(one.name for one in plan).keys() == SUBJECTS.keys()
    assert [one.case.inputs[0][1] for one in planned(["softmax"], quick=True)] == [1024, 4096, 16384]
    assert 2 * len(plan) <= len(whole) + len(SUBJECTS)


def test_pytorch_compiles_one_size_of_each_op_in_a_quick_run():
    assert [one.name for one in planned((), quick=True) if one.compiled] == list(SUBJECTS)


class Timed:
    """A bench whose contestants take seconds of a fake clock to prepare, and nothing to run."""

    def __init__(self, monkeypatch, **seconds):
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(gpu_timing, "Data", lambda *_: object())
        monkeypatch.setattr(type(SUBJECTS["softmax"]), "calls", lambda *_: self.prepare(1.0))
        against = {name.replace("_", "."): lambda *_, s=s: self.prepare(s) for name, s in seconds.items()}
        self.bench = Bench(self, Memory(200_000, 50_000_000), against, {})

    def prepare(self, seconds):
        self.now += seconds
        return {"forward": [int], "backward": [int]}

    def times(self, contestants, least):
        return {name: [1.0] for name in contestants}

    def rows(self, limit):
        return [set(rows[0].seconds) for rows in self.bench.rows(SOFTMAX, FLOAT32, 0.0, limit)]


def test_without_a_limit_everything_is_measured(monkeypatch):
    timed = Timed(monkeypatch, eager=10.0, triton=100.0)
    assert timed.rows(math.inf) == 4 * [{"ours", "eager", "triton"}]


def test_baselines_are_left_out_after_the_share_of_a_case(monkeypatch):
    """Of 40 s for four cases, the first has 10 s; of the 27 s that it leaves, the next has 9 s; and so on."""
    timed = Timed(monkeypatch, eager=12.0, triton=5.0)
    assert timed.rows(40.0) == [*3 * [{"ours", "eager"}], {"ours"}]


def test_no_case_is_begun_after_the_limit(monkeypatch):
    timed = Timed(monkeypatch, eager=30.0)
    assert timed.rows(40.0) == 2 * [{"ours", "eager"}]


def test_pytorch_compiles_only_what_is_planned(monkeypatch):
    timed = Timed(monkeypatch, eager=0.1, torch_compile=5.0)
    assert timed.rows(math.inf) == [{"ours", "eager", "torch.compile"}] + 3 * [{"ours", "eager"}]


def test_progress_is_a_line_with_the_figures_of_each_case(monkeypatch, capsys):
    timed, console = Timed(monkeypatch), wide_console()
    now = iter([0.0, 2.0, 4.0, 60.0, 80.0])
    monkeypatch.setattr(time, "monotonic", functools.partial(next, now))
    with Progress(console, SOFTMAX) as progress:
        for rows in timed.bench.rows(SOFTMAX, FLOAT32, 0.0):
            progress.show(rows, 1e9)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("1/4 softmax 4×1: forward 1000000.0 µs, 0.00 of a copy; backward 1000000.0 µs")
    assert [line.rpartition("; ")[2] for line in lines] == [
        "0:00:02, about 0:00:06 to go",
        "0:00:04, about 0:00:04 to go",
        "0:01:00, about 0:00:20 to go",
        "0:01:20, about 0:00:00 to go",
    ]
