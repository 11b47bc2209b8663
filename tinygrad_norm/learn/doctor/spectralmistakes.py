"""Spectral normalization: its derivation, fitted to a forward, and its mistakes.

The lines are those of spectralnorm.py.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy

from .catalogue import Derivation, Mistake, Steps, fits_output, times

STEPS: Steps = {
    "outer": lambda s: numpy.outer(s.u, s.v),
    "inner": lambda s: (s.dy * s.y).sum(),
    "straight": lambda s: s.dy / s.sigma,
    "through_sigma": lambda s: -s.inner / s.sigma * s.outer,
    "dx": lambda s: s.straight + s.through_sigma,
}


def fit_spectral_norm(
    arguments: dict[str, numpy.ndarray], y: numpy.ndarray, roles: dict[str, str]
) -> Iterator[Derivation]:
    """Yield the derivation of y = W/(uᵀ·W·v), with u and v constant."""
    (name, w), *others = arguments.items()
    if w.ndim != 2 or w.shape != y.shape or len(others) != 2:
        return
    for (_, u), (_, v) in itertools.permutations(others):
        if (u.size, v.size) != w.shape or u.dtype.kind != "f" or v.dtype.kind != "f":
            continue
        sigma = u.reshape(-1) @ w @ v.reshape(-1)
        if sigma and fits_output(w / sigma, y):
            given = {"w": w, "u": u.reshape(-1), "v": v.reshape(-1), "sigma": sigma, "y": y}
            yield Derivation("spectral_norm", given, STEPS, {name: "dx"}, tuple(_mistakes(w.shape)))


def _mistakes(shape: tuple[int, ...]) -> Iterator[Mistake]:
    right, path = "(dy - Σ(dy∘Ŵ)·u·vᵀ)/σ", "-Σ(dy∘Ŵ)/σ·u·vᵀ"

    def through(name: str, wrong: str, **steps: Any) -> Mistake:
        return Mistake(name, "through σ", wrong, path, steps)

    whole, through_sigma = STEPS["dx"], STEPS["through_sigma"]
    yield through("the path through σ is dropped", "0", through_sigma=lambda s: 0 * s.w)
    yield through(
        "the sign of the path through σ is wrong", "+Σ(dy∘Ŵ)/σ·u·vᵀ", through_sigma=times(through_sigma, -1)
    )
    yield Mistake("the sign is wrong", "dx", "(Σ(dy∘Ŵ)·u·vᵀ - dy)/σ", right, {"dx": times(whole, -1)})
    yield Mistake(
        "the division by σ is forgotten",
        "dx",
        "dy - Σ(dy∘Ŵ)·u·vᵀ",
        right,
        {"dx": times(whole, lambda s: s.sigma)},
    )
    yield Mistake(
        "it is divided by σ twice",
        "dx",
        "(dy - Σ(dy∘Ŵ)·u·vᵀ)/σ²",
        right,
        {"dx": times(whole, lambda s: 1 / s.sigma)},
    )
    yield through(
        "σ stands where σ² belongs: W = σ·Ŵ",
        "-Σ(dy∘W)/σ·u·vᵀ",
        through_sigma=times(through_sigma, lambda s: s.sigma),
    )
    yield through(
        "σ² stands where σ belongs",
        "-Σ(dy∘Ŵ)/σ²·u·vᵀ",
        through_sigma=times(through_sigma, lambda s: 1 / s.sigma),
    )
    yield through("Ŵ is missing in the sum", "-Σ dy/σ·u·vᵀ", inner=lambda s: s.dy.sum())
    yield through(
        "a mean stands where the sum belongs", "-mean(dy∘Ŵ)/σ·u·vᵀ", inner=lambda s: (s.dy * s.y).mean()
    )
    yield through("u·vᵀ is missing", "-Σ(dy∘Ŵ)/σ", outer=lambda s: numpy.ones_like(s.w))
    yield through("Ŵ stands where u·vᵀ belongs", "-Σ(dy∘Ŵ)/σ·Ŵ", outer=lambda s: s.y)
    yield through(
        "W stands where u·vᵀ belongs, as if σ were the norm ‖W‖", "-Σ(dy∘Ŵ)/σ·W", outer=lambda s: s.w
    )
    for axis, size in enumerate(shape):
        if size > 1:
            yield through(
                f"the sum of dy∘Ŵ is taken over axis {axis} alone: σ is one number",
                f"-Σ(dy∘Ŵ)/σ·u·vᵀ, summed over axis {axis}",
                inner=_sum_over(axis),
            )
    if shape[0] == shape[1]:
        yield through("u·vᵀ is transposed", "-Σ(dy∘Ŵ)/σ·v·uᵀ", outer=lambda s: numpy.outer(s.v, s.u))


def _sum_over(axis: int) -> Any:
    return lambda s: (s.dy * s.y).sum(axis, keepdims=True)
