"""Loading a state: all of it, or nothing and a list of what does not fit."""

import datetime
import warnings

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim

NOT_NUMBERS = {
    "text": np.array(["1.5", "x"]),
    "text that reads as numbers": np.array(["1.5", "2.5"]),
    "bytes": np.array([b"1", b"2"]),
    "dates": np.array(["2026-01-01", "2026-01-02"], "M8[D]"),
    "durations": np.array([1, 2], "m8[s]"),
    "complex": np.array([1j, 2j]),
    "objects": np.array([datetime.date(2026, 1, 1), None]),
    "unequal lengths": [[1.0], [2.0, 3.0]],
    "a text": "ab",
    "None": None,
}


@pytest.mark.parametrize("value", NOT_NUMBERS.values(), ids=NOT_NUMBERS.keys())
@pytest.mark.parametrize("strict", [True, False])
def test_values_that_are_not_numbers_change_nothing(value, strict):
    layer = nn.Linear(3, 2)
    before = {name: x.tolist() for name, x in layer.state_dict().items()}
    with pytest.raises(RuntimeError, match=r"bias: the state has (values of dtype|a list, which)"):
        layer.load_state_dict({"weight": np.zeros((2, 3)), "bias": value}, strict)
    assert {name: x.tolist() for name, x in layer.state_dict().items()} == before


@pytest.mark.parametrize("value", NOT_NUMBERS.values(), ids=NOT_NUMBERS.keys())
def test_an_optimizers_state_of_other_values_changes_nothing(value):
    if value is None:
        return  # None is what PyTorch saves for a moment that does not exist
    x = nn.Parameter(tn.ones(2))
    optimizer = optim.SGD([x], lr=0.1, momentum=0.9)
    x.grad = tn.ones(2)
    optimizer.step()
    state = optimizer.state_dict()
    state["state"][0]["momentum_buffer"] = value
    state["param_groups"][0]["lr"] = 5.0
    with pytest.raises(ValueError, match=r"parameter 0: momentum_buffer has (values of dtype|a list, which)"):
        optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert optimizer.state[x]["momentum_buffer"].tolist() == [1, 1]


def test_every_problem_is_listed():
    layer = nn.Linear(3, 2)
    with pytest.raises(RuntimeError) as caught:
        layer.load_state_dict({"weight": np.array("x"), "bias": np.zeros(3), 5: np.zeros(1)})
    for words in ("unexpected: 5", "weight: the state has values of dtype <U1", "bias: the state has shape"):
        assert words in str(caught.value)


def test_memory_that_cannot_be_written_changes_nothing():
    net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    fixed = np.ones((1, 1), np.float32)
    fixed.flags.writeable = False
    net[1].weight = nn.Parameter(fixed)
    before = net[0].weight.item()
    with pytest.raises(RuntimeError, match=r"1.weight: the module's array is read-only; make .* from a copy"):
        net.load_state_dict({name: x.numpy() * 0 + 3 for name, x in net.state_dict().items()})
    assert net[0].weight.item() == before


def test_numbers_of_every_type_fit():
    layer = nn.Linear(2, 1).half()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer.load_state_dict({"weight": [[True, False]], "bias": np.array([1e30])})
    assert layer.weight.tolist() == [[1, 0]]
    assert layer.bias.tolist() == [np.inf]


def test_the_recipe_of_the_docs_saves_transposes_as_they_are():
    """safetensors writes the bytes as they lie; a NumPy copy lies in C order."""
    from safetensors.numpy import load, save

    w = np.arange(6.0).reshape(2, 3)
    module = nn.Module()
    module.p = nn.Parameter(tn.tensor(np.ones((3, 2))))
    module.p.data = tn.tensor(w.T)
    module.register_buffer("a", tn.tensor(w).T)
    module.register_buffer("b", tn.tensor(np.asfortranarray(w)))
    stored = load(save({name: x.numpy().copy() for name, x in module.state_dict().items()}))
    for name, expected in (("p", w.T), ("a", w.T), ("b", w)):
        np.testing.assert_array_equal(stored[name], expected, err_msg=name)
