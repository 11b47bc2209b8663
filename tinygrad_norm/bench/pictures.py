"""The benchmarks as pictures, PNG or SVG by the file's name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import replacing

Points = Sequence[tuple[float, float]]


def bars(path: Path, values: Mapping[str, float], unit: str, title: str, reference: float = 0.0) -> None:
    """Draw a bar for each value, from top to bottom, and a line at `reference` unless that is 0.

    Raises:
        ImportError: where matplotlib is not installed.
    """
    figure = _figure(8, 1.4 + 0.28 * len(values), title)
    axes = figure.add_subplot()
    drawn = axes.barh(list(values), list(values.values()), color="tab:blue")
    axes.bar_label(drawn, fmt="%.3g", padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(unit)
    axes.tick_params(axis="y", labelsize=8)
    if reference:
        axes.axvline(reference, color="tab:red", linewidth=1)
    _save(figure, path)


def curves(path: Path, panels: Mapping[str, Mapping[str, Points]], columns: int, title: str) -> None:
    """Draw panels of curves, `columns` in a row, on logarithmic axes; a panel's name is "x label|y label".

    Raises:
        ImportError: where matplotlib is not installed.
    """
    rows = -(-len(panels) // columns)
    figure = _figure(4 * columns, 3 * rows, title)
    for i, (labels, lines) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, i + 1, xscale="log", yscale="log")
        for name, points in lines.items():
            axes.plot(*zip(*points, strict=True), marker=".", label=name)
        axes.set_xlabel(labels.split("|")[0])
        axes.set_ylabel(labels.split("|")[1])
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    _save(figure, path)


def _figure(width: float, height: float, title: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=120)
    figure.suptitle(title, fontsize=10)
    return figure


def _save(figure: Any, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary)
