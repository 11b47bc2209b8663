"""Source-target batch normalization: fitted to a forward, and its mistakes.

The lines are those of sourcetarget.py, and the gradients of given statistics, which are constants there.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy

from .catalogue import Derivation, Mistake, Step, Steps, fits_output, times

STEPS: Steps = {
    "g": lambda s: s.w * s.dy.reshape(s.x_hat.shape),
    "through_mu": lambda s: -s.alpha * s.r * _mean(s.g),
    "through_r": lambda s: -s.alpha * s.r * s.c * _mean(s.g * s.x_hat),
    "dx": lambda s: (s.r * s.g + s.through_mu + s.through_r).reshape(s.dy.shape),
    "dw": lambda s: (s.dy.reshape(s.x_hat.shape) * s.x_hat).sum((0, 2)),
    "db": lambda s: s.dy.reshape(s.x_hat.shape).sum((0, 2)),
    "dM": lambda s: -(1 - s.alpha) * (s.r * s.g).sum((0, 2)),
    "dV": lambda s: -(1 - s.alpha) / 2 * (s.r**2 * s.g * s.x_hat).sum((0, 2)),
}
_ROLES = ("M", "V", "w", "b")
_PRIORS = (16, 1, 2, 4, 8, 32, 64, 128)


def fit_source_target(
    arguments: dict[str, numpy.ndarray], y: numpy.ndarray, roles: dict[str, str]
) -> Iterator[Derivation]:
    """Yield the derivation of y = w·(x - μ)·r + b with mixed statistics; x (N, C, ...), vectors (C,)."""
    arrays = [name for name, a in arguments.items() if a.shape == y.shape and y.ndim >= 2]
    vectors = {name: a for name, a in arguments.items() if a.ndim == 1}
    if len(arrays) != 1 or len(vectors) + 1 != len(arguments) or not 2 <= len(vectors) <= 4 or not y.size:
        return
    if any(a.dtype.kind != "f" or a.shape != y.shape[1:2] for a in vectors.values()):
        return
    x = arguments[arrays[0]].reshape(*y.shape[:2], -1)
    m = _mean(x)
    v, N = _mean((x - m) ** 2), len(x)
    for named in itertools.permutations(_ROLES, len(vectors)):
        if "M" not in named or "V" not in named:
            continue
        names = dict(zip(named, vectors, strict=True))
        M, V, w, b = (
            vectors[names[role]][:, None] if role in names else float(role == "w") for role in _ROLES
        )
        for prior, eps in itertools.product(_PRIORS, (1e-5, 1e-3, 0.0)):
            alpha = N / (N + prior)
            mu, r = alpha * m + (1 - alpha) * M, (alpha * v + (1 - alpha) * V + eps) ** -0.5
            if fits_output((w * (x - mu) * r + b).reshape(y.shape), y):
                given = {"x_hat": (x - mu) * r, "c": (x - m) * r, "r": r, "w": w, "alpha": alpha}
                ends = {arrays[0]: "dx"}
                ends |= {name: f"d{role}" for role, name in names.items()}
                yield Derivation("source_target_batch_norm", given, STEPS, ends, tuple(_mistakes()))
                return


def _mean(a: Any) -> Any:
    return a.mean((0, 2), keepdims=True)


def _mistakes() -> Iterator[Mistake]:
    right = "r·(g - α·mean(g) - α·(x - m)·r·mean(g·x̂))"

    def of_dx(name: str, wrong: str, **steps: Step) -> Mistake:
        return Mistake(name, "dx", wrong, right, steps)

    name = "x̂ stands for (x - m)·r in the path through r: σ² moves with the batch's own mean"
    mixed = {"through_r": lambda s: -s.alpha * s.r * s.x_hat * _mean(s.g * s.x_hat)}
    yield of_dx(name, "r·(g - α·mean(g) - α·x̂·mean(g·x̂))", **mixed)
    name = "α is forgotten: the batch counts for the whole of the statistics"
    whole = {line: lambda s, line=line: STEPS[line](s) / s.alpha for line in ("through_mu", "through_r")}
    yield of_dx(name, "r·(g - mean(g) - (x - m)·r·mean(g·x̂))", **whole)
    name = "the statistics count as constants"
    none = {"through_mu": lambda s: 0 * s.g, "through_r": lambda s: 0 * s.g}
    yield of_dx(name, "r·g", **none)
    yield of_dx(
        "the path through μ is dropped", "r·(g - α·(x - m)·r·mean(g·x̂))", through_mu=none["through_mu"]
    )
    yield of_dx("the path through r is dropped", "r·(g - α·mean(g))", through_r=none["through_r"])
    for line, end in {"dw": "Σ dy·x̂", "db": "Σ dy"}.items():
        yield Mistake("the sign is wrong", line, f"-{end}", end, {line: times(STEPS[line], -1)})
