"""The mistakes that the doctor knows: each is told from the right gradient exactly, and so refuted."""

import random
from functools import cache

import numpy as np
import pytest

from tinygrad_norm.backends import to_numpy
from tinygrad_norm.gradient_check.registered import draw
from tinygrad_norm.learn.doctor.fitting import fits
from tinygrad_norm.learn.formulas import argument_names
from tinygrad_norm.proof.errors import NoRoot
from tinygrad_norm.proof.identity import Comparison
from tinygrad_norm.registry import REGISTRY, Case

CASES = {
    "layer_norm": Case(((2, 5), (5,), (5,)), {"normalized_shape": (5,)}),
    "rms_norm": Case(((2, 5), (5,)), {"normalized_shape": (5,), "eps": 1e-3}),
    "group_norm": Case(((1, 4, 3), (4,), (4,)), {"num_groups": 2}),
    "instance_norm": Case(((1, 2, 5), None, None, (2,), (2,))),
    "batch_norm": Case(((5, 2), None, None, (2,), (2,)), {"training": True}),
    "linear": Case(((3, 4), (2, 4), (2,))),
}


def in_floats(name):
    """The doctor's derivation of an op's case, and the arguments by name."""
    op, case = REGISTRY[name], CASES[name]
    inputs = draw(case)
    names = (op.inputs or argument_names(op.function, len(inputs)))[: len(inputs)]
    floats = {key: to_numpy(x.array) for key, x in zip(names, inputs, strict=True) if x is not None}
    return fits(floats, to_numpy(op.call(inputs, case.options).array))[0], floats, names


@cache
def at_a_point(name, seed):
    """The derivation at a point, the gradients there of the closed form by input, and dy."""
    op, case = REGISTRY[name], CASES[name]
    derivation, floats, names = in_floats(name)
    comparison = Comparison(op, case, random.Random(seed))
    numbers = {floats[names[i]].tobytes(): array for i, array in comparison.arrays.items()}
    for key, value in derivation.given.items():
        if isinstance(value, np.ndarray) and value.tobytes() in numbers:
            derivation.given[key] = numbers[value.tobytes()].reshape(value.shape)
    return derivation, {names[i]: dx for i, dx in comparison.gradients.items()}, comparison.dys[0]


def differs(name, key, mistake):
    """Whether a mistake changes a gradient, at the first point at which its own roots exist."""
    for seed in range(200):
        derivation, right, dy = at_a_point(name, seed)
        try:
            wrong = derivation.gradient(key, dy, mistake.steps)
        except NoRoot:
            continue
        return np.shape(wrong) != right[key].shape or bool((wrong != right[key]).any())
    raise AssertionError(f"no point for: {mistake.name}")


@pytest.mark.parametrize("name", CASES)
def test_the_doctors_derivations_are_exact(name):
    derivation, right, dy = at_a_point(name, 0)
    assert derivation.gradients.keys() == right.keys()
    for key in right:
        assert (derivation.gradient(key, dy) == right[key]).all()


@pytest.mark.parametrize("name", CASES)
def test_every_mistake_of_the_doctor_is_refuted(name):
    """All but those that change nothing for such shapes, in floats either."""
    derivation, floats, _ = in_floats(name)
    y = next(iter(floats.values())) if name != "linear" else np.ones((3, 2))
    dys = np.random.default_rng(0).normal(size=(2, *y.shape))
    keys = derivation.gradients
    mistakes = [m for m in derivation.mistakes if any(derivation.changes(k, [m], dys) for k in keys)]
    assert len(mistakes) >= 5
    assert not [m.name for m in mistakes if not any(differs(name, k, m) for k in keys)]
