"""CRMS normalization: its derivation, fitted to a forward, and its mistakes.

The lines are those of crmsnorm.py.
"""

from collections.abc import Iterator

import numpy

from .catalogue import Derivation, Mistake, Step, Steps, fits_output, times

STEPS: Steps = {
    "c": lambda s: (s.dy * s.x * s.r).sum(-1, keepdims=True) / s.D,
    "of_row": lambda s: s.x + s.s,
    "straight": lambda s: s.r * s.dy,
    "through_r": lambda s: -(s.r**2) * s.of_row * s.c,
    "dx": lambda s: s.straight + s.through_r,
}


def fit_crms_norm(
    arguments: dict[str, numpy.ndarray], y: numpy.ndarray, roles: dict[str, str]
) -> Iterator[Derivation]:
    """Yield the derivation of y = x/√((Σx² + (Σx)²)/D + eps); x (..., D - 1)."""
    if len(arguments) != 1 or not y.ndim or not y.size:
        return
    ((name, x),) = arguments.items()
    if x.shape != y.shape or x.dtype.kind != "f":
        return
    D, s = x.shape[-1] + 1, x.sum(-1, keepdims=True)
    squares = (x * x).sum(-1, keepdims=True) + s * s
    for eps in (1e-5, 1e-6, 0.0, 1e-8):
        r = (squares / D + eps) ** -0.5
        if fits_output(x * r, y):
            given = {"x": x, "s": s, "r": r, "D": D}
            yield Derivation("crms_norm", given, STEPS, {name: "dx"}, tuple(_mistakes()))
            return


def _mistakes() -> Iterator[Mistake]:
    right = "r·(dy - (x + s)·r·c), c = Σ(dy·x·r)/D"

    def of_dx(name: str, wrong: str, **steps: Step) -> Mistake:
        return Mistake(name, "dx", wrong, right, steps)

    stored = times(STEPS["c"], lambda s: s.D / (s.D - 1))
    name = "it is the gradient of plain RMS normalization: r depends on the entry that is not stored, too"
    plain: Steps = {"c": stored, "of_row": lambda s: s.x}
    yield of_dx(name, "r·(dy - x·r·mean(dy·x·r))", **plain)
    name = "the entry that is not stored is forgotten: x moves it, and it moves r"
    yield of_dx(name, "r·(dy - x·r·c)", of_row=lambda s: s.x)
    name = "the entry that is not stored has the wrong sign: it is -s, and falls as x grows"
    yield of_dx(name, "r·(dy - (x - s)·r·c)", of_row=lambda s: s.x - s.s)
    name = "the mean is over the stored entries: the whole row has D"
    yield of_dx(name, "c = Σ(dy·x·r)/(D - 1)", c=stored)
    name = "x + s stands where (x + s)·r belongs"
    yield of_dx(name, "r·(dy - (x + s)·c)", through_r=lambda s: -s.r * s.of_row * s.c)
    yield of_dx("r is forgotten", "dy - (x + s)·r·c", dx=lambda s: (s.straight + s.through_r) / s.r)
    yield of_dx("the path through r is dropped", "r·dy", through_r=lambda s: 0 * s.dy)
    name = "the sign of the path through r is wrong"
    yield of_dx(name, "r·(dy + (x + s)·r·c)", through_r=times(STEPS["through_r"], -1))
