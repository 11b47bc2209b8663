"""Build the DOT text (Graphviz's language) of a computation; functions and tensors are nodes.

A function's node shows its name, its formula (the first half of its docstring) with constant numbers
filled in, and its options, such as axes. A tensor's node shows its role, shape, dtype, values and gradient.
"""

from __future__ import annotations

import html
import inspect
import itertools
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..autograd.function import Function
from ..autograd.tensor import Tensor
from ..module import Parameter
from .array_summary import format_number, summarize
from .subgraph import Subgraph, is_drawn

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
_SYMBOLS = {"Add": "+", "Sub": "−", "Mul": "×", "Div": "/", "Pow": "**"}
_LEGEND = "large arrays: mean ± standard deviation, smallest … largest"
_FORMULA_WIDTH = 34
_NEW_LINE = '<BR ALIGN="LEFT"/>'


@dataclass(frozen=True)
class Panel:
    """One graph of a picture, framed if it has a title; `names` maps the ids of tensors to names."""

    graph: Subgraph
    names: Mapping[int, str] = field(default_factory=dict)
    title: str = ""


def build(panels: Sequence[Panel], title: str = "") -> graphviz.Digraph:
    """Return the picture of `panels` side by side. Equal computations give equal text."""
    import graphviz  # imported here because it takes 50 ms to load

    picture = graphviz.Digraph("computation")
    picture.attr(rankdir="TB", ranksep="0.28", nodesep="0.3", fontname=_SANS, fontcolor=_INK, pad="0.25")
    picture.attr("node", shape="box", style="rounded,filled", fontname=_SANS, fontsize="11", fontcolor=_INK)
    picture.attr("node", margin="0.1,0.06", height="0.2", width="0.2")
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
    functions = {node: f"{prefix}f{i}" for i, node in enumerate(graph.functions)}
    outputs = {id(x) for x in graph.outputs}
    if graph.omitted:
        note = f"{graph.omitted:,} earlier functions are not drawn (max_nodes reached)"
        picture.node(
            f"{prefix}more", f"<<I>{_text(note)}</I>>", style="dashed", color=_QUIET, fontcolor=_QUIET
        )
    for x in graph.tensors:
        _draw_tensor(picture, tensors[id(x)], x, panel.names.get(id(x), ""), id(x) in outputs)
    placed: set[str] = set()
    for node, key in functions.items():
        _draw_function(picture, key, node)
        arguments = argument_names(node.forward, len(node.inputs))
        drawn = [(name, x) for name, x in zip(arguments, node.inputs, strict=True) if is_drawn(x)]
        for name, x in drawn:
            picture.edge(tensors[id(x)], key, label=_plain(f" {name} ") if len(drawn) > 1 else None)
        leaves = dict.fromkeys(tensors[id(x)] for _, x in drawn if x.creator is None)
        _in_a_row(picture, [leaf for leaf in leaves if leaf not in placed])
        placed.update(leaves)
    for x in graph.tensors:
        if x.creator in functions:
            several = len(x.creator.outputs or ()) - len(x.creator.constants) > 1
            label = _plain(f" output {x.index} ") if several else None
            picture.edge(functions[x.creator], tensors[id(x)], label=label)
        elif x.creator is not None:
            picture.edge(f"{prefix}more", tensors[id(x)], style="dashed")


def _in_a_row(picture: graphviz.Digraph, keys: list[str]) -> None:
    if len(keys) > 1:
        with picture.subgraph() as row:
            row.attr(rank="same")
            for left, right in itertools.pairwise(keys):
                row.edge(left, right, style="invis")


def _draw_tensor(picture: graphviz.Digraph, key: str, x: Tensor, name: str, is_output: bool) -> None:
    role = role_of(x, is_output)
    fill, border = _COLOURS[role]
    shape = f"{x.shape} {x.dtype}"
    titles = [_bold(name)] * (name != "") + [_coloured(role, _QUIET)] * (role not in ("", name))
    heading = "  ".join([*titles, _coloured(shape, _QUIET if titles else _INK)])
    rows = _rows("data: ", summarize(x.array), _INK)
    if x.requires_grad:
        rows += _rows("grad: ", *gradient_lines(x))
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


def gradient_lines(x: Tensor) -> tuple[list[str], str]:
    """Return the lines that describe a tensor's gradient, and their colour; missing differs from zero."""
    if x.grad is not None:
        return summarize(x.grad.array), _GRADIENT
    if x.creator is not None and x.creator.backward_ran:
        return ["not kept (retain_grad() keeps it)"], _QUIET
    return ["not computed"], _QUIET


def _draw_function(picture: graphviz.Digraph, key: str, node: Function) -> None:
    formula, derivative = formula_of(type(node))
    lines = textwrap.wrap(call_of(node) or formula, _FORMULA_WIDTH)
    lines += textwrap.wrap(options_of(node), _FORMULA_WIDTH)
    lines += ["inputs freed by backward"] * node.freed
    below = "".join(f"<BR/>{_text(line)}" for line in lines)
    if below:  # Graphviz takes no empty FONT
        below = f'<FONT POINT-SIZE="9" COLOR="#d9e0e7">{below}</FONT>'
    picture.node(
        key,
        f'<<FONT COLOR="white">{_bold(node.name)}</FONT>{below}>',
        fillcolor=_FUNCTION,
        color=_FUNCTION,
        tooltip=_plain("\n".join(filter(None, (formula, derivative))) or node.name),
    )


def formula_of(function: type[Function]) -> tuple[str, str]:
    """Return formula and derivative from a class docstring "y = ... · dx = ..."; else two empty strings."""
    formula, dot, derivative = _first_line(function).replace("`", "").partition(" · ")
    return (formula, derivative) if dot else ("", "")


def options_of(node: Function) -> str:
    """Return the attributes that the formula names in `backticks`, as "correction = 1, axes = (0, 2)"."""
    named = re.findall(r"`(\w+)`", _first_line(type(node)).partition(" · ")[0])
    kept = {name: vars(node)[name] for name in named if name in vars(node)}
    return ", ".join(
        f"{name} = {format_number(value) if isinstance(value, int | float) else value}"
        for name, value in kept.items()
    )


def _first_line(function: type[Function]) -> str:
    return (vars(function).get("__doc__") or "").strip().partition("\n")[0]


def call_of(node: Function) -> str:
    """Return the call with its constant numbers, if any: "x ** -0.5" for operators, else "low = 0"."""
    arguments = argument_names(node.forward, len(node.inputs))
    constants = {
        name: format_number(x.item() if isinstance(x, Tensor) else x)
        for name, x in zip(arguments, node.inputs, strict=True)
        if x is not None and not is_drawn(x)
    }
    if not constants:
        return ""
    if node.name in _SYMBOLS and len(arguments) == 2:
        a, b = (constants.get(name, name) for name in arguments)
        return f"{a} {_SYMBOLS[node.name]} {b}"
    return ", ".join(f"{name} = {text}" for name, text in constants.items())


def argument_names(function: Callable[..., Any], count: int) -> list[str]:
    """Return the names of the first `count` positional arguments: x, weight, or tensors[0] of *tensors."""
    parameters = inspect.signature(function).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "input")
    return (names + [f"{rest}[{i}]" for i in range(count - len(names))])[:count]


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
