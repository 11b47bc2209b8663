"""Schedules: the order of steps, steps to a given epoch, and callable objects with a state."""

import functools
import pickle
import warnings

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.optim import lr_scheduler

MAKE = {
    "StepLR": lambda s, o: s.StepLR(o, 3, 0.5),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.1, 0.8, 4),
    "Cosine": lambda s, o: s.CosineAnnealingLR(o, 7, 0.01),
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda t: 0.9**t),
    "OneCycle": lambda s, o: s.OneCycleLR(o, 0.5, 30),
}
IN_A_ROW = {
    "Sequential": lambda s, o: s.SequentialLR(o, [s.StepLR(o, 3), s.LinearLR(o)], [2]),
    "Sequential at once": lambda s, o: s.SequentialLR(o, [s.StepLR(o, 3), s.LinearLR(o)], [1]),
}


def sgd(library=None):
    if library is None:
        return optim.SGD([nn.Parameter(tn.ones(2))], lr=0.1, momentum=0.9)
    return library.optim.SGD([library.nn.Parameter(library.ones(2))], lr=0.1, momentum=0.9)


@pytest.mark.parametrize("make", [*MAKE.values(), *IN_A_ROW.values()], ids=[*MAKE, *IN_A_ROW])
def test_a_first_rate_that_is_never_used_is_warned_of(make):
    optimizer = sgd()
    schedule = make(lr_scheduler, optimizer)
    with pytest.warns(
        UserWarning, match="before optimizer.step.*the first learning rate is never used"
    ) as seen:
        schedule.step()
    assert len(seen) == 1
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule.step()
        other = sgd()
        right = make(lr_scheduler, other)
        other.step()
        right.step()
        pickle.loads(pickle.dumps(other)).step()


def test_an_optimizer_with_a_step_of_its_own_is_trusted():
    class Own(optim.SGD):
        def step(self, closure=None):
            pass

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lr_scheduler.StepLR(Own([nn.Parameter(tn.ones(2))], lr=0.1), 3).step()


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE.keys())
def test_a_step_to_an_epoch_is_pytorchs(make, torch):
    ours, theirs = sgd(), sgd(torch)
    mine, reference = make(lr_scheduler, ours), make(torch.optim.lr_scheduler, theirs)
    ours.step()
    theirs.step()
    for epoch in (4, None, 9, 2, 0, None, 20):
        mine.step(epoch)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reference.step(epoch)
        assert mine.last_epoch == reference.last_epoch
        np.testing.assert_allclose(mine.get_last_lr(), reference.get_last_lr(), rtol=1e-12)
    for wrong, error in (("4", TypeError), (1.5, TypeError), (-1, ValueError)):
        with pytest.raises(error, match="epoch must be"):
            mine.step(wrong)
    assert mine.last_epoch == 20


def test_schedules_in_a_row_take_no_epoch():
    optimizer = sgd()
    with pytest.raises(TypeError, match="SequentialLR steps one by one, got epoch=4"):
        IN_A_ROW["Sequential"](lr_scheduler, optimizer).step(4)


class Decay:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, step):
        return self.factor**step

    def method(self, step):
        return 1.0


def test_the_state_of_callable_objects_is_saved_as_in_pytorch(torch):
    def make(s, o, factor):
        function = Decay(factor)
        return s.LambdaLR(o, [function])

    saved = {}
    for library, scheduler, optimizer in (
        ("tn", lr_scheduler, sgd),
        ("torch", torch.optim.lr_scheduler, lambda: sgd(torch)),
    ):
        state = make(scheduler, optimizer(), 0.5).state_dict()
        assert state["lr_lambdas"] == [{"factor": 0.5}]
        resumed = make(scheduler, optimizer(), 0.9)
        resumed.load_state_dict(state)
        assert resumed.lr_lambdas[0].factor == 0.5
        resumed.optimizer.step()
        resumed.step()
        saved[library] = resumed.get_last_lr()
    assert saved["tn"] == pytest.approx(saved["torch"])


def test_a_saved_state_does_not_change_with_the_object():
    schedule = lr_scheduler.LambdaLR(sgd(), Decay(0.5))
    state = schedule.state_dict()
    schedule.lr_lambdas[0].factor = 0.1
    assert state["lr_lambdas"] == [{"factor": 0.5}]


@pytest.mark.parametrize(
    "function",
    [lambda t: 1.0, Decay(1).method, functools.partial(pow, 0.5)],
    ids=["lambda", "method", "partial"],
)
def test_functions_and_older_states_without_them_are_loaded(function):
    schedule = lr_scheduler.LambdaLR(sgd(), function)
    state = schedule.state_dict()
    schedule.load_state_dict(state)
    assert schedule.lr_lambdas == [function]
    del state["lr_lambdas"]
    schedule.load_state_dict(state)
    assert schedule.lr_lambdas == [function]
    with pytest.raises(ValueError, match="the state has 2 functions, this schedule 1"):
        schedule.load_state_dict({**state, "lr_lambdas": [None, None]})
    with pytest.raises(TypeError, match="dict that its state_dict"):
        schedule.load_state_dict([])
