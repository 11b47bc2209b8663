"""The first batch sets g and b: pre-activations of mean 0 and variance 1, layer by layer."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn.utils import data_dependent_init_
from tinygrad_norm.nn.utils.parametrizations import spectral_norm, weight_norm
from tinygrad_norm.nn.utils.parametrize import cached


def batch(*shape, seed=0):
    return tn.tensor(np.random.default_rng(seed).normal(3.0, 20.0, shape))


def network():
    tn.manual_seed(0)
    return nn.Sequential(
        weight_norm(nn.Conv2d(2, 6, 3, stride=2)),
        nn.ReLU(),
        weight_norm(nn.ConvTranspose2d(6, 4, 2), dim=1),
        nn.Tanh(),
        nn.Sequential(nn.Flatten(), weight_norm(nn.Linear(4 * 16, 5)), nn.ReLU()),
        nn.Linear(5, 5),
        weight_norm(nn.Linear(5, 3)),
    ).double()


def outputs(net, x):
    """What every layer returns, in turn, as (values, outputs)."""
    for layer in net:
        if isinstance(layer, nn.Sequential):
            yield from outputs(layer, x)
        x = layer(x)
        yield layer, np.moveaxis(x.numpy(), 1, -1).reshape(-1, x.shape[1])


def test_every_layer_gets_mean_0_and_variance_1_over_the_first_batch():
    net, x = network(), batch(50, 2, 8, 8)
    plain = net[5].weight.numpy().copy()
    directions = [p.numpy().copy() for name, p in net.named_parameters() if name.endswith("original1")]
    assert data_dependent_init_(net, x) is net
    found = [t for layer, t in outputs(net, x) if "Parametrized" in type(layer).__name__]
    assert len(found) == 4
    for t in found:
        np.testing.assert_allclose(t.mean(0), 0, atol=1e-9)
        np.testing.assert_allclose(t.std(0), 1, rtol=1e-9)
    np.testing.assert_array_equal(net[5].weight.numpy(), plain)
    after = [p.numpy() for name, p in net.named_parameters() if name.endswith("original1")]
    for a, b in zip(after, directions, strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_is_the_paper_for_one_layer():
    """g = 1/σ[t], b = -μ[t]/σ[t] with t = v·x/‖v‖, whatever g and b were."""
    layer, x = weight_norm(nn.Linear(4, 3)).double(), batch(20, 4)
    v = layer.parametrizations.weight.original1.numpy()
    t = x.numpy() @ (v / np.linalg.norm(v, axis=1, keepdims=True)).T
    data_dependent_init_(layer, x)
    g, b = layer.parametrizations.weight.original0.numpy(), layer.bias.numpy()
    np.testing.assert_allclose(g[:, 0], 1 / t.std(0), rtol=1e-12)
    np.testing.assert_allclose(b, -t.mean(0) / t.std(0), rtol=1e-12)


def test_without_a_bias_only_the_variance_is_set():
    layer, x = weight_norm(nn.Conv1d(2, 3, 3, groups=1, bias=False)), batch(6, 2, 9).float()
    y = data_dependent_init_(layer, x)(x).numpy()
    np.testing.assert_allclose(y.std((0, 2)), 1, rtol=1e-5)
    assert abs(y.mean((0, 2))).max() > 0.1


def test_an_unbatched_image_will_do():
    layer, x = weight_norm(nn.Conv2d(2, 3, 3)), batch(2, 9, 9).float()
    y = data_dependent_init_(layer, x)(x).numpy()
    np.testing.assert_allclose(y.std((1, 2)), 1, rtol=1e-5)


def test_outputs_that_are_constant_keep_their_g():
    """A row of zeros, or inputs that never change: there is no variance to divide by."""
    layer = nn.Linear(3, 2).double()
    with tn.no_grad():
        layer.weight[0] = 0
    weight_norm(layer)
    data_dependent_init_(layer, batch(5, 3))
    assert layer.parametrizations.weight.original0.numpy()[0, 0] == 0
    assert np.isfinite(layer.bias.numpy()).all()
    same = tn.tensor(np.full((5, 3), 7.0))
    before = layer.parametrizations.weight.original0.numpy().copy()
    y = data_dependent_init_(layer, same)(same).numpy()
    np.testing.assert_array_equal(layer.parametrizations.weight.original0.numpy(), before)
    np.testing.assert_allclose(y, 0, atol=1e-12)


def test_a_layer_called_twice_is_set_once_and_works_as_before():
    shared, x = weight_norm(nn.Linear(4, 4)).double(), batch(30, 4)
    net = nn.Sequential(shared, nn.Tanh(), shared)
    with cached():
        data_dependent_init_(net, x)
    assert "forward" not in vars(shared)
    np.testing.assert_allclose(shared(x).numpy().std(0), 1, rtol=1e-9)
    net(x).sum().backward()
    assert shared.parametrizations.weight.original0.grad is not None


@pytest.mark.parametrize(
    ("make", "x", "match"),
    [
        (lambda: nn.Linear(4, 3), (5, 4), "apply nn.utils.parametrizations.weight_norm"),
        (lambda: weight_norm(nn.Linear(4, 3), dim=None), (5, 4), r"g of shape \(\): use weight_norm"),
        (lambda: weight_norm(nn.Linear(4, 4), dim=1), (5, 4), "on axis 0"),
        (lambda: weight_norm(nn.ConvTranspose1d(4, 4, 3)), (5, 4, 6), r"dim=1\)"),
        (lambda: spectral_norm(weight_norm(nn.Linear(4, 3))), (5, 4), "SpectralNorm after"),
        (lambda: weight_norm(nn.Linear(4, 3)), (1, 4), "a larger batch"),
    ],
)
def test_what_it_cannot_set_is_said_and_nothing_changes(make, x, match):
    layer = make().double()
    before = {name: p.numpy().copy() for name, p in layer.state_dict().items()}
    with pytest.raises(ValueError, match=match):
        data_dependent_init_(layer, batch(*x))
    assert "forward" not in vars(layer)
    for name, p in layer.state_dict().items():
        np.testing.assert_array_equal(p.numpy(), before[name])


def test_a_batch_that_is_not_finite_is_said():
    x = batch(5, 4)
    x[0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        data_dependent_init_(weight_norm(nn.Linear(4, 3)).double(), x)
