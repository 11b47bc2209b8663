"""EvoNorm-S0 and B0: what the registry cannot say of them."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(0)
X, DY = RNG.normal(size=(2, 4, 3, 3)), RNG.normal(size=(2, 4, 3, 3))


def gradient(function):
    x = tn.tensor(X, requires_grad=True)
    return grad(function(x), x, tn.tensor(DY))[0].numpy()


def test_with_open_gates_s0_is_x_over_the_deviation_of_its_group():
    v = tn.tensor(np.full(4, 1e4))
    y = F.evo_norm_s0(tn.tensor(abs(X)), 2, v).numpy()
    std = abs(X).reshape(2, 2, 18).std(2).repeat(2, 1)[..., None, None]
    np.testing.assert_allclose(y, abs(X) / np.sqrt(std**2 + 1e-5), 1e-12)


def test_the_divisor_of_b0_is_at_least_the_deviation_of_the_batch():
    layer = nn.EvoNorm2dB0(4).double()
    y = layer(tn.tensor(X)).numpy()
    std = np.sqrt(X.var((0, 2, 3), keepdims=True) + 1e-3)
    negative = np.minimum(0, std - np.sqrt(X.var((2, 3), keepdims=True) + 1e-3)) > X
    assert negative.sum() > 20  # v = 1: x + p is below s
    np.testing.assert_allclose(y[negative], (X / std)[negative], 1e-6)
    expected = 0.9 + 0.1 * X.var((0, 2, 3), ddof=1)
    np.testing.assert_allclose(layer.running_var.numpy(), expected, 1e-6)
    before = layer.eval().running_var.numpy().copy()
    layer(tn.tensor(X))
    np.testing.assert_array_equal(layer.running_var.numpy(), before)


@pytest.mark.parametrize("path", ["r", "p", "s"])
def test_a_deviation_that_is_held_constant_is_found_out(path):
    """The tempting mistake: x over a statistic that is taken for a constant."""
    if path == "r":
        right = gradient(lambda x: F.evo_norm_s0(x, 2, tn.ones(4).double()))
        std = np.sqrt(X.reshape(2, 2, 18).var(2) + 1e-5).repeat(2, 1)[..., None, None]
        planted = gradient(lambda x: x * (0.5 + 0.5 * (0.5 * x).tanh()) / tn.tensor(std))
    else:
        right = gradient(lambda x: F.evo_norm_b0(x, None, tn.ones(4).double(), training=True))
        deviations = {"s": (0, 2, 3), "p": (2, 3)}

        def deviation(x, which):
            if which == path:
                x = x.detach()
            centered = x - x.mean(deviations[which], keepdim=True)
            return ((centered * centered).mean(deviations[which], keepdim=True) + 1e-3).sqrt()

        planted = gradient(lambda x: x / deviation(x, "s").maximum(x + deviation(x, "p")))
    assert abs(planted - right).max() > 0.02 * abs(right).max()


def test_without_the_activation_only_the_affine_is_left():
    for layer in (nn.EvoNorm2dS0(4, 2, apply_act=False), nn.EvoNorm2dB0(4, apply_act=False)):
        assert layer.v is None
        layer.bias.fill_(2.0)
        x = X.astype("float32")
        np.testing.assert_allclose(layer(tn.tensor(x)).numpy(), x + 2)


def test_groups_may_be_given_by_their_size():
    assert nn.EvoNorm2dS0(64).groups == 32
    assert nn.EvoNorm2dS0(64, group_size=16).groups == 4
