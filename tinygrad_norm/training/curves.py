"""The learning curves of a run, as a picture."""

from collections.abc import Sequence
from pathlib import Path

from ..files import replacing


def save_curves(path: Path, history: Sequence[dict[str, float]], title: str) -> bool:
    """Draw loss and accuracy over the epochs, training and validation, to `path` (PNG or SVG).

    Returns False, and draws nothing, where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(9, 3.6), layout="constrained", dpi=120)
    figure.suptitle(title, fontsize=10)
    for axes, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for part, colour in (("train", "tab:blue"), ("validation", "tab:orange")):
            values = [row[f"{part}_{metric}"] for row in history]
            label = {"train": "training", "validation": "validation"}[part]
            axes.plot(epochs, values, color=colour, label=label, marker="." if len(epochs) < 40 else None)
        axes.set_xlabel("epoch")
        axes.set_ylabel("cross entropy (nats)" if metric == "loss" else "accuracy")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary)
    return True
