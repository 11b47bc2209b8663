"""PopArt: predictions stay when the normalization of the targets changes."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 4))


def made(momentum=0.3, **options):
    tn.manual_seed(0)
    return nn.PopArt(4, 2, momentum, **options).double()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_an_update_keeps_every_prediction(scale):
    layer, x = made(), tn.tensor(X)
    for k in range(4):
        before, normalized = layer.denormalize(layer(x)).detach().numpy(), layer(x).detach().numpy()
        layer.update(tn.tensor(scale * (k + RNG.normal(size=(5, 2)))))
        after = layer.denormalize(layer(x)).detach().numpy()
        np.testing.assert_allclose(after, before, 0, 1e-15 * max(abs(before).max(), scale * (k + 3)))
        assert abs(layer(x).detach().numpy() - normalized).max() > 1e-3  # but not in normalized units


def test_the_statistics_are_those_of_the_mixture_of_all_batches():
    layer, batches = made(0.25), [5.0 + RNG.normal(size=(3, 2)) for _ in range(3)]
    first, second = np.zeros(2), np.ones(2)  # E[t] and E[t²], from mean 0 and variance 1
    for batch in batches:
        layer.update(tn.tensor(batch))
        first, second = 0.75 * first + 0.25 * batch.mean(0), 0.75 * second + 0.25 * (batch**2).mean(0)
    np.testing.assert_allclose(layer.mean.numpy(), first, 1e-12)
    np.testing.assert_allclose(layer.var.numpy(), second - first**2, 1e-12)


def test_targets_come_back():
    layer, targets = made(), tn.tensor(100 + RNG.normal(size=(3, 5, 2)))
    layer.update(targets)
    np.testing.assert_allclose(layer.denormalize(layer.normalize(targets)).numpy(), targets.numpy(), 1e-14)


def test_a_large_mean_costs_the_variance_no_digits():
    layer = nn.PopArt(4, 1, 1.0)
    targets = (1e4 + np.array([[-1.0], [1.0]])).astype("float32")
    layer.update(tn.tensor(targets))
    np.testing.assert_array_equal(layer.var.numpy(), [1.0])
    layer.update(tn.tensor(targets * 0))
    assert layer.std.item() == np.float32(1e-4)  # targets that do not vary


def test_gradients_reach_the_weights_and_updates_do_not_spoil_a_later_backward():
    layer, targets = made(), tn.tensor(RNG.normal(size=(6, 2)))
    layer.update(targets)
    ((layer(tn.tensor(X)) - layer.normalize(targets)) ** 2).mean().backward()
    assert layer.weight.grad is not None
    assert layer.weight.requires_grad
    assert sorted(layer.state_dict()) == ["bias", "mean", "var", "weight"]


def test_bad_targets_and_options_are_refused():
    for targets, error, words in (
        (tn.ones(3, 5).double(), ValueError, "one value per output"),
        (tn.ones(0, 2).double(), ValueError, "needs targets"),
        (tn.ones(3, 2), TypeError, "one dtype"),
        (tn.ones(3, 2, dtype=int), TypeError, "floating-point"),
    ):
        with pytest.raises(error, match=words):
            made().update(targets)
    for options, words in (({"momentum": 0.0}, "above 0"), ({"min_std": 0.0}, "positive")):
        with pytest.raises(ValueError, match=words):
            made(**options)
