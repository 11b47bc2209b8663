"""The learning rate schedules: PyTorch's sequence of rates, and the same one after a resume."""

import inspect
import json
import math

import numpy
import pytest

from tinygrad_norm import optim
from tinygrad_norm.module import Parameter
from tinygrad_norm.optim import lr_scheduler

STEPS = 40


def warm_up_then_cosine(s, optimizer):
    parts = [s.LinearLR(optimizer, 0.1, total_iters=5), s.CosineAnnealingLR(optimizer, 20)]
    return s.SequentialLR(optimizer, parts, milestones=[5])


def three_in_a_row(s, optimizer):
    parts = [s.StepLR(optimizer, 2, 0.5), s.LambdaLR(optimizer, lambda t: 0.5**t), s.LinearLR(optimizer, 0.2)]
    return s.SequentialLR(optimizer, parts, milestones=[7, 10])


SCHEDULES = {
    "StepLR": lambda s, o: s.StepLR(o, 3),
    "StepLR gamma": lambda s, o: s.StepLR(o, 1, gamma=0.9),
    "Cosine": lambda s, o: s.CosineAnnealingLR(o, 40),
    "Cosine up again": lambda s, o: s.CosineAnnealingLR(o, 7, eta_min=0.01),
    "Cosine of one": lambda s, o: s.CosineAnnealingLR(o, 1, eta_min=0.01),
    "LinearLR": lambda s, o: s.LinearLR(o),
    "LinearLR down": lambda s, o: s.LinearLR(o, 1.0, 0.0, 10),
    "LinearLR up": lambda s, o: s.LinearLR(o, start_factor=0.001, total_iters=20),
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda t: 1 / (1 + t)),
    "LambdaLR each": lambda s, o: s.LambdaLR(o, [lambda t: 0.9**t, lambda t: t]),
    "OneCycle": lambda s, o: s.OneCycleLR(o, 0.5, total_steps=STEPS),
    "OneCycle epochs": lambda s, o: s.OneCycleLR(
        o, [0.5, 0.1], epochs=10, steps_per_epoch=4, anneal_strategy="linear"
    ),
    "OneCycle three": lambda s, o: s.OneCycleLR(
        o, 0.5, STEPS, three_phase=True, pct_start=0.4, div_factor=10.0
    ),
    "OneCycle momentum": lambda s, o: s.OneCycleLR(
        o, 0.5, STEPS, base_momentum=0.5, max_momentum=[0.9, 0.99]
    ),
    "OneCycle rate only": lambda s, o: s.OneCycleLR(
        o, 0.5, STEPS, cycle_momentum=False, final_div_factor=10.0
    ),
    "OneCycle no rise": lambda s, o: s.OneCycleLR(o, 0.5, STEPS, pct_start=0.0),
    "Sequential": warm_up_then_cosine,
    "Sequential of three": three_in_a_row,
    "MultiStep": lambda s, o: s.MultiStepLR(o, [3, 8, 8, 20], 0.5),
    "Exponential": lambda s, o: s.ExponentialLR(o, 0.9),
    "Constant": lambda s, o: s.ConstantLR(o, 0.25, 7),
    "Polynomial": lambda s, o: s.PolynomialLR(o, 12, 2.0),
    "Multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda t: 1 - 0.01 * t),
    "WarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 5, 2, 0.001),
    "WarmRestarts of one length": lambda s, o: s.CosineAnnealingWarmRestarts(o, 7),
    "Cyclic": lambda s, o: s.CyclicLR(o, 0.01, [0.1, 0.3], 4, 6),
    "Cyclic triangular2": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 5, mode="triangular2", cycle_momentum=False),
    "Cyclic exp_range": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 5, mode="exp_range", gamma=0.95),
    "Cyclic scale_fn": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 5, scale_fn=lambda c: 1 / c),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler([s.StepLR(o, 5, 0.5), s.ExponentialLR(o, 0.9)]),
    "chained": lambda s, o: (s.StepLR(o, 5, 0.5), s.LinearLR(o, 0.1, total_iters=10)),
    "chained cosine": lambda s, o: (s.CosineAnnealingLR(o, 15), s.StepLR(o, 10, 0.5)),
}
schedules = pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES.keys())


def optimizer(kind="SGD"):
    groups = [{"params": [Parameter(numpy.zeros(2))]}, {"params": [Parameter(numpy.zeros(2))], "lr": 0.02}]
    return getattr(optim, kind)(groups, lr=0.1)


def rates(scheduled, schedule, steps=STEPS):
    """Learning rates and momenta of every group at every step."""
    schedule = schedule if isinstance(schedule, tuple) else (schedule,)
    seen = []
    for _ in range(steps):
        for group in scheduled.param_groups:
            seen.append((group["lr"], group["betas"][0] if "betas" in group else group["momentum"]))
        assert schedule[-1].get_last_lr() == [group["lr"] for group in scheduled.param_groups]
        scheduled.step()
        for part in schedule:
            part.step()
    return numpy.array(seen)


@schedules
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_the_rates_are_pytorchs(torch, make, kind):
    ours = optimizer(kind)
    groups = [{"params": [torch.zeros(2)]}, {"params": [torch.zeros(2)], "lr": 0.02}]
    theirs = getattr(torch.optim, kind)(groups, lr=0.1)
    mine = rates(ours, make(lr_scheduler, ours))
    reference = rates(theirs, make(torch.optim.lr_scheduler, theirs))
    numpy.testing.assert_allclose(mine, reference, rtol=1e-11, atol=1e-14)


def test_a_rate_changed_by_hand_stays_in_it_as_in_pytorch(torch):
    for make in (SCHEDULES["StepLR"], SCHEDULES["LinearLR up"], SCHEDULES["Cosine"]):
        ours, theirs = optimizer(), torch.optim.SGD([torch.zeros(2)], lr=0.1)
        mine, reference = make(lr_scheduler, ours), make(torch.optim.lr_scheduler, theirs)
        for step in range(10):
            if step == 4:
                ours.param_groups[0]["lr"] = theirs.param_groups[0]["lr"] = 0.3
            theirs.step()
            ours.step()
            mine.step()
            reference.step()
            assert mine.get_last_lr()[0] == pytest.approx(reference.get_last_lr()[0], rel=1e-12)


@schedules
@pytest.mark.parametrize("stop", [0, 1, 6, 17])
def test_a_resumed_schedule_goes_on_with_the_same_numbers(make, stop):
    first = optimizer()
    schedule = make(lr_scheduler, first)
    schedule = schedule if isinstance(schedule, tuple) else (schedule,)
    rates(first, schedule, stop)
    saved = json.loads(
        json.dumps([first.state_dict()["param_groups"], *[part.state_dict() for part in schedule]])
    )
    expected = rates(first, schedule, 10)
    second = optimizer()
    again = make(lr_scheduler, second)
    again = again if isinstance(again, tuple) else (again,)
    second.load_state_dict({"state": {}, "param_groups": saved[0]})
    for part, state in zip(again, saved[1:], strict=True):
        part.load_state_dict(state)
    numpy.testing.assert_array_equal(rates(second, again, 10), expected)


LEFT_OUT = {
    # PyTorch's begins with its first schedule, and with the initial rates, whatever last_epoch is.
    "SequentialLR": {"last_epoch"},
}


@pytest.mark.parametrize(
    "name", [name for name, value in vars(lr_scheduler).items() if inspect.isclass(value)]
)
def test_the_arguments_are_pytorchs_in_order_and_default(torch, name):
    ours, theirs = (
        [(p.name, p.default, p.kind) for p in inspect.signature(getattr(s, name)).parameters.values()]
        for s in (lr_scheduler, torch.optim.lr_scheduler)
    )
    assert ours == [p for p in theirs if p[0] not in LEFT_OUT.get(name, ())]


GOING_ON = {
    "StepLR": lambda s, o, last: s.StepLR(o, 3, 0.5, last),
    "Cosine": lambda s, o, last: s.CosineAnnealingLR(o, 40, 0.01, last),
    "Cosine up again": lambda s, o, last: s.CosineAnnealingLR(o, 4, last_epoch=last),
    "LinearLR": lambda s, o, last: s.LinearLR(o, 0.1, 1.0, 10, last),
    "LambdaLR": lambda s, o, last: s.LambdaLR(o, lambda t: 1 / (1 + t), last),
    "OneCycle": lambda s, o, last: s.OneCycleLR(o, 0.5, STEPS, last_epoch=last),
    "OneCycle rate only": lambda s, o, last: s.OneCycleLR(
        o, 0.5, STEPS, cycle_momentum=False, last_epoch=last
    ),
    "MultiStep": lambda s, o, last: s.MultiStepLR(o, [3, 8], 0.5, last),
    "chained": lambda s, o, last: (s.StepLR(o, 5, 0.5, last), s.LinearLR(o, 0.1, 1.0, 10, last)),
}


@pytest.mark.parametrize("make", GOING_ON.values(), ids=GOING_ON.keys())
@pytest.mark.parametrize("last", [0, 1, 5, 8, 14])
def test_last_epoch_goes_on_as_pytorchs(torch, make, last):
    seen = []
    groups = [{"params": [torch.zeros(2)]}, {"params": [torch.zeros(2)], "lr": 0.02}]
    for s, o in (
        (lr_scheduler, optimizer()),
        (torch.optim.lr_scheduler, torch.optim.SGD(groups, lr=0.1)),
    ):
        rates(o, make(s, o, -1), last)
        seen.append(rates(o, make(s, o, last), 10))
    numpy.testing.assert_allclose(*seen, rtol=1e-11, atol=1e-14)


def test_last_epoch_needs_a_schedule_to_go_on_with():
    for make in GOING_ON.values():
        with pytest.raises(ValueError, match=r"last_epoch=3 .* group 0 has no initial_lr"):
            make(lr_scheduler, optimizer(), 3)
    with pytest.raises(ValueError, match="last_epoch must be at least -1, got -2"):
        lr_scheduler.StepLR(optimizer(), 3, last_epoch=-2)
    with pytest.raises(TypeError, match="last_epoch must be an int, got 'a'"):
        lr_scheduler.StepLR(optimizer(), 3, last_epoch="a")
    o = optimizer()
    parts = [lr_scheduler.StepLR(o, 3), lr_scheduler.StepLR(o, 3)]
    o.step()
    parts[1].step()
    with pytest.raises(ValueError, match="begin at their own step 0, number 1 is at 1"):
        lr_scheduler.SequentialLR(o, parts, [4])


def test_the_closed_forms():
    o = optimizer()
    o.step()
    schedule, lrs = lr_scheduler.CosineAnnealingLR(o, 10, eta_min=0.01), []
    for _ in range(11):
        lrs.append(o.param_groups[0]["lr"])
        schedule.step()
    expected = [0.01 + 0.09 * (1 + math.cos(math.pi * t / 10)) / 2 for t in range(11)]
    numpy.testing.assert_allclose(lrs, expected, rtol=1e-12)
    o = optimizer()
    o.step()
    schedule, lrs = lr_scheduler.LinearLR(o, 0.2, total_iters=4), []
    for _ in range(7):
        lrs.append(o.param_groups[0]["lr"])
        schedule.step()
    numpy.testing.assert_allclose(lrs, numpy.array([0.2, 0.4, 0.6, 0.8, 1, 1, 1]) / 10, rtol=1e-12)


def test_one_cycle_goes_up_to_max_and_down_to_almost_nothing():
    o = optimizer()
    seen = rates(o, lr_scheduler.OneCycleLR(o, 0.5, 100), 100)[::2]
    assert seen[:, 0].argmax() == 29
    assert seen[:, 0].max() == pytest.approx(0.5)
    assert seen[0, 0] == pytest.approx(0.5 / 25)
    assert seen[-1, 0] == pytest.approx(0.5 / 25 / 1e4)
    assert seen[:, 1].argmin() == 29


def test_a_cycle_that_starts_at_the_top():
    o = optimizer()
    lr_scheduler.OneCycleLR(o, 0.5, total_steps=10, pct_start=0.1)
    assert o.param_groups[0]["lr"] == 0.5


def adam_without_momentum():
    class Plain(optim.SGD):
        def __init__(self, params):
            super().__init__(params)
            del self.defaults["momentum"]

    return Plain([Parameter(numpy.zeros(2))])


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: lr_scheduler.StepLR("sgd", 3), TypeError, "needs an Optimizer, got str"),
        (lambda: lr_scheduler.LambdaLR(None, len), TypeError, "needs an Optimizer"),
        (lambda: lr_scheduler.OneCycleLR(None, 0.1, 10), TypeError, "needs an Optimizer"),
        (lambda: lr_scheduler.StepLR(optimizer(), 0), ValueError, "step_size"),
        (lambda: lr_scheduler.StepLR(optimizer(), "a"), TypeError, "step_size must be a number, got 'a'"),
        (lambda: lr_scheduler.StepLR(optimizer(), 3, "a"), TypeError, "gamma must be a number"),
        (lambda: lr_scheduler.CosineAnnealingLR(optimizer(), 3, "a"), TypeError, "eta_min must be a number"),
        (lambda: lr_scheduler.LinearLR(optimizer(), "a"), TypeError, "start_factor must be a number"),
        (lambda: lr_scheduler.OneCycleLR(optimizer(), "a", 3), TypeError, "max_lr must be a number"),
        (lambda: lr_scheduler.OneCycleLR(optimizer(), 0.1, 3, pct_start="a"), TypeError, "pct_start must be"),
        (lambda: lr_scheduler.StepLR(optimizer(), 3).load_state_dict(None), TypeError, "got NoneType"),
        (lambda: lr_scheduler.CosineAnnealingLR(optimizer(), 0), ValueError, "T_max"),
        (lambda: lr_scheduler.LinearLR(optimizer(), 0), ValueError, "start_factor"),
        (lambda: lr_scheduler.LinearLR(optimizer(), 0.1, 2.0), ValueError, "end_factor"),
        (lambda: lr_scheduler.LinearLR(optimizer(), total_iters=0), ValueError, "total_iters"),
        (lambda: lr_scheduler.LambdaLR(optimizer(), [len]), ValueError, "1 functions for 2"),
        (lambda: lr_scheduler.OneCycleLR(optimizer(), 0.1), ValueError, "length of the cycle"),
        (lambda: lr_scheduler.OneCycleLR(optimizer(), 0.1, epochs=3), ValueError, "length of the cycle"),
        (lambda: lr_scheduler.OneCycleLR(optimizer(), 0.1, 10, pct_start=1.5), ValueError, "pct_start"),
        (lambda: lr_scheduler.OneCycleLR(optimizer(), 0.1, 10, anneal_strategy="sin"), ValueError, "'sin'"),
        (lambda: lr_scheduler.OneCycleLR(optimizer(), [0.1], 10), ValueError, "max_lr has 1 values for 2"),
        (lambda: lr_scheduler.OneCycleLR(adam_without_momentum(), 0.1, 10), ValueError, "no momentum"),
        (lambda: lr_scheduler.SequentialLR(optimizer(), [], []), ValueError, "got 0 schedules"),
        (lambda: lr_scheduler.MultiStepLR(optimizer(), 3), TypeError, "list of ints"),
        (lambda: lr_scheduler.MultiStepLR(optimizer(), [-1]), ValueError, "at least 0"),
        (lambda: lr_scheduler.ConstantLR(optimizer(), 0), ValueError, "factor must be above 0"),
        (lambda: lr_scheduler.PolynomialLR(optimizer(), 0), ValueError, "total_iters"),
        (lambda: lr_scheduler.CosineAnnealingWarmRestarts(optimizer(), 0), ValueError, "T_0"),
        (lambda: lr_scheduler.CyclicLR(optimizer(), 0.1, 1.0, mode="saw"), ValueError, "'saw'"),
        (lambda: lr_scheduler.CyclicLR(optimizer(), [0.1], 1.0), ValueError, "base_lr has 1 values for 2"),
        (lambda: lr_scheduler.CyclicLR(adam_without_momentum(), 0.1, 1.0), ValueError, "no momentum"),
        (lambda: lr_scheduler.ChainedScheduler([]), ValueError, "got none"),
        (lambda: lr_scheduler.ChainedScheduler([1]), TypeError, "list of schedules"),
        (lambda: lr_scheduler.ReduceLROnPlateau(optimizer(), factor=1), ValueError, "below 1"),
        (lambda: lr_scheduler.ReduceLROnPlateau(optimizer(), "low"), ValueError, "'low'"),
        (lambda: lr_scheduler.ReduceLROnPlateau(optimizer()).step("a"), TypeError, "metrics must be"),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_sequential_raises_for_other_optimizers_and_disorder():
    o = optimizer()
    parts = [lr_scheduler.StepLR(o, 2), lr_scheduler.StepLR(o, 3), lr_scheduler.StepLR(o, 4)]
    with pytest.raises(ValueError, match="belong to the optimizer"):
        lr_scheduler.SequentialLR(optimizer(), parts, [1, 2])
    with pytest.raises(ValueError, match="must increase"):
        lr_scheduler.SequentialLR(o, parts, [3, 2])
    with pytest.raises(ValueError, match="3 schedules and 1 milestones"):
        lr_scheduler.SequentialLR(o, parts, [3])


def test_a_cycle_ends():
    o = optimizer()
    o.step()
    schedule = lr_scheduler.OneCycleLR(o, 0.1, 3)
    for _ in range(3):
        schedule.step()
    with pytest.raises(ValueError, match="it is over"):
        schedule.step()


def test_a_group_added_later_is_detected():
    o = optimizer()
    schedule = lr_scheduler.CosineAnnealingLR(o, 5)
    o.add_param_group({"params": [Parameter(numpy.zeros(2))]})
    o.step()
    with pytest.raises(RuntimeError, match="made for 2 parameter groups, the optimizer has 3"):
        schedule.step()
    assert schedule.last_epoch == 0


def test_raises_for_the_state_of_another_schedule():
    schedule = lr_scheduler.StepLR(optimizer(), 3)
    with pytest.raises(ValueError, match="another kind"):
        schedule.load_state_dict(lr_scheduler.LinearLR(optimizer()).state_dict())
    single = optim.SGD([Parameter(numpy.zeros(2))])
    with pytest.raises(ValueError, match="2 parameter groups"):
        lr_scheduler.StepLR(single, 3).load_state_dict(schedule.state_dict())


PLATEAUS = {
    "default": {},
    "max": {"mode": "max", "factor": 0.5, "patience": 2},
    "abs": {"threshold_mode": "abs", "threshold": 0.5, "patience": 1, "cooldown": 2},
    "max abs": {
        "mode": "max",
        "threshold_mode": "abs",
        "threshold": 0.2,
        "patience": 0,
        "min_lr": [0.01, 0.005],
    },
}


@pytest.mark.parametrize("name", PLATEAUS)
def test_plateaus_are_pytorchs_also_after_a_resume(torch, name):
    values = numpy.cumsum(numpy.random.default_rng(3).normal(size=60)).tolist()
    groups = [{"params": [torch.zeros(2)]}, {"params": [torch.zeros(2)], "lr": 0.02}]
    seen = []
    for s, o in (
        (lr_scheduler, optimizer()),
        (torch.optim.lr_scheduler, torch.optim.SGD(groups, lr=0.1)),
    ):
        schedule = s.ReduceLROnPlateau(o, **PLATEAUS[name])
        rates = []
        for i, value in enumerate(values):
            o.step()
            if i == 30:
                saved = schedule.state_dict()
                schedule = s.ReduceLROnPlateau(o, **PLATEAUS[name])
                schedule.load_state_dict(saved)
            schedule.step(value)
            rates.append([group["lr"] for group in o.param_groups])
            assert schedule.get_last_lr() == rates[-1]
        seen.append(rates)
    numpy.testing.assert_allclose(*seen, rtol=1e-12)
    assert seen[0][-1][0] < 0.1


@pytest.mark.parametrize("multiple", [1, 2])
def test_warm_restarts_take_a_part_of_an_epoch_as_pytorch(torch, multiple):
    seen = []
    for s, o in (
        (lr_scheduler, optimizer()),
        (torch.optim.lr_scheduler, torch.optim.SGD([torch.zeros(2)], lr=0.1)),
    ):
        schedule, lrs = s.CosineAnnealingWarmRestarts(o, 3, multiple), []
        for time in (0.25, 2.5, 3.0, 8.75, None, 20.5):
            o.step()
            schedule.step() if time is None else schedule.step(time)
            lrs.append(o.param_groups[0]["lr"])
        seen.append(lrs)
    numpy.testing.assert_allclose(*seen, rtol=1e-12)
