"""Divisive normalization: Gaussian windows of squares, and a least divisor that is the mean of a sample."""

import shutil

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.gradient_check import GradcheckError, gradcheck
from tinygrad_norm.nn import functional as F
from tinygrad_norm.normalization.sample import divisivenorm
from tinygrad_norm.registry import REGISTRY

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
BACKENDS = pytest.mark.parametrize("backend", ["numpy", pytest.param("emulator", marks=needs_compiler)])
RNG = np.random.default_rng(0)
X, DY = RNG.normal(size=(2, 3, 6, 8)), RNG.normal(size=(2, 3, 6, 8))
X[:, :, :, 4:] *= 0.1  # so that the maximum picks both


def results(x, dy, function=F.divisive_norm, **options):
    x = tn.tensor(x, requires_grad=True)
    y = function(x, 3, **options)
    y.backward(tn.tensor(dy))
    return y.numpy(), x.grad.numpy()


def deviations(x):
    """By subtractive normalization: x² less its local mean."""
    squares = tn.tensor(x**2)
    return np.sqrt((squares - F.subtractive_norm(squares, 3)).numpy()[:, :1])


@pytest.mark.parametrize("mean_floor", [True, False])
def test_it_is_the_formula_of_the_paper(mean_floor):
    sigma = deviations(X)
    c = sigma.mean((1, 2, 3), keepdims=True) if mean_floor else 0.2
    assert 0.2 < (sigma > c).mean() < 0.8
    y = results(X, DY, eps=1e-3 if mean_floor else 0.2, mean_floor=mean_floor)[0]
    np.testing.assert_allclose(y, X / np.maximum(c, sigma), 1e-12)


def test_the_mean_of_a_weak_image_is_not_less_than_eps():
    np.testing.assert_array_equal(results(1e-6 * X, DY)[0], 1e-6 * X / 1e-3)


def test_the_strength_of_an_image_has_no_effect_and_no_gradient():
    (y, dx), (twice, half) = results(X, DY), results(2 * X, DY)
    np.testing.assert_allclose(twice, y, 1e-12)
    np.testing.assert_allclose(half, dx / 2, 1e-12)
    np.testing.assert_allclose((dx * X).sum((1, 2, 3)), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("_to_least", lambda ds, deviation, least: ds),
        ("_through_deviations", lambda ds, dc, deviation, least, eps: (ds + dc / 24) * (least / deviation)),
    ],
)
def test_a_gradient_on_the_wrong_side_of_the_maximum_is_found(name, wrong, monkeypatch):
    x = tn.tensor(X[:1, :1, :3], requires_grad=True)
    with tn.use_loops("off"):
        assert gradcheck(lambda x: F.divisive_norm(x, 3), [x])
        monkeypatch.setattr(divisivenorm, name, wrong)
        with pytest.raises(GradcheckError):
            gradcheck(lambda x: F.divisive_norm(x, 3), [x])


@BACKENDS
@pytest.mark.parametrize("mean_floor", [True, False])
def test_flat_images_and_flat_parts_are_finite_and_as_composed(mean_floor, backend):
    x, dy = X.astype("float32"), DY.astype("float32")
    x[0], x[1, :, 2:] = 0, 0
    options = {"mean_floor": mean_floor}
    expected = results(x.astype(float), DY, REGISTRY["divisive_norm"].composed, **options)
    with tn.use_backend(backend):
        found = results(x, dy, **options)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, 1e-5, 1e-6)
    np.testing.assert_allclose(found[1][0], DY[0] / 1e-3, 1e-5)


@BACKENDS
@pytest.mark.parametrize("mean_floor", [True, False])
@pytest.mark.parametrize("size", [1e4, 1e18, 1e30, 1e-18, 1e-30])
def test_extremes_are_as_in_float64(size, mean_floor, backend):
    """Beside parts that are 1e-20 of the rest, too."""
    options = {"eps": 1e-3 * size, "mean_floor": mean_floor}
    x, dy = (size * X).astype("float32"), DY.astype("float32")
    x[0, :, 3:] *= np.float32(1e-20) if size > 1e-10 else 1
    exact = results(x.astype(float), dy.astype(float), **options)
    with tn.use_backend(backend):
        found = results(x, dy, **options)
    for a, b in zip(found, exact, strict=True):
        np.testing.assert_allclose(a, b, 1e-4, 1e-5 * abs(b).max())


@pytest.mark.parametrize("loops", ["python", "off"])
@pytest.mark.parametrize("function", [F.divisive_norm, F.local_contrast_norm])
@pytest.mark.parametrize("size", [2.0**650, 2.0**-650])
def test_extremes_of_float64_are_exact(size, function, loops):
    """Also beside a sample of ordinary numbers."""
    x, size = X.copy(), np.array([size, 1.0]).reshape(2, 1, 1, 1)
    options = {"eps": 2.0**-700}
    with tn.use_loops(loops):
        (y, dx), (large, small) = (results(a, DY, function, **options) for a in (x, size * x))
    np.testing.assert_allclose(large, y, 1e-14, 1e-14)
    np.testing.assert_allclose(small * size, dx, 1e-12, 1e-12)


def test_half_types_are_accumulated_in_float32():
    for a, b in zip(
        results(*(300 * X, DY)), results((300 * X).astype("float16"), DY.astype("float16")), strict=True
    ):
        assert b.dtype == np.float16
        np.testing.assert_allclose(b, a, 2e-3, 2e-3 * abs(a).max())


@BACKENDS
@pytest.mark.parametrize("mean_floor", [True, False])
def test_a_nan_reaches_its_windows_and_with_the_mean_its_sample(mean_floor, backend):
    """In dx, also the windows of those windows: their σ is NaN, and so is the gradient of all it holds."""
    x = X.astype("float32")
    x[1, 0, 1, 1] = np.nan
    near, nearer = np.zeros(X.shape, bool), np.zeros(X.shape, bool)
    near[1, :, :4, :4] = nearer[1, :, :3, :3] = True
    if mean_floor:
        near[1] = nearer[1] = True
    with tn.use_backend(backend):
        y, dx = results(x, DY.astype("float32"), mean_floor=mean_floor)
    np.testing.assert_array_equal(np.isnan(y), nearer)
    np.testing.assert_array_equal(np.isnan(dx), near)


def test_the_layer_checks_its_channels_and_has_no_parameters():
    layer = nn.DivisiveNorm2d(3, 3, eps=0.2, mean_floor=False)
    np.testing.assert_array_equal(layer(tn.tensor(X)).numpy(), results(X, DY, eps=0.2, mean_floor=False)[0])
    assert not list(layer.parameters())
    assert str(layer) == "DivisiveNorm2d(3, kernel_size=3, sigma=None, eps=0.2, mean_floor=False)"
