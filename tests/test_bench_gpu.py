"""The GPU benchmark without a GPU: its floors, its clock, its table, and what it says where there is none."""

import functools
import shutil
import time

import numpy as np
import pytest
from typer.testing import CliRunner

import tinygrad_norm as tn
import tinygrad_norm.cli.gpu as command
from tinygrad_norm.backends import emulator
from tinygrad_norm.bench import gpu
from tinygrad_norm.bench.gpu import Bench, Clock, Memory, Row, cells, copies_of, floors, measure
from tinygrad_norm.cli import app
from tinygrad_norm.registry import REGISTRY, Case

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
MEMORY = Memory(shared=200_000, cache=50_000_000)


@pytest.mark.parametrize(
    ("op", "shape", "options", "passes"),
    [
        ("layer_norm", (4096, 1024), {}, (2, 3)),
        ("softmax", (4096, 1024), {}, (2, 3)),
        ("cross_entropy", (4096, 1024), {}, (2, 2)),
        ("batch_norm", (64, 64, 32, 32), {}, (2, 5)),  # 16 MB fit the cache
        ("batch_norm", (64, 256, 32, 32), {}, (3, 5)),  # 64 MB do not
        ("group_norm", (8, 64, 32, 32), {"num_groups": 32}, (2, 3)),  # 8 kB a slab
        ("group_norm", (8, 64, 256, 256), {"num_groups": 32}, (3, 5)),  # 512 kB a slab
        ("instance_norm", (8, 64, 128, 128), {}, (2, 3)),
        ("instance_norm", (8, 64, 256, 256), {}, (3, 5)),
    ],
)
def test_floors_in_passes_over_the_input(op, shape, options, passes):
    found = floors(op, Case((shape,), options), 4, MEMORY)
    assert found == tuple(4 * int(np.prod(shape)) * p for p in passes)


def test_sizes_are_of_ops_that_pytorch_has_too():
    for name, cases in gpu.SIZES.items():
        assert REGISTRY[name].torch
        assert all(floors(name, case, 4, MEMORY)[0] >= 8 * 2**21 for case in cases)


def test_buffers_are_rotated_through_a_gigabyte_and_more():
    assert copies_of(Case(((1024, 1024),)), 4, 1 << 30) == 256
    assert copies_of(Case(((1024, 1025),)), 4, 1 << 30) == 256
    assert copies_of(Case(((1024, 1023),)), 4, 1 << 30) == 257
    assert copies_of(Case(((1 << 20, 1 << 10),)), 4, 1 << 30) == 2


def test_a_row_of_the_table():
    row = Row("softmax", "4×8", "forward", 2_000_000, {"ours": 1e-6, "PyTorch eager": 1.5e-6})
    assert row.rate == pytest.approx(2e12)
    assert cells(row, 4e12, ["PyTorch eager", "torch.compile"]) == [
        *("softmax", "4×8", "forward", "1.0", "2000", "0.50"),
        *("1.50", "–"),
    ]


class FakeCuda:
    """CUDA's events, on a GPU that has done everything before the host goes on."""

    now = None  # the time on the wall

    def __init__(self):
        fake = self

        class Event:
            def record(self):
                self.at = time.perf_counter() if fake.now is None else fake.now

            def synchronize(self):
                assert self.at is not None

        self.Event = Event

    @staticmethod
    def get_elapsed_time(start, stop):
        return 1000 * (stop.at - start.at)  # CUDA says milliseconds


def test_contestants_take_turns_and_every_buffer_is_timed():
    cuda, log = FakeCuda(), []
    clock = Clock(cuda, np.ones(4))
    cuda.now, clock.copy_seconds = 0.0, 1.0

    def call(name, seconds):
        log.append(name)
        cuda.now += seconds

    contestants = {
        "a": [functools.partial(call, "a0", 1.0), functools.partial(call, "a1", 2.0)],
        "b": [functools.partial(call, "b0", 3.0)],
    }
    times = clock.times(contestants)
    assert times == {"a": [1.0, 2.0] * (gpu.ROUNDS // 2), "b": [3.0] * (gpu.ROUNDS // 2)}
    assert log[:3] == ["a0", "a1", "b0"]
    assert log[3:9] == ["a0", "a1", "a0", "a1", "b0", "b0"]


def test_copies_keep_the_gpu_busy_while_the_host_prepares(monkeypatch):
    clock = Clock(FakeCuda(), np.ones(1000))
    clock.copy_seconds, copies = 0.001, []
    monkeypatch.setattr(clock, "_copy", lambda: copies.append(1))
    clock._round([lambda: None], 0.0055)
    assert len(copies) == 6


@needs_compiler
@pytest.mark.parametrize("name", gpu.SIZES)
def test_every_op_is_measured_forward_and_backward(name):
    op = REGISTRY[name]
    with tn.use_backend("emulator"):
        clock = Clock(FakeCuda(), emulator.asarray(np.ones(1000, np.float32)))
        clock.copy_seconds = 1.0  # so that few copies are waited for
        pytest.importorskip("torch")
        rivals = {"PyTorch eager": functools.partial(gpu.torch_calls, device="cpu")}
        small = next((case for case in op.bench if np.prod(case.inputs[0]) < 100_000), op.cases[0])
        rows = measure(op, small, "float32", clock, MEMORY, rivals, rotated=1)
    assert [row.direction for row in rows] == ["forward", "backward"]
    for row, floor in zip(rows, floors(name, small, 4, MEMORY), strict=True):
        assert row.floor == floor
        assert row.seconds.keys() == {"ours", *rivals}
        assert min(row.seconds.values()) > 0


@needs_compiler
def test_the_command_prints_the_table(monkeypatch):
    monkeypatch.setattr(gpu, "SIZES", {"softmax": REGISTRY["softmax"].bench[:1]})
    monkeypatch.setattr(command, "use_backend", lambda name: tn.use_backend("emulator"))
    clock = Clock(FakeCuda(), np.ones(1000, np.float32))
    clock.copy_seconds = 1.0
    bench = Bench(clock, MEMORY, {}, {"device": "none", "cupy": "0"}, rotated=1)
    monkeypatch.setattr(command, "prepare", lambda: bench)
    monkeypatch.setattr("tinygrad_norm.cli.bench.is_fair", lambda: True)
    with tn.use_backend("numpy"):
        result = CliRunner().invoke(app, ["bench", "gpu", "softmax"])
    assert result.exit_code == 0, result.output
    assert result.output.count("softmax") == 2
    assert "of a copy" in result.output
    assert "PyTorch is not installed with CUDA" in result.output
    assert "device none, cupy 0" in result.output


def test_wrong_calls(monkeypatch):
    monkeypatch.setattr("tinygrad_norm.cli.bench.is_fair", lambda: True)

    def none(name):
        raise RuntimeError("the cupy backend needs CuPy")

    monkeypatch.setattr(command, "use_backend", none)
    for arguments, message in (
        (["exp"], "nothing is timed for 'exp'"),
        (["--dtype", "int8"], "unknown dtype 'int8'"),
        ([], "the cupy backend needs CuPy"),
    ):
        result = CliRunner().invoke(app, ["bench", "gpu", *arguments])
        assert result.exit_code == 2
        assert message in " ".join(result.output.replace("│", " ").split())


@pytest.mark.cuda  # not run on a GPU so far: there was none where this was written
def test_measuring_on_a_gpu(monkeypatch):
    with tn.use_backend("cupy"):
        bench = gpu.prepare()
        case = Case(((4096, 4096),), {"dim": -1})
        forward, backward = measure(
            REGISTRY["softmax"], case, "float32", bench.clock, bench.memory, bench.against, gpu.ROTATED
        )
    assert 0 < forward.rate <= 1.5 * bench.clock.copy_rate
    assert 0 < backward.rate <= 1.5 * bench.clock.copy_rate
