"""Plot the mean learning curves of groups of runs, with bands of one standard deviation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

from .curves import History, save_plots


def save_bands(
    path: Path, groups: Mapping[str, Sequence[History]], labels: Mapping[str, str], title: str
) -> bool:
    """Plot figures of the validation part over the epochs, one curve per group; write `path` (PNG or SVG).

    `labels` has the label of the axis for each figure. A curve ends with the shortest run of its group.
    Returns False, and writes nothing, if matplotlib is not installed or there are no runs.
    """
    if not groups:
        return False

    def draw(axes: Any, name: str) -> None:
        for group, runs in groups.items():
            length = min(len(history) for history in runs)
            curves = numpy.array(
                [[row[f"validation_{name}"] for row in history[:length]] for history in runs]
            )
            epochs, mean = numpy.arange(1, length + 1), curves.mean(0)
            (line,) = axes.plot(epochs, mean, label=group, marker="." if length < 40 else None)
            if len(runs) > 1:
                std = curves.std(0, ddof=1)
                axes.fill_between(epochs, mean - std, mean + std, color=line.get_color(), alpha=0.2, lw=0)

    return save_plots(path, {name: f"validation {label}" for name, label in labels.items()}, title, draw)
