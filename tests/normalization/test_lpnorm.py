"""Lp normalization of rows: RMSNorm for p = 2, the mean inside the root, the place of eps, zeros, ties."""

import math
import shutil

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, use_loops
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.backends import emulator, to_numpy
from tinygrad_norm.gradient_check import GradcheckError, gradcheck
from tinygrad_norm.nn import functional as F
from tinygrad_norm.normalization.sample import lpnorm, rmsnorm

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
BACKENDS = ["numpy", pytest.param("emulator", marks=needs_compiler)]
backends = pytest.mark.parametrize("backend", BACKENDS)
POWERS = (0.5, 1.0, 3.0, math.inf)
powers = pytest.mark.parametrize("p", POWERS)


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def run(x, dy, backend="numpy", **options):
    D = x.shape[-1]
    with tn.use_backend(backend):
        given = [
            Tensor(x, requires_grad=True),
            Tensor(np.linspace(-1, 2, D, dtype=x.dtype), requires_grad=True),
        ]
        y = F.lp_norm(given[0], D, given[1], **options)
        return [to_numpy(a.array).copy() for a in (y, *grad(y, given, dy.astype(x.dtype)))]


def test_p_2_is_rms_normalization_and_so_is_the_general_formula():
    x, dy, w = normal(5, 7), normal(5, 7, seed=1), normal(7, seed=2)
    layers = nn.LpNorm(7).double(), nn.RMSNorm(7).double()
    assert np.array_equal(*(layer(Tensor(x)).numpy() for layer in layers))
    y, size = lpnorm.lp_norm_forward(x, w, 2.0, 0.1)
    right, rstd = rmsnorm.rms_norm_forward(x, w, 0.1)
    np.testing.assert_allclose(y, right, 1e-12)
    for found, expected in zip(
        lpnorm.lp_norm_backward(dy, x, w, size, 2.0, 0.1),
        rmsnorm.rms_norm_backward(dy, x, w, rstd),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, 1e-11, 1e-13)


@powers
def test_the_mean_is_inside_the_root(p):
    """The power mean of a row becomes 1, however long it is; p = 1 by the formula in words."""
    for D in (3, 300):
        y = F.lp_norm(Tensor(normal(4, D)), D, p=p, eps=0.0).numpy()
        np.testing.assert_allclose(np.linalg.norm(y, p, axis=1) * D ** (-1 / p), 1, rtol=1e-12)
    x = np.array([[3.0, -1.0, 2.0]])
    np.testing.assert_allclose(F.lp_norm(Tensor(x), 3, p=1.0, eps=5.0).numpy(), x / 3)  # √(2² + 5)


@powers
@backends
@pytest.mark.parametrize("eps", [None, 0.0, 0.25])
def test_rows_of_zeros_stay_zero_with_a_finite_gradient(p, eps, backend):
    x, dy = normal(3, 6, dtype=np.float32), normal(3, 6, seed=1)
    x[1] = 0
    y, dx, _ = run(x, dy, backend, p=p, eps=eps)
    assert not y[1].any()
    assert np.isfinite(dx).all()
    if eps:
        np.testing.assert_allclose(dx[1], dy[1] * np.linspace(-1, 2, 6) / 0.5, rtol=1e-5)


@backends
@pytest.mark.parametrize("p", [1.0, 3.0, math.inf])
@pytest.mark.parametrize("scale", [1e-37, 1e-30, 1e-10, 1e18, 1e30, 1e38], ids="scale {:g}".format)
def test_any_scale_of_float32_gives_right_results(p, scale, backend):
    x, dy = np.random.default_rng(0).uniform(-2, 2, (3, 8)).astype(np.float32), normal(3, 8, seed=1)
    x[1] *= np.float32(scale)
    right = run(x.astype(np.float64), dy, p=p, eps=0.0)
    for ours, expected in zip(run(x, dy, backend, p=p, eps=0.0), right, strict=True):
        for row, exact in zip(np.atleast_2d(ours), np.atleast_2d(expected), strict=True):
            np.testing.assert_allclose(row, exact, rtol=1e-4, atol=1e-5 * abs(exact).max())


@backends
def test_ties_share_the_slope_of_the_largest(backend):
    """Two entries of the largest size: each has half of the slope, and an entry below has none."""
    x, dy = np.array([[2.0, -2.0, 1.0]]), np.array([[1.0, 2.0, 4.0]])
    (w0, w1, w2), along = np.linspace(-1, 2, 3), None
    along = w0 * 1 - w1 * 2 + w2 * 4 / 2  # Σ g·x̂
    expected = [(w0 * 1 - along / 2) / 2, (w1 * 2 + along / 2) / 2, w2 * 4 / 2]
    np.testing.assert_allclose(run(x, dy, backend, p=math.inf, eps=0.0)[1][0], expected, rtol=1e-12)


@powers
@backends
def test_a_nan_makes_its_row_nan_and_no_other(p, backend):
    x, dy = normal(4, 6, dtype=np.float32), normal(4, 6, seed=1)
    x[1, 2] = np.nan
    for mode in ("off", "python"):
        with use_loops(mode):
            y, dx, _ = run(x, dy, backend, p=p)
        for a in (y, dx):
            assert np.isnan(a[1]).all()
            assert np.isfinite(np.delete(a, 1, 0)).all()


@needs_compiler
@powers
@pytest.mark.parametrize(
    "D", [1, 2, 31, 32, 33, 1023, 4096, pytest.param(65537, marks=pytest.mark.slow)], ids="D {}".format
)
def test_rows_of_every_length_in_the_kernels(p, D):
    x, dy = normal(3, D, dtype=np.float32), normal(3, D, seed=1, dtype=np.float32)
    right = run(x.astype(np.float64), dy, p=p, eps=0.1)
    for checked in (False, True):
        with emulator.schedule(seed=1, checked=checked), emulator.record() as launches:
            found = run(x, dy, "emulator", p=p, eps=0.1)
        names = [launch.name.split("<")[0] for launch in launches]
        assert names == ["lp_norm_forward", "lp_norm_backward", "column_sums"]
        for ours, expected in zip(found, right, strict=True):
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * abs(expected).max())


@pytest.mark.parametrize("mistake", ["without the row", "the length instead of the mean"])
def test_a_planted_mistake_is_found(mistake, monkeypatch):
    real = lpnorm.mean_slope
    wrong = {
        "without the row": lambda x, size, p: 0 * x,
        "the length instead of the mean": lambda x, size, p: real(x, size, p) * x.shape[1],
    }[mistake]
    x = tn.tensor(normal(3, 5), requires_grad=True)
    with use_loops("off"):
        assert gradcheck(lambda x: F.lp_norm(x, 5, p=3.0), [x])
        monkeypatch.setattr(lpnorm, "mean_slope", wrong)
        with pytest.raises(GradcheckError):
            gradcheck(lambda x: F.lp_norm(x, 5, p=3.0), [x])


def test_the_layer_has_a_weight_of_ones_and_says_its_power():
    layer = nn.LpNorm((2, 3), p=1)
    assert layer.weight.shape == (2, 3)
    assert (layer.weight.numpy() == 1).all()
    assert "p=1.0" in repr(layer)
    assert nn.LpNorm(3, elementwise_affine=False).weight is None
    with pytest.raises(TypeError, match="p must be a number"):
        nn.LpNorm(3, p="1")
