"""Plot the learning curves of runs."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import replacing

History = Sequence[Mapping[str, float]]
"""One row per epoch, with the columns epoch, train_… and validation_…."""


def save_curves(path: Path, history: History, labels: Mapping[str, str], title: str) -> bool:
    """Plot figures of the training and the validation part over the epochs; write `path` (PNG or SVG).

    `labels` has the label of the axis for each figure. Returns False, and writes nothing, if matplotlib is
    not installed.
    """

    def draw(axes: Any, name: str) -> None:
        for part, text in (("train", "training"), ("validation", "validation")):
            _curve(axes, history, f"{part}_{name}", label=text)

    return save_plots(path, labels, title, draw)


def save_comparison(path: Path, runs: Mapping[str, History], labels: Mapping[str, str], title: str) -> bool:
    """Plot figures of several runs, by name, in one picture: validation solid, training dotted.

    Returns False, and writes nothing, if matplotlib is not installed.
    """

    def draw(axes: Any, name: str) -> None:
        for i, (run, history) in enumerate(runs.items()):
            _curve(axes, history, f"train_{name}", linestyle=":", color=f"C{i}")
            _curve(axes, history, f"validation_{name}", color=f"C{i}", label=run)

    return save_plots(path, labels, title, draw)


def save_plots(path: Path, labels: Mapping[str, str], title: str, draw: Callable[[Any, str], None]) -> bool:
    """Write a picture with one plot over the epochs for each figure, in which `draw(axes, name)` draws.

    Returns False, and writes nothing, if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(4.5 * max(2, len(labels)), 3.6), layout="constrained", dpi=120)
    figure.suptitle(title, fontsize=10, wrap=True)
    plots = figure.subplots(1, len(labels), squeeze=False)[0]
    for axes, (name, label) in zip(plots, labels.items(), strict=True):
        draw(axes, name)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
        axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary)
    return True


def _curve(axes: Any, history: History, column: str, **style: Any) -> None:
    epochs, values = [row["epoch"] for row in history], [row[column] for row in history]
    axes.plot(epochs, values, marker="." if len(epochs) < 40 else None, **style)
