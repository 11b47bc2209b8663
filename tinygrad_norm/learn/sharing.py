"""Which entries share a statistic: for each entry of y, the entries of x that it depends on.

Nothing is looked up: a number of x is raised by 10, and what changes in y depends on it. A step of that size
also moves a maximum, a range or a threshold, which a derivative would miss. A clipped result can hide a
dependence, so that several random x are tried.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy

from ..autograd.grad_mode import no_grad
from ..autograd.tensor import Tensor
from ..backends import to_numpy
from ..registry import Op
from .given import Given, choose

_JUMP = 10.0
_DRAWS = 6
_ROUNDING = 1e-12
SHAPES = ((2, 4, 2, 3), (2, 4, 2, 2), (2, 3, 2, 2), (2, 3, 4), (4, 6))
"""The shapes of a small x, first choice first: (N, C, H, W), (N, C, L), (N, C)."""


def pools_of(op: Op, given: Given) -> numpy.ndarray:
    """Return a matrix of booleans: row i has the entries of x that entry i of the first result depends on.

    It depends on the shapes and options of `given`, not on the numbers in x.
    """
    x = first_of(given)
    found = numpy.zeros((0, x.numel()), dtype=bool)
    for draw in range(_DRAWS):
        base = random_x(x.shape, draw + 1, to_numpy(x.array).min() > 0)
        y = _result(op, given, base)
        depends = numpy.stack([_moved(op, given, base, k, y) for k in range(base.size)], axis=1)
        found = depends if draw == 0 else found | depends
    return found


def first_of(given: Given) -> Tensor:
    """Return the first input, x."""
    return next(x for x in given.inputs if x is not None)


def random_x(shape: tuple[int, ...], seed: int, positive: bool = False) -> numpy.ndarray:
    """Return normal numbers with two decimals; with `positive`, at least 0.1."""
    x = numpy.random.default_rng(seed).normal(size=shape).round(2)
    return numpy.abs(x) + 0.1 if positive else x


def small_input(op: Op, seed: int = 0, shape: tuple[int, ...] | None = None) -> Given:
    """Return random inputs for a normalization, in the first of `SHAPES` that it takes, or in `shape`.

    The options are those of the first registered case in which entries share a statistic; if none takes the
    shape, those that `explain` chooses.

    Raises:
        ValueError: if the op cannot take `shape`.
    """
    shapes = SHAPES if shape is None else (shape,)
    usual = _usual_options(op)
    fallback = None
    for size in shapes:
        for case in op.cases:
            options = usual | {k: v for k, v in case.options.items() if k != "normalized_shape"}
            for positive in (False, True):
                try:
                    given = choose(op, random_x(size, seed, positive), seed=seed, options=options)
                except ValueError:
                    continue
                if _changes_inputs(op, given):
                    continue
                if _shares(op, given):
                    return given
                fallback = fallback or given
    return fallback or choose(op, shape=shape, seed=seed)


def _usual_options(op: Op) -> dict[str, Any]:
    """Return the defaults of the options that some case sets; and no momentum, which would change inputs."""
    named = {name for case in op.cases for name in case.options}
    known = inspect.signature(op.function).parameters.values()
    usual = {p.name: p.default for p in known if p.name in named and p.default is not p.empty}
    both = (op.function, op.composed or op.function)
    has_momentum = all("momentum" in inspect.signature(form).parameters for form in both)
    return usual | ({"momentum": 0.0} if has_momentum else {})


def _shares(op: Op, given: Given) -> bool:
    base = to_numpy(first_of(given).array)
    return int(_moved(op, given, base, 0, _result(op, given, base)).sum()) > 1


def _changes_inputs(op: Op, given: Given) -> bool:
    """Return whether the op updates running statistics in place: then it gives another result each time."""
    copies = [x if x is None else Tensor(x.array.copy()) for x in given.inputs]
    with no_grad(), numpy.errstate(all="ignore"):
        op.call(copies, given.options)
    pairs = zip(copies, given.inputs, strict=True)
    return any(
        a is not None and b is not None and not numpy.array_equal(to_numpy(a.array), to_numpy(b.array))
        for a, b in pairs
    )


def _moved(op: Op, given: Given, base: numpy.ndarray, k: int, y: numpy.ndarray) -> numpy.ndarray:
    raised = base.copy()
    raised.flat[k] += _JUMP
    change = numpy.abs(_result(op, given, raised) - y)
    return change > _ROUNDING * max(1.0, float(numpy.abs(y).max(initial=0.0)))


def _result(op: Op, given: Given, x: numpy.ndarray) -> numpy.ndarray:
    """Return the first result for another x; the other inputs are copies, since statistics may be updated."""
    others = [other if other is None else Tensor(other.array.copy()) for other in given.inputs[1:]]
    with no_grad(), numpy.errstate(all="ignore"):
        result = op.call([Tensor(x.copy()), *others], given.options)
    first = result[0] if isinstance(result, tuple) else result
    return to_numpy(first.array).reshape(-1)
