"""What is often wrong in the gradients of a normalization's weight and bias."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy

from ...ops.broadcast import unbroadcast
from .catalogue import Mistake, Step
from .poolsteps import LINES


def of_parameters(given: dict[str, Any]) -> Iterator[Mistake]:
    """Yield what may be wrong in the gradients of weight and bias."""
    for line, what in (("dw", "w"), ("db", "b")):
        if f"{what}_view" in given:
            yield from _of_parameter(line, given[f"{what}_view"], given[f"{what}_shape"], given["x"].shape)


def _of_parameter(
    line: str, view: tuple[int, ...], shape: tuple[int, ...], of_x: tuple[int, ...]
) -> Iterator[Mistake]:
    count = math.prod(of_x) // max(math.prod(shape), 1)
    right, gradient = LINES[line], {"dw": "the weight's gradient", "db": "the bias's gradient"}[line]

    def full(s: Any) -> Any:
        return s.dy * s.x_hat if line == "dw" else s.dy + 0 * s.x

    def mistake(name: str, wrong: str, f: Step) -> Mistake:
        reduced = lambda s: unbroadcast(f(s) + 0 * s.x, view).reshape(shape)  # noqa: E731
        return Mistake(name, line, wrong, right, {line: reduced})

    yield mistake(f"the sign of {gradient} is wrong", f"-{right}", lambda s: -full(s))
    name = f"{gradient} is a mean, but every use of it counts: it is a sum"
    yield mistake(name, right.replace("Σ ", "mean of "), lambda s: full(s) / count)
    name = f"the weight is a factor of {gradient}"
    yield mistake(name, right.replace("dy", "w·dy"), lambda s: s.w * full(s))
    if line == "dw":
        yield mistake("the weight's gradient lacks x̂", "Σ dy", lambda s: s.dy)
        yield mistake("the weight's gradient has x where x̂ belongs", "Σ dy·x", lambda s: s.dy * s.x)
        yield mistake("the weight's gradient has x - m where x̂ belongs", "Σ dy·(x - m)", lambda s: s.dy * s.c)
        yield mistake("the weight's gradient has y where x̂ belongs", "Σ dy·y", lambda s: s.dy * s.y)
        yield mistake("the weight's gradient has r twice", "Σ dy·x̂·r", lambda s: s.dy * s.x_hat * s.r)
        yield mistake("the weight's gradient has x̂ twice", "Σ dy·x̂²", lambda s: s.dy * s.x_hat**2)
    else:
        name = "the bias's gradient has a factor x̂: it is the weight's"
        yield mistake(name, "Σ dy·x̂", lambda s: s.dy * s.x_hat)
    name = f"{gradient} is that of the first sample only: sum over all"
    yield mistake(name, f"{right} of the first sample", lambda s: _only_first(full(s)))
    for name, wrong, f in _sums_over_other_axes(full, view, shape, of_x):
        yield Mistake(f"{gradient} {name}", line, wrong, right, {line: f})


def _only_first(array: numpy.ndarray) -> numpy.ndarray:
    """Return an array with 0 at all but the first index of axis 0."""
    kept = numpy.zeros_like(array)
    kept[:1] = array[:1]
    return kept


def _sums_over_other_axes(
    full: Step, view: tuple[int, ...], shape: tuple[int, ...], of_x: tuple[int, ...]
) -> Iterator[tuple[str, str, Step]]:
    """Yield sums over other axes of x that also have the parameter's shape."""
    padded = (1,) * (len(of_x) - len(view)) + tuple(view)
    summed = tuple(k for k, n in enumerate(padded) if n == 1 < of_x[k])
    for count in range(1, len(of_x) + 1):
        for axes in itertools.combinations(range(len(of_x)), count):
            left = [n for k, n in enumerate(of_x) if k not in axes]
            if axes != summed and [n for n in left if n > 1] == [n for n in shape if n > 1]:
                name = f"is summed over axes {axes} of x, not {summed}"
                yield name, f"Σ over axes {axes}", _sum_over(full, axes, shape)


def _sum_over(full: Step, axes: tuple[int, ...], shape: tuple[int, ...]) -> Step:
    return lambda s: (full(s) + 0 * s.x).sum(axes).reshape(shape)
