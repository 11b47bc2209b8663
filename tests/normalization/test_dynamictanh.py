"""Dynamic tanh: what the registry cannot say of it."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.backends.cpu.loop_mode import use_loops
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(0)
X, DY = RNG.normal(0.0, 3.0, (6, 5)), RNG.normal(size=(6, 5))


def gradients(x, dy, alpha=0.5):
    x, alpha = tn.tensor(x, requires_grad=True), tn.tensor(np.full(1, alpha, x.dtype), requires_grad=True)
    y = F.dynamic_tanh(x, alpha)
    return [a.numpy() for a in (y, *grad(y, [x, alpha], tn.tensor(dy.astype(x.dtype))))]


def test_the_layer_begins_as_tanh_of_half_the_input_and_learns_alpha():
    layer = nn.DynamicTanh(5)
    assert [(name, p.shape) for name, p in layer.named_parameters()] == [
        ("alpha", (1,)),
        ("weight", (5,)),
        ("bias", (5,)),
    ]
    y = layer(tn.tensor(X.astype("float32")))
    np.testing.assert_allclose(y.numpy(), np.tanh(0.5 * X), 1e-6, 1e-7)
    y.backward(tn.tensor(DY.astype("float32")))
    slope = 1 - np.tanh(0.5 * X) ** 2
    np.testing.assert_allclose(layer.alpha.grad.numpy(), [(DY * slope * X).sum()], 1e-5)


def test_there_is_no_pool_so_entries_do_not_meet():
    x = X.copy()
    x[1, 2] = np.nan
    y, dx, _ = gradients(x, DY)
    assert np.isnan(y).sum() == np.isnan(dx).sum() == 1
    expected = gradients(X, DY)[1]
    np.testing.assert_array_equal(dx[~np.isnan(dx)], expected[~np.isnan(dx)])


@pytest.mark.parametrize("loops", ["off", "python"])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e4, 1e30])
def test_extremes_are_as_in_float64(scale, loops):
    with use_loops(loops):
        found = gradients((X * scale).astype("float32"), DY)
        expected = gradients((X * scale).astype("float32").astype("float64"), DY)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, 1e-5, 1e-6 * max(scale, 1e-30))


def test_several_axes_may_have_a_weight():
    layer = nn.DynamicTanh((3, 2), alpha=2.0)
    assert layer.weight.shape == (3, 2)
    x = tn.randn(4, 3, 2)
    np.testing.assert_allclose(layer(x).numpy(), np.tanh(2 * x.numpy()), 1e-6, 1e-7)
