"""The order of execution: seeds, threads, processes, and the state after an error."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tinygrad_norm.backends.emulator import KernelError, asarray, empty, schedule, zeros

f4, i4 = np.float32, np.int32


def order_of_threads(module, seed):
    ticket, blocks, threads = zeros(1, i4), empty(4 * 96, i4), empty(4 * 96, i4)
    with schedule(seed=seed):
        module.get_function("order_of_threads")((4,), (96,), (ticket, blocks, threads))
    return np.asarray(blocks).reshape(4, 96), np.asarray(threads).reshape(4, 3, 32)


def test_without_a_seed_everything_runs_in_order(correct):
    blocks, threads = order_of_threads(correct, 0)
    assert np.array_equal(blocks, np.repeat(np.arange(4), 96).reshape(4, 96))
    assert np.array_equal(threads, np.tile(np.arange(96).reshape(3, 32), (4, 1, 1)))


def test_a_seed_shuffles_blocks_and_warps_and_lanes(correct):
    blocks, threads = order_of_threads(correct, 3)
    assert sorted(blocks[:, 0]) == [0, 1, 2, 3]
    assert not np.array_equal(blocks[:, 0], np.arange(4))
    warps = threads[:, :, 0] // 32
    assert {tuple(row) for row in warps} > {tuple(warps[0])}
    assert np.array_equal(np.sort(threads, axis=2), warps[:, :, None] * 32 + np.arange(32))
    assert not np.array_equal(threads[0, 0] % 32, threads[0, 1] % 32)


def test_a_seed_repeats_and_another_differs(correct):
    first, again, other = (order_of_threads(correct, seed)[1] for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_schedule_ends_with_its_block():
    with schedule(seed=4, checked=True) as outer:
        with schedule(timeout=1) as inner:
            assert (inner.seed, inner.checked, inner.timeout) == (4, True, 1)
        assert outer.timeout == 60


@pytest.mark.parametrize(
    "setting",
    [
        {"seed": -1},
        {"seed": 1.5},
        {"seed": 2**64},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"timeout": "long"},
    ],
)
def test_a_wrong_setting_raises(setting):
    with pytest.raises(ValueError, match=next(iter(setting))), schedule(**setting):
        pass


def test_many_threads_launch_at_once(correct):
    kernel = correct.get_function("row_sum<float, 256>")

    def total(value):
        y = empty(8, f4)
        for _ in range(5):
            kernel((8,), (256,), (asarray(np.full((8, 700), value, f4)), y, i4(700)))
        return np.asarray(y).tolist()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(total, range(8))) == [[700.0 * value] * 8 for value in range(8)]


@pytest.mark.parametrize("mode", ["plain", "checked"])
def test_an_error_leaves_the_emulator_usable(correct, bugs, mode):
    y = empty(64, i4)
    with schedule(checked=mode == "checked"):
        for name in ("endless_loop", "deep_recursion", "endless_barriers"):
            with schedule(timeout=0.1), pytest.raises(KernelError):
                bugs.get_function(name)((1,), (64,), (zeros(64, i4),))
            correct.get_function("leave_early")((1,), (64,), (y,))
            assert np.array_equal(y[:32], np.arange(32)[::-1])


FAULTS = """
import ctypes, faulthandler, sys
from tinygrad_norm.backends.emulator import *
faulthandler.enable()
kernel = RawModule(code=sys.argv[1]).get_function("far_away")
try:
    kernel((1,), (1,), (empty(4, "f4"),))
except KernelError as error:
    print(error)
ctypes.string_at(1)
"""


def test_the_signal_handlers_of_the_process_come_back(bugs):
    run = subprocess.run([sys.executable, "-c", FAULTS, bugs.code], capture_output=True, text=True)
    assert "memory that does not exist" in run.stdout
    assert "Fatal Python error: Segmentation fault" in run.stderr
    assert run.returncode != 0
