"""The picture of a watched training: a line for each layer over the steps, coloured from first to last.

Without normalization the lines fan out over decades from layer to layer; with it they stay together.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..files import replacing
from ..module import Module
from ..optim import split_decay
from .stats_file import Row
from .step_recorder import layers_of

_COLOURS, _LAST = "plasma", 0.86  # its end is too bright for white paper
_ENTRIES = 12  # the most layers that the legend names
_LETTERS = 30  # of a name in the legend
_DECADES = 4  # the least span of a logarithmic axis, so that lines which are close look close


class _Panel(NamedTuple):
    quantity: str
    title: str
    label: str
    log: bool = True
    of_others: bool = False  # lines for layers without weights, too


_PANELS = (
    _Panel("unit_std", "outputs of the layers", "std of a unit in the batch"),
    _Panel("activation_grad", "gradients of these outputs", "norm ‖dL/dy‖"),
    _Panel("grad", "gradients of the weights", "norm ‖dL/dw‖"),
    _Panel("update_ratio", "updates of the weights (healthy: about 10⁻³)", "‖change of w‖ / ‖w‖"),
    _Panel("dead", "dead units after each ReLU", "share of the units", log=False, of_others=True),
    _Panel("mean_distance", "batch mean – running mean", "in running standard deviations", of_others=True),
)

Series = dict[str, dict[str, tuple[list[int], list[float]]]]
"""By quantity and by layer or parameter, in the order of the rows: the steps and the values."""


def save_picture(path: Path, rows: Sequence[Row], model: Module, title: str) -> bool:
    """Draw the rows of `model` and write `path`. Returns False if matplotlib is not installed."""
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
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
    lines = {
        panel: [
            (colours[name], *line)
            for name, line in series.get(panel.quantity, {}).items()
            if panel.of_others or name in own or name in owners
        ]
        for panel in _PANELS
    }
    panels = [panel for panel in _PANELS if lines[panel]]
    columns = 3 if len(panels) > 4 else 2
    tall = -(-len(panels) // columns)
    figure = Figure(figsize=(3.7 * columns + 2.2, 3.0 * tall + 0.3), layout="constrained", dpi=120)
    figure.suptitle(title, fontsize=10, wrap=True, parse_math=False)
    places = list(figure.subplots(tall, columns, squeeze=False).flat)
    for axes, panel in zip(places, panels, strict=False):
        _draw(axes, panel, lines[panel])
    for axes in places[len(panels) :]:
        axes.remove()
    _legend(figure, {_label(name, layers[name]): own[name] for name in order})
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


def _draw(axes: Any, panel: _Panel, lines: Sequence[tuple[Any, list[int], list[float]]]) -> None:
    for colour, steps, values in lines:
        axes.plot(steps, values, color=colour, linewidth=1.3, marker="." if len(steps) < 20 else None)
    positive = any(value > 0 for _, _, values in lines for value in values)
    if panel.log and positive:
        axes.set_yscale("log", nonpositive="mask")
        low, high = axes.get_ylim()
        wider = max(1.0, (10**_DECADES * low / high) ** 0.5)
        axes.set_ylim(low / wider, high * wider)
    if panel.quantity == "dead":
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter("{x:.0%}")
    if panel.quantity == "update_ratio":
        axes.axhline(1e-3, color="0.4", linestyle="--", linewidth=1)
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel("step", fontsize=9)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.set_ylabel(panel.label, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)


def _legend(figure: Any, colours: Mapping[str, Any]) -> None:
    """Name the layers from first to last, evenly chosen if there are many."""
    from matplotlib.lines import Line2D

    labels, n = list(colours), len(colours)
    shown = labels
    if n > _ENTRIES:
        shown = [labels[round(i * (n - 1) / (_ENTRIES - 1))] for i in range(_ENTRIES)]
    handles = [Line2D([], [], color=colours[label], linewidth=2.5) for label in shown]
    title = "layer" if n <= _ENTRIES else f"{_ENTRIES} of {n} layers"
    legend = figure.legend(
        handles, shown, title=title, loc="outside right upper", fontsize=8, title_fontsize=9, frameon=False
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _label(name: str, layer: Module) -> str:
    """Return the name, cut in front; with the type where a container gave only a number."""
    if name.rpartition(".")[2].isdigit():
        name = f"{name} {type(layer).__name__}"
    return name if len(name) <= _LETTERS else f"…{name[-_LETTERS + 1 :]}"
