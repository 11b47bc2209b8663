"""The largest magnitude of each row, and the powers of two by which rows are scaled."""

import shutil

import numpy as np
import pytest

from tinygrad_norm.backends import to_device, to_numpy
from tinygrad_norm.normalization.core.magnitudes import largest_of_rows, scales_of_rows

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
devices = pytest.mark.parametrize("device", ["cpu", pytest.param("emulator", marks=needs_compiler)])


@devices
@pytest.mark.parametrize("D", [1, 33, 1028])
def test_the_largest_magnitude_of_each_row_and_a_power_of_two_near_it(D, device):
    x = np.random.default_rng(0).normal(size=(5, D)) * np.array([[1e-30], [1], [1e30], [0], [np.inf]])
    x[1, 1:2] = np.nan  # is no magnitude
    with np.errstate(invalid="ignore"):
        given = to_device(x.astype(np.float32), device)
        largest, scales = to_numpy(largest_of_rows(given)), to_numpy(scales_of_rows(given))
    expected = np.nanmax(abs(x), 1)
    np.testing.assert_allclose(largest, expected, rtol=1e-6)
    assert (expected[:3] / 2 < scales[:3]).all()
    assert (scales[:3] <= largest[:3]).all()
    assert scales[3:].tolist() == [1, 1]
