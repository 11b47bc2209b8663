"""Gated RMS normalization in both orders, its groups, and the same without a gate."""

import re

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.backends.cpu import blocks
from tinygrad_norm.gradient_check import gradcheck
from tinygrad_norm.nn import functional as F
from tinygrad_norm.normalization.sample.gatedrmsnorm import GatedRMSNormFunction

RNG = np.random.default_rng(2)
X, Z, DY = RNG.normal(1, 2, (3, 2, 6)), RNG.normal(size=(3, 2, 6)), RNG.normal(size=(3, 2, 6))
W = RNG.normal(size=6)
ORDERS = pytest.mark.parametrize("first", [True, False], ids=["norm first", "gate first"])


def results(first, x=X, z=Z, dy=DY, w=W, **options):
    tensors = [tn.tensor(np.asarray(a, x.dtype), requires_grad=True) for a in (x, z, w)]
    y = F.gated_rms_norm(*tensors, norm_before_gate=first, **options)
    return [a.numpy() for a in (y, *grad(y, tensors, tn.tensor(np.asarray(dy, x.dtype))))]


def silu(z):
    return z / (1 + np.exp(-z))


def normalized(u, size, eps=1e-6):
    groups = u.reshape(*u.shape[:-1], -1, size)
    return (groups / np.sqrt((groups**2).mean(-1, keepdims=True) + eps)).reshape(u.shape)


@pytest.mark.parametrize("size", [2, 3, 6])
def test_the_two_orders_are_the_two_formulas(size):
    norm_first, gate_first = (results(first, group_size=size)[0] for first in (True, False))
    np.testing.assert_allclose(norm_first, W * normalized(X, size) * silu(Z), 1e-12)
    np.testing.assert_allclose(gate_first, W * normalized(X * silu(Z), size), 1e-12)
    assert abs(norm_first - gate_first).max() > 0.1


def test_the_order_must_be_said():
    with pytest.raises(TypeError, match="norm_before_gate"):
        nn.GatedRMSNorm(6)
    layers = [nn.GatedRMSNorm(6, norm_before_gate=first) for first in (True, False)]
    layers[1].load_state_dict(layers[0].state_dict())  # no shape tells them apart: their printed forms do
    assert "norm_before_gate=True" in repr(layers[0])
    assert "norm_before_gate=False" in repr(layers[1])


class _ForgetsTheGate(GatedRMSNormFunction):
    """Norm, then gate, with g = w·dy in the place of w·dy·s"""

    def backward(self, dy):
        pools, gates, weight, rstd = self.saved
        _, dz, dw = super().backward(dy)
        wide_open = np.full_like(gates, 1.2784645427610738)  # where silu is 1
        self.saved = pools, wide_open, weight, rstd
        return super().backward(dy)[0], dz, dw


class _OtherOrder(GatedRMSNormFunction):
    """The gradient of the other order."""

    def backward(self, dy):
        self.norm_before_gate = not self.norm_before_gate
        return super().backward(dy)


@pytest.mark.parametrize(
    ("function", "passes"),
    [(GatedRMSNormFunction, True), (_ForgetsTheGate, False), (_OtherOrder, False)],
    ids=["right", "gate forgotten in g", "other order"],
)
def test_planted_mistakes_are_caught(function, passes):
    inputs = [tn.tensor(a, requires_grad=True) for a in (X, Z, W)]
    options = {"group_size": 3, "norm_before_gate": True, "eps": 1e-3}
    assert gradcheck(lambda *a: function.apply(*a, **options), inputs, raise_exception=False) is passes


def test_a_gate_that_closes_on_a_whole_group_counts_only_after_the_norm():
    z = np.full_like(X, -9.0)
    after, before = (results(first, z=z, group_size=3, eps=1e-12)[0] for first in (True, False))
    assert abs(after).max() < 0.02
    np.testing.assert_allclose(before, -W * normalized(X, 3), 1e-4)


def test_without_a_gate_it_is_the_norm_of_groups_and_with_one_group_rms_normalization():
    x, w = tn.tensor(X), tn.tensor(W)
    np.testing.assert_allclose(F.group_rms_norm(x, 3, w).numpy(), W * normalized(X, 3), 1e-12)
    np.testing.assert_allclose(F.group_rms_norm(x, 6, w).numpy(), F.rms_norm(x, 6, w, 1e-6).numpy(), 1e-12)
    open_gate = np.full_like(X, 1.2784645427610738)
    np.testing.assert_allclose(
        results(True, z=open_gate, group_size=3)[0], F.group_rms_norm(x, 3, w).numpy(), 1e-12
    )


def test_new_layers_scale_by_1_and_print_what_they_are():
    layers = nn.GatedRMSNorm(6, norm_before_gate=True), nn.GroupRMSNorm(6, 2)
    for layer in layers:
        np.testing.assert_array_equal(layer.weight.numpy(), np.ones(6))
    assert repr(layers[1]) == "GroupRMSNorm(6, group_size=2, eps=1e-06)"
    x = tn.tensor(X.astype("float32"))
    np.testing.assert_allclose(layers[1](x).numpy(), normalized(X, 2), 1e-5, 1e-6)
    z = tn.tensor(Z.astype("float32"))
    np.testing.assert_allclose(layers[0](x, z).numpy(), normalized(X, 6) * silu(Z), 1e-5, 1e-6)


@ORDERS
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_extremes_are_as_in_float64(first, scale):
    x = (X * scale).astype("float32")
    found, right = results(first, x), results(first, x.astype("float64"))
    for a, b in zip(found, right, strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a, b, 2e-5, 1e-5 * abs(b).max())


@ORDERS
def test_a_nan_spoils_its_group_only(first):
    x = X.astype("float32")
    x[1, 1, 4] = np.nan
    y, dx, dz, dw = results(first, x, group_size=3)
    for a in (y, dx, dz):
        spoilt = np.isnan(a)
        assert not np.delete(spoilt.reshape(6, 2, 3), 3, 0).any()
        assert not spoilt[1, 1, :3].any()
        assert spoilt[1, 1, 4]
    assert np.isnan(dw[4])
    assert not np.isnan(dw[:3]).any()


@pytest.mark.slow
@ORDERS
def test_small_blocks_give_the_same(first):
    rng = np.random.default_rng(0)
    x, z, dy = rng.normal(size=(3, 200, 12))
    options = {"x": x, "z": z, "dy": dy, "w": np.tile(W, 2), "group_size": 4}
    whole = results(first, **options)
    with tn.use_loops("off"), blocks.settings(block=64):
        small = results(first, **options)
    for a, b in zip(small, whole, strict=True):
        np.testing.assert_allclose(a, b, 1e-11, 1e-12)


@pytest.mark.parametrize("shape", [(5,), (4, 3), ()], ids=["vector", "rows", "number"])
def test_another_number_of_features_names_the_layer(shape):
    layer = nn.GatedRMSNorm(4, norm_before_gate=True)
    message = rf"GatedRMSNorm was made for \(\.\.\., 4\), got shape {re.escape(str(shape))}"
    with pytest.raises(ValueError, match=message):
        layer(tn.ones(*shape), tn.ones(*shape))
    assert layer(tn.ones(4), tn.ones(4)).shape == (4,)
