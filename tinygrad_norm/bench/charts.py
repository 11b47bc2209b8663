"""Plot benchmarks as PNG or SVG, chosen by the file's suffix. The environment is printed under the title.

All functions raise ImportError if matplotlib is not installed.
"""

import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..files import replacing

Points = Sequence[tuple[float, float]]
Facts = Mapping[str, str]


def bars(path: Path, values: Mapping[str, float], unit: str, title: str, facts: Facts) -> None:
    """Draw a bar for each value, from top to bottom; the first is ours."""
    figure = _figure(8, 1.6 + 0.3 * len(values), title, facts)
    axes = figure.add_subplot()
    colors = ["tab:blue", *["tab:gray"] * (len(values) - 1)]
    drawn = axes.barh(list(values), list(values.values()), color=colors)
    axes.bar_label(drawn, fmt=lambda value: f"{value:.{1 if value < 100 else 0}f}", padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(unit)
    _save(figure, path)


def ratios(
    path: Path,
    values: Mapping[str, float],
    unit: str,
    title: str,
    facts: Facts,
    sides: tuple[str, str],
    others: Mapping[str, float] = MappingProxyType({}),
    others_are: str = "",
) -> None:
    """Draw a bar from 1 to each ratio on a log axis; `sides` are the legends for below and above 1.

    `others` are more ratios for some of the bars, drawn as marks; `others_are` is their legend.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

    figure = _figure(11, 1.8 + 0.19 * len(values), title, facts)
    axes = figure.add_subplot(xscale="log")
    below, above = "tab:blue", "tab:orange"
    colors = [above if value > 1 else below for value in values.values()]
    drawn = axes.barh(list(values), [value - 1 for value in values.values()], left=1, color=colors)
    axes.bar_label(drawn, [f"{value:.2f}" for value in values.values()], padding=3, fontsize=7)
    mark: Any = {"color": "black", "marker": "|", "linestyle": "", "markersize": 9}
    axes.plot(list(others.values()), list(others), **mark)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_ylim(len(values) - 0.4, -0.6)
    shown = 0.5, 2.0, *values.values(), *others.values()
    axes.set_xlim(min(shown) / 1.5, max(shown) * 1.5)
    axes.xaxis.set(
        major_locator=LogLocator(subs=(1, 2, 5)),
        major_formatter=ScalarFormatter(),
        minor_locator=NullLocator(),
    )
    axes.tick_params(labelsize=8)
    axes.set_xlabel(unit)
    handles: list[Any] = [
        Patch(color=color, label=side) for color, side in zip((below, above), sides, strict=True)
    ]
    handles += [Line2D([], [], label=others_are, **mark)] * bool(others)
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    _save(figure, path)


def curves(
    path: Path,
    panels: Mapping[tuple[str, str, str], Mapping[tuple[str, bool], Points]],
    columns: int,
    title: str,
    facts: Facts,
    fractions: Collection[str] = (),
) -> None:
    """Draw panels of curves on log axes, `columns` panels per row; y labels in `fractions` go from 0 to 1.

    The key of a panel is (title, x label, y label), that of a curve (name, whether dashed). Curves of one
    name have one color.
    """
    from matplotlib.ticker import NullLocator

    rows = -(-len(panels) // columns)
    figure = _figure(4.2 * columns, 2.5 * rows + 1, title, facts)
    colors: dict[str, str] = {}
    for i, ((name, variable, unit), lines) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, i + 1, xscale="log", yscale="log")
        for (line, dashed), points in lines.items():
            color = colors.setdefault(line, f"C{len(colors)}")
            label = None if dashed else line
            axes.plot(*zip(*points, strict=True), "--" if dashed else "-", color=color, label=label)
        sizes = [size for size, _ in points]
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
        if unit in fractions:
            axes.set(yscale="linear", ylim=(0, 1))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.tick_params(labelsize=8, left=False, bottom=False)
        axes.grid(axis="y", alpha=0.3)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel(variable, fontsize=9)
        axes.set_ylabel(unit, fontsize=9)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    _save(figure, path)


def _figure(width: float, height: float, title: str, facts: Facts) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=120)
    where = textwrap.fill(", ".join(f"{key} {value}" for key, value in facts.items()), int(width * 14))
    figure.suptitle(f"{title}\n{where}", fontsize=9)
    return figure


def _save(figure: Any, path: Path) -> None:
    import matplotlib

    steady: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "tinygrad_norm",
        "font.sans-serif": ["DejaVu Sans"],
    }
    with matplotlib.rc_context(steady), replacing(path) as temporary:
        figure.savefig(temporary, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
