"""When numbers count as equal, and which count of entries a factor is made from."""

import numpy as np
import pytest

from tinygrad_norm.gradient_check.closeness import count_name, same


@pytest.mark.parametrize("tolerance", [0, 1e-9])
@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        ([1.0, np.nan], [1.0, np.nan], True),
        ([1.0, np.nan], [np.nan, 1.0], False),
        ([1.0, np.inf], [1.0, np.inf], True),
        ([1.0, np.inf], [1.0, -np.inf], False),
        ([1.0, 2.0], [1.0, 2.1], False),
        ([1.0, 2.0], [[1.0], [2.0]], False),
        ([1, 2], [1, 2], True),
        ([1, 2], [1, 3], False),
        ([True], [False], False),
    ],
    ids=["nan", "nan elsewhere", "inf", "sign of inf", "numbers", "shapes", "ints", "other ints", "bools"],
)
def test_same(a, b, equal, tolerance):
    assert same(np.array(a), np.array(b), tolerance) is equal


def test_the_tolerance_is_absolute_and_for_floating_point_numbers():
    a = np.array([1.0, 1e6])
    assert same(a, a + 0.5e-3, 1e-3)
    assert not same(a, a + 2e-3, 1e-3)
    assert not same(a, a + 1e-12 * np.arange(2) * 1e6, 0)
    assert not same(np.array([1]), np.array([2]), 5)


@pytest.mark.parametrize(
    ("factor", "name"),
    [
        (4, "n for n = 4"),
        (0.25, "1/n for n = 4"),
        (4 / 3, "n/(n - 1) for n = 4"),
        (0.75, "(n - 1)/n for n = 4"),
        (6, "n for n = 6"),
        (6 / 5, "n/(n - 1) for n = 6"),
        (6 * (1 + 1e-8), "n for n = 6"),
        (6 * (1 + 1e-6), ""),
        (-4, ""),
        (5, ""),
    ],
)
def test_how_a_factor_is_made_from_a_size(factor, name):
    assert count_name(factor, {6, 4}) == name
