"""Threads and processes side by side: each trains as if it were alone, bit for bit.

By hand: `python3 -m pytest -n 0 -m "" tests/reliability/test_threads.py --times 200`.
"""

import multiprocessing
import os
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from trained_aside import assert_same, drawn, on_threads, predicted, trained

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.backends import current_backend
from tinygrad_norm.backends.cpu.loop_mode import loop_mode
from tinygrad_norm.backends.random import generator
from tinygrad_norm.files import replacing

THREADS = 4
SECONDS = 60
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
needs_fork = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")


@pytest.fixture
def without_loops(monkeypatch):
    """No time is spent on compiling loops, in other processes neither."""
    monkeypatch.setattr(loop_mode, "on", False)
    monkeypatch.setenv("TINYGRAD_NORM_LOOPS", "0")


@pytest.fixture
def switching():
    """Threads take turns as often as the interpreter lets them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


def test_threads_train_as_if_alone(times, switching, without_loops):
    alone = [trained(number) for number in range(THREADS)]
    before = generator().bit_generator.state
    for _ in range(times or 1):
        pause = threading.Barrier(
            THREADS, timeout=20
        ).wait  # all are in the middle of a step at the same time
        with ThreadPoolExecutor(THREADS) as pool:
            found = list(pool.map(partial(trained, pause=pause), range(THREADS)))
        for one, expected in zip(found, alone, strict=True):
            assert_same(one, expected)
    assert generator().bit_generator.state == before, "the main thread's random numbers were drawn or seeded"


def in_thread(function):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result(SECONDS)


def test_a_thread_seeds_for_itself():
    tn.manual_seed(5)
    expected = tn.rand(3).tolist()
    tn.manual_seed(5)
    in_thread(lambda: tn.manual_seed(6))
    assert tn.rand(3).tolist() == expected


def test_a_thread_without_a_seed_shares_the_main_threads():
    tn.manual_seed(5)
    expected = tn.rand(3).tolist()
    tn.manual_seed(5)
    assert in_thread(lambda: tn.rand(3).tolist()) == expected


def test_a_thread_chooses_its_backend_for_itself(monkeypatch):
    other = object()
    monkeypatch.setitem(tn.backends._LOADED, "emulator", other)

    def choose():
        with tn.use_backend("emulator"):
            return current_backend() is other and in_main.wait(SECONDS)

    def main_follows():
        found.append(current_backend())

    in_main, found = threading.Event(), []
    with ThreadPoolExecutor(1) as pool:
        chosen = pool.submit(choose)
        main_follows()
        in_main.set()
        assert chosen.result(SECONDS)
    main_follows()
    assert [backend.name for backend in found] == ["numpy"] * 2


def test_a_thread_follows_the_main_threads_backend(monkeypatch):
    other = object()
    monkeypatch.setitem(tn.backends._LOADED, "emulator", other)
    with tn.use_backend("emulator"):
        assert in_thread(current_backend) is other
    assert in_thread(current_backend).name == "numpy"


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_threads_that_save_leave_the_umask_alone(tmp_path, switching, monkeypatch):
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, "umask", None)  # it is that of the whole process: not to be touched

            def save(number):
                with replacing(tmp_path / f"{number}.txt") as temporary:
                    temporary.write_text("x")
                return (tmp_path / f"{number}.txt").stat().st_mode & 0o777

            with ThreadPoolExecutor(THREADS) as pool:
                assert set(pool.map(save, range(40))) == {0o640}
    finally:
        os.umask(before)


METHODS = [pytest.param("fork", marks=needs_fork), pytest.param("spawn", marks=pytest.mark.slow)]


@pytest.mark.parametrize("method", METHODS)
def test_processes_train_as_if_alone(method, without_loops):
    alone = [trained(number) for number in range(THREADS)]
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        for one, expected in zip(pool.map(trained, range(THREADS), timeout=SECONDS), alone, strict=True):
            assert_same(one, expected)


@pytest.mark.parametrize("method", METHODS)
def test_modules_and_tensors_travel(method):
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.LSTM(6, 2)).eval()
    x = tn.randn(3, 4)
    y, names, training = predicted(model[:2], x)
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        found = pool.submit(predicted, model[:2], x).result(SECONDS)
        np.testing.assert_array_equal(found[0].numpy(), y.numpy())
        assert found[1:] == (names, training)
        state = pool.submit(type(model.state_dict()), model.state_dict()).result(SECONDS)
    model.load_state_dict(state)
    assert sorted(state) == sorted(model.state_dict())


@needs_fork
def test_a_forked_child_has_threads_for_its_loops():
    expected = on_threads()  # the pool of this process has threads that no child inherits
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        np.testing.assert_array_equal(pool.submit(on_threads).result(SECONDS), expected)


@needs_fork
def test_forked_children_draw_their_parents_next_numbers():
    tn.manual_seed(3)
    fork = multiprocessing.get_context("fork")
    children = []
    for _ in range(2):
        with ProcessPoolExecutor(1, fork) as pool:
            children.append(pool.submit(drawn, 0).result(SECONDS))
    assert children[0] == children[1] == drawn(0)
