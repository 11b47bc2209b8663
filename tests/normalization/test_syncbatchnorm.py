"""SyncBatchNorm: shards make one batch, and one process makes a BatchNorm."""

import copy

import numpy as np
import pytest
from twins import compare_gradients, compare_training, exchange_states, twins

from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.nn import functional as F
from tinygrad_norm.normalization import sync_batch_norm

SHAPES = [(6, 3), (4, 3, 5), (2, 3, 2, 4), (2, 3, 2, 1, 2), (2, 3, 1, 2, 1, 3)]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def forward_backward(x, dy, function, *vectors):
    tensors = [Tensor(a, requires_grad=True) for a in (x, *vectors)]
    y = function(*tensors)
    return y.numpy(), *(d.numpy() for d in grad(y, tensors, dy))


@pytest.mark.parametrize("shards", [(7,), (3, 4), (1, 1, 5), (0, 7, 0), (1,) * 7])
def test_however_the_batch_is_cut_it_is_the_joined_batch(shards):
    x, dy, vectors = normal(7, 3, 4), normal(7, 3, 4, seed=1), (normal(3, seed=2), normal(3, seed=3))
    ours = forward_backward(x, dy, lambda x, w, b: sync_batch_norm(x, shards, w, b), *vectors)
    joined = forward_backward(
        x, dy, lambda x, w, b: F.batch_norm(x, weight=w, bias=b, training=True), *vectors
    )
    for a, b in zip(ours, joined, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)


def test_shards_with_means_of_their_own_share_one():
    """What Chan's formula adds, n·(m_i - m)², is nearly all of the variance here."""
    x = normal(6, 2) * 1e-3 + np.repeat([[-5.0], [3.0], [11.0]], 2, axis=0)
    y = sync_batch_norm(Tensor(x), (2, 2, 2)).numpy()
    np.testing.assert_allclose(y, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), rtol=1e-12, atol=1e-14)


def test_a_large_mean_costs_no_digits_of_the_variance():
    """E[x²] - m² would have none left in float32."""
    x = (normal(64, 3) + 3e3).astype(np.float32)
    exact = x.astype(np.float64)
    y = sync_batch_norm(Tensor(x), (20, 40, 4), eps=0.0).numpy()
    np.testing.assert_allclose(y, (exact - exact.mean(0)) / exact.std(0), atol=2e-3)


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e25, 1e36], ids="scale {:g}".format)
def test_any_scale_of_float32_gives_right_results(scale):
    x, dy = (normal(8, 2, 3) * scale).astype(np.float32), normal(8, 2, 3, seed=1)
    right = forward_backward(x.astype(np.float64), dy, lambda x: sync_batch_norm(x, (3, 5), eps=0.0))
    ours = forward_backward(x, dy.astype(np.float32), lambda x: sync_batch_norm(x, (3, 5), eps=0.0))
    for a, exact in zip(ours, right, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, exact, rtol=1e-3, atol=1e-5 * abs(exact).max())


def test_a_channel_of_one_value_stays_finite_without_eps():
    x = normal(4, 2)
    x[:, 1] = 3.0
    y, dx = forward_backward(x, normal(4, 2, seed=1), lambda x: sync_batch_norm(x, (1, 3), eps=0.0))
    assert not y[:, 1].any()
    assert not dx[:, 1].any()
    assert dx[:, 0].any()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_in_one_process_as_pytorchs(shape, torch, tmp_path):
    def make(library):
        return library.SyncBatchNorm(3, eps=1e-3, momentum=0.2)

    x = normal(*shape)
    compare_gradients(torch, *twins(torch, make), [x], {})
    ours, theirs = twins(torch, make)
    compare_training(torch, ours, theirs, [x], {})
    ours, theirs = twins(torch, make)
    for step in range(3):
        ours(Tensor(normal(*shape, seed=step)))
        theirs(torch.tensor(normal(*shape, seed=step)))
    for (name, mine), other in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=1e-12, err_msg=name)
    compare_gradients(torch, ours.eval(), theirs.eval(), [x], {})
    exchange_states(twins(torch, make), twins(torch, make, seed=1), tmp_path)


@pytest.mark.parametrize(
    "options",
    [{"momentum": None}, {"affine": False}, {"track_running_stats": False}, {"bias": False}],
    ids=str,
)
def test_the_options_are_those_of_batch_normalization(options):
    ours, plain = nn.SyncBatchNorm(3, **options).double(), nn.BatchNorm1d(3, **options).double()
    for mode in (True, True, False):
        x = Tensor(normal(5, 3, seed=mode))
        np.testing.assert_array_equal(ours.train(mode)(x).numpy(), plain.train(mode)(x).numpy())
    assert list(ours.state_dict()) == list(plain.state_dict())


def network():
    inner = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=None))
    return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, eps=0.1, bias=False), nn.LayerNorm(3), inner)


def test_conversion_keeps_everything_but_the_class():
    net = network()
    net[3].eval()
    net(Tensor(normal(4, 3).astype(np.float32)))
    before, parameters = copy.deepcopy(net), list(net.parameters())
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    assert converted is net
    assert [type(layer) for layer in (net[1], net[2], net[3][1])] == [
        *(nn.SyncBatchNorm, nn.LayerNorm, nn.SyncBatchNorm)
    ]
    assert all(a is b for a, b in zip(net.parameters(), parameters, strict=True))
    assert list(net.state_dict()) == list(before.state_dict())
    assert [module.training for module in net.modules()] == [module.training for module in before.modules()]
    assert (net[1].eps, net[1].bias, net[3][1].momentum) == (0.1, None, None)
    for mode in (True, False):
        x = Tensor(normal(5, 3, seed=7).astype(np.float32))
        np.testing.assert_array_equal(net.train(mode)(x).numpy(), before.train(mode)(x).numpy())


def test_a_layer_by_itself_is_converted_too_and_others_stay():
    norm = nn.BatchNorm2d(3).eval()
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(norm)
    assert type(converted) is nn.SyncBatchNorm
    assert converted.running_mean is norm.running_mean
    assert not converted.training
    other = nn.InstanceNorm2d(3, affine=True)
    assert nn.SyncBatchNorm.convert_sync_batchnorm(other) is other


def test_a_process_group_is_a_group():
    with pytest.raises(TypeError, match="process_group must be"):
        nn.SyncBatchNorm.convert_sync_batchnorm(network(), process_group=object())
