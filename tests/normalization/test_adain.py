"""Adaptive instance normalization: the statistics of the style, on the content."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(0)
X, Z = RNG.normal(2.0, 3.0, (2, 3, 4, 5)), RNG.normal(-1.0, 0.5, (2, 3, 6, 2))


def test_the_result_has_the_mean_and_the_deviation_of_the_style():
    y = nn.AdaIN(eps=0.0)(tn.tensor(X), tn.tensor(Z)).numpy()
    np.testing.assert_allclose(y.mean((2, 3)), Z.mean((2, 3)), 1e-12)
    np.testing.assert_allclose(y.std((2, 3)), Z.std((2, 3)), 1e-12)


def test_it_is_instance_normalization_with_measured_weight_and_bias():
    x, z = tn.tensor(X, requires_grad=True), tn.tensor(Z[:1], requires_grad=True)
    dy = tn.tensor(RNG.normal(size=(1, 3, 4, 5)))
    y = F.adaptive_instance_norm(x[:1], z)
    w = tn.tensor(np.sqrt(Z[0].var((1, 2)) + 1e-5))
    b = tn.tensor(Z[0].mean((1, 2)))
    expected = F.instance_norm(x[:1], weight=w, bias=b)
    np.testing.assert_allclose(y.numpy(), expected.numpy(), 1e-12)
    np.testing.assert_allclose(grad(y, x, dy)[0].numpy(), grad(expected, x, dy)[0].numpy(), 1e-11, 1e-13)


def test_a_content_in_its_own_style_is_unchanged_and_both_gradients_add_up_to_the_identity():
    x = tn.tensor(X, requires_grad=True)
    y = F.adaptive_instance_norm(x, x)
    dy = RNG.normal(size=X.shape)
    np.testing.assert_allclose(y.numpy(), X, 1e-12)
    np.testing.assert_allclose(grad(y, x, tn.tensor(dy))[0].numpy(), dy, 1e-10, 1e-12)


def test_the_gradient_of_the_style_has_two_directions_per_channel():
    z = tn.tensor(Z, requires_grad=True)
    y = F.adaptive_instance_norm(tn.tensor(X), z)
    (dz,) = grad(y, z, tn.tensor(RNG.normal(size=X.shape)))
    z_hat = (Z - Z.mean((2, 3), keepdims=True)) / Z.std((2, 3), keepdims=True)
    for d, direction in zip(dz.numpy().reshape(6, 12), z_hat.reshape(6, 12), strict=True):
        basis = np.stack([np.ones(12), direction], 1)
        _, residual, *_ = np.linalg.lstsq(basis, d, rcond=None)
        assert residual.item() < 1e-20


@pytest.mark.parametrize("scale", [1e30, 1e-30, 0.0])
def test_extreme_contents_and_styles_are_as_in_float64(scale):
    x, z = (X * scale).astype("float32"), Z.astype("float32")
    y = F.adaptive_instance_norm(tn.tensor(x), tn.tensor(z)).numpy()
    expected = F.adaptive_instance_norm(tn.tensor(x.astype("float64")), tn.tensor(z.astype("float64")))
    np.testing.assert_allclose(y, expected.numpy(), 1e-5, 1e-6)
    y = F.adaptive_instance_norm(tn.tensor(z), tn.tensor(x)).numpy()
    expected = F.adaptive_instance_norm(tn.tensor(z.astype("float64")), tn.tensor(x.astype("float64")))
    np.testing.assert_allclose(y, expected.numpy(), 1e-5, abs(expected.numpy()).max() * 1e-6)


def test_a_nan_in_the_style_spoils_its_channel_only():
    z = Z.astype("float32")
    z[1, 2, 0, 0] = np.nan
    spoiled = np.isnan(F.adaptive_instance_norm(tn.tensor(X.astype("float32")), tn.tensor(z)).numpy())
    assert spoiled[1, 2].all()
    assert spoiled.sum() == 20
