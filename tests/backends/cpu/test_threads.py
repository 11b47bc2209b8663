"""The number of threads of a part of a program: BLAS and the block loop follow it, and get theirs back."""

import pytest

from tinygrad_norm.backends.cpu import blocks
from tinygrad_norm.backends.cpu.threads import blas_threads, use_threads


def state():
    return blas_threads(), blocks._settings.threads


@pytest.mark.parametrize("threads", [1, 2])
def test_inside_both_use_the_number_and_outside_their_own(threads):
    before = state()
    with use_threads(threads):
        assert state() == (threads, threads)
    assert state() == before
    with pytest.raises(KeyError), use_threads(threads):
        raise KeyError
    assert state() == before


def test_the_inner_number_counts():
    with use_threads(2):
        with use_threads(1):
            assert state() == (1, 1)
        assert state() == (2, 2)


def test_no_threads_raise():
    before = state()
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"), use_threads(0):
        pass
    assert state() == before
