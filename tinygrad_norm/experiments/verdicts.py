"""The three verdicts, each with its reason, and the statistics that rules are made from."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

FEWEST_SEEDS = 3
"""With fewer, no verdict is reached."""
State = Literal["holds", "does not hold at this scale", "cannot be told"]
T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""The 97.5 % quantiles of Student's t distribution with 1, 2, … degrees of freedom."""


class Verdict(NamedTuple):
    """What the results say about a claim, and why."""

    state: State
    reason: str


def holds(reason: str) -> Verdict:
    """Return the verdict that the claim holds."""
    return Verdict("holds", reason)


def does_not_hold(reason: str) -> Verdict:
    """Return the verdict that the claim does not hold at this scale."""
    return Verdict("does not hold at this scale", reason)


def cannot_be_told(reason: str) -> Verdict:
    """Return the verdict that these results decide nothing."""
    return Verdict("cannot be told", reason)


def interval(values: NDArray[np.float64] | Sequence[float]) -> tuple[float, float]:
    """Return the 95 % confidence interval of the mean, for one value per seed (at least 2), by Student's t.

    For a comparison of two settings pass the differences seed by seed: what a seed does to both cancels. If
    0 is outside, the seeds agree on which is larger.
    """
    values = np.asarray(values, dtype=np.float64)
    degrees = len(values) - 1
    quantile = T_QUANTILES[degrees - 1] if degrees <= len(T_QUANTILES) else 2.262
    half = quantile * values.std(ddof=1) / len(values) ** 0.5
    return float(values.mean() - half), float(values.mean() + half)


def spread(values: NDArray[np.float64] | Sequence[float], digits: int = 3, percent: bool = False) -> str:
    """Return "mean ± standard deviation" of one value per seed, or only the mean if all are the same.

    If one is not finite, neither is the mean, and there is no deviation.
    """
    values = np.asarray(values, dtype=np.float64) * (100 if percent else 1)
    mean, unit = float(values.mean()), " %" if percent else ""
    if len(values) < 2 or not np.isfinite(values).all() or np.ptp(values) == 0:
        return f"{number(mean, digits)}{unit}"
    return f"{number(mean, digits)} ± {number(float(values.std(ddof=1)), 2)}{unit}"


def number(value: float, digits: int = 3) -> str:
    """Return a number with so many digits, and all those before the point if it is below 100,000."""
    return f"{value:.0f}" if 10**digits <= abs(value) < 1e5 else f"{value:.{digits}g}"
