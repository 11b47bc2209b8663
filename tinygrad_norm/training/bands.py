"""Plot the mean learning curves of groups of runs, with bands of one standard deviation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy

from ..files import replacing
from .curves import History


def save_bands(
    path: Path, groups: Mapping[str, Sequence[History]], labels: Mapping[str, str], title: str
) -> bool:
    """Plot figures of the validation part over the epochs, one curve per group; write `path` (PNG or SVG).

    `labels` has the label of the axis for each figure. A curve ends with the shortest run of its group.
    Returns False, and writes nothing, if matplotlib is not installed or there are no runs.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    if not groups:
        return False
    figure = Figure(figsize=(4.5 * max(2, len(labels)), 3.6), layout="constrained", dpi=120)
    figure.suptitle(title, fontsize=10, wrap=True)
    plots = figure.subplots(1, len(labels), squeeze=False)[0]
    for axes, (name, label) in zip(plots, labels.items(), strict=True):
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
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"validation {label}")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
        axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary)
    return True
