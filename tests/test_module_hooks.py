"""Forward hooks of modules, compared with PyTorch's."""

import copy
import pickle

import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn


class Scale(nn.Module):
    def forward(self, x, by=2.0):
        return x * by


def add_one(module, args):
    return args[0] + 1


def test_a_hook_sees_and_replaces_inputs_and_outputs():
    seen, layer = [], Scale()
    before = layer.register_forward_pre_hook(lambda module, args: seen.append((module, args)))
    after = layer.register_forward_hook(lambda module, args, y: seen.append((module, args, y)))
    x = tn.tensor([1.0, 2.0])
    y = layer(x)
    assert seen == [(layer, (x,)), (layer, (x,), y)]
    for handle in (before, after, before):
        handle.remove()
    layer(x)
    assert len(seen) == 2
    with layer.register_forward_pre_hook(add_one):
        assert layer(x).tolist() == [4, 6]
    with layer.register_forward_hook(lambda module, args, y: y + args[0]):
        assert layer(x).tolist() == [3, 6]
    assert layer(x).tolist() == [2, 4]


def trace(library):
    """What hooks of every kind see and return, in order, as PyTorch does it."""
    calls = []

    class Layer(library.nn.Module):
        def forward(self, x, *, by=2.0):
            return x * by

    def before(name):
        return lambda module, args: calls.append((name, args[0].tolist()))

    layer = Layer()
    layer.register_forward_pre_hook(before("first"))
    layer.register_forward_pre_hook(lambda module, args: args[0] + 1)
    layer.register_forward_pre_hook(lambda module, args: (args[0] + 1,), prepend=True)
    layer.register_forward_pre_hook(lambda module, args, kwargs: (args, {"by": 3.0}), with_kwargs=True)
    layer.register_forward_pre_hook(lambda module, args, kwargs: calls.append(dict(kwargs)), with_kwargs=True)
    layer.register_forward_hook(lambda module, args, y: calls.append(("after", args[0].tolist(), y.tolist())))
    layer.register_forward_hook(lambda module, args, y: y - 1, prepend=True)
    layer.register_forward_hook(lambda module, args, kwargs, y: y * kwargs["by"], with_kwargs=True)
    return calls, layer(library.tensor([1.0]), by=5.0).tolist()


def test_hooks_run_in_the_order_of_pytorch(torch):
    expected = [("first", [2.0]), {"by": 3.0}, ("after", [3.0], [8.0])], [24.0]
    assert trace(tn) == expected == trace(torch)


def test_the_gradient_of_an_activation():
    x, gradients = tn.tensor([[1.0, -1.0]], requires_grad=True), []
    net = nn.Sequential(Scale(), nn.ReLU())
    handle = net[0].register_forward_hook(lambda module, args, y: y.register_hook(gradients.append) and None)
    net(x).sum().backward()
    assert [dy.tolist() for dy in gradients] == [[[1, 0]]]
    handle.remove()


def test_a_hook_that_removes_itself_does_not_disturb_the_others():
    seen, layer = [], Scale()

    def once(module, args, y):
        seen.append("once")
        handle.remove()

    handle = layer.register_forward_hook(once)
    layer.register_forward_hook(lambda module, args, y: seen.append("always"))
    layer(tn.ones(1))
    layer(tn.ones(1))
    assert seen == ["once", "always", "always"]


@pytest.mark.parametrize(
    "how",
    [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copy_has_the_hooks(how):
    layer = nn.Linear(1, 1)
    plain = len(pickle.dumps(layer))
    handle = layer.register_forward_pre_hook(add_one)
    copied = how(layer)
    x = tn.ones(1, 1)
    assert copied(x).item() == layer(x).item() == layer.forward(x + 1).item()
    handle.remove()
    assert len(pickle.dumps(layer)) < plain + 50


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_what_is_not_a_hook_raises(register):
    with pytest.raises(TypeError, match="a hook is a function of the module and what passes it, got 3"):
        getattr(Scale(), register)(3)
    with pytest.raises(TypeError, match="prepend"):
        getattr(Scale(), register)(print, prepend=1)
    layer = Scale()
    layer.register_forward_pre_hook(lambda module, args, kwargs: 3, with_kwargs=True)
    with pytest.raises(RuntimeError, match=r"returns None or \(args, kwargs\), got 3"):
        layer(tn.ones(1))
