"""The last recorded step of a watched model as text: a line for each layer and parameter."""

from collections.abc import Mapping, Sequence
from math import isnan

from ..module import Module
from .stats_file import QUANTITIES, Row


def as_table(rows: Sequence[Row], layers: Mapping[str, Module]) -> str:
    """Return the rows of the last step as a table, without the columns in which nothing stands."""
    last = rows[-1][0]
    lines: dict[str, dict[str, float]] = {}
    for step, layer, quantity, value in rows:
        if step == last:
            lines.setdefault(layer, {})[quantity] = value
    shown = [quantity for quantity in QUANTITIES if any(quantity in line for line in lines.values())]
    heads = [[f"step {last}", ""], ["", ""]]
    for quantity in shown:
        above, _, below = quantity.rpartition("_")
        heads[0].append(above)
        heads[1].append(below)
    cells = [*heads]
    for layer, values in lines.items():
        kind = type(layers[layer]).__name__ if layer in layers else ""
        cells.append([layer, kind, *(_text(values.get(quantity)) for quantity in shown)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if i < 2 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )


def _text(value: float | None) -> str:
    if value is None:
        return ""
    return "NaN" if isnan(value) else f"{value:.3g}"
