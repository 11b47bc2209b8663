"""L-BFGS: iterations and state as in PyTorch, its line search, and what it does not take."""

import copy
import math
import pickle

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.optim.wolfe import Point, strong_wolfe

START = [np.array([-1.2, 1.0, 0.3]), np.array([[0.5, -0.7]])]
OPTIONS = {
    "plain": {"lr": 0.1},
    "search": {"line_search_fn": "strong_wolfe"},
    "short history": {"line_search_fn": "strong_wolfe", "history_size": 2},
    "long steps": {"line_search_fn": "strong_wolfe", "lr": 30},
    "short steps": {"line_search_fn": "strong_wolfe", "lr": 0.05},
    "few evaluations": {"line_search_fn": "strong_wolfe", "max_eval": 4},
    "one iteration": {"lr": 0.1, "max_iter": 1},
    "early": {"line_search_fn": "strong_wolfe", "tolerance_grad": 0.5, "tolerance_change": 1e-2},
}
options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())


def valley(x, y):
    """Rosenbrock's function of five numbers, and a wave."""
    a, b, c = x[0], x[1], x[2]
    d, e = y[0, 0], y[0, 1]
    loss = 0.1 * (3 * a).sin()
    for u, v in ((a, b), (b, c), (c, d), (d, e)):
        loss = loss + 100 * (v - u**2) ** 2 + (1 - u) ** 2
    return loss


class Run:
    """An optimizer of the function's arguments, in one of the two libraries."""

    def __init__(self, module, parameters, **options):
        self.parameters = parameters
        self.optimizer = module.LBFGS(parameters, **options)
        self.calls = 0

    def closure(self):
        self.calls += 1
        self.optimizer.zero_grad()
        loss = valley(*self.parameters)
        loss.backward()
        return loss

    def step(self):
        return self.optimizer.step(self.closure).item()

    def values(self):
        return [p.detach().numpy().copy() for p in self.parameters]


def ours(**options):
    return Run(optim, [nn.Parameter(x.copy()) for x in START], **options)


def theirs(torch, **options):
    return Run(torch.optim, [torch.nn.Parameter(torch.tensor(x)) for x in START], **options)


def assert_equal(mine, other, rtol=1e-6):
    for a, b in zip(mine.values(), other.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


@options
def test_steps_and_evaluations_are_pytorchs(torch, options):
    mine, other = ours(**options), theirs(torch, **options)
    for _ in range(4):
        assert mine.step() == pytest.approx(other.step(), rel=1e-6, abs=1e-12)
        assert mine.calls == other.calls
        assert_equal(mine, other)
    state, reference = mine.optimizer.state_dict()["state"][0], other.optimizer.state_dict()["state"][0]
    assert set(state) == set(reference) - {"al"}
    assert (state["n_iter"], state["func_evals"]) == (reference["n_iter"], reference["func_evals"])


def test_it_finds_the_minimum_of_the_valley():
    run = ours(line_search_fn="strong_wolfe", max_iter=200, tolerance_change=0)
    run.step()
    _, g = valley(*run.parameters), run.parameters[0].grad.numpy()
    assert abs(g).max() < 1e-5


def test_a_quadratic_is_solved_in_as_many_iterations_as_it_has_curvatures():
    x = nn.Parameter(np.zeros(4))
    scale, target = tn.tensor(np.array([1.0, 1.0, 4.0, 9.0])), tn.tensor(np.array([1.0, -2.0, 3.0, 0.5]))
    optimizer = optim.LBFGS([x], max_iter=12, tolerance_change=0, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = (scale * (x - target) ** 2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    np.testing.assert_allclose(x.numpy(), target.numpy(), atol=1e-6)


@options
def test_resuming_is_the_same_bit_for_bit(options):
    run = ours(**options)
    run.step()
    resumed = ours(**options)
    for p, value in zip(resumed.parameters, run.values(), strict=True):
        p.copy_(value)
    resumed.optimizer.load_state_dict(run.optimizer.state_dict())
    pickled = pickle.loads(pickle.dumps((run.optimizer, run.parameters)))
    copied = copy.deepcopy((run.optimizer, run.parameters))
    run.step()
    resumed.step()
    for optimizer, parameters in (pickled, copied):
        other = ours()
        other.optimizer, other.parameters = optimizer, parameters
        other.step()
        for a, b in zip(other.values(), run.values(), strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(resumed.values(), run.values(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_pytorchs_state_is_continued(torch):
    choice = OPTIONS["search"] | {"max_iter": 5}
    mine, other = ours(**choice), theirs(torch, **choice)
    other.step()
    for p, value in zip(mine.parameters, other.values(), strict=True):
        p.copy_(value)
    mine.optimizer.load_state_dict(other.optimizer.state_dict())
    mine.step()
    other.step()
    assert_equal(mine, other)


def test_a_frozen_parameter_and_one_without_gradient_stay():
    x, frozen, unused = (nn.Parameter(np.ones(2)) for _ in range(3))
    frozen.requires_grad_(False)
    optimizer = optim.LBFGS([x, frozen, unused], line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = ((x * frozen - 3) ** 2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    np.testing.assert_allclose(x.numpy(), [3, 3], rtol=1e-6)
    assert frozen.tolist() == unused.tolist() == [1, 1]


def test_half_precision_is_computed_in_single():
    x = nn.Parameter(np.array([4.0, -2.0], np.float16))
    optimizer = optim.LBFGS([x], line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = ((x - 1) ** 2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert x.dtype == np.float16
    np.testing.assert_allclose(x.numpy(), [1, 1], atol=1e-2)
    assert optimizer.state[x]["d"].dtype == np.float32


def test_a_loss_that_is_nan_on_the_way_makes_the_step_shorter():
    x = nn.Parameter(np.array([2.0]))
    optimizer = optim.LBFGS([x], lr=50, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = (x - x.log()).sum()  # defined for x > 0, minimal at 1
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    np.testing.assert_allclose(x.numpy(), [1], rtol=1e-4)


def test_the_search_meets_both_conditions():
    def at(t):
        loss, slope = math.exp(t) - 4 * t + math.sin(5 * t), math.exp(t) - 4 + 5 * math.cos(5 * t)
        return Point(t, loss, None, slope)

    start = at(0.3)
    shifted = lambda t: at(t + 0.3)._replace(t=t)  # noqa: E731
    start = start._replace(t=0.0)
    assert start.slope < 0
    for first in (1e-3, 0.1, 1.0, 40.0):
        found, evals = strong_wolfe(shifted, start, first, 1e-12, 25)
        assert found.loss <= start.loss + 1e-4 * found.t * start.slope
        assert abs(found.slope) <= 0.9 * abs(start.slope)
        assert evals <= 15


REFUSED = {
    "no closure": (lambda p: optim.LBFGS(p).step(), TypeError, "LBFGS.step needs a closure"),
    "no loss": (lambda p: optim.LBFGS(p).step(lambda: None), TypeError, "must return the loss, got None"),
    "two groups": (
        lambda p: optim.LBFGS([{"params": p}, {"params": [nn.Parameter(tn.ones(1))]}]),
        ValueError,
        "LBFGS takes one group",
    ),
    "one more group": (
        lambda p: optim.LBFGS(p).add_param_group({"params": [nn.Parameter(tn.ones(1))]}),
        ValueError,
        "LBFGS takes one group",
    ),
    "another search": (
        lambda p: optim.LBFGS(p, line_search_fn="armijo"),
        ValueError,
        "line_search_fn is None or \"strong_wolfe\", got 'armijo'",
    ),
    "no iterations": (lambda p: optim.LBFGS(p, max_iter=0), ValueError, "max_iter"),
    "another optimizer's state": (
        lambda p: optim.LBFGS(p).load_state_dict(
            {**optim.LBFGS(p).state_dict(), "state": {0: {"exp_avg": tn.ones(1)}}}
        ),
        ValueError,
        "the state has exp_avg, LBFGS keeps",
    ),
    "another model's state": (
        lambda p: optim.LBFGS(p).load_state_dict(
            {**optim.LBFGS(p).state_dict(), "state": {0: {"n_iter": 1, "func_evals": 1, "d": tn.ones(5)}}}
        ),
        ValueError,
        r"d has shape \(5,\), expected \(2,\)",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_it_does_not_take(call, error, message):
    with pytest.raises(error, match=message):
        call([nn.Parameter(tn.ones(2))])
