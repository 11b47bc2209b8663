"""Build the DOT text (Graphviz's language) of a computation; functions and tensors are nodes.

A function's node shows its name, its formula and its derivative (the two halves of its docstring) with
constant numbers filled in, and its options, such as axes. A tensor's node shows its role, shape, dtype,
values and gradient. Where the gradients of several arrows add up, each arrow shows its part.
"""

from __future__ import annotations

import html
import itertools
import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..autograd.function import Function
from ..autograd.tensor import Tensor
from ..backends import Array
from ..module import Parameter
from .array_summary import summarize, summarize_all
from .flows import Flows
from .formulas import argument_names, call_of, derivative_of, formula_of, options_of
from .subgraph import Folded, Subgraph, is_drawn

if TYPE_CHECKING:
    import graphviz

_SANS, _MONO = "Helvetica", "Courier"
_INK, _QUIET, _GRADIENT, _FUNCTION = "#1f2933", "#7b8794", "#9a3412", "#3e4c59"
_COLOURS = {  # role: (fill, border)
    "parameter": ("#fdf3d8", "#c99a2e"),
    "input": ("#e6f0fa", "#5b8db8"),
    "output": ("#e6f4ea", "#4f9a67"),
    "constant": ("#f1f3f5", "#adb5bd"),
    "": ("#ffffff", "#c3cad2"),
}
_LEGEND = "large arrays: mean ± standard deviation, smallest … largest"
_FORWARD, _BACKWARD = "#d9e0e7", "#ffc9a3"  # on the dark of a function
_FORMULA_WIDTH = 34
_NEW_LINE = '<BR ALIGN="LEFT"/>'


@dataclass(frozen=True)
class Panel:
    """One graph of a picture, framed if it has a title; `names` maps the ids of tensors to names.

    `formulas` has formula and derivative of functions in these names; without it, they are in those of their
    arguments. `flows` has the gradients; without it, they are those that backward left in `.grad`. `notes`
    are lines below the graph, and `width` is the longest line of a formula.
    """

    graph: Subgraph
    names: Mapping[int, str] = field(default_factory=dict)
    title: str = ""
    formulas: Mapping[Function, tuple[str, str]] = field(default_factory=dict)
    flows: Flows | None = None
    notes: Sequence[str] = ()
    width: int = _FORMULA_WIDTH


def build(panels: Sequence[Panel], title: str = "") -> graphviz.Digraph:
    """Return the picture of `panels` side by side. Equal computations give equal text."""
    import graphviz  # imported here because it takes 50 ms to load

    picture = graphviz.Digraph("computation")
    picture.attr(rankdir="TB", ranksep="0.28", nodesep="0.3", fontname=_SANS, fontcolor=_INK, pad="0.25")
    picture.attr("node", shape="box", style="rounded,filled", fontname=_SANS, fontsize="11", fontcolor=_INK)
    picture.attr("node", margin="0.14,0.07", height="0.2", width="0.2")
    picture.attr("edge", color="#8794a1", arrowsize="0.6", fontname=_SANS, fontsize="9", fontcolor=_QUIET)
    for i, panel in enumerate(panels):
        if not panel.title:
            _draw_panel(picture, panel, f"p{i}_" if len(panels) > 1 else "")
            continue
        with picture.subgraph(name=f"cluster_{i}") as frame:
            frame.attr(label=f"<{_bold(panel.title)}>", style="rounded", color="#d5dae0", margin="14")
            frame.attr(fontsize="13", bgcolor="#fbfcfd")
            _draw_panel(frame, panel, f"p{i}_")
    heading, *below = title.split("\n")
    if any(" ± " in line for line in picture.body):
        below.append(_LEGEND)
    lines = [_bold(heading)] * (heading != "") + [_text(line) for line in below]
    if lines:
        picture.attr(label=f"<{'<BR/>'.join(lines)}>", labelloc="t", fontsize="13" if heading else "9")
    return picture


def _draw_panel(picture: graphviz.Digraph, panel: Panel, prefix: str) -> None:
    graph = panel.graph
    tensors = {id(x): f"{prefix}t{i}" for i, x in enumerate(graph.tensors)}
    boxes = {box: f"{prefix}f{i}" for i, box in enumerate(graph.functions)}
    makers = {node: key for box, key in boxes.items() for node in _functions(box)}
    outputs = {id(x) for x in graph.outputs}
    if graph.omitted:
        note = f"{graph.omitted:,} earlier functions are not drawn (max_nodes reached)"
        picture.node(
            f"{prefix}more", f"<<I>{_text(note)}</I>>", style="dashed", color=_QUIET, fontcolor=_QUIET
        )
    for x in graph.tensors:
        _draw_tensor(picture, tensors[id(x)], x, panel, id(x) in outputs)
    placed: set[str] = set()
    arrows = {box: _arrows_into(box, tensors) for box in boxes}
    uses = Counter(id(arrow.x) for into in arrows.values() for arrow in into)
    for box, key in boxes.items():
        if isinstance(box, Folded):
            _draw_folded(picture, key, box, panel)
        else:
            _draw_function(picture, key, box, panel)
        into = arrows[box]
        for arrow in into:
            is_named = panel.names.get(id(arrow.x), "").rpartition(".")[2] == arrow.name
            name = arrow.name if len(into) > 1 and box not in panel.formulas and not is_named else ""
            dx = panel.flows.along(arrow.uses) if panel.flows and uses[id(arrow.x)] > 1 else None
            _draw_arrow(picture, tensors[id(arrow.x)], key, name, [] if dx is None else summarize(dx))
        leaves = dict.fromkeys(tensors[id(arrow.x)] for arrow in into if arrow.x.creator is None)
        _in_a_row(picture, [leaf for leaf in leaves if leaf not in placed])
        placed.update(leaves)
    for x in graph.tensors:
        if x.creator in makers:
            many = len(x.creator.outputs or ()) - len(x.creator.constants) > 1
            label = _plain(f" output {x.index} ") if many and x.creator in boxes else None
            picture.edge(makers[x.creator], tensors[id(x)], label=label)
        elif x.creator is not None:
            picture.edge(f"{prefix}more", tensors[id(x)], style="dashed")
    if panel.notes:
        lines = "".join(f"{_text(line) or '&#160;'}{_NEW_LINE}" for line in panel.notes)
        picture.node(
            f"{prefix}notes",
            f'<<FONT FACE="{_MONO}" POINT-SIZE="10">{lines}</FONT>>',
            style="filled",
            fillcolor="#fff7ed",
            color="#e7c8ac",
        )
        for y in graph.outputs:
            picture.edge(tensors[id(y)], f"{prefix}notes", style="invis")


def _functions(box: Function | Folded) -> tuple[Function, ...]:
    return box.functions if isinstance(box, Folded) else (box,)


@dataclass(frozen=True)
class _Arrow:
    """From a tensor to a box: the name of the argument, and the uses that it stands for."""

    name: str
    x: Tensor
    uses: tuple[tuple[Function, int], ...]


def _arrows_into(box: Function | Folded, tensors: Mapping[int, str]) -> list[_Arrow]:
    """Return an arrow for each argument; of folded functions, one for each tensor from outside."""
    if not isinstance(box, Folded):
        names = argument_names(box.forward, len(box.inputs))
        named = enumerate(zip(names, box.inputs, strict=True))
        return [_Arrow(name, x, ((box, i),)) for i, (name, x) in named if is_drawn(x)]
    made, used = set(box.functions), dict[int, tuple[Tensor, list[tuple[Function, int]]]]()
    for node in box.functions:
        for i, x in enumerate(node.inputs):
            if is_drawn(x) and id(x) in tensors and x.creator not in made:
                used.setdefault(id(x), (x, []))[1].append((node, i))
    return [_Arrow("", x, tuple(uses)) for x, uses in used.values()]


def _draw_arrow(picture: graphviz.Digraph, tail: str, head: str, name: str, part: Sequence[str]) -> None:
    """Draw an arrow with the name of its argument, and the part of a gradient that comes back along it."""
    if not part:
        picture.edge(tail, head, label=_plain(f" {name} ") if name else None)
        return
    # A node on the way: unlike a label, it has a place of its own, where nothing else is.
    middle = f"{tail}_{head}_{len(picture.body)}"
    lines = "".join(f"{_coloured(line, _GRADIENT)}{_NEW_LINE}" for line in part)
    heading = f"{_coloured(name, _QUIET)}{_NEW_LINE}" if name else ""
    values = f'<FONT FACE="{_MONO}" POINT-SIZE="9">{lines}</FONT>'
    picture.node(middle, f"<{heading}{values}>", shape="plain", style="solid", fontsize="9")
    picture.edge(tail, middle, arrowhead="none")
    picture.edge(middle, head)


def _in_a_row(picture: graphviz.Digraph, keys: list[str]) -> None:
    if len(keys) > 1:
        with picture.subgraph() as row:
            row.attr(rank="same")
            for left, right in itertools.pairwise(keys):
                row.edge(left, right, style="invis")


def _draw_tensor(picture: graphviz.Digraph, key: str, x: Tensor, panel: Panel, is_output: bool) -> None:
    role, name = role_of(x, is_output), panel.names.get(id(x), "")
    fill, border = _COLOURS[role]
    shape = f"{x.shape} {x.dtype}"
    titles = [_bold(name)] * (name != "") + [_coloured(role, _QUIET)] * (role not in ("", name))
    heading = "  ".join([*titles, _coloured(shape, _QUIET if titles else _INK)])
    dx = _gradient_of(x, panel.flows)
    data, *gradient = summarize_all([x.array] if dx is None else [x.array, dx])
    rows = _rows("data: ", data, _INK)
    if x.requires_grad:
        shown = (gradient[0], _GRADIENT) if gradient else ([_missing(x, panel.flows)], _QUIET)
        rows += _rows("grad: ", *shown)
    values = f'<FONT FACE="{_MONO}" POINT-SIZE="9">{"".join(rows)}</FONT>'
    label = f"<{heading}{_NEW_LINE}{values}>"
    picture.node(key, label, fillcolor=fill, color=border, tooltip=_plain(f"{role or 'tensor'} {shape}"))


def _rows(label: str, lines: list[str], colour: str) -> list[str]:
    labels = [label, *[" " * len(label)] * (len(lines) - 1)]
    return [
        f"{_coloured(label + line, colour)}{_NEW_LINE}" for label, line in zip(labels, lines, strict=True)
    ]


def role_of(x: Tensor, is_output: bool) -> str:
    """Return the role of a tensor in its graph; "" for an intermediate result."""
    if x.creator is not None:
        return "output" if is_output else ""
    if isinstance(x, Parameter):
        return "parameter"
    return "input" if x.requires_grad else "constant"


def _gradient_of(x: Tensor, flows: Flows | None) -> Array | None:
    """Return the gradient of a tensor that the picture shows, if any."""
    if flows is not None:
        return flows.tensors.get(id(x))
    return None if x.grad is None else x.grad.array


def _missing(x: Tensor, flows: Flows | None) -> str:
    """Return why a tensor has no gradient: missing differs from zero."""
    if flows is not None:
        return "none arrives"
    if x.creator is not None and x.creator.backward_ran:
        return "not kept (retain_grad() keeps it)"
    return "not computed"


def _draw_function(picture: graphviz.Digraph, key: str, node: Function, panel: Panel) -> None:
    if node in panel.formulas:
        formula, derivative = panel.formulas[node]
        lines = textwrap.wrap(formula, panel.width)
    else:
        formula, derivative = formula_of(type(node))[0], derivative_of(node)
        lines = textwrap.wrap(call_of(node) or formula, panel.width)
        lines += textwrap.wrap(options_of(node), panel.width)
    parts = re.split(r"(?<=,) (?=d[^ ]+ =)", derivative) if len(derivative) > panel.width else [derivative]
    backward = [line for part in parts for line in textwrap.wrap(part, panel.width)]
    below = _below(lines, _FORWARD) + _below(backward, _BACKWARD)
    below += _below(["inputs freed by backward"] * node.freed, _FORWARD)
    picture.node(
        key,
        f'<<FONT COLOR="white">{_bold(node.name)}</FONT>{below}>',
        fillcolor=_FUNCTION,
        color=_FUNCTION,
        tooltip=_plain("\n".join(filter(None, (formula, derivative))) or node.name),
    )


def _below(lines: Sequence[str], colour: str) -> str:
    """Return lines for below a name; Graphviz takes no empty FONT."""
    text = "".join(f"<BR/>{_text(line)}" for line in lines)
    return f'<FONT POINT-SIZE="9" COLOR="{colour}">{text}</FONT>' if text else ""


def _draw_folded(picture: graphviz.Digraph, key: str, box: Folded, panel: Panel) -> None:
    title = f"{box.count} × {box.title}" if box.count > 1 else box.title
    size = len(box.functions) // box.count
    counted = f"{size} function{'s' * (size != 1)}{' each' * (box.count > 1)}"
    kinds = ", ".join(dict.fromkeys(node.name for node in box.functions))
    lines = textwrap.wrap(f"{counted}: {kinds}", 48, max_lines=3, placeholder=" …")
    names = [panel.names.get(id(x), "") for x in box.parameters]
    numbers = sum(x.numel() for x in box.parameters)
    if box.parameters:
        listed = f"{numbers:,} numbers in {', '.join(filter(None, names)) or 'parameters'}"
        lines += textwrap.wrap(listed, 48, max_lines=2, placeholder=" …")
    places = [box.places[0], *box.places[-1:]] if len(box.places) > 1 else list(box.places)
    place = _below([" … ".join(places)], _FORWARD) if places else ""
    picture.node(
        key,
        f'<<FONT COLOR="white">{_bold(title)}</FONT>{place}{_below(lines, _FORWARD)}>',
        fillcolor="#5b6b7b",
        color=_FUNCTION,
        penwidth="3" if box.count > 1 else "1",
        tooltip=_plain(f"{title}: {kinds}"),
    )


def _bold(text: str) -> str:
    return f"<B>{_text(text)}</B>"


def _coloured(text: str, colour: str) -> str:
    return f'<FONT COLOR="{colour}">{_text(text)}</FONT>'


def _text(text: str) -> str:
    # Even in HTML labels, dot replaces \N by the node's name; and HTML collapses spaces.
    return html.escape(_printable(text)).replace("\\", r"\\").replace("  ", "&#160;&#160;")


def _plain(text: str) -> str:
    import graphviz

    lines = (_printable(line).replace("\\", r"\\") for line in text.split("\n"))
    return graphviz.nohtml(r"\n".join(lines))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
