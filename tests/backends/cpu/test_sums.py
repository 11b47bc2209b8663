"""Sums by BLAS are sums, whatever the layout; extremes are extremes, NaN included."""

import numpy as np
import pytest

from tinygrad_norm.backends.cpu import sums

RNG = np.random.default_rng(0)
SHAPES = [
    ((4, 3), (1,)),
    ((4, 3), (0,)),
    ((6, 5, 1), (0, 2)),
    ((6, 5, 4), (0, 2)),
    ((3, 5, 300), (0, 2)),
    ((1, 5, 4), (0, 2)),
    ((3, 5, 4), (2,)),
    ((2, 3, 2, 5), (2, 3)),
    ((2, 3, 2, 1), (3,)),
    ((2, 3, 4), (1,)),
    ((2, 3, 4), (0, 1, 2)),
    ((0, 3), (1,)),
    ((3, 0), (1,)),
]


@pytest.mark.parametrize(("shape", "axes"), SHAPES)
@pytest.mark.parametrize("lay_out", ["contiguous", "sliced", "transposed"])
def test_sums_are_sums(shape, axes, lay_out):
    x = RNG.normal(size=shape)
    if lay_out == "sliced":
        x = np.repeat(x, 2, 1)[:, : x.shape[1]]
    elif lay_out == "transposed":
        x = np.asfortranarray(x)
    found = sums.sums(x, axes)
    assert found.shape == x.sum(axes, keepdims=True).shape
    np.testing.assert_allclose(found, x.sum(axes, keepdims=True), atol=1e-12, strict=True)
    n = max(np.prod([shape[axis] for axis in axes]), 1)
    np.testing.assert_allclose(sums.means(x, axes), found / n, atol=1e-12, strict=True)


def test_sums_of_rows_and_columns():
    x, y = RNG.normal(size=(2, 4, 3))
    np.testing.assert_allclose(sums.row_sums(x), x.sum(1, keepdims=True))
    np.testing.assert_allclose(sums.row_sum_products(x, y), (x * y).sum(1, keepdims=True))
    np.testing.assert_allclose(sums.column_sums(x), x.sum(0))
    np.testing.assert_allclose(sums.row_means(x), x.mean(1, keepdims=True))
    np.testing.assert_array_equal(sums.row_maxima(x), x.max(1, keepdims=True))
    assert (sums.largest(x), sums.smallest(x)) == (x.max(), x.min())
    x[2, 1] = np.nan
    assert np.isnan([sums.largest(x), sums.smallest(x), sums.row_maxima(x)[2, 0]]).all()


def test_the_mean_of_equal_numbers_is_this_number():
    for value in (0.1, 1e4, 3e-5):
        x = np.full((7, 3), np.float32(value))
        np.testing.assert_allclose(sums.means(x, (0,))[0], x[0], rtol=1e-7)
