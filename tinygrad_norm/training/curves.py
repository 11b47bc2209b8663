"""Plot the learning curves of runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..files import replacing

History = Sequence[Mapping[str, float]]
"""One row per epoch, with the columns epoch, train_… and validation_…."""


def save_curves(path: Path, history: History, labels: Mapping[str, str], title: str) -> bool:
    """Plot figures of the training and the validation part over the epochs; write `path` (PNG or SVG).

    `labels` has the label of the axis for each figure. Returns False, and writes nothing, if matplotlib is
    not installed.
    """
    return save_comparison(path, {"": history}, labels, title)


def save_comparison(path: Path, runs: Mapping[str, History], labels: Mapping[str, str], title: str) -> bool:
    """Plot figures of several runs, by name, in one picture: validation solid, training dotted.

    A single run has a colour for each part. Returns False, and writes nothing, if matplotlib is not
    installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(4.5 * max(2, len(labels)), 3.6), layout="constrained", dpi=120)
    figure.suptitle(title, fontsize=10, wrap=True)
    plots = figure.subplots(1, len(labels), squeeze=False)[0]
    for axes, (name, label) in zip(plots, labels.items(), strict=True):
        for i, (run, history) in enumerate(runs.items()):
            epochs = [row["epoch"] for row in history]
            for part, style, colour in (("train", ":", "tab:blue"), ("validation", "-", "tab:orange")):
                values = [row[f"{part}_{name}"] for row in history]
                text = {"train": "training"}.get(part, part) if len(runs) == 1 else run
                axes.plot(
                    epochs,
                    values,
                    "-" if len(runs) == 1 else style,
                    color=colour if len(runs) == 1 else f"C{i}",
                    label=text if len(runs) == 1 or part == "validation" else None,
                    marker="." if len(epochs) < 40 else None,
                )
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
        axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary)
    return True
