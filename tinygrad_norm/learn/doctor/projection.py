"""Projection: which directions make up the difference between two gradients of a normalization.

If no known mistake fits, dx - right is looked for in 1, x̂, g, g·x̂ and y, with a factor for each pool: those
are what its terms are made of.
"""

import itertools

import numpy

from .catalogue import Derivation, Steps, Values

DIRECTIONS: Steps = {
    "1 (a constant per pool, as the path through the mean is)": lambda s: numpy.ones_like(s.x),
    "x̂ (as the path through the variance is)": lambda s: s.x_hat,
    "g": lambda s: s.g,
    "g·x̂": lambda s: s.g * s.x_hat,
    "y": lambda s: s.y,
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


def _explains(basis: list[numpy.ndarray], residual: numpy.ndarray) -> bool:
    scale = abs(residual).max(initial=0.0)
    for row, target in enumerate(residual):
        matrix = numpy.stack([lines[row] for lines in basis], axis=1)
        weights = numpy.linalg.lstsq(matrix, target, rcond=None)[0]
        if abs(matrix @ weights - target).max() > 1e-8 * scale:
            return False
    return True
