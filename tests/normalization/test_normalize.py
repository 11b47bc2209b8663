"""What the registry cannot say of Lp normalization: extremes, zero vectors, ties, half precision."""

import math
import shutil

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.backends import emulator, to_numpy
from tinygrad_norm.nn import functional as F

POWERS = (0.5, 1.0, 2.0, 3.0, math.inf)
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
BACKENDS = ["numpy", pytest.param("emulator", marks=needs_compiler)]
powers = pytest.mark.parametrize("p", POWERS)
backends = pytest.mark.parametrize("backend", BACKENDS)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def forward_backward(x, dy, backend="numpy", **options):
    with tn.use_backend(backend):
        x = Tensor(x, requires_grad=True)
        y = F.normalize(x, **options)
        (dx,) = grad(y, [x], dy.astype(x.dtype))
        return to_numpy(y.array).copy(), to_numpy(dx.array).copy()


@powers
def test_every_vector_gets_length_1_and_a_gradient_across_itself(p):
    x = normal(5, 7)
    y, dx = forward_backward(x, normal(5, 7, seed=1), p=p)
    np.testing.assert_allclose(np.linalg.norm(y, p, axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose((dx * x).sum(1), 0, atol=1e-12)


@powers
@backends
@pytest.mark.parametrize("eps", [1e-12, 0.0, 1.0])
def test_the_zero_vector_stays_zero_with_a_finite_gradient(p, eps, backend):
    x, dy = normal(3, 6).astype(np.float32), normal(3, 6, seed=1)
    x[1] = 0
    y, dx = forward_backward(x, dy, backend, p=p, eps=eps)
    assert not y[1].any()
    assert np.isfinite(dx).all()
    np.testing.assert_allclose(dx[1], dy[1] / eps if eps else 0, rtol=1e-6)


@backends
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("scale", [1e-37, 1e-25, 1e-10, 1e18, 1e25, 1e37], ids="scale {:g}".format)
def test_any_scale_of_float32_gives_right_results(p, scale, backend):
    """Rows of ordinary size beside it keep their own scale."""
    x, dy = normal(3, 8).astype(np.float32), normal(3, 8, seed=1)
    x[1] *= np.float32(scale)
    right = forward_backward(x.astype(np.float64), dy, p=p, eps=0.0)
    for ours, expected in zip(forward_backward(x, dy, backend, p=p, eps=0.0), right, strict=True):
        for row, exact in zip(ours, expected, strict=True):
            np.testing.assert_allclose(row, exact, rtol=1e-4, atol=1e-5 * abs(exact).max())


@powers
@backends
def test_below_eps_a_vector_is_divided_by_it(p, backend):
    x, dy = np.float32([[1e-6, -2e-6]]), np.float32([[1.0, 2.0]])
    y, dx = forward_backward(x, dy, backend, p=p, eps=1e-3)
    np.testing.assert_allclose(y, x * 1e3, rtol=1e-6)
    np.testing.assert_allclose(dx, dy * 1e3, rtol=1e-6)


@backends
def test_infinity_and_nan_stay_in_their_row(backend):
    x, dy = normal(3, 8).astype(np.float32), normal(3, 8, seed=1)
    clean = forward_backward(x, dy)
    x[0, 3], x[1, 2] = np.inf, np.nan
    with np.errstate(invalid="ignore"):
        y, dx = forward_backward(x, dy, backend)
    assert np.isnan(y[:2]).any(1).all()
    assert np.isnan(dx[:2]).any(1).all()
    np.testing.assert_allclose(y[2], clean[0][2], rtol=1e-6)
    np.testing.assert_allclose(dx[2], clean[1][2], rtol=1e-5, atol=1e-6)


@backends
def test_ties_share_the_slope_of_the_largest_entry(backend, torch):
    x, dy = np.array([[2.0, -2.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0]]), normal(2, 4)
    theirs = torch.tensor(x, requires_grad=True)
    torch.nn.functional.normalize(theirs, p=math.inf).backward(torch.tensor(dy))
    np.testing.assert_allclose(
        forward_backward(x, dy, backend, p=math.inf)[1], theirs.grad.numpy(), rtol=1e-12
    )


@backends
@pytest.mark.parametrize("p", [0.5, 1.0, 3.0])
def test_entries_of_0_as_pytorch_has_them(p, backend, torch):
    x, dy = np.array([[0.0, -2.0, 1.0]]), normal(1, 3)
    theirs = torch.tensor(x, requires_grad=True)
    torch.nn.functional.normalize(theirs, p=p).backward(torch.tensor(dy))
    np.testing.assert_allclose(forward_backward(x, dy, backend, p=p)[1], theirs.grad.numpy(), rtol=1e-12)


@pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
@pytest.mark.parametrize("p", [0.5, 1.0, 3.0, math.inf])
@pytest.mark.parametrize(
    "D", [1, 2, 31, 32, 33, 1023, 4096, pytest.param(65537, marks=pytest.mark.slow)], ids="D {}".format
)
def test_rows_of_every_length_in_the_kernels(p, D):
    x, dy = normal(3, D).astype(np.float32), normal(3, D, seed=1).astype(np.float32)
    right = forward_backward(x.astype(np.float64), dy, p=p)
    for checked in (False, True):
        with emulator.schedule(seed=1, checked=checked), emulator.record() as launches:
            found = forward_backward(x, dy, "emulator", p=p)
        assert [launch.name.split("<")[0] for launch in launches] == [
            "normalize_power_forward",
            "normalize_power_backward",
        ]
        for ours, expected in zip(found, right, strict=True):
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * abs(expected).max())


def test_a_power_beyond_float32_is_infinite():
    x, dy = normal(3, 8).astype(np.float32), normal(3, 8, seed=1).astype(np.float32)
    for found, right in zip(
        forward_backward(x, dy, p=1e60), forward_backward(x, dy, p=math.inf), strict=True
    ):
        np.testing.assert_allclose(found, right, rtol=1e-5)


@powers
def test_half_precision_is_only_stored(p):
    x, dy = normal(4, 64).astype(np.float16), normal(4, 64, seed=1).astype(np.float16)
    right = forward_backward(x.astype(np.float64), dy.astype(np.float64), p=p)
    for ours, expected in zip(forward_backward(x, dy, p=p), right, strict=True):
        assert ours.dtype == np.float16
        np.testing.assert_allclose(ours, expected, rtol=2e-3, atol=2e-3 * abs(expected).max())
