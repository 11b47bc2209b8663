"""Dynamic tanh, Derf and DyISRU: what the registry cannot say of them."""

import math

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


# -- the same with other S-curves


def test_derf_begins_as_erf_of_half_the_input_and_learns_alpha_and_the_shift():
    layer = nn.Derf(5)
    assert [(name, p.shape) for name, p in layer.named_parameters()] == [
        ("alpha", (1,)),
        ("shift", (1,)),
        ("weight", (5,)),
        ("bias", (5,)),
    ]
    y = layer(tn.tensor(X.astype("float32")))
    expected = np.vectorize(math.erf)(0.5 * X)
    np.testing.assert_allclose(y.numpy(), expected, 1e-5, 1e-6)
    y.backward(tn.tensor(DY.astype("float32")))
    q = DY * 2 / math.sqrt(math.pi) * np.exp(-0.25 * X**2)
    np.testing.assert_allclose(layer.alpha.grad.numpy(), [(q * X).sum()], 1e-5)
    np.testing.assert_allclose(layer.shift.grad.numpy(), [q.sum()], 1e-4)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e4, 1e30])
def test_derf_of_extreme_numbers_has_the_limits_of_erf(scale):
    x = tn.tensor((X * scale).astype("float32"), requires_grad=True)
    y = F.dynamic_erf(x, tn.full((1,), 0.5))
    y.backward(tn.tensor(DY.astype("float32")))
    slope = 1 / math.sqrt(math.pi) if scale < 1 else 0.0
    np.testing.assert_allclose(x.grad.numpy(), slope * DY, 1e-5, 1e-30)
    np.testing.assert_allclose(y.numpy(), np.sign(X * scale) if scale > 1 else slope * X * scale, 1e-5)


def test_dyisru_is_the_normalized_size_of_an_outlier():
    layer = nn.DyISRU(4)
    assert layer.beta.numpy() == [4.0]
    x = np.array([[0.0, 1.0, -2.0, 1e6]], "float32")
    np.testing.assert_allclose(layer(tn.tensor(x)).numpy(), 2 * x / np.sqrt(4 + x.astype(float) ** 2), 1e-6)
    outlier = F.rms_norm(tn.tensor(x), (4,)).numpy()[0, 3]
    np.testing.assert_allclose(layer(tn.tensor(x)).numpy()[0, 3], outlier, 1e-6)


@pytest.mark.parametrize("clips", [False, True], ids=["left alone", "clipped"])
def test_dyisru_stays_finite_only_if_a_learned_beta_is_kept_positive(clips):
    layer = nn.DyISRU(4, beta=0.1)
    optimizer = tn.optim.SGD([layer.beta], lr=100.0)
    if clips:
        optimizer.register_step_post_hook(lambda *_: layer.clip_beta_(1e-3))
    x = tn.tensor(np.array([[0.0, 1.0, -2.0, 3.0]], "float32"))
    (-layer(x).abs().sum()).backward()
    optimizer.step()
    assert (layer.beta.numpy() == np.float32(1e-3)) if clips else (layer.beta.numpy() < 0)
    assert np.isfinite(layer(x).detach().numpy()).all() == clips
    assert layer.beta.requires_grad


def test_dyisru_keeps_the_digits_of_small_slopes():
    x = tn.tensor(np.array([1e4, -3e3], "float32"), requires_grad=True)
    F.dynamic_isru(x, tn.ones(1)).sum().backward()
    exact = math.sqrt(2) * (1 + x.numpy().astype(float) ** 2) ** -1.5
    np.testing.assert_allclose(x.grad.numpy(), exact, 1e-6)
