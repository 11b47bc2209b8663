"""Small inputs for an op: one of its cases, made over to the shape of the x that is given."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy

from ..autograd.grad_mode import no_grad
from ..autograd.tensor import Tensor
from ..backends import to_numpy
from ..gradient_check.registered import draw
from ..registry import Case, Input, Op

README_X = (1.0, 2.0, 3.0, 6.0)
README_DY = (1.0, 0.0, 0.0, 0.0)
MOST_NUMBERS = 400
"""Of x: a table that shows every value is for small inputs."""

Inputs = tuple[list[Tensor | None], dict[str, Any]]


def smallest_case(op: Op, seed: int = 0) -> Inputs:
    """Return the inputs and options of the op's smallest case that has a gradient and no pool of one."""
    cases = [case for case in op.cases if _size(case) and any(map(_differentiable, case.inputs))]
    case = min(cases, key=lambda case: (_is_thin(_first_shape(case) or ()), _size(case)), default=op.cases[0])
    return draw(case, seed=seed), case.options


def case_for(op: Op, x: numpy.ndarray, options: dict[str, Any], seed: int = 0) -> Inputs:
    """Return inputs whose first is `x`, and options: those of the first case that can take its shape.

    A vector may become a row or a column: of a normalization, the one whose numbers share a pool. Other
    inputs are drawn, in shapes that fit; optional ones are left out if a case does without.

    Raises:
        ValueError: if no case can; it says why the first could not.
    """
    problem = ""
    alone: Inputs | None = None
    updating: Inputs | None = None
    training = options.get("training", True)
    cases = [case for case in op.cases if case.options.get("training", training) is training]
    cases = sorted(cases or op.cases, key=_simplicity)
    for is_loose, case in itertools.product((False, True), cases):
        for shape in _shapes(x, case, op, is_loose):
            try:
                case_like = _resized(case, shape)
                inputs, chosen = draw(case_like, seed=seed), case_like.options | options
                inputs[0] = Tensor(x.astype(numpy.float64).reshape(shape), requires_grad=True)
                before = [None if one is None else to_numpy(one.array).copy() for one in inputs]
                with no_grad():
                    result = op.call(inputs, chosen)
                ys = result if isinstance(result, tuple) else (result,)
                if x.ndim > 1 and _differ(before, inputs):  # running statistics: never the same result
                    updating = updating or (inputs, chosen)
                    continue
                if all(numpy.isfinite(to_numpy(y.array)).all() for y in ys):
                    if op.kind != "normalization" or x.ndim > 1 or _are_coupled(op, inputs, chosen, ys[0]):
                        return inputs, chosen
                    alone = alone or (inputs, chosen)
                    continue
                problem = problem or f"the result is not finite for x of shape {_times(shape)}"
            except Exception as error:
                problem = problem or f"{type(error).__name__}: {error}"
    if chosen_last := alone or updating:
        return chosen_last
    if not any(_differentiable(case.inputs[0]) for case in op.cases):
        raise ValueError(f"{op.name} has no gradient for its first input: leave out x and its shape")
    known = ", ".join(dict.fromkeys(_times(s) for s in map(_first_shape, op.cases) if s is not None))
    problem = problem or f"its first input has {known} in the registered cases"
    raise ValueError(f"{op.name} cannot take an x of shape {_times(x.shape)}: {problem}")


def with_weights(op: Op, inputs: Inputs, seed: int = 0) -> list[Tensor | None]:
    """Return the inputs and those that were left out and have a gradient, weights and biases, if they fit."""
    found, options = inputs
    found = [*found, *[None] * (max(len(case.inputs) for case in op.cases) - len(found))]
    shape = next(x.shape for x in found if x is not None)
    for k, present in enumerate(found):
        for spec in _fitting(op, k, shape) if present is None else ():
            drawn = draw(Case((*[None] * k, spec)), seed=101 * seed + k)[k]  # not the numbers of others
            more = [*found[:k], drawn, *found[k + 1 :]]
            try:
                with no_grad():
                    result = op.call([x if x is None else Tensor(x.array.copy()) for x in more], options)
            except Exception:  # another shape, or an input that excludes one that is there
                continue
            ys = result if isinstance(result, tuple) else (result,)
            if all(numpy.isfinite(to_numpy(y.array)).all() for y in ys):
                found = more
                break
    return found


def _fitting(op: Op, k: int, shape: tuple[int, ...]) -> Iterator[Input]:
    """Return what input `k` of the cases may be for an x of `shape`, with its channels or its last axes."""
    cases = [case for case in op.cases if k < len(case.inputs) and _differentiable(case.inputs[k])]
    for case in cases:
        yield _as_input(_resized(case, shape).inputs[k])
    for case, axes in itertools.product(cases, range(1, len(shape))):
        yield replace(_as_input(case.inputs[k]), shape=shape[-axes:])


def _as_input(spec: Input | tuple[int, ...] | None) -> Input:
    assert spec is not None
    return spec if isinstance(spec, Input) else Input(spec)


def _differ(before: Sequence[numpy.ndarray | None], inputs: Sequence[Tensor | None]) -> bool:
    """Return whether a call changed its inputs."""
    pairs = zip(before, inputs, strict=True)
    return any(a is not None and x is not None and (a != to_numpy(x.array)).any() for a, x in pairs)


def _are_coupled(op: Op, inputs: list[Tensor | None], options: dict[str, Any], y: Tensor) -> bool:
    """Return whether another first number of x changes any other number of y than the first."""
    x = inputs[0]
    assert x is not None
    moved = to_numpy(x.array).copy()
    moved.flat[0] += 0.5
    with no_grad():
        result = op.call([Tensor(moved), *inputs[1:]], options)
    other = result[0] if isinstance(result, tuple) else result
    changed = to_numpy(other.array) != to_numpy(y.array)
    return bool(changed.reshape(-1)[1:].any())


def _simplicity(case: Case) -> tuple[int, int]:
    """Few inputs first, then few axes."""
    return sum(spec is not None for spec in case.inputs), len(_first_shape(case) or ())


def _shapes(x: numpy.ndarray, case: Case, op: Op, is_loose: bool) -> Iterator[tuple[int, ...]]:
    """Return the shapes that `x` may take in a case: its own, or a vector's as a row or a column.

    With `is_loose`, those of another number of axes: a normalization of channels, (N, C, L), takes
    (N, C, H, W) and (N, C, D, H, W) too.
    """
    like = _first_shape(case)
    if like is None or not _differentiable(case.inputs[0]):
        return
    if is_loose:
        if x.ndim != len(like) and {x.ndim, len(like)} <= {3, 4, 5} and "channel" in op.pool:
            yield x.shape
    elif x.ndim == len(like):
        yield x.shape
    elif x.ndim == 1 and like:
        yield (*(1,) * (len(like) - 1), x.size)
        yield (x.size, *(1,) * (len(like) - 1))


def _resized(case: Case, shape: tuple[int, ...]) -> Case:
    """Return a case whose x has `shape`; with another number of axes, the first two are N and C."""
    like = _first_shape(case) or ()
    axes = min(len(shape), 2) if len(shape) != len(like) else len(like)
    sizes = dict(zip(like[:axes], shape[:axes], strict=True))

    def fit(old: Sequence[int]) -> tuple[int, ...]:
        if len(old) > 1 and tuple(old) == like[-len(old) :]:
            return shape[-len(old) :]
        if len(old) == len(like) == len(shape):
            return tuple(new if n == n_like else n for n, n_like, new in zip(old, like, shape, strict=True))
        return tuple(sizes.get(n, n) for n in old)

    inputs = [
        None
        if spec is None
        else replace(spec, shape=fit(spec.shape))
        if isinstance(spec, Input)
        else Input(fit(spec))
        for spec in case.inputs
    ]
    options = dict(case.options)
    if "normalized_shape" in options:
        options["normalized_shape"] = shape[-len(options["normalized_shape"]) :]
    return Case(tuple(inputs), options)


def _first_shape(case: Case) -> tuple[int, ...] | None:
    return _shape(case.inputs[0])


def _shape(spec: Input | tuple[int, ...] | None) -> tuple[int, ...] | None:
    return spec.shape if isinstance(spec, Input) else spec


def _is_thin(shape: tuple[int, ...]) -> bool:
    return int(numpy.prod(shape)) < 4 or shape[-1:] == (1,)


def _size(case: Case) -> int:
    """Return how many numbers the inputs of a case have; 0 if one is empty."""
    sizes = [int(numpy.prod(shape)) for shape in map(_shape, case.inputs) if shape is not None]
    return 0 if 0 in sizes else sum(sizes)


def _differentiable(spec: Input | tuple[int, ...] | None) -> bool:
    return spec is not None and (not isinstance(spec, Input) or spec.differentiable)


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "()"
