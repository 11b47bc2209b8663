"""GraphNorm: its derivation, fitted to a forward, and its mistakes. The lines are those of graphnorm.py."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy

from .catalogue import Derivation, Mistake, Step, Steps, fits_output, times

STEPS: Steps = {
    "g": lambda s: s.w * s.dy,
    "through_r": lambda s: -s.r * s.x_hat * (s.means @ (s.g * s.x_hat)),
    "do": lambda s: s.r * s.g + s.through_r,
    "through_m": lambda s: -s.a * (s.means @ s.do),
    "dx": lambda s: s.do + s.through_m,
    "dw": lambda s: (s.dy * s.x_hat).sum(0),
    "db": lambda s: s.dy.sum(0),
    "da": lambda s: -(s.m * s.do).sum(0),
}
_ROLES = ("a", "w", "b")


def fit_graph_norm(
    arguments: dict[str, numpy.ndarray], y: numpy.ndarray, roles: dict[str, str]
) -> Iterator[Derivation]:
    """Yield the derivation of y = w·(x - α·m)·r + b; x (N, D), integers (N,), vectors (D,) in any order."""
    floats = {name: a for name, a in arguments.items() if a.dtype.kind == "f"}
    matrices = [name for name, a in floats.items() if a.ndim == 2]
    graphs = [a for a in arguments.values() if a.dtype.kind in "iu"]
    if len(matrices) != 1 or len(graphs) > 1 or y.ndim != 2:
        return
    x = floats[matrices[0]]
    vectors = {name: a for name, a in floats.items() if a.ndim < 2}
    batch = graphs[0] if graphs else numpy.zeros(len(x), int)
    fit = x.size and y.shape == x.shape and batch.shape == x.shape[:1] and 0 < len(vectors) < 4
    if not fit or any(a.shape != x.shape[1:] for a in vectors.values()):
        return
    same = (batch[:, None] == batch).astype(x.dtype)
    means = same / same.sum(1, keepdims=True)
    m = means @ x
    for named in itertools.permutations(_ROLES, len(vectors)):
        if "a" not in named:
            continue
        names = dict(zip(named, vectors, strict=True))
        a, w, b = (vectors[names[role]] if role in names else float(role != "b") for role in _ROLES)
        o = x - a * m
        for eps in (1e-5, 1e-6, 0.0, 1e-3):
            r = (means @ (o * o) + eps) ** -0.5
            if fits_output(w * o * r + b, y):
                given = {"x_hat": o * r, "r": r, "m": m, "a": a, "w": w, "means": means}
                ends = {matrices[0]: "dx"} | {name: f"d{role}" for role, name in names.items()}
                mistakes = tuple(_mistakes(given, len(graphs) > 0))
                yield Derivation("graph_norm", given, STEPS, ends, mistakes)
                return


def _mistakes(given: dict[str, Any], several: bool) -> Iterator[Mistake]:
    right = "do - α·mean(do), do = r·(g - x̂·mean(g·x̂))"

    def of_dx(name: str, wrong: str, **steps: Step) -> Mistake:
        return Mistake(name, "dx", wrong, right, steps)

    name = "α is on the core's mean(g) only: it is on the mean of all of do"
    only = {"through_m": lambda s: -s.a * s.r * (s.means @ s.g)}
    yield of_dx(name, "r·(g - α·mean(g) - x̂·mean(g·x̂))", **only)
    name = "α is forgotten where the gradient goes through the mean"
    yield of_dx(name, "do - mean(do)", through_m=lambda s: -(s.means @ s.do))
    yield of_dx("the path through the mean is dropped", "do", through_m=lambda s: 0 * s.do)
    yield of_dx("the path through r is dropped", "do with do = r·g", through_r=lambda s: 0 * s.dy)
    if several:
        name = "means are over all nodes instead of those of a graph"
        everyone = numpy.full_like(given["means"], 1 / len(given["means"]))
        wrong = {
            "through_r": lambda s: -s.r * s.x_hat * (everyone @ (s.g * s.x_hat)),
            "through_m": lambda s: -s.a * (everyone @ s.do),
        }
        yield of_dx(name, f"{right} over all nodes", **wrong)
    ends = {"da": "-Σ m·do", "dw": "Σ dy·x̂", "db": "Σ dy"}
    yield Mistake("the mean is forgotten", "da", "-Σ do", ends["da"], {"da": lambda s: -s.do.sum(0)})
    for line, end in ends.items():
        yield Mistake("the sign is wrong", line, f"minus {end}", end, {line: times(STEPS[line], -1)})
