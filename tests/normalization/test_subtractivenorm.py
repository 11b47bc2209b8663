"""Subtractive normalization: Gaussian windows over all channels, and what they do at borders."""

import math
import shutil
from itertools import product

import numpy as np
import pytest
from kernel_runs import TOLERANCE, WINDOWS, worst_error

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.gradient_check import GradcheckError, gradcheck
from tinygrad_norm.nn import functional as F
from tinygrad_norm.normalization.core import gaussian
from tinygrad_norm.normalization.sample.subtractivenorm import subtractive_norm_backward
from tinygrad_norm.registry import REGISTRY, Case

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
BACKENDS = pytest.mark.parametrize("backend", ["numpy", pytest.param("emulator", marks=needs_compiler)])
RNG = np.random.default_rng(0)
X, DY = RNG.normal(1.0, 2.0, (2, 3, 6, 8)), RNG.normal(size=(2, 3, 6, 8))


def results(x, dy, size=3, **options):
    x = tn.tensor(x, requires_grad=True)
    y = F.subtractive_norm(x, size, **options)
    y.backward(tn.tensor(dy))
    return y.numpy(), x.grad.numpy()


def test_it_is_the_formula_of_the_paper_with_weights_that_sum_to_one_at_borders():
    x, places = X[..., :4, :5], list(product(range(4), range(5)))
    mean = np.empty((2, 1, 4, 5))
    for p in places:
        inside = [q for q in places if abs(p[0] - q[0]) <= 1 and abs(p[1] - q[1]) <= 2]
        w = np.array([np.exp(-((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2) / (2 * 0.7**2)) for q in inside])
        mean[:, 0, *p] = sum(a * x[:, :, *q].mean(1) for a, q in zip(w / w.sum(), inside, strict=True))
    np.testing.assert_allclose(results(x, x, (3, 5), sigma=0.7)[0], x - mean, 1e-12, 1e-14)


def test_by_default_a_window_is_six_standard_deviations_wide():
    for size, sigma in ((3, 0.5), (9, 1.5), (1, 5.0), (1, 1e-300)):
        np.testing.assert_array_equal(results(X, DY, size)[0], results(X, DY, size, sigma=sigma)[0])


def test_a_window_larger_than_the_image_holds_all_of_it():
    np.testing.assert_array_equal(results(X, DY, 15, sigma=9)[0], results(X, DY, 101, sigma=9)[0])
    flat = X - X.mean((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(results(X, DY, 15, sigma=1e9)[0], flat, 1e-10, 1e-12)


def test_away_from_borders_backward_is_the_normalization_of_dy():
    dx, expected = results(X, DY)[1], results(DY, DY)[0]
    np.testing.assert_allclose(dx[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], 1e-12)
    assert abs(dx - expected)[..., 0, :].max() > 0.005


def test_a_gradient_without_the_transpose_is_found(monkeypatch):
    def not_transposed(dy, window):
        return dy - window.scale * gaussian.window_sums(dy.sum(1, keepdims=True), window)

    x = tn.tensor(X[:1, :2, :4, :4], requires_grad=True)
    assert gradcheck(lambda x: F.subtractive_norm(x, 3), [x])
    with tn.use_loops("off"):
        monkeypatch.setattr(subtractive_norm_backward, "numpy_version", not_transposed)
        with pytest.raises(GradcheckError):
            gradcheck(lambda x: F.subtractive_norm(x, 3), [x])


@BACKENDS
@pytest.mark.parametrize("value", [0.0, 12345.678, 1e30, -3e38, 1e-40])
def test_a_flat_image_is_exactly_zero(value, backend):
    with tn.use_backend(backend):
        y, _ = results(np.full((2, 3, 5, 5), value, np.float32), DY[:, :, :5, :5].astype("float32"))
    assert not y.any()


@BACKENDS
@pytest.mark.parametrize(("mean", "std"), [(0, 1), (1e4, 1e-2), (0, 1e30), (0, 1e-30), (1e30, 1e28)])
def test_extremes_are_as_in_float64(mean, std, backend):
    x, dy = (mean + std * X).astype("float32"), DY.astype("float32")
    exact = results(x.astype(float), DY.astype("float32").astype(float))
    with tn.use_backend(backend):
        found = results(x, dy)
    for a, b in zip(found, exact, strict=True):
        np.testing.assert_allclose(a, b, 0, 2e-6 * abs(b).max())


@BACKENDS
@pytest.mark.parametrize("at", [(0, 0), (3, 4)])
def test_a_nan_reaches_the_windows_that_hold_it_and_no_other(at, backend):
    """In y that of x, in dx that of dy; also where it is the first entry, which is taken off first."""
    x, dy = X.astype("float32"), DY.astype("float32")
    x[1, 0, *at] = dy[1, 0, *at] = np.nan
    near = np.zeros(X.shape, bool)
    near[1, :, max(0, at[0] - 1) : at[0] + 2, max(0, at[1] - 1) : at[1] + 2] = True
    with tn.use_backend(backend):
        for a in results(x, dy):
            np.testing.assert_array_equal(np.isnan(a), near)


@needs_compiler
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("name", WINDOWS)
def test_kernels_are_as_exact_as_their_dtype(name, dtype):
    cases = *REGISTRY[name].cases, Case(((2, 5, 17, 33),)), Case(((1, 2, 3, 300),), {"kernel_size": (1, 31)})
    assert max(worst_error(REGISTRY[name], case, dtype) for case in cases) < TOLERANCE[dtype]


def test_the_layer_checks_its_channels_and_has_no_parameters():
    layer = nn.SubtractiveNorm2d(3, (3, 5), sigma=0.7)
    np.testing.assert_array_equal(layer(tn.tensor(X)).numpy(), results(X, DY, (3, 5), sigma=0.7)[0])
    assert not list(layer.parameters())
    assert str(layer) == "SubtractiveNorm2d(3, kernel_size=(3, 5), sigma=0.7)"


@pytest.mark.parametrize("first", [math.inf, -math.inf, math.nan])
def test_a_first_entry_that_is_not_finite_is_not_taken_off(first):
    assert gaussian.finite_or_zero(first) == 0
    assert gaussian.finite_or_zero(-3.5) == -3.5
    x = np.array([[[[first, 2.0]]], [[[3.0, 4.0]]]])
    assert gaussian.first_entries(x).ravel().tolist() == [0, 3]
