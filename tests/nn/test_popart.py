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


@pytest.mark.parametrize(
    ("dtype", "value", "words"),
    [
        ("float32", np.nan, "finite targets"),
        ("float32", -np.inf, "finite targets"),
        ("float32", 1e20, r"up to 1e\+20.* float32 cannot hold"),
        ("float64", 1e200, r"up to 1e\+200.* float64 cannot hold"),
        ("float16", 6e4, r"up to 6e\+04.* float16 cannot hold"),
    ],
)
def test_targets_without_finite_statistics_are_refused_and_change_nothing(dtype, value, words):
    layer = made().to(dtype=dtype)
    before = {name: tensor.numpy().copy() for name, tensor in layer.state_dict().items()}
    targets = np.ones((3, 2), dtype)
    targets[1, 0] = value
    with pytest.raises(ValueError, match=words):
        layer.update(tn.tensor(targets))
    for name, tensor in layer.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[name])


@pytest.mark.parametrize(("dtype", "scale"), [("float32", 1e18), ("float16", 100.0)], ids=str)
def test_squares_near_the_limit_of_the_dtype_are_summed_up_in_float64(dtype, scale):
    layer = made(1.0).to(dtype=dtype)
    targets = (scale * np.linspace(-2, 2, 16).reshape(8, 2)).astype(dtype)
    layer.update(tn.tensor(targets))
    np.testing.assert_allclose(layer.var.numpy(), targets.astype("float64").var(0), 2e-3)
    assert all(np.isfinite(p.detach().numpy()).all() for p in layer.parameters())
