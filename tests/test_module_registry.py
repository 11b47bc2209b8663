"""A module's attributes and registries are one thing, however it is changed, copied or pickled."""

import copy
import pickle

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.scale = nn.Parameter(tn.ones(2))
        self.register_buffer("steps", tn.zeros(1))
        self.register_buffer("scratch", tn.zeros(1), persistent=False)

    def forward(self, x):
        return self.fc(x) * self.scale


def registered(net):
    return {name: dict(getattr(net, name)) for name in ("_parameters", "_buffers", "_modules")}


def assert_one_thing(net):
    """Every registered value is the attribute, once, and what walks the module finds it."""
    entries = [entry for registry in registered(net).values() for entry in registry.items()]
    assert len({name for name, _ in entries}) == len(entries)
    for name, value in entries:
        assert getattr(net, name) is value
    assert [m for m in net._modules.values() if m is not None] == [m for _, m in net.named_children()]
    own = {name: p for name, p in net._parameters.items() if p is not None}
    assert own == dict(net.named_parameters(recurse=False))
    for name, value in vars(net).items():
        if isinstance(value, nn.Parameter):
            assert net._parameters[name] is value
        elif isinstance(value, nn.Module):
            assert net._modules[name] is value


def test_forward_calls_the_module_set_in_the_registry():
    net, x = Net(), tn.tensor([[1.0, 2.0]])
    net._modules["fc"] = nn.Identity()
    assert net(x).tolist() == [[1, 2]]
    net._parameters["scale"] = nn.Parameter(tn.tensor([3.0, 4.0]))
    assert net(x).tolist() == [[3, 8]]
    net._buffers["scratch"] = tn.ones(1)
    assert net.scratch.item() == 1
    assert list(net.state_dict()) == ["scale", "steps"]
    assert_one_thing(net)


CHANGES = {
    "set a module": lambda net: net._modules.__setitem__("fc", nn.Identity()),
    "set a new module": lambda net: net._modules.__setitem__("new", nn.ReLU()),
    "set None": lambda net: net._parameters.__setitem__("scale", None),
    "a parameter becomes a module": lambda net: net._modules.__setitem__("scale", nn.ReLU()),
    "a module becomes a parameter": lambda net: setattr(net, "fc", nn.Parameter(tn.ones(1))),
    "a plain attribute becomes a buffer": lambda net: (
        setattr(net, "plain", tn.ones(1)),
        net._buffers.__setitem__("plain", net.plain),
    ),
    "delete in the registry": lambda net: net._modules.__delitem__("fc"),
    "delete the attribute": lambda net: delattr(net, "scale"),
    "pop": lambda net: net._buffers.pop("scratch"),
    "clear": lambda net: net._parameters.clear(),
    "update": lambda net: net._modules.update(a=nn.ReLU(), fc=nn.ReLU()),
    "assign a registry": lambda net: setattr(net, "_modules", {"scale": nn.ReLU(), "b": nn.ReLU()}),
    "object.__setattr__": lambda net: object.__setattr__(net, "fc", nn.ReLU()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_every_change_reaches_attributes_and_registries(change):
    net = Net()
    change(net)
    assert_one_thing(net)


def test_registries_raise_the_errors_of_a_dict():
    net = Net()
    for name in ("nothing", "scale"):
        with pytest.raises(KeyError, match=name):
            net._modules[name]
        with pytest.raises(KeyError, match=name):
            del net._modules[name]
    assert "scale" not in net._modules
    assert repr(net._buffers) == repr({"steps": net.steps, "scratch": net.scratch})
    assert net._modules.copy() == {"fc": net.fc}


class Copied(Net):
    """Copies of one's own, as they are written for PyTorch."""

    def __copy__(self):
        new = type(self).__new__(type(self))
        new.__dict__.update(self.__dict__)
        return new

    def __deepcopy__(self, memo):
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        new.__dict__ = copy.deepcopy(self.__dict__, memo)
        return new


class Rebuilt(Net):
    def __deepcopy__(self, memo):
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        for name, value in self.__dict__.items():
            setattr(new, name, copy.deepcopy(value, memo))
        return new


class Stateful(Net):
    def __getstate__(self):
        return self.__dict__.copy()

    def __setstate__(self, state):
        self.__dict__ = state


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
}


@pytest.mark.parametrize("how", COPIES.values(), ids=COPIES.keys())
@pytest.mark.parametrize("kind", [Net, Copied, Rebuilt, Stateful])
def test_a_copy_and_its_original_change_apart(kind, how):
    a = kind()
    before = registered(a)
    b = how(a)
    assert list(b.state_dict()) == list(a.state_dict())
    assert_one_thing(b)
    b.extra = nn.Parameter(tn.ones(1))
    b.fc = nn.Identity()
    b.register_buffer("steps", None)
    del b.scale
    assert registered(a) == before
    assert list(b.state_dict()) == ["extra"]
    a.other = nn.Parameter(tn.ones(1))
    assert "other" not in b.state_dict()
    assert_one_thing(a)
    assert_one_thing(b)


def test_a_shallow_copy_shares_what_it_has_not_changed():
    a = Net()
    b = copy.copy(a)
    assert b.scale is a.scale
    assert b.fc is a.fc


def test_a_module_pickled_when_registries_were_dicts_is_read():
    net = Net()
    older = {
        "_parameters": {"scale": net.scale, "bias": None},
        "_buffers": {"steps": net.steps, "scratch": net.scratch},
        "_modules": {"fc": net.fc, "0": nn.ReLU()},
        "_not_persistent": {"scratch"},
        "training": False,
        "scale": net.scale,
        "bias": None,
        "steps": net.steps,
        "scratch": net.scratch,
        "fc": net.fc,
        "plain": 7,
    }
    read = Net.__new__(Net)
    read.__setstate__(older)
    assert (read.plain, read.bias, read.training) == (7, None, False)
    assert list(read.state_dict()) == ["scale", "steps", "fc.weight", "fc.bias"]
    assert [name for name, _ in read.named_children()] == ["fc", "0"]
    assert_one_thing(read)


def test_plain_attributes_may_come_before_init():
    class Net(nn.Module):
        def __init__(self):
            self.width = 3
            super().__init__()
            self.fc = nn.Linear(self.width, 1)

    net = Net()
    assert (net.width, net.training) == (3, True)
    assert_one_thing(net)


def test_without_init_the_error_says_so():
    class Late(nn.Module):
        def __init__(self):
            self.width = 3

    for use in (lambda m: list(m.parameters()), lambda m: m.state_dict(), repr):
        with pytest.raises(AttributeError, match=r"call super\(\).__init__\(\) in Late"):
            use(Late())
    for value in (nn.Parameter(tn.ones(1)), nn.ReLU()):
        with pytest.raises(AttributeError, match=r"super\(\).__init__\(\) first"):
            Late().x = value


class Properties(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(tn.ones(2, 2))

    @property
    def transposed(self):
        return self.wieght.T

    @property
    def layer(self):
        return self.inner

    @layer.setter
    def layer(self, layer):
        self.inner = layer


def parametrized():
    net = Properties()
    return nn.utils.parametrizations.weight_norm(net)


@pytest.mark.parametrize("make", [Properties, parametrized])
def test_a_misspelt_name_inside_a_property_is_the_one_reported(make):
    net = make()
    with pytest.raises(AttributeError, match="'wieght'"):
        _ = net.transposed
    with pytest.raises(AttributeError, match="has no attribute 'absent'"):
        _ = net.absent


def test_a_property_is_set_by_its_setter_alone():
    net = Properties()
    net.layer = relu = nn.ReLU()
    assert net.layer is net.inner is relu
    assert list(net._modules) == ["inner"]
    with pytest.raises(AttributeError, match="no setter"):
        net.transposed = nn.Parameter(tn.ones(1))
    assert list(net.state_dict()) == ["weight"]


def test_many_children():
    net = nn.Sequential(*[nn.Identity() for _ in range(300)])
    net.insert(0, nn.ReLU())
    assert list(net._modules) == [str(i) for i in range(301)]
    assert np.array_equal(net(tn.tensor([-1.0])).array, [0])
    assert_one_thing(net)
