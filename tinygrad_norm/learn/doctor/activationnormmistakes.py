"""Activation normalization of flows: its derivation, fitted to a forward, and its mistakes.

The lines are those of actnorm.py. The second output, log|det|, has a derivation of its own, in
which the gradient goes to s only.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy

from .catalogue import Derivation, Mistake, Step, Steps, fits_output, times

STEPS: Steps = {
    "dx": lambda s: s.scale * s.dy,
    "ds": lambda s: _sum(s.dy * s.y),
    "dt": lambda s: _sum(s.scale * s.dy),
}
OF_LOG_DET: Steps = {
    "dx": lambda s: 0 * s.x,
    "ds": lambda s: s.positions * s.dy.sum() + 0 * s.t,
    "dt": lambda s: 0 * s.t,
}


def fit_activation_norm(
    arguments: dict[str, numpy.ndarray], y: numpy.ndarray, roles: dict[str, str]
) -> Iterator[Derivation]:
    """Yield the derivation of y = e^s·(x + t); x (N, C, ...), s and t (C,) in any order."""
    floats = {name: a for name, a in arguments.items() if a.dtype.kind == "f"}
    arrays = [name for name, a in floats.items() if a.shape == y.shape]
    vectors = [name for name, a in floats.items() if y.ndim > 1 and a.shape == y.shape[1:2]]
    if len(floats) != 3 or len(arrays) != 1 or len(vectors) != 2 or not y.size:
        return
    x, per_channel = floats[arrays[0]], (-1, *(1,) * (y.ndim - 2))
    for names in (vectors, vectors[::-1]):
        log_scale, t = (floats[name].reshape(per_channel) for name in names)
        scale = numpy.exp(log_scale)
        if fits_output(scale * (x + t), y):
            given = {"x": x, "y": y, "s": log_scale, "t": floats[names[1]], "c": x + t, "scale": scale}
            given["positions"] = math.prod(x.shape[2:])
            ends = {arrays[0]: "dx", names[0]: "ds", names[1]: "dt"}
            several = given["positions"] > 1, len(x) > 1
            of_log_det = Derivation("activation_norm", given, OF_LOG_DET, ends, tuple(_of_log_det(*several)))
            yield Derivation(
                "activation_norm", given, STEPS, ends, tuple(_mistakes()), of_outputs={1: of_log_det}
            )
            return


def _sum(a: Any) -> Any:
    return a.sum((0, *range(2, a.ndim)))


def _mistakes() -> Iterator[Mistake]:
    ends = {"dx": "e^s·dy", "ds": "Σ dy·y", "dt": "e^s·Σ dy"}

    def mistake(line: str, name: str, wrong: str, step: Step) -> Mistake:
        return Mistake(name, line, wrong, ends[line], {line: step})

    yield mistake("dx", "e^s is forgotten", "dy", lambda s: s.dy)
    yield mistake("dx", "s stands where e^s belongs", "s·dy", lambda s: s.s * s.dy)
    yield mistake("dx", "e^s is divided by", "e^-s·dy", lambda s: s.dy / s.scale)
    yield mistake("dt", "e^s is forgotten: t is added before the scale", "Σ dy", lambda s: _sum(s.dy))
    yield mistake("dt", "s stands where e^s belongs", "s·Σ dy", lambda s: _sum(s.s * s.dy))
    name = "x + t stands where y belongs: that is the gradient of the scale e^s, and s is its logarithm"
    yield mistake("ds", name, "Σ dy·(x + t)", lambda s: _sum(s.dy * s.c))
    name = "x stands where x + t belongs"
    yield mistake("ds", name, "Σ dy·e^s·x", lambda s: _sum(s.dy * s.scale * s.x))
    yield mistake("ds", "e^s counts twice", "e^s·Σ dy·y", lambda s: _sum(s.scale * s.dy * s.y))
    for line, end in ends.items():
        yield mistake(line, "the sign is wrong", f"-{end}", times(STEPS[line], -1))


def _of_log_det(positions: bool, samples: bool) -> Iterator[Mistake]:
    right = "S·Σ_n d_n, with S positions and d = dL/dlog|det|"
    ds = OF_LOG_DET["ds"]

    def of_ds(name: str, wrong: str, step: Step) -> Mistake:
        return Mistake(name, "ds through log|det|", wrong, right, {"ds": step})

    yield of_ds("the part of log|det| is forgotten: s is in y and in log|det|", "0", times(ds, 0))
    yield of_ds("the sign of the part of log|det| is wrong", f"-{right}", times(ds, -1))
    if positions:
        name = "S is forgotten: every position has the factor e^s, so s counts S times in log|det|"
        yield of_ds(name, "Σ_n d_n", times(ds, lambda s: 1 / s.positions))
    if samples:
        name = "samples have a mean, but each has its own log|det|: their gradients add up"
        yield of_ds(name, "S·mean_n d_n", times(ds, lambda s: 1 / len(s.x)))
    name = "e^s is a factor of the part of log|det|, which is linear in s"
    yield of_ds(name, "e^s·S·Σ_n d_n", times(ds, lambda s: s.scale.reshape(-1)))
