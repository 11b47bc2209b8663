"""Saving and loading state: later steps are the same bit for bit; a state that does not fit raises."""

import json

import numpy
import pytest

from tinygrad_norm import optim
from tinygrad_norm.autograd.tensor import Tensor
from tinygrad_norm.module import Parameter

SHAPES = [(3, 4), (4,), (), (2, 2)]
MAKE = {
    "SGD": lambda p: optim.SGD(p, 0.1),
    "momentum": lambda p: optim.SGD(p, 0.1, momentum=0.9, dampening=0.2, weight_decay=0.01),
    "Adam": lambda p: optim.Adam(p, 0.1),
    "AMSGrad": lambda p: optim.Adam(p, 0.1, amsgrad=True),
    "Adadelta": lambda p: optim.Adadelta(p, 0.1),
    "Adamax": lambda p: optim.Adamax(p, 0.1),
    "NAdam": lambda p: optim.NAdam(p, 0.1),
    "RAdam": lambda p: optim.RAdam(p, 0.1, betas=(0.5, 0.6)),
    "ASGD": lambda p: optim.ASGD(p, 0.1, t0=2),
    "Rprop": lambda p: optim.Rprop(p, 0.1),
    "LARS": lambda p: optim.LARS(p, 0.1, momentum=0.9, weight_decay=0.1),
    "LAMB": lambda p: optim.LAMB(p, 0.1),
    "Muon": lambda p: optim.MuonWithAuxAdam(
        [
            {"params": [q for q in p if q.ndim == 2], "use_muon": True},
            {"params": [q for q in p if q.ndim != 2], "use_muon": False},
        ],
        0.1,
    ),
    "groups": lambda p: optim.AdamW(
        [{"params": p[:1], "lr": 0.3}, {"params": p[1:], "betas": (0.5, 0.6)}], 0.1
    ),
}
makers = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE.keys())


def parameters(dtype=numpy.float32):
    rng = numpy.random.default_rng(0)
    return [Parameter(numpy.asarray(rng.normal(size=shape), dtype)) for shape in SHAPES]


def train(params, optimizer, steps):
    for step in steps:
        rng = numpy.random.default_rng(step)
        for i, p in enumerate(params):
            absent = i == 3 or (i == 1 and step % 2)
            dx = numpy.asarray(rng.normal(size=p.shape), p.dtype)
            p.grad = None if absent else Tensor(dx)
        optimizer.step()


def through_json(state):
    """The state as loaded from a checkpoint: arrays, lists, and keys that became text."""
    arrays = {
        f"{i}.{name}": value.array for i, entry in state["state"].items() for name, value in entry.items()
    }
    groups = json.loads(json.dumps(state["param_groups"]))
    entries = {}
    for name, array in arrays.items():
        number, _, key = name.partition(".")
        entries.setdefault(number, {})[key] = array
    return {"state": entries, "param_groups": groups}


@makers
@pytest.mark.parametrize("passed", [lambda state: state, through_json], ids=["directly", "json"])
def test_resuming_is_the_same_bit_for_bit(make, passed):
    params = parameters()
    optimizer = make(params)
    train(params, optimizer, range(5))
    saved, values = passed(optimizer.state_dict()), [p.array.copy() for p in params]
    train(params, optimizer, range(5, 12))
    resumed = [Parameter(value) for value in values]
    again = make(resumed)
    again.load_state_dict(saved)
    train(resumed, again, range(5, 12))
    for p, q in zip(params, resumed, strict=True):
        numpy.testing.assert_array_equal(p.array, q.array)


@makers
def test_loading_forgets_what_was_before(make):
    params = parameters()
    optimizer = make(params)
    fresh = optimizer.state_dict()
    values = [p.array.copy() for p in params]
    train(params, optimizer, range(4))
    first = [p.array.copy() for p in params]
    for p, value in zip(params, values, strict=True):
        p.copy_(value)
    optimizer.load_state_dict(fresh)
    assert not optimizer.state
    train(params, optimizer, range(4))
    for p, value in zip(params, first, strict=True):
        numpy.testing.assert_array_equal(p.array, value)


@makers
def test_the_state_is_a_snapshot(make):
    params = parameters()
    optimizer = make(params)
    train(params, optimizer, range(3))
    saved = optimizer.state_dict()
    before = through_json(saved)
    before["state"] = {i: {k: v.copy() for k, v in entry.items()} for i, entry in before["state"].items()}
    train(params, optimizer, range(3, 5))
    optimizer.param_groups[0]["lr"] = 7
    after = through_json(saved)
    assert before["param_groups"] == after["param_groups"]
    for i, entry in before["state"].items():
        for name, value in entry.items():
            numpy.testing.assert_array_equal(after["state"][i][name], value)


@makers
def test_a_state_that_is_loaded_is_saved_in_the_same_order(make):
    params = parameters()
    optimizer = make(params)
    train(params, optimizer, range(3))
    saved = optimizer.state_dict()
    other = make(params)
    other.load_state_dict(saved)
    assert [list(e) for e in other.state_dict()["state"].values()] == [
        list(e) for e in saved["state"].values()
    ]


def test_parameters_without_gradient_have_no_state():
    params = parameters()
    optimizer = optim.Adam(params)
    train(params, optimizer, range(3))
    saved = optimizer.state_dict()
    assert sorted(saved["state"]) == [0, 1, 2]
    assert [saved["state"][i]["step"].item() for i in range(3)] == [3, 2, 3]
    assert saved["state"][0]["exp_avg"].shape == (3, 4)


def test_a_frozen_parameter_keeps_its_state_through_a_checkpoint():
    params = parameters()
    optimizer = optim.Adam(params)
    train(params, optimizer, range(3))
    params[0].requires_grad_(False)
    saved = optimizer.state_dict()
    resumed = parameters()
    resumed[0].requires_grad_(False)
    again = optim.Adam(resumed)
    again.load_state_dict(saved)
    loaded = again.state_dict()["state"][0]
    numpy.testing.assert_array_equal(loaded["exp_avg"].array, saved["state"][0]["exp_avg"].array)
    assert loaded["step"].item() == 3


def test_a_frozen_parameter_keeps_its_state_when_a_group_is_added():
    params = parameters()
    optimizer = optim.Adam(params[:2])
    train(params[:2], optimizer, range(3))
    moment = optimizer.state[params[0]]["exp_avg"].array.copy()
    params[0].requires_grad_(False)
    optimizer.add_param_group({"params": params[2:]})
    assert optimizer.state[params[0]]["step"].item() == 3
    numpy.testing.assert_array_equal(optimizer.state[params[0]]["exp_avg"].array, moment)


def test_a_parameter_taken_out_of_its_group_leaves_the_state():
    params = parameters()
    optimizer = optim.Adam(params)
    train(params, optimizer, range(3))
    moment = optimizer.state[params[1]]["exp_avg"].array.copy()
    del optimizer.param_groups[0]["params"][0]
    saved = optimizer.state_dict()
    assert sorted(saved["state"]) == [0, 1]
    numpy.testing.assert_array_equal(saved["state"][0]["exp_avg"].array, moment)


def test_state_shares_memory_and_cannot_be_replaced_undetected():
    params = parameters()
    optimizer = optim.SGD(params, momentum=0.9)
    train(params, optimizer, range(2))
    state = optimizer.state[params[0]]
    state["momentum_buffer"].zero_()
    assert not optimizer.state_dict()["state"][0]["momentum_buffer"].array.any()
    with pytest.raises(TypeError):
        state["momentum_buffer"] = Tensor(numpy.zeros(2))
    with pytest.raises(TypeError):
        optimizer.state[params[0]] = {}


def saved_by(make=MAKE["Adam"], params=None):
    params = params or parameters()
    optimizer = make(params)
    train(params, optimizer, range(2))
    return optimizer.state_dict()


def changed(change):
    state = saved_by()
    change(state)
    return state


REFUSED = {
    "no parts": ({}, "state and param_groups missing"),
    "groups": (saved_by(MAKE["groups"]), r"groups of \[1, 3\] parameters.*\[4\]"),
    "optimizer": (saved_by(MAKE["momentum"]), "lacks the options amsgrad, betas, eps"),
    "size": (saved_by(params=parameters()[:3]), r"\[3\] parameters"),
    "shape": (
        changed(lambda s: s["state"][0].update(exp_avg=numpy.zeros((4, 3)))),
        r"parameter 0: exp_avg has shape \(4, 3\), expected \(3, 4\)",
    ),
    "missing": (
        changed(lambda s: s["state"][1].pop("exp_avg_sq")),
        "parameter 1: the state has step, exp_avg",
    ),
    "unknown": (changed(lambda s: s["state"][1].update(momentum_buffer=numpy.zeros(4))), "momentum_buffer"),
    "number": (changed(lambda s: s["state"].update({9: s["state"][0]})), r"parameters \[9\]"),
    "step": (changed(lambda s: s["state"][0].update(step=0)), "step must be at least 1"),
    "option": (changed(lambda s: s["param_groups"][0].update(lr=-1)), "lr"),
    "params": (changed(lambda s: s["param_groups"][0].pop("params")), 'no "params"'),
    "None": (None, "the dict that its state_dict.. returned, got NoneType"),
    "text": ("a", "got str"),
    "parts": ({"state": None, "param_groups": None}, "got NoneType and NoneType"),
    "entries": ({"state": {}, "param_groups": [1]}, "is a dict"),
    "moments": (changed(lambda s: s["state"].update({0: 1})), "is a dict"),
}


@pytest.mark.parametrize(("state", "match"), REFUSED.values(), ids=REFUSED.keys())
def test_a_state_that_does_not_fit_raises_and_changes_nothing(state, match):
    params = parameters()
    optimizer = optim.Adam(params)
    train(params, optimizer, range(3))
    before = through_json(optimizer.state_dict())
    with pytest.raises((TypeError, ValueError), match=match):
        optimizer.load_state_dict(state)
    after = through_json(optimizer.state_dict())
    assert before["param_groups"] == after["param_groups"]
    for i, entry in before["state"].items():
        for name, value in entry.items():
            numpy.testing.assert_array_equal(after["state"][i][name], value)
