"""The results of an experiment: figures by setting and seed, and what was tuned."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Results:
    """What `measure` returned, by setting and seed; all settings have the same seeds.

    `scores` has, for a tuned argument, each setting's mean score by value; `chosen` the best value.
    """

    figures: Mapping[str, Mapping[int, Mapping[str, Any]]]
    scores: Mapping[str, Mapping[float, float]] = field(default_factory=dict)
    chosen: Mapping[str, float] = field(default_factory=dict)

    @property
    def settings(self) -> list[str]:
        """The names of the settings."""
        return list(self.figures)

    @property
    def seeds(self) -> list[int]:
        """The seeds."""
        return list(next(iter(self.figures.values())))

    def values(self, setting: str, figure: str) -> NDArray[np.float64]:
        """Return a figure of a setting for all seeds: (seeds,), or (seeds, ...) if the figure is an array."""
        return np.array([found[figure] for found in self.figures[setting].values()], dtype=np.float64)

    def mean(self, setting: str, figure: str) -> float:
        """Return the mean of a figure over the seeds."""
        return float(self.values(setting, figure).mean())

    def at_an_end(self, setting: str) -> bool:
        """Return whether the tuned value is the smallest or the largest that was tried."""
        tried = self.scores[setting]
        return self.chosen[setting] in (min(tried), max(tried))
