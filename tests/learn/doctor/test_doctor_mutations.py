"""No mutated gradient of a normalization passes: random factors on its paths, random paths dropped.

A mutated gradient is the sum of what the paths bring back, each times a factor. So its Jacobian is the sum of
their Jacobians, times these factors, and finite differences are needed only once.
"""

from dataclasses import replace

import numpy as np
import pytest

from tinygrad_norm.autograd.tensor import Tensor
from tinygrad_norm.backends import to_numpy
from tinygrad_norm.gradient_check.check import jacobians
from tinygrad_norm.gradient_check.failure_report import wrong_entry
from tinygrad_norm.gradient_check.registered import NUMERIC_TOLERANCE, draw
from tinygrad_norm.learn.doctor.catalogue import Values
from tinygrad_norm.learn.doctor.pathmistakes import fit_paths
from tinygrad_norm.learn.formulas import argument_names
from tinygrad_norm.learn.smallinputs import _differentiable, _size
from tinygrad_norm.registry import REGISTRY

NORMALIZATIONS = [name for name, op in REGISTRY.items() if op.kind == "normalization" and op.composed]
NOTHING = 1e-12
"""The relative change of a Jacobian below which a mutation is none: it is rounding."""


def paths_of(op, case):
    """Both Jacobians of every input of a case, and the Jacobians of the paths to it."""
    inputs = draw(case, seed=0)
    names = (op.inputs or argument_names(op.function, len(inputs)))[: len(inputs)]

    def call(*tensors):
        found = op.call(tensors, case.options)
        return found[0] if isinstance(found, tuple) else found

    pairs = jacobians(call, inputs)
    y = to_numpy(call(*inputs).array)
    derivation = next(fit_paths(op, names, inputs, y))
    units = [Values(derivation.steps, {"dy": dy.reshape(y.shape)}).paths for dy in np.eye(y.size)]
    used = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.is_floating_point()]
    for pair in pairs:
        k = used.index(pair.input)
        parts = [np.stack([unit[path][k].reshape(-1) for unit in units]) for path in units[0]]
        parts = [part for part in parts if part.any()] or [pair.analytic]
        if abs(pair.analytic).max() > 1e-6 * max(abs(part).max() for part in parts):
            yield pair, parts  # else they cancel, as in pools of 1


def smallest(name):
    """The smallest case of an op in which no gradient is 0 throughout, and its Jacobians."""
    op = REGISTRY[name]
    cases = [case for case in op.cases if _size(case) and any(map(_differentiable, case.inputs))]
    for case in sorted(cases, key=_size):
        found = list(paths_of(op, case))
        if len(found) == sum(map(_differentiable, case.inputs)):
            break
    return found


def mutations(rng, pair, parts, right):
    """One mutated Jacobian: factors on paths, dropped paths, or a factor on a single column."""
    factors = np.where(
        rng.random(len(parts)) < 0.5,
        1.0,
        rng.choice([0.0, -1.0, rng.uniform(0.5, 2.0), 1 + 10.0 ** -rng.integers(1, 6)], len(parts)),
    )
    mutated = right + sum((factor - 1) * part for factor, part in zip(factors, parts, strict=True))
    if rng.random() < 0.2:
        column = rng.integers(pair.n.shape[1])
        mutated[:, column] *= rng.choice([0.0, rng.uniform(0.5, 2.0), 1 + 1e-5])
    return mutated


def passes(pair, matrix):
    """Whether diagnose would find nothing wrong with this Jacobian of backward."""
    backward = pair.backward._replace(matrix=matrix, mixed=pair.backward.weights @ matrix)
    return wrong_entry(replace(pair, backward=backward), 0.0, NUMERIC_TOLERANCE, [pair]) is None


def no_mutation_passes(name, count):
    found = smallest(name)
    assert found
    for pair, parts in found:
        assert np.allclose(sum(parts), pair.analytic, rtol=1e-7, atol=1e-9)  # they are its paths
        assert passes(pair, pair.analytic)
    rng, mutated = np.random.default_rng(0), 0
    for _ in range(20 * count):
        pair, parts = found[rng.integers(len(found))]
        matrix = mutations(rng, pair, parts, pair.analytic)
        if abs(matrix - pair.analytic).max() <= NOTHING * abs(pair.analytic).max():
            continue  # it changes nothing: all factors are 1, or the paths cancel
        assert not passes(pair, matrix), (name, pair.input, matrix - pair.analytic)
        mutated += 1
        if mutated == count:
            return
    raise AssertionError(f"only {mutated} mutations of {name} change anything")


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm", "weight_norm"])
def test_mutations_never_pass(name):
    no_mutation_passes(name, 10)


@pytest.mark.slow
@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_five_hundred_mutations_never_pass(name):
    no_mutation_passes(name, 500)
