"""Joint batch and group normalization: batch and group normalization are its two ends."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(0)
X, DY = RNG.normal(2.0, 3.0, (6, 4, 5)), RNG.normal(size=(6, 4, 5))
W, B = RNG.normal(size=4), RNG.normal(size=4)


def results(normalize):
    x, w, b = (tn.tensor(a, requires_grad=True) for a in (X, W, B))
    y = normalize(x, w, b)
    return [y.numpy(), *(dx.numpy() for dx in grad(y, [x, w, b], tn.tensor(DY)))]


@pytest.mark.parametrize(
    ("groups", "end"),
    [
        ((4, 1), lambda x, w, b: F.batch_norm(x, None, None, w, b, True)),
        ((2, 6), lambda x, w, b: F.group_norm(x, 2, w, b)),
        ((4, 6), lambda x, w, b: F.instance_norm(x, None, None, w, b)),
        ((4, 3), lambda x, w, b: F.ghost_batch_norm(x, 2, None, None, w, b, True)),
    ],
    ids=["batch", "group", "instance", "ghost"],
)
def test_its_ends_are_other_normalizations(groups, end):
    joint = results(lambda x, w, b: F.batch_group_norm(x, *groups, None, None, w, b, True))
    for found, expected in zip(joint, results(end), strict=True):
        np.testing.assert_allclose(found, expected, 1e-11, 1e-12)


def test_every_pool_has_mean_0_and_variance_1():
    y = F.batch_group_norm(tn.tensor(X), 2, 3, training=True).numpy().reshape(3, 2, 2, 2, 5)
    np.testing.assert_allclose(y.mean((1, 3, 4)), 0, atol=1e-14)
    np.testing.assert_allclose(y.var((1, 3, 4)), 1, 1e-5)


def test_running_statistics_are_means_over_the_groups_of_samples_and_evaluation_uses_them():
    layer = nn.BatchGroupNorm2d(4, 2, 3, momentum=1.0)
    x = X.reshape(6, 4, 5, 1).astype("float32")
    layer(tn.tensor(x))
    pools = X.reshape(3, 2, 2, 2, 5)
    mean, var = pools.mean((1, 3, 4)).mean(0), pools.var((1, 3, 4)).mean(0) * 20 / 19
    np.testing.assert_allclose(layer.running_mean.numpy(), mean, 1e-5)
    np.testing.assert_allclose(layer.running_var.numpy(), var, 1e-5)
    y = layer.eval()(tn.tensor(x[:1])).numpy()[..., 0]
    expected = (X[:1] - np.repeat(mean, 2)[:, None]) / np.sqrt(np.repeat(var, 2)[:, None] + 1e-5)
    np.testing.assert_allclose(y, expected, 1e-4, 1e-5)


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_constant_pools_are_zero_and_have_no_variance(value):
    layer = nn.BatchGroupNorm2d(4, 2, eps=0.0, momentum=1.0)
    y = layer(tn.full((6, 4, 5, 1), value)).numpy()
    np.testing.assert_array_equal(y, 0)
    np.testing.assert_array_equal(layer.running_var.numpy(), 0)
