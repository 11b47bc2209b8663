"""Weight and spectral normalization of layers, as in PyTorch: values, gradients, training, states."""

import inspect

import numpy as np
import pytest
from twins import compare_gradients, compare_training, exchange_states, to_torch, twins

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.nn.utils import parametrizations as P
from tinygrad_norm.nn.utils.parametrize import remove_parametrizations


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def weight_norm(make, **options):
    return lambda library: library.utils.parametrizations.weight_norm(make(library), **options)


def spectral_norm(make, **options):
    return lambda library: library.utils.parametrizations.spectral_norm(make(library), **options)


def linear(library):
    return library.Linear(4, 3)


def conv(library):
    return library.Conv2d(4, 6, (2, 3), groups=2)


def conv_transpose(library):
    return library.ConvTranspose1d(4, 3, 3, stride=2)


def gru(library):
    return library.GRU(3, 4)


def network(library):
    apply = library.utils.parametrizations
    hidden = apply.weight_norm(library.Linear(4, 5))
    return library.Sequential(hidden, library.Tanh(), apply.spectral_norm(library.Linear(5, 2)))


X = {linear: (5, 4), conv: (2, 4, 4, 5), conv_transpose: (2, 4, 5), gru: (5, 2, 3), network: (6, 4)}
CASES = {
    "weight linear": (weight_norm(linear), linear),
    "weight linear dim 1": (weight_norm(linear, dim=1), linear),
    "weight linear whole": (weight_norm(linear, dim=None), linear),
    "weight linear dim -2": (weight_norm(linear, dim=-2), linear),
    "weight linear bias": (weight_norm(linear, name="bias"), linear),
    "weight conv": (weight_norm(conv), conv),
    "weight conv dim 2": (weight_norm(conv, dim=2), conv),
    "weight transposed conv": (weight_norm(conv_transpose, dim=1), conv_transpose),
    "weight gru": (weight_norm(gru, name="weight_hh_l0"), gru),
    "spectral linear": (spectral_norm(linear), linear),
    "spectral linear 3 iterations": (spectral_norm(linear, n_power_iterations=3), linear),
    "spectral linear dim 1": (spectral_norm(linear, dim=1), linear),
    "spectral linear dim -1": (spectral_norm(linear, dim=-1), linear),
    "spectral linear bias": (spectral_norm(linear, name="bias"), linear),
    "spectral conv": (spectral_norm(conv), conv),
    "spectral conv dim 3": (spectral_norm(conv, dim=3), conv),
    "spectral transposed conv": (spectral_norm(conv_transpose), conv_transpose),
    "spectral after weight": (spectral_norm(weight_norm(linear)), linear),
    "spectral twice": (spectral_norm(spectral_norm(linear, n_power_iterations=2)), linear),
    "network": (network, network),
}
cases = pytest.mark.parametrize(("make", "layer"), CASES.values(), ids=CASES)


def close_states(ours, theirs):
    for (name, mine), other in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
        assert name == other[0]
        np.testing.assert_allclose(mine.numpy(), other[1].numpy(), rtol=1e-9, atol=1e-11, err_msg=name)


@cases
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_values_gradients_and_buffers_as_in_pytorch(make, layer, training, torch):
    ours, theirs = (module.train(training) for module in twins(torch, make))
    compare_gradients(torch, ours, theirs, [normal(*X[layer])], {})
    close_states(ours, theirs)


@cases
def test_training_as_in_pytorch(make, layer, torch):
    ours, theirs = twins(torch, make)
    if make is CASES["weight linear bias"][0]:
        pytest.skip("the direction of a single number never moves")
    x = normal(*X[layer])
    theirs(to_torch(torch, x))  # compare_training calls ours once more, which moves the vectors
    compare_training(torch, ours, theirs, [x], {}, lr=0.05)
    close_states(ours, theirs)


@cases
def test_states_load_both_ways(make, layer, torch, tmp_path):
    exchange_states(twins(torch, make), twins(torch, make, seed=1), tmp_path)


@cases
def test_removal_leaves_the_weight_as_in_pytorch(make, layer, torch):
    ours, theirs = (module.eval() for module in twins(torch, make))
    for a, b in zip(list(ours.modules()), list(theirs.modules()), strict=True):
        for name in ("weight", "bias", "weight_hh_l0"):
            if torch.nn.utils.parametrize.is_parametrized(b, name):
                remove_parametrizations(a, name)
                torch.nn.utils.parametrize.remove_parametrizations(b, name)
    close_states(ours, theirs)
    assert [type(m).__name__ for m in ours.modules()] == [type(m).__name__ for m in theirs.modules()]
    compare_gradients(torch, ours, theirs, [normal(*X[layer])], {})


def test_two_passes_before_a_backward_each_keep_their_vectors(torch):
    """As in a GAN, loss = D(real) - D(fake): the second pass moves u and v, the first needs its own."""
    ours, theirs = twins(torch, spectral_norm(linear))
    real, fake = normal(5, 4), normal(5, 4, seed=1)
    loss = (ours(Tensor(real)) ** 2).sum() - ours(Tensor(fake)).exp().sum()
    reference = (theirs(torch.tensor(real)) ** 2).sum() - theirs(torch.tensor(fake)).exp().sum()
    loss.backward()
    reference.backward()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-10)


def test_the_first_graph_is_right_after_the_weight_has_moved_on():
    """W/σ and not W is kept for backward, so a step in between changes nothing."""
    layer = P.spectral_norm(nn.Linear(4, 3)).double()
    x = Tensor(normal(5, 4))
    original = layer.parametrizations.weight.original
    weight = layer.weight
    before = original.numpy().copy()
    (right,) = grad(weight, [original], normal(3, 4), retain_graph=True)
    with tn.no_grad():
        original.copy_(normal(3, 4, seed=5))
        layer(x)
    (again,) = grad(weight, [original], normal(3, 4))
    np.testing.assert_array_equal(again.numpy(), right.numpy())
    assert not np.array_equal(original.numpy(), before)


def test_registering_weight_norm_changes_no_value():
    layer = nn.Conv1d(3, 4, 2)
    before = layer.weight.numpy().copy()
    P.weight_norm(layer)
    np.testing.assert_allclose(layer.weight.numpy(), before, rtol=1e-6)
    assert layer.parametrizations.weight.original0.shape == (4, 1, 1)


def test_the_original_of_spectral_norm_is_the_parameter_that_optimizers_know():
    layer = nn.Linear(4, 3)
    weight = layer.weight
    optimizer = tn.optim.SGD(layer.parameters(), 0.1)
    P.spectral_norm(layer)
    assert layer.parametrizations.weight.original is weight
    before = layer.weight.numpy().copy()
    (layer(Tensor(normal(5, 4).astype(np.float32))) ** 2).sum().backward()
    optimizer.step()
    assert abs(layer.weight.numpy() - before).max() > 1e-3
    value = layer.eval().weight.numpy().copy()
    remove_parametrizations(layer, "weight")
    assert layer.weight is weight
    np.testing.assert_array_equal(weight.numpy(), value)
    layer(Tensor(normal(5, 4).astype(np.float32))).sum().backward()
    optimizer.step()
    assert not np.array_equal(layer.weight.numpy(), value)


def test_signatures_are_pytorchs(torch):
    theirs = torch.nn.utils.parametrizations
    for name in ("weight_norm", "spectral_norm"):
        ours, reference = (
            [(p.name, p.default) for p in inspect.signature(getattr(module, name)).parameters.values()]
            for module in (P, theirs)
        )
        assert ours == reference


def test_what_cannot_be_normalized_raises_and_nothing_changes():
    layer = nn.Linear(4, 3)
    state = {name: value.numpy().copy() for name, value in layer.state_dict().items()}
    with pytest.raises(IndexError, match="out of range"):
        P.weight_norm(layer, dim=2)
    with pytest.raises(IndexError, match="out of range"):
        P.spectral_norm(layer, dim=2)
    with pytest.raises(ValueError, match="no parameter or buffer named 'wieght'"):
        P.weight_norm(layer, "wieght")
    with pytest.raises(ValueError, match="no parameter or buffer named 'wieght'"):
        P.spectral_norm(layer, "wieght")
    with pytest.raises(ValueError, match="n_power_iterations must be at least 1"):
        P.spectral_norm(layer, n_power_iterations=0)
    assert type(layer) is nn.Linear
    assert list(layer.state_dict()) == list(state)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), state[name])
    with pytest.raises(ValueError, match="must be the first"):
        P.weight_norm(P.spectral_norm(layer))
    with pytest.raises(ValueError, match="parametrized already"):
        P.weight_norm(P.weight_norm(nn.Linear(4, 3)))
