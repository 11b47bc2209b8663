"""Batch normalization by the range, or of the mean alone."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(0)
X, DY = 2.0 + 3.0 * RNG.normal(size=(4, 3, 5)), RNG.normal(size=(4, 3, 5))


def test_the_mean_alone_is_subtracted_and_its_path_is_all_the_gradient():
    layer, x = nn.MeanOnlyBatchNorm(3).double(), tn.tensor(X, requires_grad=True)
    y = layer(x)
    np.testing.assert_allclose(y.detach().numpy(), X - X.mean((0, 2), keepdims=True), 1e-13, 1e-13)
    (dx,) = grad(y, [x], tn.tensor(DY))
    np.testing.assert_allclose(dx.numpy(), DY - DY.mean((0, 2), keepdims=True), 1e-12, 1e-13)
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.1 * X.mean((0, 2)), 1e-13)
    y = layer.eval()(x)
    np.testing.assert_allclose(y.detach().numpy(), X - layer.running_mean.numpy()[:, None], 1e-13)
    np.testing.assert_array_equal(grad(y, [x], tn.tensor(DY))[0].numpy(), DY)


def test_a_mean_that_is_large_leaves_its_digits():
    x = (1e4 + 1e-2 * RNG.normal(size=(64, 2))).astype("float32")
    y = nn.MeanOnlyBatchNorm(2)(tn.tensor(x)).detach().numpy()
    exact = x.astype(float) - x.astype(float).mean(0)
    assert abs(y - exact).max() < 1e-8


def test_the_range_is_that_of_each_channel():
    y = F.range_batch_norm(tn.tensor(X), training=True, eps=0.0).numpy()
    d = (X.max((0, 2)) - X.min((0, 2))) / np.sqrt(2 * np.log(20))
    np.testing.assert_allclose(y, (X - X.mean((0, 2), keepdims=True)) / d[:, None], 1e-12, 1e-14)
    np.testing.assert_allclose(np.ptp(y, (0, 2)), np.sqrt(2 * np.log(20)), 1e-13)


def test_two_entries_of_a_channel_pay_for_its_range():
    x, w = tn.tensor(X, requires_grad=True), tn.tensor(RNG.normal(size=3))
    (dx,) = grad(F.range_batch_norm(x, weight=w, training=True, eps=0.0), [x], tn.tensor(DY))
    d = ((X.max((0, 2)) - X.min((0, 2))) / np.sqrt(2 * np.log(20)))[:, None]
    g = w.numpy()[:, None] * DY
    others = dx.numpy() - (g - g.mean((0, 2), keepdims=True)) / d  # the path through R
    for c in range(3):
        of_channel = others[:, c]
        at = {int(X[:, c].argmax()), int(X[:, c].argmin())}
        assert set(np.flatnonzero(abs(of_channel) > 1e-12)) == at
        assert abs(of_channel.sum()) < 1e-12


def test_ties_share_what_an_extreme_pays(torch):
    values = np.array([[1.0], [1.0], [-2.0], [0.5], [-2.0], [-2.0]])
    x, dy = tn.tensor(values, requires_grad=True), RNG.normal(size=(6, 1))
    dx = grad(F.range_batch_norm(x, training=True), [x], tn.tensor(dy))[0].numpy()
    t = torch.tensor(values, requires_grad=True)
    d = (t.amax(0) - t.amin(0)) / np.sqrt(2 * np.log(6))
    y = (t - t.mean(0)) / (d * d + 1e-5).sqrt()
    np.testing.assert_allclose(dx, torch.autograd.grad(y, t, torch.tensor(dy))[0].numpy(), 1e-11, 1e-12)


def test_the_running_variance_is_the_square_of_the_scaled_range():
    layer = nn.RangeBatchNorm1d(3).double()
    layer(tn.tensor(X))
    d = (X.max((0, 2)) - X.min((0, 2))) / np.sqrt(2 * np.log(20))
    np.testing.assert_allclose(layer.running_var.numpy(), 0.9 + 0.1 * d**2 * 20 / 19, 1e-12)


@pytest.mark.parametrize("kind", ["RangeBatchNorm1d", "MeanOnlyBatchNorm"])
def test_half_types_and_channels_that_do_not_vary(kind):
    x = tn.tensor(np.full((4, 3), 7, np.float16))
    y = getattr(nn, kind)(3)(x)
    assert y.dtype == np.float16
    np.testing.assert_array_equal(y.detach().numpy(), 0)


@pytest.mark.parametrize("n", [4, 300])
def test_a_range_that_float32_cannot_hold_is_as_in_float64(n):
    rng = np.random.default_rng(5)
    x, dy, w = rng.uniform(-3.3e38, 3.3e38, (n, 3)), rng.normal(size=(n, 3)), rng.normal(size=3)
    x[:2, 0], x[:, 2] = (3.3e38, -3.3e38), rng.normal(size=n)

    def results(dtype):
        inputs = [tn.tensor(a.astype(dtype), requires_grad=True) for a in (x, w)]
        y = F.range_batch_norm(inputs[0], weight=inputs[1], training=True)
        dx, dw = (d.numpy() for d in tn.autograd.grad(y, inputs, tn.tensor(dy.astype(dtype))))
        return y.numpy(), dx[:, 2], dw, dx[:, :2] * np.float64(1e38)

    for found, expected in zip(results("float32"), results("float64"), strict=True):
        np.testing.assert_allclose(found, expected, 1e-4, 1e-5)
