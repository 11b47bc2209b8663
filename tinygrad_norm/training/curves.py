"""Plot the learning curves of a run."""

from collections.abc import Sequence
from pathlib import Path

from ..files import replacing
from .task import Cost


def save_curves(path: Path, history: Sequence[dict[str, float]], cost: Cost, title: str) -> bool:
    """Plot training and validation cost and accuracy over the epochs; write `path` (PNG or SVG).

    Returns False, and writes nothing, if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(9, 3.6), layout="constrained", dpi=120)
    figure.suptitle(title, fontsize=10, wrap=True)
    figures = ((cost.name, cost.label), ("accuracy", "accuracy"))
    for axes, (name, unit) in zip(figure.subplots(1, 2), figures, strict=True):
        for part, label, colour in (
            ("train", "training", "tab:blue"),
            ("validation", "validation", "tab:orange"),
        ):
            values = [row[f"{part}_{name}"] for row in history]
            axes.plot(epochs, values, color=colour, label=label, marker="." if len(epochs) < 40 else None)
        axes.set_xlabel("epoch")
        axes.set_ylabel(unit)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
        axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary)
    return True
