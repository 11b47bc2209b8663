"""What shares memory with a parameter follows when an optimizer moves it, or a warning says so."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim


def step(layer, optimizer):
    optimizer.zero_grad()
    layer(tn.ones(1, 2)).sum().backward()
    optimizer.step()


SHARED = {
    "state_dict": lambda layer: layer.state_dict()["weight"],
    "detach": lambda layer: layer.weight.detach(),
    "detached twice": lambda layer: layer.weight.detach().detach(),
    "state_dict of a container": lambda layer: nn.Sequential(layer).state_dict()["0.weight"],
}


@pytest.mark.parametrize("take", SHARED.values(), ids=SHARED.keys())
@pytest.mark.parametrize("make", [optim.SGD, optim.AdamW])
def test_detached_tensors_follow(take, make):
    layer = nn.Linear(2, 2)
    held = take(layer)
    optimizer = make(layer.parameters(), lr=0.1)
    step(layer, optimizer)
    np.testing.assert_array_equal(held.array, layer.weight.array)
    held.fill_(5)
    assert layer.weight.tolist() == [[5, 5], [5, 5]]
    second = nn.Parameter(tn.ones(1))
    optimizer.add_param_group({"params": [second]})  # all parameters move once more
    step(layer, optimizer)
    assert held.tolist() == layer.weight.tolist() != [[5, 5], [5, 5]]
    step(layer, make(layer.parameters(), lr=0.1))
    assert held.tolist() == layer.weight.tolist()


def test_the_tensor_that_a_parameter_was_made_of_follows():
    data = tn.ones(2)
    weight = nn.Parameter(data)
    optimizer = optim.SGD([weight], lr=1.0)
    weight.grad = tn.ones(2)
    optimizer.step()
    assert data.tolist() == weight.tolist() == [0, 0]


def test_new_data_is_left_alone_by_what_shared_the_old():
    layer = nn.Linear(2, 2)
    held = layer.weight.detach()
    before = held.tolist()
    layer.weight.data = np.zeros((2, 2), np.float32)
    step(layer, optim.SGD(layer.parameters(), lr=0.1))
    assert held.tolist() == before


ARRAYS = {
    "numpy": lambda layer: layer.weight.numpy(),
    "data": lambda layer: layer.weight.data,
    "a view": lambda layer: layer.weight.numpy()[0],
    "of a state_dict": lambda layer: layer.state_dict()["weight"].numpy(),
}


@pytest.mark.parametrize("take", ARRAYS.values(), ids=ARRAYS.keys())
def test_an_array_that_cannot_follow_is_warned_of(take):
    layer = nn.Linear(2, 2)
    held = take(layer)
    before = held.tolist()
    with pytest.warns(UserWarning, match=r"shape \(2, 2\) that .numpy\(\) or .data returned.* keeps"):
        optimizer = optim.SGD(layer.parameters(), lr=0.1)
    step(layer, optimizer)
    assert held.tolist() == before


def test_no_warning_if_nothing_is_held():
    layer = nn.Linear(2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer.weight.data -= 0.1
        copied = layer.weight.numpy().copy()
        optimizer = optim.SGD(layer.parameters(), lr=0.1)
        held = layer.weight.numpy()
        step(layer, optimizer)
    np.testing.assert_array_equal(held, layer.weight.array)
    assert copied.tolist() != held.tolist()


def test_copies_share_nothing():
    layer = nn.Linear(2, 2)
    state = layer.state_dict()
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        step(copied, optim.SGD(copied.parameters(), lr=0.1))
        assert state["weight"].array is layer.weight.array
