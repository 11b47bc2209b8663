"""Generalized divisive normalization: its formula, parameters and inverse, and a matrix not transposed."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F
from tinygrad_norm.normalization.sample import gdn

RNG = np.random.default_rng(0)
X, DY = RNG.normal(size=(2, 3, 4, 5)), RNG.normal(size=(2, 3, 4, 5))
BETA, GAMMA = RNG.uniform(0.5, 2, 3), RNG.uniform(0, 1, (3, 3))


def results(x, dy, **options):
    tensors = [tn.tensor(a.astype(x.dtype), requires_grad=True) for a in (x, BETA, GAMMA)]
    y = F.gdn(*tensors, **options)
    return [a.numpy() for a in (y, *grad(y, tensors, tn.tensor(dy.astype(x.dtype))))]


def test_row_i_of_gamma_divides_channel_i():
    z = BETA[:, None, None] + np.einsum("ij,njhw->nihw", GAMMA, X**2)
    np.testing.assert_allclose(results(X, DY)[0], X / np.sqrt(z), 1e-12)
    np.testing.assert_allclose(results(X, DY, inverse=True)[0], X * np.sqrt(z), 1e-12)
    z = BETA[:, None, None] + np.einsum("ij,njhw->nihw", GAMMA, abs(X))
    np.testing.assert_allclose(results(X, DY, simplified=True)[0], X / z, 1e-12)


def test_with_equal_weights_it_is_a_local_response_norm_of_all_channels():
    x, alpha = tn.tensor(X), 0.3
    y = F.gdn(x, tn.tensor(np.full(3, 2.0)), tn.tensor(np.full((3, 3), alpha / 5))).numpy()
    np.testing.assert_allclose(y, F.local_response_norm(x, 5, alpha, 0.5, 2.0).numpy(), 1e-12)


def test_a_new_layer_and_its_inverse():
    layer, inverse = nn.GDN(3).double(), nn.IGDN(3).double()
    beta, gamma = (t.numpy() for t in layer.values())
    np.testing.assert_allclose(beta, 1, 1e-6)
    np.testing.assert_allclose(gamma, 0.1 * np.eye(3), 1e-6, 1e-12)
    y = layer(tn.tensor(X)).numpy()
    np.testing.assert_allclose(y, X / np.sqrt(1 + 0.1 * X**2), 1e-6)
    np.testing.assert_allclose(inverse(tn.tensor(X)).numpy(), X * np.sqrt(1 + 0.1 * X**2), 1e-6)
    np.testing.assert_allclose(nn.GDN1(3).double()(tn.tensor(X)).numpy(), X / (1 + 0.1 * abs(X)), 1e-6)


def test_parameters_stay_positive_and_come_back_from_their_bound():
    layer = nn.GDN(3, beta_min=1e-3)
    optimizer = optim.SGD(layer.parameters(), 0.6)
    for sign in (1, -1):
        for _ in range(10):
            optimizer.zero_grad()
            beta, gamma = layer.values()
            (sign * (beta.sum() + gamma.sum())).backward()
            optimizer.step()
            beta, gamma = (t.numpy() for t in layer.values())
            assert beta.min() >= 0.999e-3
            assert gamma.min() >= 0
        if sign > 0:
            np.testing.assert_allclose(beta, 1e-3, 1e-3)
    assert beta.min() > 0.1  # those that were pushed below the bound


@pytest.mark.parametrize("scale", [1e-30, 1e4, 1e12, 1e13, 1e14, 1e18, 1e30])
def test_extremes_are_as_in_float64(scale):
    x = (X * scale).astype("float32")
    x[0] = X[0]  # beside ordinary numbers
    for simplified in (False, True):
        found = results(x, DY, simplified=simplified)
        expected = results(x.astype("float64"), DY, simplified=simplified)
        for a, b in zip(found, expected, strict=True):
            assert np.isfinite(a).all()
            np.testing.assert_allclose(a, b, 2e-5, 1e-6 * abs(b).max())


def test_a_gamma_that_is_not_transposed_is_wrong(monkeypatch):
    inputs = [tn.tensor(a, requires_grad=True) for a in (X, BETA, GAMMA)]
    (expected,) = grad(gdn.gdn_composed(*inputs), inputs[0], tn.tensor(DY))
    backward, exact = gdn.gdn_backward, expected.numpy()
    right = results(X, DY)[1]
    monkeypatch.setattr(
        gdn, "gdn_backward", lambda dy, x, z, s, gamma, *options: backward(dy, x, z, s, gamma.T, *options)
    )
    wrong = results(X, DY)[1]
    errors = [np.linalg.norm(dx - exact) / np.linalg.norm(exact) for dx in (right, wrong)]
    assert errors[0] < 1e-10
    assert errors[1] > 0.05


def test_half_types():
    y = results((100 * X).astype("float16"), DY)[0]
    assert y.dtype == "float16"
    np.testing.assert_allclose(y, results(100 * X, DY)[0], 3e-3, 1e-3)


@pytest.mark.parametrize("kind", [nn.GDN, nn.IGDN, nn.GDN1], ids=["GDN", "IGDN", "GDN1"])
def test_another_number_of_channels_names_the_layer(kind):
    message = rf"^{kind.__name__} was made for 4 channels, but x of shape \(2, 5, 3\)"
    with pytest.raises(ValueError, match=message):
        kind(4)(tn.ones(2, 5, 3))
