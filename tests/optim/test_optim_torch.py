"""The optimizers against PyTorch's: every combination of options, absent gradients, groups, state."""

import inspect
import itertools

import numpy
import pytest

from tinygrad_norm import optim
from tinygrad_norm.autograd.tensor import Tensor
from tinygrad_norm.module import Parameter

SHAPES = [(5, 3), (4,), (), (2, 3, 2), (0, 3), (17,)]
STEPS = 50
MORE = ["Adadelta", "Adamax", "NAdam", "RAdam", "ASGD", "Rprop"]


def combinations(**choices):
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


SGD = [
    ("SGD", options)
    for options in combinations(
        momentum=[0, 0.9],
        dampening=[0, 0.3],
        weight_decay=[0, 0.1],
        nesterov=[False, True],
        maximize=[False, True],
    )
    if not (options["nesterov"] and (options["momentum"] == 0 or options["dampening"]))
]
ADAM = [
    (name, options)
    for name in ("Adam", "AdamW")
    for options in combinations(
        betas=[(0.9, 0.999), (0.0, 0.5)],
        eps=[1e-8, 0.1],
        weight_decay=[0, 0.1],
        amsgrad=[False, True],
        maximize=[False, True],
    )
]
RMSPROP = [
    ("RMSprop", options)
    for options in combinations(
        weight_decay=[0, 0.1], momentum=[0, 0.9], centered=[False, True], maximize=[False, True]
    )
]
ADAGRAD = [
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3}),
    ("Adagrad", {"maximize": True}),
]
ADADELTA = [
    ("Adadelta", options)
    for options in combinations(
        rho=[0.9, 0.5], eps=[1e-6, 1e-3], weight_decay=[0, 0.1], maximize=[False, True]
    )
]
ADAMAX = [
    ("Adamax", options)
    for options in combinations(
        betas=[(0.9, 0.999), (0.0, 0.5)], eps=[1e-8, 0.1], weight_decay=[0, 0.1], maximize=[False, True]
    )
]
DECOUPLED = [
    (name, {**options, **more})
    for name, more in (("NAdam", {}), ("NAdam", {"momentum_decay": 0.1}), ("RAdam", {}))
    for options in combinations(
        betas=[(0.9, 0.999), (0.5, 0.6), (0.0, 0.9)],
        weight_decay=[0, 0.1],
        decoupled_weight_decay=[False, True],
        maximize=[False, True],
    )
]
ASGD = [
    ("ASGD", options)
    for options in combinations(
        lambd=[1e-4, 0.3], alpha=[0.75, 2], t0=[1e6, 10, 0], weight_decay=[0, 0.1], maximize=[False, True]
    )
]
RPROP = [
    ("Rprop", options)
    for options in combinations(
        etas=[(0.5, 1.2), (0.9, 3.0)], step_sizes=[(1e-6, 50), (0.02, 0.1)], maximize=[False, True]
    )
]
ALL = [
    pytest.param(*pair, id=f"{pair[0]}-{'-'.join(map(str, pair[1].values()))}")
    for pair in SGD + ADAM + RMSPROP + ADAGRAD + ADADELTA + ADAMAX + DECOUPLED + ASGD + RPROP
]


@pytest.fixture
def exact_numbers(torch):
    """PyTorch keeps the numbers of a state, such as NAdam's product, in the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Twins:
    """The same parameters here and in PyTorch, given the same gradients."""

    def __init__(self, torch, shapes=SHAPES, dtype=numpy.float64):
        self.torch, self.rng, self.dtype = torch, numpy.random.default_rng(0), dtype
        values = [self.rng.normal(size=shape).astype(dtype) for shape in shapes]
        self.ours = [Parameter(value.copy()) for value in values]
        self.theirs = [torch.nn.Parameter(torch.tensor(value)) for value in values]

    def optimizers(self, name, lr=0.01, **options):
        ours = getattr(optim, name)(self.ours, lr, **options)
        return ours, getattr(self.torch.optim, name)(self.theirs, lr, **options)

    def draw(self, absent=()):
        for i, (p, q) in enumerate(zip(self.ours, self.theirs, strict=True)):
            dx = numpy.asarray(self.rng.normal(size=p.shape), self.dtype) * (i + 1)
            p.grad = None if i in absent else Tensor(dx)
            q.grad = None if i in absent else self.torch.tensor(dx)

    def assert_equal(self, rtol=1e-12):
        for p, q in zip(self.ours, self.theirs, strict=True):
            theirs = q.detach().numpy()
            assert p.dtype == theirs.dtype
            numpy.testing.assert_allclose(p.array, theirs, rtol=rtol, atol=rtol * abs(theirs).max(initial=0))


@pytest.mark.parametrize(("name", "options"), ALL)
def test_fifty_steps_are_pytorchs(torch, name, options, exact_numbers):
    twins = Twins(torch)
    ours, theirs = twins.optimizers(name, **options)
    for _ in range(STEPS):
        twins.draw()
        ours.step()
        theirs.step()
    twins.assert_equal()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}),
        ("SGD", {"weight_decay": 0.1}),
        ("Adam", {"weight_decay": 0.1, "amsgrad": True}),
        ("AdamW", {"weight_decay": 0.1}),
        ("RMSprop", {"momentum": 0.9, "centered": True}),
        ("NAdam", {"weight_decay": 0.1}),
        ("ASGD", {"t0": 5}),
        ("Rprop", {}),
    ],
)
def test_a_parameter_without_gradient_waits_as_in_pytorch(torch, name, options, exact_numbers):
    twins = Twins(torch)
    ours, theirs = twins.optimizers(name, **options)
    for step in range(STEPS):
        twins.draw(absent={step % 7, step % 3, *([5] if step < 10 else [])})
        ours.step()
        theirs.step()
        twins.assert_equal()


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_options_changed_between_steps_count_at_once(torch, name):
    twins = Twins(torch)
    ours, theirs = twins.optimizers(name)
    first, second = (
        ({"momentum": 0.9}, {"momentum": 0, "lr": 0.2}) if name == "SGD" else ({"lr": 0.3}, {"eps": 1})
    )
    for change in ({}, first, second, first):
        for optimizer in (ours, theirs):
            optimizer.param_groups[0].update(change)
        for _ in range(3):
            twins.draw()
            ours.step()
            theirs.step()
        twins.assert_equal()


def test_groups_have_their_own_options(torch):
    twins = Twins(torch)

    def groups(p):
        return [{"params": p[:2], "lr": 0.1, "weight_decay": 0.5}, {"params": p[2:]}]

    ours = optim.AdamW(groups(twins.ours), 0.01, weight_decay=0)
    theirs = torch.optim.AdamW(groups(twins.theirs), 0.01, weight_decay=0)
    for _ in range(STEPS):
        twins.draw()
        ours.step()
        theirs.step()
    twins.assert_equal()


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", *MORE])
def test_float32_stays_close(torch, name):
    twins = Twins(torch, dtype=numpy.float32)
    ours, theirs = twins.optimizers(name, **({} if name == "Rprop" else {"weight_decay": 0.1}))
    for _ in range(STEPS):
        twins.draw()
        ours.step()
        theirs.step()
    twins.assert_equal(rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"momentum": 0.9}),
        ("Adam", {"amsgrad": True}),
        ("RMSprop", {"centered": True}),
        *((name, {}) for name in MORE),
    ],
)
def test_state_saved_by_pytorch_is_continued(torch, name, options, exact_numbers):
    twins = Twins(torch)
    ours, theirs = twins.optimizers(name, **options)
    for _ in range(5):
        twins.draw(absent={1})
        theirs.step()
    for p, q in zip(twins.ours, twins.theirs, strict=True):
        p.copy_(q.detach().numpy())
    ours.load_state_dict(theirs.state_dict())
    for _ in range(5):
        twins.draw()
        ours.step()
        theirs.step()
    twins.assert_equal()


@pytest.mark.parametrize(
    ("name", "options"),
    [("SGD", {"momentum": 0.9}), ("Adam", {"amsgrad": True}), *((name, {}) for name in MORE)],
)
def test_pytorch_continues_our_state(torch, name, options, exact_numbers):
    twins = Twins(torch)
    ours, theirs = twins.optimizers(name, **options)
    for _ in range(5):
        twins.draw(absent={1})
        ours.step()
    saved = ours.state_dict()
    saved["state"] = {
        i: {key: torch.tensor(value.array) for key, value in entry.items()}
        for i, entry in saved["state"].items()
    }
    for p, q in zip(twins.ours, twins.theirs, strict=True):
        q.data.copy_(torch.tensor(p.array))
    theirs.load_state_dict(saved)
    for _ in range(5):
        twins.draw()
        ours.step()
        theirs.step()
    twins.assert_equal()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"momentum": 0.9}),
        ("SGD", {}),
        ("Adam", {"amsgrad": True}),
        ("ASGD", {"t0": 0}),
        *((name, {}) for name in MORE),
    ],
)
def test_the_state_has_pytorchs_form(torch, name, options, exact_numbers):
    twins = Twins(torch)
    ours, theirs = twins.optimizers(name, **options)
    twins.draw(absent={2})
    ours.step()
    theirs.step()
    mine, reference = ours.state_dict(), theirs.state_dict()
    assert mine["state"].keys() == reference["state"].keys()
    for i, entry in reference["state"].items():
        assert mine["state"][i].keys() == entry.keys()
        for key, value in entry.items():
            assert mine["state"][i][key].shape == tuple(value.shape)
            numpy.testing.assert_allclose(mine["state"][i][key].array, value.numpy(), rtol=1e-14)
    for group, their_group in zip(mine["param_groups"], reference["param_groups"], strict=True):
        assert {key: their_group[key] for key in group} == group


LEFT_OUT = {  # besides the options that choose an implementation
    "Adam": {"decoupled_weight_decay"},  # AdamW
}


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", *MORE])
def test_the_arguments_are_pytorchs_in_order_and_default(torch, name):
    left_out = {"foreach", "fused", "capturable", "differentiable"} | LEFT_OUT.get(name, set())
    ours, theirs = (
        [(p.name, p.default, p.kind) for p in inspect.signature(getattr(o, name)).parameters.values()]
        for o in (optim, torch.optim)
    )
    assert ours == [p for p in theirs if p[0] not in left_out]
