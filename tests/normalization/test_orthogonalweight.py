"""Orthogonal weight normalization: the polar factor of a weight, and its gradient."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn.functional import orthogonal_weight_norm
from tinygrad_norm.nn.utils import parametrize
from tinygrad_norm.normalization import OrthogonalWeightNorm

RNG = np.random.default_rng(0)


def results(V, dy):
    weight = tn.tensor(V, requires_grad=True)
    y = orthogonal_weight_norm(weight)
    return y.numpy(), grad(y, weight, tn.tensor(dy.astype(V.dtype)))[0].numpy()


@pytest.mark.parametrize("shape", [(3, 6), (6, 3), (4, 4), (1, 3), (3, 1)])
def test_it_is_the_polar_factor_and_its_gradient_has_nothing_along_v(shape):
    V, dy = RNG.normal(size=shape), RNG.normal(size=shape)
    y, dx = results(V, dy)
    left, _, right = np.linalg.svd(V, full_matrices=False)
    np.testing.assert_allclose(y, left @ right, 1e-11, 1e-13)
    S = V @ V.T if shape[0] <= shape[1] else V.T @ V
    for power in range(3):  # A·V with every A = Sᵏ
        A = np.linalg.matrix_power(S, power)
        along = A @ V if shape[0] <= shape[1] else V @ A
        assert abs((dx * along).sum()) < 1e-11 * np.linalg.norm(along) * max(np.linalg.norm(dx), 1)


def test_the_gradient_is_that_of_pytorchs_singular_vectors(torch):
    V, dy = RNG.normal(size=(4, 2, 3)), RNG.normal(size=(4, 2, 3))
    given = torch.tensor(V, requires_grad=True)
    left, _, right = torch.linalg.svd(given.reshape(4, 6), full_matrices=False)
    (left @ right).reshape(4, 2, 3).backward(torch.tensor(dy))
    _, dx = results(V, dy)
    np.testing.assert_allclose(dx, given.grad.numpy(), 1e-11, 1e-12)


def test_an_orthogonal_weight_stays_and_has_a_gradient_of_all_digits_in_float32():
    """All its singular values are equal, which costs no digits here."""
    y0 = np.linalg.qr(RNG.normal(size=(8, 8)))[0].astype("float32")
    dy = RNG.normal(size=(8, 8))
    (y, dx), (_, exact) = results(y0, dy), results(y0.astype(float), dy)
    assert abs(y - y0).max() < 1e-6
    assert np.linalg.norm(dx - exact) < 1e-6 * np.linalg.norm(exact)


@pytest.mark.parametrize("shape", [(3, 8), (8, 3)], ids=["rows", "columns"])
def test_rows_with_a_large_common_offset_keep_their_small_directions_in_float32(shape):
    V, dy = ((RNG.normal(size=shape) + offset).astype("float32") for offset in (1e4, 0))
    (y, dx), (exact_y, exact_dx) = results(V, dy), results(V.astype(float), dy.astype(float))
    assert y.dtype == dx.dtype == np.float32
    np.testing.assert_allclose(y @ y.T if shape[0] == 3 else y.T @ y, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(y, exact_y, 1e-5, 1e-6)
    np.testing.assert_allclose(dx, exact_dx, 1e-4, 1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rounding_is_no_direction(dtype):
    V = np.outer([0.1, 0.2, 0.3], RNG.normal(size=8)).astype(dtype)
    y, dx = results(V, RNG.normal(size=V.shape))
    assert y.dtype == dtype
    np.testing.assert_allclose((y.astype(float) ** 2).sum(), 1, 0.01)
    assert np.isfinite(dx).all()


def test_a_direction_that_is_not_there_is_left_out():
    V = np.outer([1.0, 2.0], [3.0, 0.0, 4.0])
    y, dx = results(V, RNG.normal(size=V.shape))
    np.testing.assert_allclose(y, V / np.linalg.norm(V), 1e-13, 1e-13)
    assert np.isfinite(dx).all()


def test_a_nan_spoils_the_whole_weight():
    V = RNG.normal(size=(2, 3))
    V[0, 1] = np.nan
    assert all(np.isnan(a).all() for a in results(V, np.ones((2, 3))))


def test_as_a_parametrization_it_trains_and_can_be_assigned_to():
    tn.manual_seed(0)
    layer = nn.Conv2d(2, 4, 3)
    parametrize.register_parametrization(layer, "weight", OrthogonalWeightNorm())
    optimizer = tn.optim.SGD(layer.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (layer(tn.randn(2, 2, 5, 5)) ** 2).sum().backward()
        optimizer.step()
    rows = layer.weight.numpy().reshape(4, -1)
    np.testing.assert_allclose(rows @ rows.T, np.eye(4), atol=1e-5)
    layer.weight = tn.tensor(2 * rows.reshape(4, 2, 3, 3))
    np.testing.assert_allclose(layer.weight.numpy().reshape(4, -1), rows, atol=1e-5)
