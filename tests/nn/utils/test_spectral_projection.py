"""Spectral projection: W itself is divided by σ after each step, which is not Miyato's normalization."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn.utils import SpectralProjection
from tinygrad_norm.nn.utils.parametrizations import spectral_norm, weight_norm
from tinygrad_norm.optim import SGD, Adam


def network():
    tn.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(75, 1)
    ).double()


def sigmas(net):
    """The largest singular value of every weight, as a matrix with its outputs in front."""
    found = []
    for layer in net:
        if hasattr(layer, "weight"):
            w = layer.weight.numpy()
            w = np.moveaxis(w, 1, 0) if isinstance(layer, nn.ConvTranspose2d) else w
            found.append(np.linalg.norm(w.reshape(len(w), -1), 2))
    return np.array(found)


@pytest.mark.parametrize("optimizer", [lambda p: SGD(p, 0.05), lambda p: Adam(p, 0.01)])
def test_after_every_step_the_largest_singular_value_is_1(optimizer):
    net, rng = network(), np.random.default_rng(0)
    step, projection = optimizer(net.parameters()), SpectralProjection(net)
    for _ in range(10):
        x, target = tn.tensor(rng.normal(size=(8, 2, 6, 6))), tn.tensor(rng.normal(size=(8, 1)))
        step.zero_grad()
        ((net(x) - target) ** 2).mean().backward()
        step.step()
        projection.project_()
        np.testing.assert_allclose(sigmas(net), 1, rtol=1e-2)
    assert all(p.is_leaf for p in net.parameters())


def test_the_weight_is_w_over_sigma_and_the_bias_stays():
    layer = nn.Linear(4, 3).double()
    before, bias = layer.weight.numpy().copy(), layer.bias.numpy().copy()
    SpectralProjection(layer, 100).project_()
    np.testing.assert_allclose(layer.weight.numpy(), before / np.linalg.norm(before, 2), rtol=1e-9)
    np.testing.assert_array_equal(layer.bias.numpy(), bias)
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]


def test_it_is_not_miyatos():
    """There the weight stays as it is, and its gradient knows of the division: it has no part along W."""
    tn.manual_seed(0)
    plain, other = nn.Linear(5, 5).double(), nn.Linear(5, 5).double()
    SpectralProjection(plain, 200).project_()
    other.load_state_dict(plain.state_dict())
    miyatos = spectral_norm(other, n_power_iterations=200)
    x, dy = (tn.tensor(np.random.default_rng(seed).normal(size=(7, 5))) for seed in (0, 1))
    for layer in (plain, miyatos):
        layer(x).backward(dy)
    w, ours = plain.weight.numpy(), plain.weight.grad.numpy()
    theirs = miyatos.parametrizations.weight.original.grad.numpy()
    u, _, v = np.linalg.svd(w)
    np.testing.assert_allclose((theirs * w).sum(), 0, atol=1e-9)
    assert abs((ours * w).sum()) > 0.1
    np.testing.assert_allclose(theirs, ours - (ours * w).sum() * np.outer(u[:, 0], v[0]), atol=1e-9)


def test_as_a_hook_of_the_optimizer():
    net = network()
    optimizer, projection = SGD(net.parameters(), 0.1), SpectralProjection(net)
    optimizer.register_step_post_hook(lambda *_: projection.project_())
    net(tn.ones(1, 2, 6, 6).double()).sum().backward()
    optimizer.step()
    np.testing.assert_allclose(sigmas(net), 1, rtol=2e-2)


def test_tiny_weights_get_length_1_too():
    layer = nn.Linear(4, 3).double()
    with tn.no_grad():
        layer.weight *= 1e-20
    SpectralProjection(layer, 50).project_()
    np.testing.assert_allclose(np.linalg.norm(layer.weight.numpy(), 2), 1, rtol=1e-6)


def test_zeros_stay_zeros():
    layer = nn.Linear(3, 2)
    with tn.no_grad():
        layer.weight.zero_()
    SpectralProjection(layer).project_()
    assert not layer.weight.numpy().any()


def test_its_state_is_the_singular_vectors():
    net = network()
    projection, again = SpectralProjection(net), SpectralProjection(net)
    state = projection.state_dict()
    assert list(state) == [f"norms.{i}.{name}" for i in range(3) for name in ("_u", "_v")]
    again.load_state_dict(state)
    again.project_()
    expected = sigmas(net)
    np.testing.assert_allclose(expected, 1, rtol=1e-2)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: SpectralProjection(nn.ReLU()), "needs a module with Linear"),
        (lambda: SpectralProjection(weight_norm(nn.Linear(2, 3))), "computed by a parametrization"),
        (lambda: SpectralProjection(nn.Linear(2, 3), 0), "n_power_iterations"),
    ],
)
def test_what_it_does_not_take(make, match):
    with pytest.raises(ValueError, match=match):
        make()
