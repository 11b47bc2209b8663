"""Flushing to zero: subnormal numbers are read and written as zero in a launch, and nowhere else."""

import platform

import numpy as np
import pytest

from tinygrad_norm.backends.emulator import KernelError, asarray, schedule

TINY = float(np.finfo(np.float32).tiny)  # the smallest normal number
x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the mode needs x86")


def sums(correct, x, y):
    """y + x, by a kernel."""
    x, y = (asarray(np.full(32, value, np.float32)) for value in (x, y))
    correct.get_function("add_in_place")((1,), (32,), (x, y))
    return set(y.tolist())


@x86
def test_subnormal_numbers_are_read_as_zero(correct, mode):
    assert sums(correct, TINY / 2, 0) == {TINY / 2}
    with schedule(flush_to_zero=True):
        assert sums(correct, TINY / 2, 0) == {0}
        assert sums(correct, TINY / 2, TINY) == {TINY}


@x86
def test_subnormal_results_are_zero(correct, mode):
    assert sums(correct, 1.5 * TINY, -TINY) == {TINY / 2}
    with schedule(flush_to_zero=True):
        assert sums(correct, 1.5 * TINY, -TINY) == {0}
        assert sums(correct, 3 * TINY, -TINY) == {2 * TINY}


@x86
def test_float64_keeps_its_subnormals(correct):
    x = asarray(np.full((1, 64), 1e-310))
    y = asarray(np.zeros(1))
    with schedule(flush_to_zero=True):
        correct.get_function("row_sum<double, 64>")((1,), (64,), (x, y, np.int32(64)))
    np.testing.assert_allclose(y, 64e-310, rtol=1e-9)


@x86
@pytest.mark.parametrize("fails", [False, True])
def test_numpy_keeps_its_subnormals_after_a_launch(correct, bugs, fails, mode):
    with schedule(flush_to_zero=True):
        if fails:
            with pytest.raises(KernelError):
                bugs.get_function("division_by_zero")((1,), (32,), (asarray(np.zeros(32, np.int32)),))
        else:
            sums(correct, 1, 1)
        assert (np.full(100, TINY, np.float32) / np.float32(2) > 0).all()


def test_other_processors_are_named(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    with pytest.raises(RuntimeError, match="needs an x86 processor, and this is arm64: leave it out"):
        schedule(flush_to_zero=True).__enter__()
    with schedule(flush_to_zero=False):
        pass
