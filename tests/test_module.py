"""Module: registration, walking, state, modes, copies; state dicts travel to PyTorch and back."""

import copy
import pickle

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor
from tinygrad_norm.nn import functional as F


def arrays(net):
    """The state as copied arrays, as safetensors needs them."""
    return {name: np.array(tensor.array) for name, tensor in net.state_dict().items()}


class Net(nn.Module):
    """Every kind of state: its own parameters and those of layers, buffers, a list, a shared layer."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(np.ones(1, np.float32))
        self.register_buffer("steps", Tensor(np.array(3)))
        self.register_buffer("scratch", Tensor(np.zeros(2, np.float32)), persistent=False)
        self.body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5))
        self.heads = nn.ModuleList([nn.Linear(6, 2, bias=False), nn.LayerNorm(2)])
        self.tied = self.heads[0]

    def forward(self, x):
        return self.heads[1](self.tied(self.body(x))) * self.scale


PARAMETERS = [
    "scale",
    "body.0.weight",
    "body.0.bias",
    "body.1.weight",
    "body.1.bias",
    "heads.0.weight",
    "heads.1.weight",
    "heads.1.bias",
]


def batch(n=5, dtype=np.float32):
    return Tensor(np.random.default_rng(0).normal(size=(n, 4)).astype(dtype))


# -- registration


def test_attributes_find_their_place():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == PARAMETERS
    assert [name for name, _ in net.named_buffers()] == [
        "steps",
        "scratch",
        "body.1.running_mean",
        "body.1.running_var",
        "body.1.num_batches_tracked",
    ]
    assert [name for name, _ in net.named_children()] == ["body", "heads", "tied"]
    assert [type(m).__name__ for m in net.modules()].count("Linear") == 2
    net.plain = 7
    assert "plain" not in net.state_dict()


def test_super_init_comes_first():
    class Late(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(np.ones(2))

    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\) first"):
        Late()


def test_a_parameter_is_replaced_by_parameters_only():
    layer = nn.Linear(2, 2)
    with pytest.raises(TypeError, match="assign a Parameter or None"):
        layer.weight = Tensor(np.ones((2, 2)))
    layer.weight = new = nn.Parameter(np.ones((2, 2)))
    assert layer.weight is new
    layer.bias = None
    assert list(layer.state_dict()) == ["weight"]
    assert layer.bias is None


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("body", 5, "assign a Module or None, got int"),
        ("scale", np.ones(3), "assign a Parameter or None, got ndarray; to change its values"),
        ("scale", 0, "assign a Parameter or None, got int"),
        ("steps", np.ones(3), "assign a Tensor or None, got ndarray"),
    ],
)
def test_what_is_registered_is_not_lost_to_a_wrong_type(name, value, match):
    net = Net()
    before = list(net.state_dict())
    with pytest.raises(TypeError, match=match):
        setattr(net, name, value)
    assert list(net.state_dict()) == before


def test_a_module_whose_arrays_are_held_can_be_pickled():
    net = Net()
    held = net.scale.data
    copy = pickle.loads(pickle.dumps(net))
    held[...] = 7
    assert (copy.scale.array != 7).all()


def test_reassigning_another_kind_leaves_no_trace():
    net = Net()
    net.body = None
    assert net.body is None
    assert not any(name.startswith("body") for name in net.state_dict())
    net.scale = nn.ReLU()
    assert "scale" not in net.state_dict()
    assert type(net.scale) is nn.ReLU
    net.steps = Tensor(np.array(9))
    assert net.state_dict()["steps"].item() == 9
    del net.steps
    assert not hasattr(net, "steps")


@pytest.mark.parametrize(
    ("register", "error", "match"),
    [
        (lambda m: m.register_buffer("", None), KeyError, "non-empty"),
        (lambda m: m.register_buffer("a.b", None), KeyError, "without dots"),
        (lambda m: m.register_buffer(5, None), TypeError, "must be a str, got 5"),
        (lambda m: m.register_parameter("forward", None), KeyError, "attribute 'forward' already"),
        (lambda m: m.register_buffer("scale", None), KeyError, "attribute 'scale' already"),
        (lambda m: m.register_parameter("steps", None), KeyError, "another name for the Parameter"),
        (lambda m: m.add_module("scale", nn.ReLU()), KeyError, "attribute 'scale' already"),
        (lambda m: m.register_buffer("x", np.ones(2)), TypeError, "must be a Tensor or None"),
        (
            lambda m: m.register_parameter("x", tn.ones(2)),
            TypeError,
            "must be a Parameter or None, got Tensor",
        ),
        (lambda m: m.add_module("x", 5), TypeError, "must be a Module or None, got int"),
        (lambda m: m.get_submodule("body.9"), AttributeError, "no submodule '9'"),
        (lambda m: m.no_such_thing, AttributeError, "'Net' object has no attribute 'no_such_thing'"),
        (lambda m: m.to(np.int64), TypeError, "floating-point"),
    ],
)
def test_bad_calls_raise(register, error, match):
    with pytest.raises(error, match=match):
        register(Net())


def test_what_is_registered_may_be_registered_anew():
    net = Net()
    net.register_buffer("steps", tn.ones(1), persistent=False)
    assert "steps" not in net.state_dict()
    net.register_buffer("steps", tn.ones(2))
    assert net.state_dict()["steps"].shape == (2,)
    net.register_parameter("scale", None)
    assert net.scale is None
    net.add_module("body", nn.ReLU())
    assert type(net.body) is nn.ReLU


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Module must define forward"):
        nn.Module()(1)


# -- walking


def test_apply_visits_children_first_and_returns_self():
    seen = []
    net = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.ReLU()))
    assert net.apply(seen.append) is net
    assert [type(m).__name__ for m in seen] == ["Linear", "ReLU", "Sequential", "Sequential"]


def test_submodules_by_path():
    net = Net()
    assert net.get_submodule("body.1") is net.body[1]
    assert net.get_submodule("") is net


def test_parameters_of_this_module_alone():
    assert [name for name, _ in Net().named_parameters(recurse=False)] == ["scale"]
    assert [name for name, _ in Net().body.named_parameters("x")] == [
        "x.0.weight",
        "x.0.bias",
        "x.1.weight",
        "x.1.bias",
    ]


def test_repr_shows_the_tree():
    assert repr(nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU()))) == (
        "Sequential(\n"
        "  (0): Linear(in_features=2, out_features=3, bias=True)\n"
        "  (1): Sequential(\n"
        "    (0): ReLU()\n"
        "  )\n"
        ")"
    )


# -- modes and gradients


def test_train_and_eval_reach_every_module():
    net = Net()
    assert net.training
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    before = net.state_dict()["body.1.num_batches_tracked"].item()
    assert np.array_equal(net(batch()).array, net(batch()).array)
    assert net.state_dict()["body.1.num_batches_tracked"].item() == before
    assert net.train() is net
    for mode in ("yes", 1, None):
        with pytest.raises(TypeError, match="training mode is True or False, got"):
            net.train(mode)
    assert net.training
    assert all(m.training for m in net.modules())
    net(batch())
    assert net.state_dict()["body.1.num_batches_tracked"].item() == before + 1


def test_shared_parameters_are_one_and_get_both_gradients():
    a = nn.Linear(2, 2, bias=False).double()
    net = nn.Sequential(a, nn.Tanh(), a)
    assert len(list(net.parameters())) == 1
    assert sorted(net.state_dict()) == ["0.weight", "2.weight"]
    x = Tensor(np.random.default_rng(0).normal(size=(3, 2)))
    net(x).sum().backward()
    first, second = nn.Linear(2, 2, bias=False).double(), nn.Linear(2, 2, bias=False).double()
    for layer in (first, second):
        layer.load_state_dict(a.state_dict())
    nn.Sequential(first, nn.Tanh(), second)(x).sum().backward()
    np.testing.assert_allclose(
        a.weight.grad.array, first.weight.grad.array + second.weight.grad.array, rtol=1e-12
    )


def test_zero_grad():
    net = Net()
    net(batch()).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad(set_to_none=False)
    assert all(not p.grad.array.any() for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_frozen_parameters_get_no_gradient():
    net = Net()
    assert net.body.requires_grad_(False) is net.body
    net(batch()).sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is not None] == [
        name for name in PARAMETERS if not name.startswith("body")
    ]


# -- dtypes


def test_dtype_conversion_leaves_integers_alone():
    net = Net().double()
    assert {p.dtype for p in net.parameters()} == {np.dtype(np.float64)}
    dtypes = {name: b.dtype for name, b in net.named_buffers()}
    assert dtypes["body.1.running_mean"] == np.float64
    assert dtypes["steps"] == dtypes["body.1.num_batches_tracked"] == np.int64
    assert net(batch(dtype=np.float64)).dtype == np.float64
    assert {p.dtype for p in net.half().parameters()} == {np.dtype(np.float16)}
    assert {p.dtype for p in net.to("float32").parameters()} == {np.dtype(np.float32)}


def test_to_takes_a_device_and_a_dtype():
    net = nn.Linear(2, 2)
    for call in (
        lambda m: m.to(dtype=tn.float64),
        lambda m: m.to("cpu", tn.float32),
        lambda m: m.to(device="cpu", dtype="float16"),
        lambda m: m.to("cpu", dtype=np.float64),
    ):
        before = net.weight.dtype
        assert call(net) is net
        assert net.weight.dtype != before
    assert net.to().to(None).to(device="cpu").weight.dtype == np.float64
    with pytest.raises(TypeError, match="floating-point dtype, got int64"):
        net.to("cpu", dtype=tn.int64)
    with pytest.raises(ValueError, match="unknown device 'cuda:0': choose one of cpu, cuda"):
        net.to("cuda:0", tn.float16)
    assert net.weight.dtype == np.float64


def test_conversion_keeps_parameters_and_converts_their_gradients():
    layer = nn.Linear(4, 2)
    weight = layer.weight
    layer(batch()).sum().backward()
    expected = weight.grad.array.astype(np.float64)
    layer.double()
    assert layer.weight is weight
    np.testing.assert_array_equal(weight.grad.array, expected)


# -- state


def test_state_dict_is_what_pytorch_would_have(torch):
    class TorchNet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1))
            self.register_buffer("steps", torch.tensor(3))
            self.register_buffer("scratch", torch.zeros(2), persistent=False)
            self.body = torch.nn.Sequential(
                torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.ReLU(), torch.nn.Dropout(0.5)
            )
            self.heads = torch.nn.ModuleList([torch.nn.Linear(6, 2, bias=False), torch.nn.LayerNorm(2)])
            self.tied = self.heads[0]

    mine, reference = Net().state_dict(), TorchNet().state_dict()
    assert list(mine) == list(reference)
    for name, value in reference.items():
        assert mine[name].shape == tuple(value.shape), name
        assert mine[name].dtype == value.numpy().dtype, name


def test_state_dict_shares_memory_and_load_copies_into_it():
    net = Net()
    state = net.state_dict()
    state["scale"].fill_(5)
    assert net.scale.item() == 5
    weight, array = net.body[0].weight, net.body[0].weight.array
    result = net.load_state_dict({name: t.array * 0 for name, t in state.items()})
    assert result.missing_keys == result.unexpected_keys == []
    assert net.body[0].weight is weight
    assert weight.array is array
    assert not array.any()


def test_loading_converts_to_the_modules_dtype():
    layer = nn.Linear(2, 2)
    layer.load_state_dict({"weight": np.eye(2), "bias": np.zeros(2)})
    assert layer.weight.dtype == np.float32


def test_loading_what_does_not_fit_says_everything_and_changes_nothing():
    net = Net()
    before = arrays(net)
    state = {name: t.array + 1 for name, t in net.state_dict().items()}
    del state["scale"]
    state["extra"] = np.ones(1)
    state["body.0.weight"] = np.ones((6, 5))
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(state)
    for words in (
        "missing: scale",
        "unexpected: extra",
        "body.0.weight: the state has shape (6, 5), the module (6, 4)",
    ):
        assert words in str(caught.value)
    after = arrays(net)
    assert all(np.array_equal(after[name], before[name]) for name in before)


def test_a_batch_norm_without_its_count_keeps_its_own(torch):
    def load(library, make, array):
        norm = make(library.nn)
        for _ in range(2):
            norm(array(batch().array))
        new = {"weight", "bias", "running_mean", "running_var"}
        state = {name: array(np.full(4, 7, np.float32)) for name in new}
        loaded = norm.load_state_dict(state)
        return norm.num_batches_tracked.item(), norm.running_mean.tolist(), loaded.missing_keys

    for make in (lambda m: m.BatchNorm1d(4), lambda m: m.BatchNorm1d(4, momentum=None)):
        assert load(tn, make, Tensor) == load(torch, make, torch.tensor) == (2, [7.0] * 4, [])
    net = Net()
    state = net.state_dict()
    del state["body.1.num_batches_tracked"]
    assert net.load_state_dict(state) == ([], [])
    del state["body.1.running_var"]
    with pytest.raises(RuntimeError, match=r"missing: body.1.running_var$"):
        net.load_state_dict(state)


def test_loading_part_of_a_state():
    net = Net()
    result = net.load_state_dict({"scale": np.array([2.0]), "extra": np.ones(1)}, strict=False)
    assert net.scale.item() == 2
    assert result.unexpected_keys == ["extra"]
    assert "body.0.weight" in result.missing_keys
    assert "scale" not in result.missing_keys
    with pytest.raises(RuntimeError, match="shape"):
        net.load_state_dict({"scale": np.ones(3)}, strict=False)


def test_loading_during_a_pending_backward_is_detected():
    layer = nn.Linear(2, 2)
    x = Tensor(np.ones((1, 2), np.float32), requires_grad=True)
    y = layer(x)
    layer.load_state_dict({"weight": np.eye(2), "bias": np.zeros(2)})
    with pytest.raises(RuntimeError, match="in place"):
        y.sum().backward()


# -- copies


@pytest.mark.parametrize(
    "how", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"]
)
def test_copies_are_equal_and_independent(how):
    net = Net()
    net(batch()).sum().backward()
    net.eval()
    twin = how(net)
    assert not twin.training
    assert twin.tied is twin.heads[0]
    assert [name for name, _ in twin.named_parameters()] == PARAMETERS
    assert all(type(p) is nn.Parameter and p.requires_grad for p in twin.parameters())
    np.testing.assert_array_equal(twin(batch()).array, net(batch()).array)
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        assert a is not b
        assert not np.shares_memory(a.array, b.array)
        np.testing.assert_array_equal(a.grad.array, b.grad.array)
        assert not np.shares_memory(a.grad.array, b.grad.array)
    twin.load_state_dict({name: t.array * 0 for name, t in twin.state_dict().items()})
    assert net.scale.item() == 1
    assert "scratch" in dict(twin.named_buffers())
    assert "scratch" not in twin.state_dict()


# -- PyTorch and back

NETWORKS = {
    "MLP with every 1-d normalization": (
        lambda m: m.Sequential(
            m.Linear(6, 8),
            m.BatchNorm1d(8),
            m.ReLU(),
            m.Linear(8, 8, bias=False),
            m.LayerNorm(8),
            m.GELU(),
            m.Linear(8, 8),
            m.RMSNorm(8, eps=1e-5),
            m.PReLU(8),
            m.Linear(8, 8),
            m.GroupNorm(4, 8),
            m.SiLU(),
            m.Dropout(0.0),
            m.Linear(8, 3),
        ),
        (5, 6),
    ),
    "embedding and shapes": (
        lambda m: m.Sequential(
            m.Embedding(7, 4, padding_idx=0),
            m.Flatten(),
            m.Linear(12, 8),
            m.Unflatten(1, (2, 4)),
            m.InstanceNorm1d(2, affine=True, track_running_stats=True),
            m.Flatten(),
            m.Linear(8, 3),
        ),
        None,
    ),
}


@pytest.mark.parametrize(("make", "shape"), NETWORKS.values(), ids=NETWORKS.keys())
def test_state_travels_to_pytorch_and_back_and_trains_alike(make, shape, torch, tmp_path):
    """Saved by one, loaded by the other: the same outputs, and the same weights after 5 steps of both."""
    from safetensors.torch import load_file as load_torch
    from safetensors.torch import save_file as save_torch

    rng = np.random.default_rng(0)
    x = rng.normal(size=shape) if shape else rng.integers(0, 7, (5, 3))
    t = rng.integers(0, 3, 5)
    mine, theirs = make(nn).double(), make(torch.nn).double()
    save_file(arrays(mine), tmp_path / "mine.safetensors")
    theirs.load_state_dict(load_torch(tmp_path / "mine.safetensors"))
    for _ in range(5):
        loss = F.cross_entropy(mine(Tensor(x)), Tensor(t))
        reference = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(t))
        np.testing.assert_allclose(loss.item(), reference.item(), rtol=1e-10)
        for net, result in ((mine, loss), (theirs, reference)):
            net.zero_grad()
            result.backward()
        for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
            np.testing.assert_allclose(p.grad.array, q.grad.numpy(), rtol=1e-8, atol=1e-12)
            p.data -= 0.1 * p.grad.array
            q.data -= 0.1 * q.grad
    save_torch(theirs.state_dict(), tmp_path / "theirs.safetensors")
    state = load_file(tmp_path / "theirs.safetensors")
    for name, value in mine.state_dict().items():
        np.testing.assert_allclose(value.array, state[name], rtol=1e-8, atol=1e-12)
    fresh = make(nn).double()
    fresh.load_state_dict(state)
    np.testing.assert_allclose(
        fresh.eval()(Tensor(x)).array, theirs.eval()(torch.tensor(x)).detach().numpy(), rtol=1e-9, atol=1e-12
    )
