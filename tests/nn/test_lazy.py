"""Lazy layers: the first batch tells the size; before, there are no parameters."""

import copy
import pickle

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim

LAYERS = {
    "LazyLinear": ((4, 5), (3,), {"bias": False}),
    "LazyConv1d": ((2, 5, 6), (3, 2), {}),
    "LazyConv2d": ((2, 4, 6, 6), (4, 3), {"padding": 1, "groups": 2}),
    "LazyConv3d": ((2, 5, 4, 4, 4), (3, 2), {}),
    "LazyConvTranspose1d": ((2, 5, 6), (3, 2), {"stride": 2}),
    "LazyConvTranspose2d": ((2, 5, 6, 6), (3, 2), {}),
    "LazyConvTranspose3d": ((2, 5, 3, 3, 3), (3, 2), {}),
    "LazyBatchNorm1d": ((6, 5), (), {}),
    "LazyBatchNorm2d": ((6, 5, 2, 2), (), {"momentum": None}),
    "LazyBatchNorm3d": ((6, 5, 2, 2, 2), (1e-3,), {}),
    "LazyInstanceNorm1d": ((6, 5, 4), (), {"affine": False}),
    "LazyInstanceNorm2d": ((6, 5, 2, 2), (), {"affine": True}),
    "LazyInstanceNorm3d": ((6, 5, 2, 2, 2), (), {}),
}
layers = pytest.mark.parametrize("name", LAYERS)


def made(name, m=nn):
    shape, args, kwargs = LAYERS[name]
    return getattr(m, name)(*args, **kwargs), np.random.default_rng(0).normal(size=shape).astype(np.float32)


@layers
def test_state_and_numbers_are_pytorchs(name, torch):
    mine, x = made(name)
    theirs, _ = made(name, torch.nn)
    mine(tn.tensor(x))
    theirs(torch.tensor(x))
    assert type(mine).__name__ == type(theirs).__name__ == name.removeprefix("Lazy")
    assert {k: v.shape for k, v in mine.state_dict().items()} == {
        k: tuple(v.shape) for k, v in theirs.state_dict().items()
    }
    mine.load_state_dict(theirs.state_dict())
    np.testing.assert_allclose(
        mine(tn.tensor(x)).detach().numpy(), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-4, atol=1e-5
    )


@layers
def test_it_is_the_layer_that_it_becomes(name):
    lazy, x = made(name)
    _, args, kwargs = LAYERS[name]
    options = {**lazy.defaults, **kwargs}
    plain = getattr(nn, name.removeprefix("Lazy"))(x.shape[lazy.axis], *args, **options)
    y = lazy(tn.tensor(x))
    y_again = plain(tn.tensor(x))
    assert y.shape == y_again.shape
    assert repr(lazy) == repr(plain)
    assert vars(lazy).keys() == vars(plain).keys()
    copied = pickle.loads(pickle.dumps(copy.deepcopy(lazy)))
    np.testing.assert_array_equal(copied.eval()(tn.tensor(x)).array, lazy.eval()(tn.tensor(x)).array)


@layers
def test_before_the_first_batch_what_needs_parameters_says_so(name):
    lazy, _ = made(name)
    net = nn.Sequential(lazy)
    for ask in (
        lambda: optim.SGD(net.parameters(), 0.1),
        net.state_dict,
        lambda: net.load_state_dict({}),
        net.double,
        lambda: list(net.buffers()),
        net.zero_grad,
    ):
        with pytest.raises(RuntimeError, match=f"^{name} has no parameters before the first batch"):
            ask()
    assert [type(m).__name__ for m in net.eval().train().modules()] == ["Sequential", name]


def test_a_model_of_lazy_layers_is_trained():
    tn.manual_seed(0)
    net = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    x = tn.randn(8, 3, 6, 6)
    assert net(x).shape == (8, 2)
    assert net[1].num_batches_tracked.item() == 1
    optimizer = optim.Adam(net.parameters(), lr=0.05)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = ((net(x) - 1) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_mode_hooks_and_attributes_stay():
    lazy, seen = nn.LazyBatchNorm1d().eval(), []
    lazy.register_forward_hook(lambda module, inputs, output: seen.append(type(module).__name__))
    lazy.note = "mine"
    lazy(tn.ones(2, 3))
    lazy(tn.ones(2, 3))
    assert not lazy.training
    assert lazy.note == "mine"
    assert seen == ["BatchNorm1d", "BatchNorm1d"]
    assert lazy.running_mean.tolist() == [0, 0, 0]


def test_a_first_batch_that_fails_changes_nothing():
    lazy = nn.LazyConv2d(4, 3, groups=2)
    assert repr(lazy) == "LazyConv2d(out_channels=4, kernel_size=3, groups=2)"
    for x, error, message in (
        (tn.ones(2, 3, 6, 6), ValueError, "must be a multiple of groups"),
        (tn.ones(2, 4, 1, 1), ValueError, "."),
        (tn.ones(6, 6), ValueError, r"takes the size of its input from axis -3, got shape \(6, 6\)"),
        (np.ones((2, 4, 6, 6)), ValueError, "got ndarray"),
    ):
        with pytest.raises(error, match=message):
            lazy(x)
        assert type(lazy) is nn.LazyConv2d
    assert lazy(tn.ones(2, 4, 6, 6)).shape == (2, 4, 4, 4)


def test_wrong_arguments_are_refused_at_once():
    for call in (
        lambda: nn.LazyLinear(),
        lambda: nn.LazyLinear(3, True, 5),
        lambda: nn.LazyConv2d(3, 2, strides=2),
    ):
        with pytest.raises(TypeError, match="argument"):
            call()
    with pytest.raises(ValueError, match="out_channels"):
        nn.LazyConv2d(3, 2, groups=2)
    with pytest.raises(TypeError, match="bias must be True or False"):
        nn.LazyLinear(3, bias=1)
    assert nn.LazyInstanceNorm1d()(tn.ones(5, 4)).shape == (5, 4)  # a sample without a batch
    assert pickle.loads(pickle.dumps(nn.LazyLinear(3)))(tn.ones(2, 4)).shape == (2, 3)
    assert copy.deepcopy(nn.LazyLinear(3))(tn.ones(2, 4)).shape == (2, 3)
