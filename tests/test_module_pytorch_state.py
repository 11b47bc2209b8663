"""keep_vars, assign, remove_duplicate, submodules by name, parameters as a vector: as in PyTorch."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.nn.utils import parameters_to_vector, vector_to_parameters


def tied(m):
    net = m.Sequential(m.Linear(2, 2), m.BatchNorm1d(2), m.Linear(2, 2))
    net[2].weight = net[0].weight
    net.append(net[1])
    return net


def test_keep_vars_gives_the_parameters_themselves():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    kept = net.state_dict(keep_vars=True)
    assert kept["0.weight"] is net[0].weight
    assert kept["1.running_mean"] is net[1].running_mean
    assert kept.keys() == net.state_dict().keys()
    net(tn.ones(3, 2)).sum().backward()
    assert kept["0.bias"].grad is net[0].bias.grad


@pytest.mark.parametrize("what", ["named_parameters", "named_buffers", "named_modules"])
@pytest.mark.parametrize("once", [True, False])
def test_names_with_and_without_duplicates_are_pytorchs(torch, what, once):
    mine, theirs = (
        [name for name, _ in getattr(tied(m), what)(remove_duplicate=once)] for m in (nn, torch.nn)
    )
    assert mine == theirs


def test_assigned_state_is_shared():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    net[0].bias.requires_grad_(False)
    own = nn.Parameter(tn.ones(3, 2))
    state = {**net.state_dict(), "0.weight": own, "0.bias": tn.zeros(3, dtype=tn.float64)}
    state["1.running_mean"] = np.full(3, 2, np.float32)
    keys = net.load_state_dict(state, assign=True)
    assert keys == ([], [])
    assert net[0].weight is own
    assert isinstance(net[0].bias, nn.Parameter)
    assert net[0].bias.dtype == tn.float64
    assert not net[0].bias.requires_grad
    state["0.bias"].fill_(7)
    assert net[0].bias.tolist() == [7, 7, 7]
    assert net[1].running_mean.tolist() == [2, 2, 2]
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert list(net.state_dict()) == list(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).state_dict())


def test_assigned_parameters_are_trained_by_an_optimizer_made_after():
    net, other = nn.Linear(2, 1), nn.Linear(2, 1)
    net.load_state_dict(other.state_dict(), assign=True)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    before = net.weight.tolist()
    net(tn.ones(1, 2)).sum().backward()
    optimizer.step()
    np.testing.assert_allclose(net.weight.numpy(), np.array(before) - 0.1, rtol=1e-6)
    assert net.state_dict().keys() == {"weight", "bias"}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"weight": tn.ones(3, 2), "bias": tn.ones(1)}, r"weight: the state has shape \(3, 2\)"),
        ({"weight": tn.ones(1, 2, dtype=tn.int64), "bias": tn.ones(1)}, "weight: the state has dtype int64"),
        ({"weight": tn.ones(1, 2)}, "missing: bias"),
    ],
    ids=["shape", "dtype", "missing"],
)
def test_nothing_is_assigned_unless_all_fits(state, message):
    net = nn.Linear(2, 1)
    before = net.weight, net.bias
    with pytest.raises(RuntimeError, match=message):
        net.load_state_dict(state, assign=True)
    assert net.weight is before[0]
    assert net.bias is before[1]
    with pytest.raises(TypeError, match="assign"):
        net.load_state_dict(net.state_dict(), assign=1)


def test_a_submodule_is_replaced_by_name():
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Tanh())
    new = nn.Linear(2, 3)
    net.set_submodule("0.0", new)
    net.set_submodule("extra", nn.Sigmoid())
    assert net[0][0] is net.get_submodule("0.0") is new
    assert isinstance(net.extra, nn.Sigmoid)
    for target, error in (("", ValueError), ("0.", ValueError), ("7.0", AttributeError)):
        with pytest.raises(error):
            net.set_submodule(target, nn.ReLU())
    with pytest.raises(TypeError, match="must be a Module or None"):
        net.set_submodule("0.0", 3)


def test_type_converts_as_to_does():
    net = nn.BatchNorm1d(2).type(tn.float64)
    assert net.weight.dtype == net.running_mean.dtype == tn.float64
    assert net.num_batches_tracked.dtype == tn.int64
    with pytest.raises(TypeError, match="floating-point dtype"):
        net.type(tn.int32)


def test_parameters_as_a_vector_and_back(torch):
    mine, theirs = (m.Sequential(m.Linear(2, 3), m.Linear(3, 1)) for m in (nn, torch.nn))
    vector = np.arange(13, dtype=np.float32)
    vector_to_parameters(tn.tensor(vector), mine.parameters())
    torch.nn.utils.vector_to_parameters(torch.tensor(vector), theirs.parameters())
    for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())
    back = parameters_to_vector(mine.parameters())
    np.testing.assert_array_equal(back.detach().numpy(), vector)
    dy = np.random.default_rng(0).normal(size=13).astype(np.float32)
    back.backward(tn.tensor(dy))
    np.testing.assert_array_equal(parameters_to_vector([p.grad for p in mine.parameters()]).numpy(), dy)


def test_vectors_that_do_not_fit():
    layer = nn.Linear(2, 1)
    for call, error, message in (
        (lambda: vector_to_parameters(tn.ones(4), layer.parameters()), ValueError, "have 3 elements"),
        (lambda: vector_to_parameters(np.ones(3), layer.parameters()), TypeError, "must be a Tensor, got nd"),
        (lambda: parameters_to_vector(layer.named_parameters()), TypeError, "must be tensors.*got tuple"),
        (lambda: parameters_to_vector(layer.weight), TypeError, "must be tensors"),
        (lambda: parameters_to_vector([]), ValueError, "there are no parameters"),
    ):
        with pytest.raises(error, match=message):
            call()
