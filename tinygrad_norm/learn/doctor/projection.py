"""Projection: which directions make up the difference between two gradients of a normalization.

If no known mistake fits, dx - right is looked for in 1, x̂, g, g·x̂ and y, with a factor for each pool: those
are what its terms are made of.
"""

import itertools
from typing import Any

import numpy

from .catalogue import Derivation, Steps, Values

DIRECTIONS: Steps = {
    "1 (a constant per pool, as the path through the mean is)": lambda s: numpy.ones_like(s.x),
    "x̂ (as the path through the variance is)": lambda s: s.x_hat,
    "g": lambda s: s.g,
    "g·x̂": lambda s: s.g * s.x_hat,
    "y": lambda s: s.y,
}


_PATHS = {
    "straight": "the straight path",
    "through_m": "the path through the mean",
    "through_r": "the path through the variance",
    "through_sum": "the path through the sum",
    "through_sigma": "the path through σ",
    "through_n": "the path through the norm",
}


def missing_direction(
    derivation: Derivation, dys: list[numpy.ndarray], residuals: list[numpy.ndarray]
) -> str:
    """Return which of the directions the residuals are made of, pool by pool, or "".

    A pool of n entries is explained by fewer than n/2 directions only, else any numbers would be.
    """
    if "pool" not in derivation.given:
        return ""
    pool = derivation.given["pool"]
    values = [Values(derivation.steps, derivation.given | {"dy": dy}) for dy in dys]
    lines = [
        [pool.lines(numpy.asarray(direction(s) + 0 * s.x)) for direction in DIRECTIONS.values()]
        for s in values
    ]
    for count in range(1, 3):
        if 2 * count >= pool.size:
            return ""
        for chosen in itertools.combinations(range(len(DIRECTIONS)), count):
            if all(
                _explains([basis[k] for k in chosen], pool.lines(residual))
                for basis, residual in zip(lines, residuals, strict=True)
            ):
                names = " and ".join(list(DIRECTIONS)[k] for k in chosen)
                return f"in every pool, yours minus right is a multiple of {names}"
    return ""


def path_factors(
    derivation: Derivation, name: str, dys: list[numpy.ndarray], found: list[numpy.ndarray]
) -> str:
    """Return by which factors the paths of a gradient are wrong, if it is made of these paths alone, or "".

    The factors are the same at every entry and for every dy.
    """
    paths = [step for step in derivation.steps if step == "straight" or step.startswith("through_")]
    if derivation.gradients.get(name) not in ("dx", "dv") or len(paths) < 2:
        return ""
    values = [Values(derivation.steps, derivation.given | {"dy": dy}) for dy in dys]
    pairs = list(zip(values, found, strict=True))
    if not all(_broadcasts(getattr(s, path), dx) for s, dx in pairs for path in paths):
        return ""
    columns = [
        numpy.concatenate([numpy.asarray(getattr(s, path) + 0 * dx).reshape(-1) for s, dx in pairs])
        for path in paths
    ]
    used = [k for k, column in enumerate(columns) if column.any()]
    matrix = numpy.stack([columns[k] for k in used], axis=1)
    target = numpy.concatenate([dx.reshape(-1) for dx in found])
    factors, _, rank, _ = numpy.linalg.lstsq(matrix, target, rcond=None)
    if rank < len(used) or abs(matrix @ factors - target).max() > 1e-8 * abs(target).max(initial=0.0):
        return ""
    sizes = {n for n in (*found[0].shape, getattr(derivation.given.get("pool"), "size", 1)) if n > 2}
    if numpy.ptp(factors) < 1e-9:
        return f"it is {_times(factors[0], sizes)}" if abs(factors[0] - 1) > 1e-7 else ""
    wrong = [
        f"{_in_words(paths[k])} is {_times(factor, sizes) if abs(factor) > 1e-9 else 'dropped'}"
        for k, factor in zip(used, factors, strict=True)
        if abs(factor - 1) > 1e-7
    ]
    return "; ".join(wrong)


def _broadcasts(path: Any, dx: numpy.ndarray) -> bool:
    """Return whether a path's values fit the gradient's shape; some derivations have another layout."""
    try:
        return numpy.broadcast_shapes(numpy.shape(path), dx.shape) == dx.shape
    except ValueError:
        return False


def _in_words(path: str) -> str:
    return _PATHS.get(path, f"the path through {path.removeprefix('through_')}")


def _times(factor: float, sizes: set[int]) -> str:
    """Return a factor in words, and which size of the input it may come from."""
    words = f"{factor:.{12 if f'{factor:.6g}' == '1' else 6}g} times what it should be"
    for n in sorted(sizes):
        if abs(factor * n - 1) < 1e-7:
            return f"{words} (1/{n}: averaged twice, or a mean for a sum?)"
        if abs(factor / n - 1) < 1e-7:
            return f"{words} ({n}: a sum for a mean?)"
    return words


def _explains(basis: list[numpy.ndarray], residual: numpy.ndarray) -> bool:
    scale = abs(residual).max(initial=0.0)
    for row, target in enumerate(residual):
        matrix = numpy.stack([lines[row] for lines in basis], axis=1)
        weights = numpy.linalg.lstsq(matrix, target, rcond=None)[0]
        if abs(matrix @ weights - target).max() > 1e-8 * scale:
            return False
    return True
