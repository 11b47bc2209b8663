"""Inference example weighing: evaluation between batch normalization and instance normalization."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(0)
X, DY = RNG.normal(2.0, 3.0, (4, 3, 6)), RNG.normal(size=(4, 3, 6))
M, V, W, B = RNG.normal(size=3), RNG.uniform(1, 5, 3), RNG.normal(size=3), RNG.normal(size=3)


def results(normalize):
    x, w, b = (tn.tensor(a, requires_grad=True) for a in (X, W, B))
    y = normalize(x, tn.tensor(M), tn.tensor(V), w, b)
    return [y.numpy(), *(dx.numpy() for dx in grad(y, [x, w, b], tn.tensor(DY)))]


@pytest.mark.parametrize(
    ("alpha", "end"),
    [
        (0.0, F.batch_norm),
        (1e-12, F.batch_norm),
        (1.0, lambda x, mean, var, w, b: F.instance_norm(x, None, None, w, b)),
    ],
)
def test_its_ends_are_batch_and_instance_normalization(alpha, end):
    weighed = results(lambda *given: F.weighed_batch_norm(*given, inference_weight=alpha))
    for found, expected in zip(weighed, results(end), strict=True):
        np.testing.assert_allclose(found, expected, 1e-9, 1e-10)


def test_training_is_batch_normalization_and_the_state_is_shared():
    weighed, plain = nn.WeighedBatchNorm1d(3, inference_weight=0.5), nn.BatchNorm1d(3)
    x = tn.tensor(X.astype("float32"))
    np.testing.assert_array_equal(weighed(x).numpy(), plain(x).numpy())
    assert weighed.state_dict().keys() == plain.state_dict().keys()
    weighed.load_state_dict(plain.state_dict())
    weighed.eval(), plain.eval()
    assert abs(weighed(x).numpy() - plain(x).numpy()).max() > 0.01
    weighed.inference_weight = 0.0
    np.testing.assert_array_equal(weighed(x).numpy(), plain(x).numpy())


def test_a_sample_does_not_depend_on_the_others():
    layer = nn.WeighedBatchNorm1d(3, inference_weight=0.4).eval()
    x = tn.tensor(X.astype("float32"))
    np.testing.assert_array_equal(layer(x).numpy()[2], layer(x[2:3]).numpy()[0])


@pytest.mark.parametrize("scale", [1e30, 1e-30, 0.0])
def test_extreme_numbers_are_as_in_float64(scale):
    x = (X * scale).astype("float32")
    y = F.weighed_batch_norm(tn.tensor(x), tn.zeros(3), tn.ones(3), inference_weight=0.3).numpy()
    wide = x.astype("float64")
    mean, var = wide.mean(2, keepdims=True), wide.var(2, keepdims=True)
    expected = (wide - 0.3 * mean) / np.sqrt(0.3 * var + 0.7 + 0.21 * mean**2 + 1e-5)
    np.testing.assert_allclose(y, expected, 1e-5, 1e-6)


def test_a_large_mean_with_a_small_variance_keeps_its_digits():
    x = (1e4 + 1e-2 * X).astype("float32")
    mean, var = x.mean((0, 2), dtype="float64"), x.var((0, 2), dtype="float64")
    running = [tn.tensor(s.astype("float32")) for s in (mean, var)]
    y = F.weighed_batch_norm(tn.tensor(x), *running, inference_weight=0.5).numpy()
    wide = [s.numpy().astype("float64").reshape(3, 1) for s in running]
    own = x.astype("float64").mean(2, keepdims=True), x.astype("float64").var(2, keepdims=True)
    mu = 0.5 * own[0] + 0.5 * wide[0]
    expected = (x - mu) / np.sqrt(0.5 * own[1] + 0.5 * wide[1] + 0.25 * (own[0] - wide[0]) ** 2 + 1e-5)
    np.testing.assert_allclose(y, expected, atol=0.05)  # x itself has 1e-3·x̂ of rounding, μ the same
