"""Ghost batch normalization: every slice is a batch of its own, with one affine for all."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(0)
X, DY = RNG.normal(2.0, 3.0, (7, 3, 4)), RNG.normal(size=(7, 3, 4))


def results(normalize, **options):
    x, w, b = (
        tn.tensor(a, requires_grad=True) for a in (X, np.array([1.5, -0.5, 2.0]), np.array([0.1, 0.2, 0.3]))
    )
    y = normalize(x, weight=w, bias=b, training=True, **options)
    return [y.numpy(), *(dx.numpy() for dx in grad(y, [x, w, b], tn.tensor(DY)))]


@pytest.mark.parametrize("size", [7, 8, 100])
def test_one_slice_is_batch_normalization(size):
    for ghost, plain in zip(
        results(F.ghost_batch_norm, ghost_batch_size=size), results(F.batch_norm), strict=True
    ):
        np.testing.assert_array_equal(ghost, plain)


def test_every_slice_is_normalized_by_itself_and_the_last_may_be_smaller():
    y = F.ghost_batch_norm(tn.tensor(X), 3, training=True).numpy()
    for at in (slice(0, 3), slice(3, 6), slice(6, 7)):
        np.testing.assert_allclose(y[at].mean((0, 2)), 0, atol=1e-14)
        np.testing.assert_allclose(y[at].var((0, 2)), 1, 1e-5)


def test_the_running_statistics_take_in_one_slice_after_the_other():
    layer, plain = nn.GhostBatchNorm1d(3, 3), nn.BatchNorm1d(3)
    x = X.astype("float32")
    layer(tn.tensor(x))
    for at in (slice(0, 3), slice(3, 6), slice(6, 7)):
        plain(tn.tensor(x[at]))
    np.testing.assert_allclose(layer.running_mean.numpy(), plain.running_mean.numpy(), 1e-6)
    np.testing.assert_allclose(layer.running_var.numpy(), plain.running_var.numpy(), 1e-6)
    assert layer.num_batches_tracked.item() == 1
    layer.eval()
    np.testing.assert_allclose(layer(tn.tensor(x)).numpy(), plain.eval()(tn.tensor(x)).numpy(), 1e-6)


def test_a_nan_spoils_its_slice_and_channel_only():
    x = X.astype("float32")
    x[4, 1, 2] = np.nan
    spoiled = np.isnan(F.ghost_batch_norm(tn.tensor(x), 3, training=True).numpy())
    assert spoiled[3:6, 1].all()
    assert spoiled.sum() == 12
