"""A function in a process of its own: what it returns, and how it ends."""

import math
import os
import time

import pytest

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
