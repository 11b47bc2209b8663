"""The RMS core over pools along any axes, beside the formula, and pools as rows and back."""

import numpy as np
import pytest

from tinygrad_norm.backends.cpu import blocks
from tinygrad_norm.normalization.core.pools import pools_as_rows, rows_as_pools
from tinygrad_norm.normalization.sample.rmspools import rms_pools_backward, rms_pools_forward

RNG = np.random.default_rng(5)
X, G = RNG.normal(1, 2, (3, 4, 2, 5)), RNG.normal(size=(3, 4, 2, 5))
POOLS = {
    "rows": (3,),
    "last axes": (1, 2, 3),
    "channels of a position": (1,),
    "a channel of the batch": (0, 2, 3),
    "samples": (0,),
    "axes in another order": (3, 1),
    "everything": (0, 1, 2, 3),
}
ANY_POOL = pytest.mark.parametrize("axes", POOLS.values(), ids=list(POOLS))


@pytest.mark.parametrize("block", [8, 1 << 16], ids=["small blocks", "one block"])
@ANY_POOL
def test_the_core_is_the_formula(axes, block):
    with blocks.settings(block=block):
        check_the_core(axes)


def check_the_core(axes):
    r = ((X**2).mean(axes, keepdims=True) + 1e-3) ** -0.5
    x_hat, rstd = rms_pools_forward(X, axes, 1e-3)
    np.testing.assert_allclose(x_hat, X * r, 1e-12)
    np.testing.assert_allclose(rstd, r, 1e-12)
    dx = r * (G - X * r * (G * X * r).mean(axes, keepdims=True))
    np.testing.assert_allclose(rms_pools_backward(G, X, rstd, axes), dx, 1e-11, 1e-13)


@ANY_POOL
def test_rows_go_back_to_where_they_were(axes):
    rows = pools_as_rows(X, axes)
    assert rows.shape[0] * rows.shape[1] == X.size
    np.testing.assert_array_equal(rows_as_pools(rows, X.shape, axes), X)
    sums = rows_as_pools(rows.sum(1, keepdims=True), X.shape, axes)
    np.testing.assert_allclose(sums, X.sum(axes, keepdims=True), 1e-12, 1e-12)


def test_pools_along_the_last_axes_are_not_copied():
    assert np.shares_memory(pools_as_rows(X, (2, 3)), X)
    assert not np.shares_memory(pools_as_rows(X, (1,)), X)


@pytest.mark.parametrize("shape", [(0, 4, 2), (3, 0, 2), (2, 1, 3)])
def test_empty_pools_and_pools_of_one(shape):
    x = np.ones(shape)
    x_hat, rstd = rms_pools_forward(x, (1,), 0.0)
    assert x_hat.shape == shape
    assert rstd.shape == (shape[0], 1, shape[2])
    np.testing.assert_array_equal(x_hat, x)
    np.testing.assert_allclose(rms_pools_backward(x, x, rstd, (1,)), 0 * x, atol=1e-15)
