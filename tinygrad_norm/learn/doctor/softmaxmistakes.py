"""Softmax and log_softmax: their derivations, fitted to a forward, and their mistakes.

The lines are those of softmax.py.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy

from .catalogue import Derivation, Mistake, Steps, fits_output


def softmax_of(x: numpy.ndarray, axis: int) -> numpy.ndarray:
    """Return the softmax along an axis."""
    e = numpy.exp(x - x.max(axis, keepdims=True))
    return numpy.asarray(e / e.sum(axis, keepdims=True))


def fit_softmax(
    arguments: dict[str, numpy.ndarray], y: numpy.ndarray, roles: dict[str, str]
) -> Iterator[Derivation]:
    """Yield the derivation of softmax or log_softmax, along the axis that gives `y`."""
    (name, x), *others = arguments.items()
    if others or x.shape != y.shape or x.dtype.kind != "f":
        return
    for axis in [k for k in range(x.ndim) if x.shape[k] > 1]:
        p = softmax_of(x, axis)
        given = {"x": x, "p": p, "y": y, "axis": axis}
        if fits_output(p, y):
            mistakes = tuple(_of_softmax(axis, x.shape))
            yield Derivation("softmax", given, SOFTMAX, {name: "dx"}, mistakes)
        elif fits_output(numpy.log(p), y):
            mistakes = tuple(_of_log_softmax(axis, x.shape))
            yield Derivation("log_softmax", given, LOG_SOFTMAX, {name: "dx"}, mistakes)


def _total(s: Any, a: numpy.ndarray) -> numpy.ndarray:
    return numpy.asarray(a.sum(s.axis, keepdims=True))


SOFTMAX: Steps = {
    "total": lambda s: _total(s, s.dy * s.y),
    "straight": lambda s: s.y * s.dy,
    "through_sum": lambda s: -s.y * s.total,
    "dx": lambda s: s.straight + s.through_sum,
}
LOG_SOFTMAX: Steps = {
    "total": lambda s: _total(s, s.dy),
    "straight": lambda s: s.dy,
    "through_sum": lambda s: -s.p * s.total,
    "dx": lambda s: s.straight + s.through_sum,
}


def _of_softmax(axis: int, shape: tuple[int, ...]) -> Iterator[Mistake]:
    def through(name: str, wrong: str, **steps: Any) -> Mistake:
        return Mistake(name, "through Σe", wrong, "-y·Σ dy·y", steps)

    right = "y·(dy - Σ dy·y)"
    yield through("the path through the sum is missing", "0", through_sum=lambda s: 0 * s.y)
    name = "only the diagonal of the Jacobian is used: every y also depends on the other x, through the sum"
    yield Mistake(name, "dx", "y·(1 - y)·dy", right, {"dx": lambda s: s.y * (1 - s.y) * s.dy})
    yield through(
        "the sign of the path through the sum is wrong", "+y·Σ dy·y", through_sum=lambda s: s.y * s.total
    )
    yield Mistake("the sign is wrong", "dx", "-y·(dy - Σ dy·y)", right, {"dx": lambda s: -SOFTMAX["dx"](s)})
    yield through("y is missing in the sum", "-y·Σ dy", total=lambda s: _total(s, s.dy))
    yield through("y is missing before the sum", "-Σ dy·y", through_sum=lambda s: -s.total + 0 * s.y)
    yield Mistake(
        "y is missing before the bracket", "dx", "dy - Σ dy·y", right, {"dx": lambda s: s.dy - s.total}
    )
    yield Mistake("y is missing in the straight path", "straight", "dy", "y·dy", {"straight": lambda s: s.dy})
    yield Mistake(
        "y is applied twice", "dx", "y²·(dy - Σ dy·y)", right, {"dx": lambda s: s.y * SOFTMAX["dx"](s)}
    )
    yield through(
        "y² stands where y belongs in the sum", "-y·Σ dy·y²", total=lambda s: _total(s, s.dy * s.y * s.y)
    )
    yield through("x stands where y belongs in the sum", "-y·Σ dy·x", total=lambda s: _total(s, s.dy * s.x))
    yield through(
        "a mean stands where the sum belongs", "-y·mean(dy·y)", total=lambda s: _mean(s, s.dy * s.y)
    )
    name = "it is the backward of log_softmax, but forward is softmax"
    yield Mistake(name, "dx", "dy - y·Σ dy", right, {"dx": lambda s: s.dy - s.y * _total(s, s.dy)})
    for axes, name, wrong in _other_axes(axis, shape):
        yield through(name, f"-y·Σ dy·y {wrong}", total=lambda s, a=axes: (s.dy * s.y).sum(a, keepdims=True))


def _of_log_softmax(axis: int, shape: tuple[int, ...]) -> Iterator[Mistake]:
    def through(name: str, wrong: str, **steps: Any) -> Mistake:
        return Mistake(name, "through Σe", wrong, "-exp(y)·Σ dy", steps)

    right = "dy - exp(y)·Σ dy"
    yield through("the path through the sum is missing", "0", through_sum=lambda s: 0 * s.y)
    yield through(
        "the sign of the path through the sum is wrong", "+exp(y)·Σ dy", through_sum=lambda s: s.p * s.total
    )
    yield Mistake(
        "the sign is wrong", "dx", "exp(y)·Σ dy - dy", right, {"dx": lambda s: -LOG_SOFTMAX["dx"](s)}
    )
    yield through("y stands where exp(y) belongs", "-y·Σ dy", through_sum=lambda s: -s.y * s.total)
    yield through("exp(y) is missing", "-Σ dy", through_sum=lambda s: -s.total + 0 * s.y)
    yield through("dy stands where Σ dy belongs", "-exp(y)·dy", total=lambda s: s.dy)
    yield through("a mean stands where the sum belongs", "-exp(y)·mean(dy)", total=lambda s: _mean(s, s.dy))
    name = "it is the backward of softmax, but forward is log_softmax"
    yield Mistake(
        name, "dx", "p·(dy - Σ dy·p)", right, {"dx": lambda s: s.p * (s.dy - _total(s, s.dy * s.p))}
    )
    for axes, name, wrong in _other_axes(axis, shape):
        yield through(name, f"-exp(y)·Σ dy {wrong}", total=lambda s, a=axes: s.dy.sum(a, keepdims=True))


def _mean(s: Any, a: numpy.ndarray) -> numpy.ndarray:
    """Return the mean along the softmax's axis."""
    return _total(s, a) / s.y.shape[s.axis]


def _other_axes(axis: int, shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], str, str]]:
    """Yield every other choice of axes to sum over, and what it does."""
    for count in range(1, len(shape) + 1):
        for axes in itertools.combinations(range(len(shape)), count):
            if axes != (axis,):
                place = f"over {'axis' if count == 1 else 'axes'} {', '.join(map(str, axes))}"
                kind = "rows leak into each other: " if axis in axes else ""
                yield axes, f"{kind}the sum is taken {place}, but the softmax is along axis {axis}", place
