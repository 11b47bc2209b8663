"""The picture of a watched training: a line for each layer over the steps, coloured from first to last.

Outputs and their gradients are those of the normalization that follows a layer, if there is one. Without
normalization the outputs fan out from layer to layer; with batch normalization they stay near 1. The axes
have fixed ranges, wider only if a value is outside, so that two pictures can be compared.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from math import ceil, floor, inf, log10
from pathlib import Path
from typing import Any, NamedTuple

from ..files import replacing
from ..module import Module
from ..normalization.core.running_stats import RunningNorm
from ..optim import split_decay
from .stats_file import Row
from .step_recorder import layers_of

_COLOURS, _LAST = "plasma", 0.86  # its end is too bright for white paper
_ENTRIES = 12  # the most layers that the legend names
_LETTERS = 30  # of a name in the legend
_USUAL = 1e-3, 1e-2  # updates at the full learning rate


class _Panel(NamedTuple):
    quantity: str
    title: str
    label: str
    low: float  # the range of the axis: wider, by whole decades, only if a value is outside
    high: float
    log: bool = True
    of_others: bool = False  # lines for layers without weights, too


_PANELS = (
    _Panel("unit_std", "outputs", "std of a unit in the batch", 1e-3, 1e2),
    _Panel("activation_grad", "gradients of these outputs", "norm ‖dL/dy‖", 1e-4, 1e0),
    _Panel("grad", "gradients of the weights", "norm ‖dL/dw‖", 1e-3, 1e2),
    _Panel("update_ratio", "updates of the weights", "‖change of w‖ / ‖w‖", 1e-6, 1e1),
    _Panel("dead", "dead units after each ReLU", "share of the units", 0, 1, log=False, of_others=True),
    _Panel(
        "mean_distance",
        "batch mean – running mean",
        "in running standard deviations",
        1e-4,
        1e1,
        of_others=True,
    ),
)
_OUTPUTS = _PANELS[:2]

Series = dict[str, dict[str, tuple[list[int], list[float]]]]
"""By quantity and by layer or parameter, in the order of the rows: the steps and the values."""

_Line = tuple[Any, list[int], list[float]]  # colour, steps, values
_NORMALIZATION = RunningNorm.__module__.partition(".core.")[0]


def save_picture(path: Path, rows: Sequence[Row], model: Module, title: str) -> bool:
    """Draw the rows of `model` and write `path`. Returns False if matplotlib is not installed."""
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        return False
    series: Series = {}
    for step, layer, quantity, value in rows:
        steps, values = series.setdefault(quantity, {}).setdefault(layer, ([], []))
        steps.append(step)
        values.append(value)
    layers = layers_of(model)
    owners = _owners(model, layers, list(series.get("unit_std", {})))
    order = [layer for layer in series.get("unit_std", {}) if layer in set(owners.values())]
    scale = [_LAST * i / max(1, len(order) - 1) for i in range(len(order))]
    own = dict(zip(order, colormaps[_COLOURS](scale), strict=True))
    colours = _colours(dict.fromkeys(layer for _, layer, _, _ in rows), own, owners)
    norms = _norms(layers, list(series.get("unit_std", {})), own)
    lines = {panel: _lines(panel, series.get(panel.quantity, {}), colours, own, owners) for panel in _PANELS}
    for panel in _OUTPUTS:
        found = series.get(panel.quantity, {})
        outputs = ((own[name], found.get(norms.get(name, name), found.get(name))) for name in order)
        lines[panel] = [(colour, *line) for colour, line in outputs if line is not None]
    panels = [panel for panel in _PANELS if lines[panel]]
    columns = 3 if len(panels) > 4 else 2
    tall = -(-len(panels) // columns)
    free = columns * tall > len(panels)
    figure = Figure(
        figsize=(3.9 * columns + (0 if free else 2.4), 3.0 * tall + 0.4),
        layout=ConstrainedLayoutEngine(h_pad=0.08),
        dpi=120,
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", wrap=True, parse_math=False)
    places = list(figure.subplots(tall, columns, squeeze=False).flat)
    for axes, panel in zip(places, panels, strict=False):
        _draw(axes, panel, lines[panel])
    if norms:
        places[panels.index(_OUTPUTS[0])].set_title("outputs, after the normalization", fontsize=10)
    for axes in places[len(panels) :]:
        axes.axis("off")
    entries = {_label(name, layers[name], layers.get(norms.get(name, ""))): own[name] for name in order}
    if free:
        _legend(places[-1], "upper left", entries)
    else:
        _legend(figure, "outside right upper", entries)
    with replacing(path) as temporary:
        figure.savefig(temporary)
    return True


def _owners(model: Module, layers: Mapping[str, Module], recorded: Sequence[str]) -> dict[str, str]:
    """Return the layer of each matrix or filter, by the parameter's name: those that weight decay is for.

    A layer whose output is that of a layer in it, as of an attention, is not recorded: the inner one counts.
    """
    decayed = {id(parameter) for parameter in split_decay(model, 0.0)[0]["params"]}
    owners: dict[str, str] = {}
    for name, parameter in model.named_parameters():
        if id(parameter) in decayed:
            above = [layer for layer in layers if name.startswith(f"{layer}.")]
            owner = max(above, key=len, default=next(iter(layers)))
            inner = [layer for layer in recorded if layer == owner or layer.startswith(f"{owner}.")]
            if inner:
                owners[name] = inner[-1]
    return owners


def _colours(names: Iterable[str], own: Mapping[str, Any], owners: Mapping[str, str]) -> dict[str, Any]:
    """Return a colour for each name of layer or parameter, in the order in which they ran.

    A layer without weights, such as a ReLU, has the colour of the layer before it.
    """
    colour, colours = next(iter(own.values()), "black"), {}
    for name in names:
        colour = colours[name] = own.get(owners.get(name, name), colour)
    return colours


def _norms(layers: Mapping[str, Module], recorded: Sequence[str], own: Container[str]) -> dict[str, str]:
    """Return the normalization that runs after each layer of `own`, before the next of them.

    A normalization inside a layer, as of the queries of an attention, is a part of that layer.
    """
    norms: dict[str, str] = {}
    before = ""
    for name in recorded:
        if name in own:
            before = name
        elif before and name in layers and _is_norm(layers[name]):
            inside = any(name.startswith(f"{layer}.") for layer in layers)
            if not inside:
                norms.setdefault(before, name)
    return norms


def _is_norm(layer: Module) -> bool:
    of_package = any(kind.__module__.startswith(_NORMALIZATION) for kind in type(layer).__mro__)
    return of_package or "norm" in type(layer).__name__.lower()


def _lines(
    panel: _Panel,
    found: Mapping[str, tuple[list[int], list[float]]],
    colours: Mapping[str, Any],
    own: Container[str],
    owners: Container[str],
) -> list[_Line]:
    shown = (name for name in found if panel.of_others or name in own or name in owners)
    return [(colours[name], *found[name]) for name in shown]


def _draw(axes: Any, panel: _Panel, lines: Sequence[_Line]) -> None:
    few = not panel.log and len(lines) < 5
    wide, narrow = (5.0, 1.5) if few else (2.0, 1.2)  # the last line may lie on the first, as at 0 %
    for i, (colour, steps, values) in enumerate(lines):
        width = wide + (narrow - wide) * i / max(1, len(lines) - 1)
        axes.plot(steps, values, color=colour, linewidth=width, marker="." if len(steps) < 20 else None)
    if panel.log:
        axes.set_yscale("log", nonpositive="mask")
        axes.set_ylim(*_range(panel, lines))
    else:
        axes.set_ylim(panel.low - 0.03, panel.high + 0.03)
        axes.yaxis.set_major_formatter("{x:.0%}")
    if panel.quantity == "unit_std":
        axes.axhline(1, color="0.4", linestyle="--", linewidth=1, zorder=1)
    if panel.quantity == "update_ratio":
        axes.axhspan(*_USUAL, color="0.5", alpha=0.2, linewidth=0)
        words = "grey: usual while the\nlearning rate is high"
        axes.text(0.98, 0.95, words, fontsize=8, ha="right", va="top", transform=axes.transAxes)
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel("step", fontsize=9)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.set_ylabel(panel.label, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)


def _range(panel: _Panel, lines: Sequence[_Line]) -> tuple[float, float]:
    """Return the limits of the axis: the panel's, or wider by whole decades.

    Updates end with the schedule, so that small ones may leave their panel below.
    """
    values = [value for _, _, line in lines for value in line if 0 < value < inf]
    low, high = min(values, default=1.0), max(values, default=1.0)
    if panel.quantity == "update_ratio":
        low = panel.low
    return min(panel.low, 10.0 ** floor(log10(low))), max(panel.high, 10.0 ** ceil(log10(high)))


def _legend(place: Any, where: str, colours: Mapping[str, Any]) -> None:
    """Name the layers from first to last, evenly chosen if there are many."""
    from matplotlib.lines import Line2D

    labels, n = list(colours), len(colours)
    shown = labels
    if n > _ENTRIES:
        shown = [labels[round(i * (n - 1) / (_ENTRIES - 1))] for i in range(_ENTRIES)]
    handles = [Line2D([], [], color=colours[label], linewidth=2.5) for label in shown]
    title = "layer" if n <= _ENTRIES else f"{_ENTRIES} of {n} layers"
    legend = place.legend(
        handles, shown, title=title, loc=where, fontsize=8, title_fontsize=9, frameon=False, alignment="left"
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _label(name: str, layer: Module, norm: Module | None) -> str:
    """Return the name, cut in front, with the type if a container gave only a number, and the norm's type."""
    if name.rpartition(".")[2].isdigit():
        name = f"{name} {type(layer).__name__}"
    name = name if len(name) <= _LETTERS else f"…{name[-_LETTERS + 1 :]}"
    return name if norm is None else f"{name} + {type(norm).__name__}"
