"""z-loss, LogitNorm, softmax with a sink and group advantages: identities and tempting mistakes."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(0)
X, DY = RNG.normal(0.0, 2.0, (6, 5)), RNG.normal(size=(6, 5))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def differentiated(function, dy=DY):
    x = tn.tensor(X, requires_grad=True)
    y = function(x)
    return y.numpy(), grad(y, x, tn.tensor(dy))[0].numpy()


# -- z-loss


def test_the_gradient_of_the_z_loss_is_2_log_z_times_p():
    dy = RNG.normal(size=6)
    y, dx = differentiated(lambda x: F.z_loss(x, reduction="none"), dy)
    log_z = np.log(np.exp(X).sum(1))
    np.testing.assert_allclose(y, log_z**2, 1e-12)
    np.testing.assert_allclose(dx, (dy * 2 * log_z)[:, None] * softmax(X), 1e-9)
    x = tn.tensor(X)
    np.testing.assert_allclose(F.z_loss(x).item(), (log_z**2).mean(), 1e-12)
    np.testing.assert_allclose(F.z_loss(x, 0, "sum").item(), (np.log(np.exp(X).sum(0)) ** 2).sum(), 1e-12)


def test_the_z_loss_of_large_logits_is_finite_and_bad_options_are_refused():
    assert F.z_loss(tn.tensor([[1e4, 1e4]])).item() == pytest.approx(1e8, rel=1e-3)
    with pytest.raises(ValueError, match=r"at least one class, got shape \(2, 0\) with classes on axis -1"):
        F.z_loss(tn.tensor(np.ones((2, 0))))
    assert F.z_loss(tn.tensor(np.ones((0, 2))), reduction="sum").item() == 0
    with pytest.raises(ValueError, match="reduction of z_loss"):
        F.z_loss(tn.tensor(X), reduction="max")
    with pytest.raises(TypeError, match="floating-point"):
        F.z_loss(tn.tensor([[1, 2]]))


# -- softmax with a sink


def test_without_a_sink_it_is_the_softmax_and_with_one_a_softmax_of_one_more():
    none = F.softmax_with_sink(tn.tensor(X), tn.tensor(-np.inf).double()).numpy()
    np.testing.assert_allclose(none, softmax(X), 1e-12)
    y = F.softmax_with_sink(tn.tensor(X), tn.tensor(np.array(0.7))).numpy()
    np.testing.assert_allclose(y, softmax(np.c_[X, np.full(6, 0.7)])[:, :-1], 1e-12)


def test_the_gradients_of_logits_and_sink_cancel():
    x, sink = (tn.tensor(a, requires_grad=True) for a in (X, RNG.normal(size=(6, 1))))
    F.softmax_with_sink(x, sink).backward(tn.tensor(DY))
    np.testing.assert_allclose(x.grad.numpy().sum(1, keepdims=True), -sink.grad.numpy(), 1e-9)
    p = F.softmax_with_sink(x, sink).detach().numpy()
    planted = p * (DY - (DY * p).sum(1, keepdims=True) / p.sum(1, keepdims=True))  # renormalized
    assert abs(planted - x.grad.numpy()).max() > 0.02 * abs(x.grad.numpy()).max()


def test_large_logits_and_sinks_do_not_overflow():
    x = tn.tensor(np.array([[1e3, 2e3], [-1e3, -2e3]], "float32"))
    y = F.softmax_with_sink(x, tn.tensor(np.zeros((), "float32"))).numpy()
    np.testing.assert_array_equal(y, [[0, 1], [0, 0]])
    masked = F.softmax_with_sink(tn.tensor(np.full((1, 3), -np.inf)), tn.zeros(1).double()).numpy()
    np.testing.assert_array_equal(masked, 0)  # all to the sink, no NaN


# -- LogitNorm


def test_logits_have_the_length_of_one_over_tau():
    y, dx = differentiated(lambda x: F.logit_norm(x, 0.5))
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), 2, 1e-6)
    np.testing.assert_allclose((dx * X).sum(1), 0, atol=1e-6)
    planted = DY / (0.5 * np.linalg.norm(X, axis=1, keepdims=True))  # the length is held constant
    assert abs(planted - dx).max() > 0.1 * abs(dx).max()


def test_zeros_have_a_finite_gradient():
    x = tn.zeros(2, 3, requires_grad=True)
    nn.LogitNorm(tau=1.0, eps=0.5)(x).backward(tn.ones(2, 3))
    np.testing.assert_allclose(x.grad.numpy(), 2.0)


# -- group advantages


@pytest.mark.parametrize("scale", [True, False])
def test_advantages_are_centered_and_have_no_gradient(scale):
    rewards = tn.tensor(X, requires_grad=True)
    A = F.group_advantages(rewards, scale)
    assert not A.requires_grad
    expected = X - X.mean(1, keepdims=True)
    if scale:
        expected = expected / (X.std(1, ddof=1, keepdims=True) + 1e-4)
    np.testing.assert_allclose(A.numpy(), expected, 1e-9)


def test_equal_rewards_have_no_advantage():
    np.testing.assert_array_equal(F.group_advantages(tn.ones(2, 4)).numpy(), 0)


def test_a_biased_deviation_is_larger_by_a_known_factor():
    A = F.group_advantages(tn.tensor(X), eps=1e-9).numpy()
    biased = (X - X.mean(1, keepdims=True)) / X.std(1, keepdims=True)
    np.testing.assert_allclose(biased / A, np.sqrt(5 / 4), 1e-6)
