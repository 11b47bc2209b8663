"""Mixtures of normalizations: batch-instance and switchable normalization at their ends, and mistakes."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(0)
X, DY = RNG.normal(1.0, 2.0, (3, 4, 2, 3)), RNG.normal(size=(3, 4, 2, 3))
NORMS = {
    "instance": lambda x: F.instance_norm(x),
    "layer": lambda x: F.layer_norm(x, (4, 2, 3)),
    "batch": lambda x: F.batch_norm(x, training=True),
}


def differentiated(function):
    x = tn.tensor(X, requires_grad=True)
    y = function(x)
    return y.numpy(), grad(y, x, tn.tensor(DY))[0].numpy()


def doubles(*values):
    return tn.tensor(np.array(values, float))


@pytest.mark.parametrize("name", NORMS)
def test_a_weight_of_one_alone_is_that_normalization(name):
    one = doubles(*(0.0 if other == name else -1e3 for other in NORMS))
    found = differentiated(lambda x: F.switchable_norm(x, one, one, training=True))
    for a, b in zip(found, differentiated(NORMS[name]), strict=True):
        np.testing.assert_allclose(a, b, 1e-9, 1e-12)


@pytest.mark.parametrize(("gate", "name"), [(1.0, "batch"), (0.0, "instance")])
def test_a_closed_gate_is_that_normalization(gate, name):
    rho = doubles(*[gate] * 4)
    found = differentiated(lambda x: F.batch_instance_norm(x, rho, training=True))
    for a, b in zip(found, differentiated(NORMS[name]), strict=True):
        np.testing.assert_allclose(a, b, 1e-9, 1e-12)


def test_switchable_running_statistics_are_batch_norms():
    switchable, batch = nn.SwitchableNorm2d(4), nn.BatchNorm2d(4)
    for layer in (switchable, batch):
        layer(tn.tensor(X.astype("float32")))
    np.testing.assert_allclose(switchable.running_mean.numpy(), batch.running_mean.numpy(), 1e-5)
    np.testing.assert_allclose(switchable.running_var.numpy(), batch.running_var.numpy(), 1e-5)


def test_an_unbiased_instance_variance_makes_the_batch_variance_wrong():
    """The authors' code: BatchNorm's variance from InstanceNorm's, which must be the biased one."""
    means, biased = X.mean((2, 3)), X.var((2, 3))
    batch = X.var((0, 2, 3))
    np.testing.assert_allclose((biased + (means - means.mean(0)) ** 2).mean(0), batch, 1e-12)
    unbiased = X.var((2, 3), ddof=1)
    assert ((unbiased + (means - means.mean(0)) ** 2).mean(0) / batch > 1.05).all()


def test_the_gate_learns_toward_the_better_one_and_is_clipped():
    tn.manual_seed(0)
    layer, x = nn.BatchInstanceNorm2d(4), tn.tensor(X.astype("float32"))
    target = F.instance_norm(x)
    optimizer = tn.optim.SGD([layer.gate], lr=2.0)
    for _ in range(60):
        optimizer.zero_grad()
        ((layer(x) - target) ** 2).mean().backward()
        optimizer.step()
        layer.clip_gate_()
    assert (layer.gate.numpy() < 0.05).all()
    layer.gate.copy_(tn.tensor(np.array([-0.2, 0.3, 1.0, 1.4], "float32")))
    layer.clip_gate_()
    np.testing.assert_allclose(layer.gate.numpy(), [0.0, 0.3, 1.0, 1.0])


def test_a_core_with_the_wrong_pool_is_found_out():
    """The tempting mistake: one core with the mixed output in the place of x̂."""
    rho = doubles(0.3, 0.5, 0.7, 0.4)
    y, dx = differentiated(lambda x: F.batch_instance_norm(x, rho, training=True))
    r = 1 / np.sqrt(X.var((0, 2, 3), keepdims=True) + 1e-5)
    mean = lambda a: a.mean((0, 2, 3), keepdims=True)  # noqa: E731
    planted = r * (DY - mean(DY) - y * mean(DY * y))
    assert abs(planted - dx).max() > 0.1 * abs(dx).max()


def test_no_samples_have_no_gradient():
    x, logits = tn.zeros(0, 4, 3, requires_grad=True), tn.ones(3, requires_grad=True)
    F.switchable_norm(x, logits, logits, training=True).sum().backward()
    assert x.grad.shape == (0, 4, 3)
    np.testing.assert_array_equal(logits.grad.numpy(), np.zeros(3))
