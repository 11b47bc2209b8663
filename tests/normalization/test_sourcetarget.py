"""Statistics of the test domain: mixed with those of training, frozen, or one set for each domain."""

import math

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(0)
X, DY = 3.0 + 2.0 * RNG.normal(size=(4, 3, 5)), RNG.normal(size=(4, 3, 5))
M, V, W, B = RNG.normal(size=3), RNG.uniform(0.5, 2.0, 3), RNG.normal(size=3), RNG.normal(size=3)
STATISTICS = tn.tensor(M), tn.tensor(V)


def trained():
    layer = nn.BatchNorm1d(3).double()
    for name, values in (("running_mean", M), ("running_var", V), ("weight", W), ("bias", B)):
        getattr(layer, name).copy_(tn.tensor(values))
    return layer


def test_an_infinite_prior_is_evaluation_and_none_is_training():
    x, w, b = (tn.tensor(a, requires_grad=True) for a in (X, W, B))
    for prior, training in ((math.inf, False), (0, True)):
        expected = F.batch_norm(x, *([None, None] if training else STATISTICS), w, b, training)
        found = F.source_target_batch_norm(x, *STATISTICS, w, b, prior=prior)
        np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), 1e-11, 1e-12)
        pairs = (grad(y, [x, w, b], tn.tensor(DY)) for y in (found, expected))
        for ours, theirs in zip(*pairs, strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), 1e-9, 1e-12)


def test_the_deviation_from_the_batch_s_mean_is_not_the_normalized_value():
    """Planted: x̂ in place of (x - m)·r, in the path through r."""
    x, dy = tn.tensor(X, requires_grad=True), DY + 0.5 * X  # which leans towards x̂
    y = F.source_target_batch_norm(x, *STATISTICS, tn.tensor(W), prior=2.0)
    dx = grad(y, x, tn.tensor(dy))[0].numpy()
    alpha, pool, per_channel = 4 / 6, (0, 2), (1, 3, 1)
    m, v = X.mean(pool, keepdims=True), X.var(pool, keepdims=True)
    mu = alpha * m + (1 - alpha) * M.reshape(per_channel)
    r = (alpha * v + (1 - alpha) * V.reshape(per_channel) + 1e-5) ** -0.5
    x_hat, g = (X - mu) * r, W.reshape(per_channel) * dy
    mean_g, mean_g_x_hat = (a.mean(pool, keepdims=True) for a in (g, g * x_hat))
    right, wrong = (r * (g - alpha * mean_g - alpha * c * mean_g_x_hat) for c in ((X - m) * r, x_hat))
    np.testing.assert_allclose(dx, right, 1e-10, 1e-13)
    assert abs(wrong - dx).max() > 0.02 * abs(dx).max()


def test_a_layer_takes_over_a_trained_one_and_trains_as_it_did():
    old = trained()
    new = nn.SourceTargetBatchNorm.convert(nn.Sequential(old), prior=4.0)[0]
    assert new.weight is old.weight
    assert new.running_mean is old.running_mean
    expected = F.source_target_batch_norm(tn.tensor(X), *STATISTICS, old.weight, old.bias, prior=4.0)
    np.testing.assert_array_equal(new.eval()(tn.tensor(X)).detach().numpy(), expected.detach().numpy())
    np.testing.assert_array_equal(new.running_mean.numpy(), M)  # evaluation updates nothing
    y = new.train()(tn.tensor(X)).detach().numpy()
    np.testing.assert_allclose(new.running_mean.numpy(), 0.9 * M + 0.1 * X.mean((0, 2)), 1e-14)
    np.testing.assert_array_equal(y, trained()(tn.tensor(X)).detach().numpy())


def test_a_batch_norm_without_running_statistics_is_not_converted():
    layer = nn.BatchNorm1d(3, track_running_stats=False)
    assert nn.SourceTargetBatchNorm.convert(layer) is layer


def test_large_numbers_do_not_overflow():
    scale = np.float32(1e25)
    x, statistics = tn.tensor((X * scale).astype("float32")), [tn.tensor(a.astype("float32")) for a in (M, V)]
    y = F.source_target_batch_norm(x, *statistics).numpy()
    wide = F.source_target_batch_norm(tn.tensor(x.numpy().astype(float)), *STATISTICS).numpy()
    np.testing.assert_allclose(y, wide, 1e-5, 1e-5)


def test_a_frozen_layer_has_no_parameters_and_is_evaluation_in_training_too():
    old = nn.BatchNorm2d(3).double()
    old.load_state_dict(trained().state_dict())
    frozen = nn.FrozenBatchNorm2d(3).double()
    assert not list(frozen.parameters())
    assert sorted(frozen.state_dict()) == ["bias", "running_mean", "running_var", "weight"]
    frozen.load_state_dict(old.state_dict())  # with a count of batches, which it has not
    x = tn.tensor(X[..., None], requires_grad=True)
    y, expected = frozen.train()(x), old.eval()(x)
    np.testing.assert_array_equal(y.detach().numpy(), expected.detach().numpy())
    (dx,) = grad(y, [x], tn.tensor(DY[..., None]))
    r = (V + 1e-5) ** -0.5
    np.testing.assert_allclose(dx.numpy()[..., 0], (r * W)[:, None] * DY, 1e-12)
    np.testing.assert_array_equal(frozen.running_mean.numpy(), M)


def test_only_a_count_of_batches_may_be_too_much_for_a_frozen_layer():
    state = {**nn.FrozenBatchNorm2d(3).state_dict(), "count": tn.ones(1)}
    with pytest.raises(RuntimeError, match="unexpected: count"):
        nn.FrozenBatchNorm2d(3).load_state_dict(state)
    with pytest.raises(ValueError, match="4-d"):
        nn.FrozenBatchNorm2d(3)(tn.ones(2, 3, 4))


def test_domains_have_statistics_and_parameters_of_their_own():
    layer = nn.DomainBatchNorm2d(3, 2).double()
    x = X[..., None]
    y, other = layer(tn.tensor(x), 0), layer(tn.tensor(10 * x + 5), 1)
    np.testing.assert_allclose(y.detach().numpy(), other.detach().numpy(), 1e-5, 1e-5)
    one, two = (getattr(layer.bns, name).running_mean.numpy() for name in "01")
    np.testing.assert_allclose(two, 10 * one + 0.5, 1e-12)
    (other * tn.tensor(DY[..., None])).sum().backward()
    assert getattr(layer.bns, "0").weight.grad is None
    assert getattr(layer.bns, "1").weight.grad is not None
    assert "bns.1.running_var" in layer.state_dict()


@pytest.mark.parametrize("domain", [2, -1])
def test_a_domain_that_does_not_exist_is_refused(domain):
    with pytest.raises(IndexError, match=f"domains 0 to 1, got {domain}"):
        nn.DomainBatchNorm2d(3, 2)(tn.ones(2, 3, 2, 2), domain)
