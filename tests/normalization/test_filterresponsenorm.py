"""Filter response normalization with its thresholded unit."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(0)
X, DY = RNG.normal(1.0, 2.0, (2, 3, 4, 5)), RNG.normal(size=(2, 3, 4, 5))
W, B, TAU = RNG.normal(size=3), RNG.normal(size=3), RNG.normal(size=3)


def results(x, dy, **options):
    tensors = [tn.tensor(a.astype(x.dtype), requires_grad=True) for a in (x, W, B, TAU)]
    y = F.filter_response_norm(*tensors, **options)
    return [a.numpy() for a in (y, *grad(y, tensors, tn.tensor(dy.astype(x.dtype))))]


def test_it_is_the_formula_of_the_paper():
    w, b, tau = (v[:, None, None] for v in (W, B, TAU))
    z = w * X / np.sqrt((X**2).mean((2, 3), keepdims=True) + 1e-5) + b
    y, _, _, _, dtau = results(X, DY)
    np.testing.assert_allclose(y, np.maximum(z, tau), 1e-12)
    np.testing.assert_allclose(dtau, (DY * (z <= tau)).sum((0, 2, 3)), 1e-12)


def test_without_threshold_every_row_is_rms_normalized():
    y = F.filter_response_norm(tn.tensor(X), tn.tensor(W), tn.tensor(B)).numpy()
    rows = F.rms_norm(tn.tensor(X.reshape(6, 20)), (20,), eps=1e-5).numpy().reshape(X.shape)
    np.testing.assert_allclose(y, rows * W[:, None, None] + B[:, None, None], 1e-12)


def test_a_new_layer_is_rms_normalization_and_relu():
    layer = nn.FilterResponseNorm2d(3)
    parameters = {name: p.numpy().tolist() for name, p in layer.named_parameters()}
    assert parameters == {"weight": [1.0] * 3, "bias": [0.0] * 3, "tau": [0.0] * 3}
    y = layer(tn.tensor(X.astype("float32"))).numpy()
    expected = np.maximum(X / np.sqrt((X**2).mean((2, 3), keepdims=True) + 1e-5), 0)
    np.testing.assert_allclose(y, expected, 1e-5, 1e-6)


def test_at_a_tie_the_gradient_is_that_of_tau():
    layer = nn.FilterResponseNorm2d(3)
    x = tn.zeros(2, 3, 4, 5, requires_grad=True)
    layer(x).backward(tn.tensor(DY.astype("float32")))
    np.testing.assert_array_equal(x.grad.numpy(), np.zeros(X.shape))
    np.testing.assert_allclose(layer.tau.grad.numpy(), DY.sum((0, 2, 3)), 1e-5)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e4, 1e30])
def test_extremes_are_as_in_float64(scale):
    x = (X * scale).astype("float32")
    x[1, 2] = scale  # a constant channel
    for a, b in zip(results(x, DY), results(x.astype("float64"), DY), strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a, b, 2e-5, 1e-5 * abs(b).max())


def test_a_nan_spoils_its_channel_of_its_sample_only():
    x = X.astype("float32")
    x[1, 2, 0, 0] = np.nan
    y, dx, *_ = results(x, DY)
    for a in (y, dx):
        assert np.isnan(a[1, 2]).all()
        assert np.isnan(a).sum() == 20


def test_a_single_position_leaves_the_sign():
    y = F.filter_response_norm(tn.tensor(np.array([[3.0, -2.0]])), eps=0.0)
    np.testing.assert_array_equal(y.numpy(), [[1.0, -1.0]])
