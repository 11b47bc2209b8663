"""The GPU benchmark without a GPU: its floors, its clock, its table, and its errors."""

import dataclasses
import functools
import json
import os
import shutil
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from bench_cases import small_case
from kernels import CURVES, KERNELS
from typer.testing import CliRunner

import tinygrad_norm as tn
import tinygrad_norm.cli.bench_gpu as command
from tinygrad_norm.backends import emulator
from tinygrad_norm.backends.cuda.signature import STORAGE
from tinygrad_norm.bench import gpu_timing, kernel_baselines
from tinygrad_norm.bench.gpu_data import Data
from tinygrad_norm.bench.gpu_ops import SUBJECTS, Memory
from tinygrad_norm.bench.gpu_timing import Bench, Clock, Row, cells, copies_of
from tinygrad_norm.cli import app
from tinygrad_norm.registry import Case

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
FLOAT32 = np.dtype(np.float32)
MEMORY = Memory(shared=200_000, cache=50_000_000)


@pytest.mark.parametrize(
    ("name", "shape", "passes"),
    [
        ("layer_norm", (4096, 1024), (2, 3)),
        ("softmax", (4096, 1024), (2, 3)),
        ("normalize", (4096, 1024), (2, 3)),
        ("cross_entropy", (4096, 1024), (2, 2)),
        ("add_rms_norm", (4096, 1024), (4, 4)),
        ("batch_norm", (64, 64, 32, 32), (2, 5)),  # 16 MB fit the cache
        ("batch_norm", (64, 256, 32, 32), (3, 5)),  # 64 MB do not
        ("batch_norm_eval", (64, 256, 32, 32), (2, 3)),
        ("group_norm", (8, 64, 32, 32), (2, 3)),  # 8 kB a slab
        ("group_norm", (8, 64, 256, 256), (3, 5)),  # 512 kB a slab
        ("instance_norm", (8, 64, 128, 128), (2, 3)),
        ("instance_norm", (8, 64, 256, 256), (3, 5)),
    ],
)
def test_floors_in_passes_over_the_input(name, shape, passes):
    found = SUBJECTS[name].floors(Case((shape,)), FLOAT32, MEMORY)
    whole = 4 * int(np.prod(shape))
    assert found == {"forward": passes[0] * whole, "backward": passes[1] * whole}


def test_floors_of_a_step():
    case, half = Case(((1000,),)), np.dtype(np.float16)
    assert SUBJECTS["sgd"].floors(case, FLOAT32, MEMORY) == {"step": 5 * 4 * 1000}
    assert SUBJECTS["adamw"].floors(case, FLOAT32, MEMORY) == {"step": 7 * 4 * 1000}
    assert SUBJECTS["adamw"].floors(case, half, MEMORY) == {"step": (3 * 2 + 4 * 4) * 1000}


def test_sizes_are_worth_timing():
    for subject in SUBJECTS.values():
        assert all(min(subject.floors(case, FLOAT32, MEMORY).values()) >= 8 * 2**21 for case in subject.cases)


@needs_compiler
def test_every_kernel_is_timed():
    """Those in the .cu files, as the launches of all subjects name them."""
    with tn.use_backend("emulator"), emulator.record() as launches:
        for name, subject in SUBJECTS.items():
            for calls in subject.calls(Data(small_case(name), FLOAT32, 1)).values():
                calls[0]()
    names = {launch.name.partition("<")[0] for launch in launches}
    other = {"adam_rates", "count_digits", "sum_counts"}  # of captured steps, and of sorts of many numbers
    other |= {name for curves in CURVES.values() for name in curves} - {"gelu_forward", "gelu_backward"}
    # Parts of blocks, small beside their products:
    other |= {"attention_weights", "attention_gradient", "largest_magnitudes", "power_of_two_above"}
    other |= {"softcap_gradient", "gated_rms_norm_forward", "gated_rms_norm_backward"}
    other |= {"lstm_step", "lstm_step_backward", "gru_step", "gru_step_backward", "max_pool_forward"}
    other |= {"channel_sums", "window_sums", "less_windows"}  # PyTorch has no such windows
    other |= {"channel_norms", "window_norms", "divide_by_deviations"}
    other |= {"divisor_gradients", "divided_gradients"}
    other |= {"move_statistics"}  # of one number for each channel
    other |= {"moving_average_forward", "moving_average_backward"}  # of series
    other |= {"squares_of_columns", "power_norm_backward"}  # PyTorch has no such layer
    other |= {"segment_moments", "segment_sums", "segment_rows"}  # PyTorch has no such layer
    other |= {"sinkhorn_forward", "sinkhorn_backward"}  # nor such matrices
    other |= {"gdn_forward", "gdn_shares", "gdn_backward"}  # around products of matrices
    # Of weights, small beside their products:
    other |= {"weight_norm_forward", "weight_norm_backward", "largest_of_rows", "root_of_largest"}
    other |= {"weight_demodulation_forward", "weight_demodulation_backward"}
    other |= {"symmetric_eigen"}  # of matrices, small beside the products
    other |= {"spectral_norm_forward", "products_of_rows", "spectral_norm_backward"}
    assert names == {kernel.name for kernel in KERNELS} - other


def test_buffers_are_rotated_through_a_gigabyte_and_more():
    assert copies_of(Case(((1024, 1024),)), 4, 1 << 30) == 256
    assert copies_of(Case(((1024, 1025),)), 4, 1 << 30) == 256
    assert copies_of(Case(((1024, 1023),)), 4, 1 << 30) == 257
    assert copies_of(Case(((1 << 20, 1 << 10),)), 4, 1 << 30) == 2


def test_a_row_of_the_table():
    row = Row("softmax", "4×8", "float32", "forward", 2_000_000, {"ours": 1e-6, "PyTorch eager": 1.5e-6})
    assert row.rate == pytest.approx(2e12)
    assert cells(row, 4e12, ["PyTorch eager", "torch.compile"]) == [
        *("softmax", "4×8", "forward", "1.0", "2000", "0.50"),
        *("1.50", "–"),
    ]
    nothing = dataclasses.replace(row, seconds={})
    assert cells(nothing, 4e12, ["PyTorch eager"]) == ["softmax", "4×8", "forward", *4 * "–"]


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
    assert times == {"a": [1.0, 2.0] * (gpu_timing.ROUNDS // 2), "b": [3.0] * (gpu_timing.ROUNDS // 2)}
    assert log[:3] == ["a0", "a1", "b0"]
    assert log[3:9] == ["a0", "a1", "a0", "a1", "b0", "b0"]


def test_copies_keep_the_gpu_busy_while_the_host_prepares(monkeypatch):
    clock = Clock(FakeCuda(), np.ones(1000))
    clock.copy_seconds, copies = 0.001, []
    monkeypatch.setattr(clock, "_copy", lambda: copies.append(1))
    clock._round([lambda: None], 0.0055)
    assert len(copies) == 6


@needs_compiler
@pytest.mark.parametrize("name", SUBJECTS)
def test_every_subject_is_measured_in_all_its_directions(name):
    pytest.importorskip("torch")
    case = small_case(name)
    against = {"PyTorch eager": kernel_baselines.torch_calls}
    with tn.use_backend("emulator"):
        clock = Clock(FakeCuda(), emulator.asarray(np.ones(1000, np.float32)))
        clock.copy_seconds = 1.0  # so that few copies are waited for
        rows = list(Bench(clock, MEMORY, against, {}, rotated=1).measure(name, case, FLOAT32, 0.0))
    floors = SUBJECTS[name].floors(case, FLOAT32, MEMORY)
    assert {row.direction: row.floor for row in rows} == floors
    for row in rows:
        assert row.seconds.keys() == {"ours", "PyTorch eager"}
        assert min(row.seconds.values()) > 0


class OutOfMemoryError(MemoryError):
    """As CuPy names its own, and PyTorch."""


def raising(error):
    def call(*_):
        raise error

    return call


def measured(rival, patch=lambda bench: None):
    """The rows of one case on the emulator, with a rival that `rival` makes, and the bench."""
    with tn.use_backend("emulator"):
        clock = Clock(FakeCuda(), emulator.asarray(np.ones(1000, np.float32)))
        clock.copy_seconds, given_back = 1.0, []
        bench = Bench(clock, MEMORY, {"rival": rival}, {}, 1, lambda: given_back.append(1))
        patch(bench)
        rows = list(bench.measure("softmax", small_case("softmax"), FLOAT32, 0.0))
    return [set(row.seconds) for row in rows], len(given_back)


FULL = raising(OutOfMemoryError("allocating 8 GB"))


def fitting(*_):
    return {"forward": [int], "backward": [int]}


@needs_compiler
def test_contestants_that_do_not_fit_in_memory_are_left_out(monkeypatch):
    """Memory is given back before a case, and after every failure."""
    assert measured(fitting) == (2 * [{"ours", "rival"}], 1)
    assert measured(FULL) == (2 * [{"ours"}], 2)
    assert measured(fitting, lambda bench: monkeypatch.setattr(bench.clock, "times", FULL)) == (
        2 * [set()],
        3,
    )
    monkeypatch.setattr(type(SUBJECTS["softmax"]), "calls", FULL)
    assert measured(fitting) == (2 * [set()], 2)


@needs_compiler
def test_other_errors_of_a_contestant_are_not_hidden():
    with pytest.raises(ValueError, match="a mistake"):
        measured(raising(ValueError("a mistake")))


def test_free_memory_empties_the_pools():
    freed = []
    pool = SimpleNamespace(free_all_blocks=lambda: freed.append("CuPy"))
    gpu_timing.free_memory(SimpleNamespace(get_default_memory_pool=lambda: pool), {})
    assert freed == ["CuPy"]


def test_a_gpu_too_small_to_measure_a_copy(fair, monkeypatch):
    monkeypatch.setattr(command, "use_backend", lambda name: tn.use_backend("numpy"))
    monkeypatch.setattr(command, "prepare", raising(OutOfMemoryError("allocating 1,073,741,824 bytes")))
    result = bench("--backend", "cupy")
    assert result.exit_code == 2
    assert "error: allocating 1,073,741,824 bytes" in result.output


@pytest.fixture
def fair(monkeypatch):
    monkeypatch.setattr("tinygrad_norm.cli.bench.is_fair", lambda threads: True)


@pytest.fixture
def on_the_emulator(fair, monkeypatch):
    """The command, with the emulator for CuPy and a clock of the host's."""
    small = {name: dataclasses.replace(SUBJECTS[name], cases=(small_case(name),)) for name in SUBJECTS}
    for module in ("gpu_timing", "gpu_ops", "gpu_plan"):
        monkeypatch.setattr(f"tinygrad_norm.bench.{module}.SUBJECTS", small)
    monkeypatch.setattr(command, "use_backend", lambda name: tn.use_backend("emulator"))
    clock = Clock(FakeCuda(), np.ones(1000, np.float32))
    clock.copy_seconds = 1.0
    bench = Bench(clock, MEMORY, {}, {"device": "none", "cupy": "0"}, rotated=1)
    monkeypatch.setattr(command, "prepare", lambda: bench)


def bench(*words):
    with tn.use_backend("numpy"):
        return CliRunner().invoke(app, ["bench", *map(str, words)], env={"COLUMNS": "200"})


@needs_compiler
def test_the_command_prints_all_kernels(on_the_emulator, tmp_path):
    result = bench("--backend", "cupy", "--seconds", 0, "--json", tmp_path / "gpu.json")
    assert result.exit_code == 0, result.output
    for name in SUBJECTS:
        assert result.output.count(f"| {name} ") == (1 if name in ("sgd", "adamw") else 2), name
    assert "of a copy" in result.output
    assert "PyTorch is not installed with CUDA" in result.output
    assert "device none, cupy 0" in result.output
    saved = json.loads((tmp_path / "gpu.json").read_text())
    assert saved["environment"]["device"] == "none"
    assert {row["op"] for row in saved["rows"]} == set(SUBJECTS)
    assert all(row["seconds"]["ours"] > 0 for row in saved["rows"])


@needs_compiler
def test_what_was_measured_is_kept_if_a_later_case_fails(on_the_emulator, tmp_path, monkeypatch):
    broken = dataclasses.replace(gpu_timing.SUBJECTS["sgd"], step=raising(RuntimeError("the bus is loose")))
    monkeypatch.setitem(gpu_timing.SUBJECTS, "sgd", broken)
    path = tmp_path / "gpu.json"
    result = bench("ops", "softmax", "sgd", "--backend", "cupy", "--seconds", 0, "--json", path)
    assert (result.exit_code, "error: the bus is loose" in result.output) == (2, True)
    assert "1/2 softmax 6×40: forward" in result.output
    assert [row["direction"] for row in json.loads(path.read_text())["rows"]] == ["forward", "backward"]


@needs_compiler
def test_a_quick_run_ends_in_time_and_says_what_is_missing(on_the_emulator, monkeypatch):
    monkeypatch.setattr(command, "QUICK_SECONDS", 0.0)
    result = bench("ops", "softmax", "sgd", "--backend", "cupy", "--seconds", 0, "--quick")
    assert result.exit_code == 0, result.output
    assert "not measured, for lack of time: softmax 6×40; sgd 6" in result.output


@needs_compiler
@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_the_command_stores_in_every_dtype(on_the_emulator, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="NumPy's bfloat16: pip install ml_dtypes")
    with emulator.record() as launches:
        result = bench("ops", "rms_norm", "sgd", "--backend", "cupy", "--dtype", dtype, "--seconds", 0)
    assert result.exit_code == 0, result.output
    assert dtype in result.output
    stored = {launch.name.partition("<")[2].split(",")[0] for launch in launches}
    assert STORAGE[dtype] in stored


def test_wrong_calls(fair, monkeypatch):
    def none(name):
        raise RuntimeError("the cupy backend needs CuPy")

    monkeypatch.setattr(command, "use_backend", none)
    for words, message in (
        (["ops", "exp", "--backend", "cupy"], "there is no GPU benchmark for 'exp'"),
        (["--backend", "cupy", "--dtype", "int8"], "unknown dtype 'int8'"),
        (["--backend", "emulator"], "unknown backend 'emulator'"),
        (["--dtype", "bfloat16"], "NumPy has no bfloat16"),
        (["--quick"], "--quick applies only to a GPU"),
        (["--backend", "cupy"], "the cupy backend needs CuPy"),
        (["nonsense"], "No such command 'nonsense'"),
    ):
        result = bench(*words)
        assert result.exit_code == 2
        assert message in " ".join(result.output.replace("│", " ").split())


def test_bfloat16_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(RuntimeError, match="pip install ml_dtypes"):
        gpu_timing.storage("bfloat16")
    assert gpu_timing.storage("float16") == np.float16


def test_a_cupy_without_bfloat16_is_named(monkeypatch):
    pytest.importorskip("ml_dtypes", reason="NumPy's bfloat16: pip install ml_dtypes")

    class Old:
        @staticmethod
        def astype(dtype):
            raise TypeError(f"Unsupported type {dtype}")

    old = SimpleNamespace(namespace=SimpleNamespace(zeros=lambda *_: Old))
    monkeypatch.setattr(gpu_timing, "current_backend", lambda: old)
    with pytest.raises(RuntimeError, match=r"no bfloat16: pip install a newer version \(Unsupported type"):
        gpu_timing.storage("bfloat16")


@pytest.fixture
def gpu_bench():
    """A bench on a GPU that no other test uses now, without baselines."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        pytest.skip("other processes use the GPU too: rates are measured with -n 0")
    with tn.use_backend("cupy"):
        yield dataclasses.replace(gpu_timing.prepare(), against={})


@pytest.mark.cuda(stand_in="no")  # not yet run on a GPU
@pytest.mark.slow
@pytest.mark.parametrize("name", SUBJECTS)
def test_no_kernel_is_faster_than_its_floor_allows(name, gpu_bench):
    """Or else the floor is wrong, or a cache holds the data."""
    for row in gpu_bench.measure(name, SUBJECTS[name].cases[-1], FLOAT32, 0.0):
        if row.rate is None:
            pytest.skip("the GPU's memory is too small for this case")
        assert row.rate <= 1.5 * gpu_bench.clock.copy_rate
