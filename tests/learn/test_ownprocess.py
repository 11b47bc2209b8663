"""A function in a process of its own: what it returns, and how it ends."""

import math
import operator
import os
import time

import pytest

from tinygrad_norm.learn import ownprocess
from tinygrad_norm.learn.ownprocess import _place, in_own_process

STACKS = """Timeout (0:00:00.500000)!
Thread 0x00007f (most recent call first):
  File "/lib/numpy/core.py", line 7 in dot
  File "/home/me/norms.py", line 30 in backward
  File "/home/me/norms.py", line 41 in <module>
"""


def test_the_place_is_the_innermost_line_of_the_file():
    assert _place(STACKS, "norms.py") == " in backward (norms.py, line 30)"
    assert _place(STACKS, None) == " in dot (core.py, line 7)"
    assert _place(STACKS.replace("backward", "<module>"), "norms.py") == " (norms.py, line 30)"
    assert _place(STACKS, "others.py") == _place("", "norms.py") == ""


@pytest.mark.slow
def test_what_a_function_returns_comes_back():
    assert in_own_process(math.hypot, 3.0, 4.0, seconds=20) == 5
    assert in_own_process(os.getpid, seconds=20) != os.getpid()


@pytest.mark.slow
def test_it_is_ended_when_its_time_is_over():
    start = time.perf_counter()
    with pytest.raises(TimeoutError, match=r"stopped after 0\.3 seconds.*does a loop never end"):
        in_own_process(time.sleep, 600, seconds=0.3)
    assert time.perf_counter() - start < 60


@pytest.mark.slow
def test_a_process_that_ends_itself():
    with pytest.raises(RuntimeError, match="ended without a result \\(status 3\\)"):
        in_own_process(os._exit, 3, seconds=20)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e12, math.inf, math.nan])
def test_a_time_that_cannot_be_measured(seconds):
    with pytest.raises(ValueError, match=r"must be above 0 seconds, at most 86400, got"):
        in_own_process(math.hypot, 3.0, 4.0, seconds=seconds)


class StartingSlowly:
    """Arrives in the new process as None, after a while."""

    def __reduce__(self):
        return time.sleep, (3.0,)


@pytest.mark.slow
def test_the_time_begins_when_the_process_has_started(monkeypatch):
    monkeypatch.setattr(ownprocess, "_LATER", 0.5)
    assert in_own_process(operator.is_, StartingSlowly(), None, seconds=1.0)


FORKING = """
import os, pathlib, time
path = pathlib.Path({path!r})
if not os.fork():
    while True:
        path.write_bytes(path.read_bytes() + b"x")
        time.sleep(0.02)
while not path.read_bytes():
    time.sleep(0.02)
os._exit(3)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows ends only the process itself")
def test_processes_that_it_started_are_ended_too(tmp_path):
    path = tmp_path / "alive"
    path.touch()
    start = time.perf_counter()
    with pytest.raises(RuntimeError, match=r"ended without a result \(status 3\)"):
        in_own_process(exec, FORKING.format(path=str(path)), seconds=30)
    assert time.perf_counter() - start < 30  # the other process keeps the pipe open
    written = path.read_bytes()
    time.sleep(0.3)
    assert path.read_bytes() == written
