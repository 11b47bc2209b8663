"""A pickled module carries its own values and hooks, and nothing of an optimizer."""

import copy
import pickle

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim

COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
}


def double(dx):
    return dx * 2


def dweight(layer):
    layer.weight.grad = None
    layer(tn.ones(1, 2)).sum().backward()
    return layer.weight.grad.tolist()


@pytest.mark.parametrize("make", [optim.SGD, optim.AdamW])
def test_an_optimizer_adds_nothing_to_a_pickled_module(make):
    head, body = nn.Linear(2, 2), nn.Linear(300, 300)
    before = len(pickle.dumps(head))
    optimizer = make([*head.parameters(), *body.parameters()], lr=0.1)
    assert len(pickle.dumps(head)) < before + 100
    dweight(head)
    optimizer.step()
    assert len(pickle.dumps(head)) < before + 500  # and the gradient
    copied = pickle.loads(pickle.dumps(head))
    assert copied.weight.grad_slot is None
    np.testing.assert_array_equal(copied.weight.array, head.weight.array)
    make(copied.parameters(), lr=0.1).step()
    np.testing.assert_array_equal(copied.bias.grad.array, head.bias.grad.array)


@pytest.mark.parametrize("how", COPIES.values(), ids=COPIES.keys())
def test_a_module_with_a_hook_is_copied(how):
    layer = nn.Linear(2, 2)
    layer.weight.register_hook(double)
    copied = how(layer)
    assert dweight(layer) == [[2, 2], [2, 2]]
    assert dweight(copied) == ([[1, 1], [1, 1]] if how is copy.deepcopy else [[2, 2], [2, 2]])


def test_a_hook_that_cannot_be_pickled_is_named():
    layer = nn.Linear(2, 2)
    handle = layer.weight.register_hook(lambda dx: dx * 3)
    with pytest.raises(pickle.PicklingError, match=r"has the hook .*lambda.*define it as a function"):
        pickle.dumps(layer)
    for how in (copy.copy, copy.deepcopy):
        how(layer)
    assert dweight(layer) == [[3, 3], [3, 3]]
    handle.remove()
    assert dweight(pickle.loads(pickle.dumps(layer))) == [[1, 1], [1, 1]]


def test_a_parameter_copied_alone_keeps_its_hook():
    weight = nn.Parameter(tn.ones(2))
    weight.register_hook(lambda dx: dx * 3)
    copied = copy.copy(weight)
    (copied * 1.0).sum().backward()
    assert copied.grad.tolist() == [3, 3]
