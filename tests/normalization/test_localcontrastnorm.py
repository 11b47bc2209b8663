"""Local contrast normalization: the two halves, the scaler of images, and light and shadow."""

import shutil

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.data import LocalContrastScaler
from tinygrad_norm.nn import functional as F

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
BACKENDS = pytest.mark.parametrize("backend", ["numpy", pytest.param("emulator", marks=needs_compiler)])
RNG = np.random.default_rng(0)
X, DY = RNG.normal(2.0, 1.0, (2, 3, 12, 14)), RNG.normal(size=(2, 3, 12, 14))


def results(x, dy, *args, **options):
    x = tn.tensor(x, requires_grad=True)
    y = F.local_contrast_norm(x, *args, **options)
    y.backward(tn.tensor(dy))
    return y.numpy(), x.grad.numpy()


@pytest.mark.parametrize(("size", "sigma"), [(9, 1.5), (5, 2.5 / 3), (3, 0.5)])
def test_it_is_the_scaler_of_images(size, sigma):
    expected = LocalContrastScaler(sigma, 1e-8).transform(X)
    np.testing.assert_allclose(results(X, DY, size, eps=1e-8, mean_floor=False)[0], expected, 1e-11, 1e-12)


def test_it_is_divisive_of_subtractive_normalization():
    layers = nn.Sequential(nn.SubtractiveNorm2d(3, 5, 0.9), nn.DivisiveNorm2d(3, 5, 0.9))
    y = nn.LocalContrastNorm2d(3, 5, 0.9)(tn.tensor(X)).numpy()
    np.testing.assert_array_equal(y, layers(tn.tensor(X)).numpy())


def test_a_window_as_large_as_the_image_without_a_gaussian_is_layer_normalization():
    y, dx = results(X, DY, 99, 1e9, eps=1e-9)
    x = tn.tensor(X, requires_grad=True)
    expected = F.layer_norm(x, X.shape[1:], eps=0.0)
    expected.backward(tn.tensor(DY))
    np.testing.assert_allclose(y, expected.numpy(), 1e-8, 1e-9)
    np.testing.assert_allclose(dx, x.grad.numpy(), 1e-7, 1e-8)


def test_brightness_and_contrast_have_no_effect_and_no_gradient():
    (y, dx), (other, _) = results(X, DY), results(7 * X - 3, DY)
    np.testing.assert_allclose(other, y, 1e-10, 1e-12)
    np.testing.assert_allclose([dx.sum((1, 2, 3)), (dx * X).sum((1, 2, 3))], 0, atol=1e-11)


def test_a_shadow_disappears_but_for_its_edge():
    shadow = np.where(np.arange(14) < 7, 1.0, 0.1)
    y, other = (results(x, DY, 3, mean_floor=False)[0] for x in (X, X * shadow))
    far = abs(np.arange(14) - 6.5) > 2
    np.testing.assert_allclose(other[..., far], y[..., far], 1e-9)


def test_the_mean_floor_keeps_noise_from_becoming_as_loud_as_an_edge():
    x = 1e-2 * RNG.normal(size=(1, 1, 12, 20))
    x[..., 10:] += 5
    loud, quiet = (abs(results(x, x, 3, mean_floor=floor)[0][..., :6]).mean() for floor in (False, True))
    assert loud > 0.5
    assert quiet < 0.1


@BACKENDS
@pytest.mark.parametrize("value", [0.0, 0.3, 1e4, 1e30])
def test_flat_images_are_exactly_zero_with_finite_gradients(value, backend):
    with tn.use_backend(backend):
        y, dx = results(np.full(X.shape, value, np.float32), DY.astype("float32"))
    assert not y.any()
    assert np.isfinite(dx).all()
    assert abs(dx).max() < 1e4


@BACKENDS
@pytest.mark.parametrize(("mean", "std"), [(0, 1), (1e4, 1e-2), (0, 1e30), (0, 1e-30)])
def test_extremes_are_as_in_float64(mean, std, backend):
    x, dy = (mean + std * X).astype("float32"), DY.astype("float32")
    exact = results(x.astype(float), dy.astype(float), 5, eps=1e-4 * std)
    with tn.use_backend(backend):
        found = results(x, dy, 5, eps=1e-4 * std)
    for a, b in zip(found, exact, strict=True):
        np.testing.assert_allclose(a, b, 0, 2e-5 * abs(b).max())


def test_the_layer_shows_what_it_was_made_with():
    expected = "LocalContrastNorm2d(3, kernel_size=(3, 5), sigma=1.0, eps=0.01, mean_floor=False)"
    assert str(nn.LocalContrastNorm2d(3, (3, 5), 1.0, 0.01, mean_floor=False)) == expected
