"""Matrix square-root pooling: the root of a covariance, and its gradient with any number of positions."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(0)


def results(x, dy):
    x = tn.tensor(x, requires_grad=True)
    y = F.matrix_sqrt_pool(x)
    return y.numpy(), grad(y, x, tn.tensor(dy.astype(x.dtype)))[0].numpy()


def test_its_square_is_the_covariance_of_each_sample():
    x = RNG.normal(3.0, 2.0, (2, 3, 4, 5))
    y = nn.MatrixSqrtPool()(tn.tensor(x)).numpy()
    np.testing.assert_allclose(y @ y, [np.cov(one.reshape(3, 20), ddof=0) for one in x], 1e-12)
    np.testing.assert_allclose(y, y.swapaxes(1, 2), 1e-13)
    assert (np.linalg.eigvalsh(y) > 0).all()


def test_one_channel_gives_the_standard_deviation():
    x = RNG.normal(size=(4, 1, 9))
    np.testing.assert_allclose(results(x, np.ones((4, 1, 1)))[0][:, 0, 0], x[:, 0].std(1), 1e-13)


@pytest.mark.parametrize("positions", [2, 3, 4])
def test_fewer_positions_than_channels_have_a_gradient(positions):
    """Finite differences: the rank of Σ is positions - 1, and stays that."""
    x, dy = RNG.normal(size=(1, 4, positions)), RNG.normal(size=(1, 4, 4))
    _, dx = results(x, dy)
    numeric = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[at] = 1e-5
        numeric[at] = ((results(x + step, dy)[0] - results(x - step, dy)[0]) * dy).sum() / 2e-5
    np.testing.assert_allclose(dx, numeric, 1e-6, 1e-7)


def test_a_constant_sample_has_the_root_and_the_gradient_zero():
    for a in results(np.full((2, 3, 4), 0.1), RNG.normal(size=(2, 3, 3))):
        assert not a.any()


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_numbers_of_any_size(size):
    x, dy = (RNG.normal(size=(2, 3, 8)) * size).astype("float32"), RNG.normal(size=(2, 3, 3))
    for a, b in zip(results(x, dy), results(x.astype(float), dy), strict=True):
        assert np.linalg.norm(a - b) < 1e-5 * np.linalg.norm(b)


def test_a_nan_spoils_its_sample_only():
    x = RNG.normal(size=(3, 2, 5))
    x[1, 0, 2] = np.nan
    for a in results(x, RNG.normal(size=(3, 2, 2))):
        assert np.isnan(a[1]).all()
        assert not np.isnan(a[::2]).any()
