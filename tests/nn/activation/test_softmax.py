"""Edge cases of softmax: rows of very different size, -∞, empty axes, other dtypes."""

import numpy as np
import pytest

from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.nn import functional as F

FUNCTIONS = ("softmax", "log_softmax", "softmin")
functions = pytest.mark.parametrize("name", FUNCTIONS)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def compare(torch, name, x, dim, rtol=1e-12, atol=1e-15):
    dy = normal(*x.shape, seed=1).astype(x.dtype)
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = getattr(F, name)(a, dim), getattr(torch.nn.functional, name)(b, dim=dim)
    np.testing.assert_allclose(y.array, z.detach().numpy(), rtol=rtol, atol=atol)
    dz = torch.autograd.grad(z, b, torch.tensor(dy))[0]
    np.testing.assert_allclose(grad(y, a, dy)[0].array, dz.numpy(), rtol=rtol, atol=max(atol, 1e-13))


@functions
@pytest.mark.parametrize("scale", [1e-3, 1.0, 59.0, 61.0, 1e3, 1e300], ids="{:g}".format)
def test_rows_of_any_size(name, scale, torch):
    x = normal(5, 7)
    compare(torch, name, x / abs(x).max() * scale, 1)


@functions
@pytest.mark.parametrize("scale", [1.0, 50.0, 80.0, 1e30], ids="{:g}".format)
def test_float32_keeps_its_digits(name, scale):
    x = (normal(6, 40) * scale).astype(np.float32)
    dy = normal(6, 40, seed=1)
    low, high = Tensor(x, requires_grad=True), Tensor(x.astype(np.float64), requires_grad=True)
    y, z = getattr(F, name)(low, 1), getattr(F, name)(high, 1)
    dx, dz = grad(y, low, dy)[0], grad(z, high, dy)[0]
    assert y.dtype == dx.dtype == np.float32
    np.testing.assert_allclose(y.array, z.array, rtol=2e-5, atol=1e-37 if name != "log_softmax" else 2e-7)
    np.testing.assert_allclose(dx.array, dz.array, rtol=1e-3, atol=1e-5)


def test_log_softmax_of_a_sure_row_is_exact():
    """With any other shift than the maximum of the row, -1e-9 would be lost in rounding."""
    x = np.array([[-30.0, -9.277, -30.0], [0.0, 20.723, 0.0]])
    y = F.log_softmax(Tensor(x), 1).array
    np.testing.assert_allclose(y[:, 1], -np.log1p(2 * np.exp(-20.723)), rtol=1e-7)
    assert (F.log_softmax(Tensor(x.astype(np.float32)), 1).array <= 0).all()


@functions
@pytest.mark.parametrize("dim", [0, 1, 2, -1, -3])
def test_any_axis_of_any_layout(name, dim, torch):
    compare(torch, name, normal(3, 4, 5), dim)
    compare(torch, name, normal(5, 4, 3).transpose(2, 1, 0), dim)


@functions
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 0, 3)])
def test_nothing_gives_nothing(name, shape):
    x = Tensor(np.zeros(shape), requires_grad=True)
    y = getattr(F, name)(x, 1)
    assert y.shape == grad(y, x, np.zeros(shape))[0].shape == shape


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_masked_entries_get_nothing(name, torch):
    x = normal(3, 4)
    x[0, 1] = x[2, :3] = -np.inf
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = getattr(F, name)(a, 1), getattr(torch.nn.functional, name)(b, dim=1)
    np.testing.assert_allclose(y.array, z.detach().numpy(), rtol=1e-12)
    dy = np.where(np.isfinite(x), normal(3, 4, seed=1), 0.0)
    np.testing.assert_allclose(
        grad(y, a, dy)[0].array, torch.autograd.grad(z, b, torch.tensor(dy))[0].numpy(), atol=1e-15
    )


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_a_row_of_nothing_but_minus_infinity_is_nan_and_the_others_are_not(name):
    x = np.array([[-np.inf, -np.inf], [0.0, 0.0]])
    y = getattr(F, name)(Tensor(x), 1).array
    assert np.isnan(y).tolist() == [[True, True], [False, False]]


@functions
def test_dtype_converts_first(name):
    x = Tensor(normal(3, 4).astype(np.float32), requires_grad=True)
    y = getattr(F, name)(x, 1, dtype=np.float64)
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y.array, getattr(F, name)(x.double(), 1).array)
    assert grad(y, x, normal(3, 4))[0].dtype == np.float32
    assert getattr(F, name)(Tensor(np.array([1, 2])), 0, dtype=np.float64).dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rows_sum_to_1(dtype):
    x = (normal(50, 300) * 3).astype(dtype)
    y = F.softmax(Tensor(x), 1)
    assert y.dtype == dtype
    np.testing.assert_allclose(
        y.array.astype(np.float64).sum(1), 1, rtol=1e-2 if dtype == np.float16 else 1e-6
    )


@functions
def test_a_constant_added_to_a_row_changes_nothing(name):
    x = normal(4, 6)
    shifts = np.array([[0.0], [100.0], [-1e4], [3.0]])
    f = getattr(F, name)
    np.testing.assert_allclose(f(Tensor(x + shifts), 1).array, f(Tensor(x), 1).array, rtol=1e-10, atol=1e-10)
    a = Tensor(x + shifts, requires_grad=True)
    dx = grad(f(a, 1), a, normal(4, 6, seed=1))[0]
    np.testing.assert_allclose(dx.array.sum(1), 0, atol=1e-12)


@functions
def test_bench_sizes_agree_with_pytorch(name, torch):
    x = normal(64, 64).astype(np.float32)
    compare(torch, name, x, -1, rtol=3e-5, atol=1e-6)
