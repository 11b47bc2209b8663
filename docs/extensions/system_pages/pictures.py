"""The pictures of a system: its pool, and the graphs of its two forms."""

import functools
import re

from tinygrad_norm.backends import use_loops
from tinygrad_norm.learn.draw_op import draw_op
from tinygrad_norm.learn.poolpicture import pool_picture
from tinygrad_norm.learn.sharing import pools_of, small_input
from tinygrad_norm.registry import REGISTRY, Op


def pool_svg(op: Op) -> str:
    """Return the picture of what shares a statistic, as SVG text in one line."""
    return _pool_svg(op.name)


@functools.cache
def _pool_svg(name: str) -> str:
    op = REGISTRY[name]
    with use_loops("off"):
        svg = pool_picture(op)
        if 'class="in"' not in svg:  # the nearest entry may come first in time, and depend on itself alone
            given = small_input(op)
            svg = pool_picture(op, given, int(pools_of(op, given).sum(axis=1).argmax()))
    return svg.replace("\n", " ")


def graph_svg(op: Op) -> str | None:
    """Return the graphs of the composed and the closed form; None if Graphviz is missing."""
    return _graph_svg(op.name)


@functools.cache
def _graph_svg(name: str) -> str | None:
    op = REGISTRY[name]
    forms = ("closed",) if op.composed is None else ("composed", "closed")
    with use_loops("off"):
        drawing = draw_op(op, forms=forms)
        try:
            svg = drawing.svg()
        except RuntimeError:
            return None
    return re.sub(r"\n\s*\n", "\n", svg.partition("<svg")[1] + svg.partition("<svg")[2])


def graph_name(op: Op) -> str:
    """Return the name of the file of the graphs."""
    return f"graph-{op.name}.svg"


def graph_part(op: Op) -> str:
    """Return the graphs on a page, or how to draw them."""
    command = f"`tinygrad-norm draw {op.name}`"
    if graph_svg(op) is None:
        return f"{command} draws it; this site was built without Graphviz."
    title = f"Graph of {op.title or op.name}"
    options = f":alt: {title}\n:class: graph dark-light\n:target: ../_images/{graph_name(op)}"
    picture = f"```{{image}} {graph_name(op)}\n{options}\n```"
    words = (
        "Each box is a function with its formula and derivative; each arrow carries a value forward and a "
        f"gradient back. The numbers are few and small. {command} makes this picture: click to see it whole."
    )
    return f"{words}\n\n````{{container}} graph-box\n{picture}\n````"
