"""What an op is explained and drawn on: the numbers that are given, or few and small ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from ..autograd.sweep import gradients
from ..autograd.tensor import Tensor
from ..backends import to_numpy
from ..gradient_check.registered import cotangent
from ..gradient_check.registered import draw as inputs_of
from ..ops.arguments import as_size
from ..registry import Case, Op
from .formulas import argument_names
from .smallinputs import MOST_NUMBERS, README_DY, README_X, case_for, smallest_case
from .tracing import Trace, traced


@dataclass(frozen=True)
class Given:
    """Inputs and options of an op, and the gradient of its first result: random if `dy` is None."""

    inputs: list[Tensor | None]
    options: dict[str, Any]
    dy: numpy.ndarray | None = None
    seed: int = 0

    def dys(self, ys: Sequence[Tensor]) -> list[numpy.ndarray]:
        """Return a gradient for each of `ys`; a given one is for the first, the others then have zeros.

        Raises:
            ValueError: if the given one is of another size.
        """
        if not ys:
            return []
        if self.dy is None:
            return [cotangent(y.shape, k, self.seed).round(2) for k, y in enumerate(ys)]
        first, *others = ys
        if self.dy.size != first.numel():
            raise ValueError(
                f"dy must have a number for each of y, {first.numel()} ({first.shape}), got {self.dy.size}"
            )
        return [self.dy.reshape(first.shape), *(numpy.zeros(y.shape) for y in others)]


def choose(
    op: Op,
    x: Any = None,
    dy: Any = None,
    *,
    shape: Sequence[int] | None = None,
    seed: int = 0,
    options: dict[str, Any] | None = None,
    case: Case | None = None,
) -> Given:
    """Return the inputs of an op: those of a registered case, or from the first of them or its shape.

    Without any of these, a normalization gets x = 1, 2, 3, 6 and dy = 1, 0, 0, 0 if it can take them,
    anything else the smallest of its registered cases.

    Raises:
        TypeError: if shape is not a sequence, or seed not an integer.
        ValueError: if the op cannot take `x` or `options`, or there are too many numbers, or one is NaN or
            infinite.
    """
    if shape is not None and not isinstance(shape, Sequence):
        raise TypeError(f"shape must be a sequence of sizes, such as (2, 4), got {shape!r}")
    as_size(seed, "seed", 0)
    options = options or {}
    if x is not None and shape is not None:
        raise ValueError("pass x or shape, not both")
    given_dy = None if dy is None else _checked(dy, "dy")
    if case is not None:
        if x is not None or shape is not None:
            raise ValueError("a case has an x of its own: pass a case, or x, or shape")
        return Given(inputs_of(case, seed=seed), case.options | options, given_dy, seed)
    if shape is not None:
        x = _drawn(tuple(shape), numpy.random.default_rng(seed))
    if x is not None:
        return Given(*case_for(op, _checked(x, "x"), options, seed), given_dy, seed)
    if op.kind == "normalization":
        try:
            inputs, chosen = case_for(op, numpy.array(README_X), options, seed)
        except ValueError:
            pass
        else:
            found = Given(inputs, chosen, given_dy, seed)
            y = _first_result(op, found)
            if y is not None and not _is_rounding(y, inputs[0], seed):  # the gradient of a pool of one is
                fits = dy is None and y.numel() == len(README_DY)
                return Given(inputs, chosen, numpy.array(README_DY), seed) if fits else found
    inputs, chosen = smallest_case(op, seed)
    if options:
        _check_call(op, inputs, chosen | options)
    return Given(inputs, chosen | options, given_dy, seed)


def traced_call(op: Op, given: Given, function: Callable[..., Any] | None) -> tuple[Trace, list[Tensor]]:
    """Call a form of the op; return the trace, with the names of the inputs, and the results.

    Raises:
        ValueError: if that form has no such option.
    """
    taken = inspect.signature(function or op.function).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
    for name in given.options:
        if name not in taken and not takes_all:
            raise ValueError(f"the composed form of {op.name} has no option {name!r}: leave it out")
    arguments = names_of_arguments(op, len(given.inputs))
    with traced() as trace:
        for argument, x in zip(arguments, given.inputs, strict=True):
            trace.name(x, "x" if argument == "input" and "x" not in arguments else argument)
        result = op.call(given.inputs, given.options, function)
    return trace, [y for y in (result if isinstance(result, tuple) else (result,)) if isinstance(y, Tensor)]


def names_of_arguments(op: Op, count: int) -> Sequence[str]:
    """Return the names of the first `count` inputs; a case may leave out the last ones."""
    return op.inputs[:count] or argument_names(op.function, count)


def _check_call(op: Op, inputs: list[Tensor | None], options: dict[str, Any]) -> None:
    """Raise ValueError if the op cannot be called."""
    try:
        op.call(inputs, options)
    except Exception as error:
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise ValueError(f"{op.name} cannot be called with {given}: {error}") from error


def _first_result(op: Op, given: Given) -> Tensor | None:
    _, results = traced_call(op, given, op.composed)
    return next((y for y in results if y.requires_grad), None)


def _is_rounding(y: Tensor, x: Tensor | None, seed: int) -> bool:
    """Return whether the gradient of x, and that is 0 but for rounding, has nothing to show."""
    assert x is not None
    (dx,) = gradients([y], [x], [cotangent(y.shape, 0, seed)], retain=False)
    return dx is None or float(numpy.abs(to_numpy(dx)).max()) < 1e-9


def _drawn(shape: tuple[int, ...], rng: numpy.random.Generator) -> numpy.ndarray:
    if any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in shape):
        raise ValueError(f"shape needs sizes of at least 1, got {shape}")
    if numpy.prod(shape, dtype=float) > MOST_NUMBERS:
        raise ValueError(f"every number is shown: x may have {MOST_NUMBERS}, shape {shape} has more")
    return rng.normal(size=shape).round(2)


def _checked(values: Any, name: str) -> numpy.ndarray:
    try:
        array = numpy.asarray(to_numpy(values.array) if isinstance(values, Tensor) else values)
    except ValueError:
        array = numpy.array("rows of different lengths")
    if array.size and array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be numbers in rows of equal length, got {values!r}")
    if not array.size or array.size > MOST_NUMBERS:
        raise ValueError(f"every number is shown: {name} may have 1 to {MOST_NUMBERS}, got {array.size}")
    if not numpy.isfinite(array).all():
        raise ValueError(f"{name} must be finite: NaN and infinity have no finite differences")
    return array.astype(numpy.float64)
