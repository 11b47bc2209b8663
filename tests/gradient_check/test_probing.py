"""The directions in which gradcheck moves and measures, and what bounds a measured number."""

import numpy as np
import pytest

from tinygrad_norm.gradient_check.probing import Probes


def test_each_entry_by_itself():
    probes = Probes((2, 2), np.ones((2, 2)), None)
    assert len(probes) == 4
    np.testing.assert_array_equal([probe.reshape(-1) for probe in probes], np.eye(4))
    np.testing.assert_array_equal(probes.measure(np.array([[1.0, -2.0], [3.0, 4.0]])), [1, -2, 3, 4])


@pytest.mark.parametrize("fast", [False, True])
def test_what_is_not_finite_bounds_nothing(fast):
    probes = Probes((4,), np.ones(4), np.random.default_rng(0) if fast else None)
    bound = probes.bound(np.array([1.0, -2.0, -np.inf, np.nan]))
    (direction,) = probes if fast else [None]
    expected = [abs(direction[0]) + 2 * abs(direction[1])] if fast else [1, 2, 0, 0]
    np.testing.assert_allclose(bound, expected, rtol=1e-15)
