"""Containers: order, names, indexing, and errors."""

from collections import OrderedDict

import numpy as np
import pytest

from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor


def layers(n=3):
    return [nn.Linear(2, 2) for _ in range(n)]


def test_sequential_calls_one_after_the_other():
    a, b = layers(2)
    x = Tensor(np.ones((1, 2), np.float32))
    np.testing.assert_array_equal(nn.Sequential(a, nn.ReLU(), b)(x).array, b(nn.ReLU()(a(x))).array)
    assert nn.Sequential()(x) is x


def test_names_are_pytorchs(torch):
    for make in (
        lambda m: m.Sequential(m.Linear(2, 3), m.ReLU(), m.Linear(3, 2)),
        lambda m: m.Sequential(OrderedDict(first=m.Linear(2, 3), second=m.Linear(3, 2))),
        lambda m: m.Sequential(m.Sequential(m.Linear(2, 3)), m.BatchNorm1d(3)),
        lambda m: m.ModuleList([m.Linear(2, 3), m.Linear(3, 2)]),
        lambda m: m.ModuleDict({"a": m.Linear(2, 3), "b": m.Linear(3, 2)}),
    ):
        mine, reference = make(nn), make(torch.nn)
        assert {k: v.shape for k, v in mine.state_dict().items()} == {
            k: tuple(v.shape) for k, v in reference.state_dict().items()
        }


@pytest.mark.parametrize(
    "container", [lambda ms: nn.Sequential(*ms), nn.ModuleList], ids=["Sequential", "ModuleList"]
)
class TestSequences:
    def test_indexing(self, container):
        a, b, c = layers()
        sequence = container([a, b, c])
        assert len(sequence) == 3
        assert list(sequence) == [a, b, c]
        assert [sequence[0], sequence[-1], sequence[np.int64(1)]] == [a, c, b]
        part = sequence[1:]
        assert type(part) is type(sequence)
        assert list(part) == [b, c]
        assert b in sequence
        assert nn.ReLU() not in sequence

    def test_out_of_range(self, container):
        sequence = container(layers(2))
        for index in (2, -3):
            with pytest.raises(IndexError, match="2 modules"):
                sequence[index]

    def test_changing(self, container):
        a, b, c = layers()
        sequence = container([a])
        assert sequence.append(b) is sequence
        assert sequence.extend([c]) is sequence
        assert list(sequence) == [a, b, c]
        sequence[1] = relu = nn.ReLU()
        assert sequence[1] is relu
        assert "1.weight" not in sequence.state_dict()
        sequence.insert(1, b)
        assert list(sequence) == [a, b, relu, c]
        assert list(sequence._modules) == ["0", "1", "2", "3"]
        del sequence[2]
        assert list(sequence) == [a, b, c]
        del sequence[:2]
        assert list(sequence.state_dict()) == ["0.weight", "0.bias"]

    def test_only_modules(self, container):
        for wrong in (lambda x: x, None, 3):
            with pytest.raises(TypeError, match="holds Modules"):
                container([wrong])
        with pytest.raises(TypeError, match=r"pass an instance, with \(\)"):
            container([nn.ReLU])
        with pytest.raises(TypeError, match="holds Modules"):
            container(layers(1)).append(3)


def test_a_slice_of_named_modules_keeps_the_names():
    named = nn.Sequential(OrderedDict(a=nn.Linear(2, 2), b=nn.ReLU(), c=nn.Linear(2, 2)))
    assert list(named[1:].state_dict()) == ["c.weight", "c.bias"]
    assert named[0] is named.a


def test_module_list_has_no_forward():
    with pytest.raises(NotImplementedError, match="ModuleList must define forward"):
        nn.ModuleList(layers(1))(Tensor([1.0]))


def test_a_list_is_made_of_several_modules():
    for one in (nn.Linear(2, 2), 0):
        with pytest.raises(TypeError, match=f"takes a list of modules, got {type(one).__name__}"):
            nn.ModuleList(one)
        with pytest.raises(TypeError, match="takes a list of modules"):
            nn.Sequential().extend(one)
    a, b = layers(2)
    assert list(nn.ModuleList(nn.Sequential(a, b))) == [a, b]


def test_module_dict():
    a, b = layers(2)
    named = nn.ModuleDict({"a": a})
    named["b"] = b
    assert list(named) == list(named.keys()) == ["a", "b"]
    assert list(named.values()) == [a, b]
    assert dict(named.items()) == {"a": a, "b": b}
    assert named["b"] is b
    assert "a" in named
    assert len(named) == 2
    del named["a"]
    assert "a" not in named
    assert list(named.state_dict()) == ["b.weight", "b.bias"]
    with pytest.raises(KeyError):
        named["a"]
    with pytest.raises(KeyError, match="attribute 'keys' already"):
        named["keys"] = a
    with pytest.raises(TypeError, match="holds Modules"):
        named["c"] = 3


def test_flatten_and_unflatten_as_pytorch(torch):
    x = np.arange(24.0).reshape(2, 3, 4)
    for options in ({}, {"start_dim": 0}, {"start_dim": 0, "end_dim": 1}):
        expected = torch.nn.Flatten(**options)(torch.tensor(x)).numpy()
        np.testing.assert_array_equal(nn.Flatten(**options)(Tensor(x)).array, expected)
        assert repr(nn.Flatten(**options)) == repr(torch.nn.Flatten(**options))
    for size in ((2, 2), (2, -1)):
        expected = torch.nn.Unflatten(2, size)(torch.tensor(x)).numpy()
        np.testing.assert_array_equal(nn.Unflatten(2, size)(Tensor(x)).array, expected)
        assert repr(nn.Unflatten(2, size)) == repr(torch.nn.Unflatten(2, size))
