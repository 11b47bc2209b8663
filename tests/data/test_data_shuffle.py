"""Shuffles: permutations, the same for ever, stratified evenly."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_norm.data import permutation, stratified_permutation

deterministic = settings(derandomize=True, deadline=None, database=None, max_examples=100)


@pytest.mark.parametrize("n", [0, 1, 2, 1797])
def test_it_is_a_permutation(n):
    assert sorted(permutation(n, 3)) == list(range(n))


def test_it_is_the_same_for_ever():
    assert permutation(10, 0).tolist() == [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]
    assert permutation(10, 7, 2).tolist() == [8, 6, 4, 0, 5, 7, 1, 3, 9, 2]


def test_it_depends_on_every_seed_and_on_nothing_else():
    numpy.random.seed(1)  # noqa: NPY002
    first = permutation(100, 1, 2)
    numpy.random.seed(2)  # noqa: NPY002
    assert (permutation(100, 1, 2) == first).all()
    for other in ((1,), (2, 1), (1, 3), (0, 2)):
        assert (permutation(100, *other) != first).any()


def test_every_order_comes_up_equally_often():
    counts = numpy.zeros((4, 4))
    for seed in range(2000):
        counts[numpy.arange(4), permutation(4, seed)] += 1
    assert numpy.abs(counts - 500).max() < 5 * numpy.sqrt(500)


@pytest.mark.parametrize("seed", [None, "a", 1.5])
def test_a_seed_that_is_not_an_integer_raises(seed):
    with pytest.raises(TypeError, match=f"seed must be an int, got {seed!r}"):
        permutation(3, seed)
    with pytest.raises(TypeError, match="n must be an int"):
        permutation(seed, 0)


def test_a_negative_seed_raises():
    with pytest.raises(ValueError, match="at least 0, got -1"):
        permutation(5, -1)


@deterministic
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 100), st.data())
def test_every_run_holds_every_class_in_its_share(sizes, seed, data):
    labels = numpy.repeat(numpy.arange(len(sizes)), sizes)[permutation(sum(sizes), seed, 1)]
    order = stratified_permutation(labels, seed)
    assert sorted(order) == list(range(len(labels)))
    start = data.draw(st.integers(0, len(labels)))
    stop = data.draw(st.integers(start, len(labels)))
    for label, size in enumerate(sizes):
        expected = size * (stop - start) / len(labels)
        bound = 1 + size * len(sizes) / len(labels)
        assert abs((labels[order[start:stop]] == label).sum() - expected) <= bound


def test_within_a_class_the_order_is_shuffled():
    labels = numpy.zeros(100, int)
    order = stratified_permutation(labels, 0)
    assert (order != numpy.arange(100)).any()
    assert (stratified_permutation(labels, 1) != order).any()
