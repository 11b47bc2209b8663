"""RMSNorm whose weight is zero-centered or comes first: formulas, the planted mistake, half types, errors."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.gradient_check import gradcheck
from tinygrad_norm.nn import functional as F
from tinygrad_norm.normalization.sample.rmsnorm import RMSNormFunction

RNG = np.random.default_rng(3)
X, Z, DY, V = RNG.normal(1, 2, (4, 6)), RNG.normal(size=(4, 6)), RNG.normal(size=(4, 6)), RNG.normal(size=6)
WAYS = ("zero_centered", "input_scaled")


def layer_with(make=nn.RMSNorm, v=V, **options):
    layer = make(6, eps=1e-6, **options).double()
    layer.load_state_dict({"weight": v})
    return layer


def gradients(layer):
    x = tn.tensor(X, requires_grad=True)
    y = layer(x)
    return [a.numpy() for a in (y, *grad(y, [x, layer.weight], tn.tensor(DY)))]


def reduced(g, u):
    """R(g) over rows of u: what comes back through the root mean square."""
    r = 1 / np.sqrt((u**2).mean(1, keepdims=True) + 1e-6)
    return r * (g - u * r * (g * u * r).mean(1, keepdims=True)), u * r


def test_a_zero_centered_weight_is_the_derivation():
    dx, x_hat = reduced((1 + V) * DY, X)
    for found, expected in zip(
        gradients(layer_with(zero_centered=True)), ((1 + V) * x_hat, dx, (DY * x_hat).sum(0)), strict=True
    ):
        np.testing.assert_allclose(found, expected, 1e-12, 1e-13)


def test_a_weight_on_the_input_is_the_derivation():
    du, y = reduced(DY, (1 + V) * X)
    for found, expected in zip(
        gradients(layer_with(input_scaled=True)), (y, (1 + V) * du, (X * du).sum(0)), strict=True
    ):
        np.testing.assert_allclose(found, expected, 1e-12, 1e-13)


@pytest.mark.parametrize("way", WAYS)
def test_finite_differences_agree(way):
    layer = layer_with(**{way: True})
    assert gradcheck(layer, [tn.tensor(X, requires_grad=True)])


class _ForgetsThe1(RMSNormFunction):
    """g = v·dy in the place of (1 + v)·dy"""

    def backward(self, dy):
        rows, scale, rstd = self.saved
        self.saved = rows, scale - 1, rstd
        return super().backward(dy)


@pytest.mark.parametrize(("function", "passes"), [(RMSNormFunction, True), (_ForgetsThe1, False)])
def test_a_gradient_that_forgets_the_1_is_caught(function, passes):
    inputs = [tn.tensor(a, requires_grad=True) for a in (X, V)]

    def y(x, v):
        return function.apply(x, 1 + v, normalized_shape=(6,), eps=1e-6)

    assert gradcheck(y, inputs, raise_exception=False) is passes


@pytest.mark.parametrize("way", WAYS)
def test_a_new_layer_is_rms_normalization(way):
    layer = nn.RMSNorm((4, 6), **{way: True})
    assert not layer.weight.numpy().any()
    assert way in repr(layer)
    assert repr(nn.RMSNorm(4)) == "RMSNorm((4,), eps=None, elementwise_affine=True)"
    x = tn.tensor(X.astype("float32"))
    np.testing.assert_array_equal(layer(x).numpy(), F.rms_norm(x, (4, 6)).numpy())


def test_a_weight_on_the_input_does_not_change_the_root_mean_square():
    y = layer_with(input_scaled=True)(tn.tensor(X)).numpy()
    np.testing.assert_allclose((y**2).mean(1), 1, 1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_the_residual_sum_can_come_first(way):
    layer, alone = layer_with(nn.AddRMSNorm, **{way: True}), layer_with(**{way: True})
    y, s = layer(tn.tensor(X), tn.tensor(Z))
    np.testing.assert_array_equal(s.numpy(), X + Z)
    np.testing.assert_allclose(y.numpy(), alone(tn.tensor(X + Z)).numpy(), 1e-13)


@pytest.mark.parametrize("memory_efficient", [False, True], ids=["from input", "from output"])
def test_a_scaled_input_that_a_half_type_cannot_hold_is_normalized_all_the_same(memory_efficient):
    def results(dtype):
        layer = nn.RMSNorm(6, input_scaled=True, memory_efficient=memory_efficient).to(dtype=dtype)
        layer.load_state_dict({"weight": np.full(6, 3.0, dtype)})
        x = tn.tensor(np.array([3e4, -2e4, 1e4, 0, 5e4, 6e4], dtype), requires_grad=True)
        y = layer(x)
        (dx,) = grad(y, [x], tn.tensor((DY[0] * 1e3).astype(dtype)))
        return y.numpy(), dx.numpy()

    for found, expected in zip(results("float16"), results("float64"), strict=True):
        assert found.dtype == np.float16
        np.testing.assert_allclose(found, expected, 3e-3, 1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_half_types_add_the_1_in_float32(way):
    v = np.full(6, 1e-4)  # 1 + v is 1 in float16
    half, double = nn.RMSNorm(6, **{way: True}).half(), layer_with(v=v, **{way: True})
    half.load_state_dict({"weight": v.astype("float16")})
    x = (X * 8).astype("float16")
    y = half(tn.tensor(x))
    assert y.dtype == np.float16
    np.testing.assert_allclose(y.numpy(), double(tn.tensor(x.astype("float64"))).numpy(), 1e-3)
    assert float(half._scale().numpy()[0]) > 1


@pytest.mark.parametrize("way", WAYS)
def test_a_way_to_scale_needs_a_weight(way):
    with pytest.raises(ValueError, match="elementwise_affine=False"):
        nn.RMSNorm(6, elementwise_affine=False, **{way: True})
    with pytest.raises(ValueError, match="last sizes"):
        nn.RMSNorm(6, **{way: True})(tn.ones(2, 1))
