"""The pages that list systems: one of the families, one for each family, one of what is not one op."""

import inspect
import operator
import re
from html import escape

from name_pieces import pieces

import tinygrad_norm as tn
from tinygrad_norm.learn.systems import OTHERS, families
from tinygrad_norm.registry import Op

from . import markdown
from .page import FAMILIES, derivation_of, systems, title
from .pictures import pool_svg

_BLOCKS = "Layers that normalizations are used with"
_DERIVED_IN = re.compile(r"Derived path by path in (\S+\.py)\.")
_OTHERS = "Around them: data, statistics, networks, gradients"


def family_page(family: str) -> str:
    """Return the name of the page of a family."""
    return f"family-{family}"


def family_title(family: str) -> str:
    """Return the heading of a family."""
    return _BLOCKS if family == "block" else families()[family]


def index() -> str:
    """Return the page of all families."""
    ops = systems().values()
    parts = [
        "# Systems",
        "Each page has the formula, what shares a statistic, when to use the system and what catches people "
        "out, the derivation of the gradient, code, graph, speed, and what experiments found. Which one to "
        "choose: [which normalization when](../which.md).",
    ]
    for family in FAMILIES:
        own = [op for op in ops if op.family == family]
        parts.append(f"## [{family_title(family)}]({family_page(family)}.md)")
        parts.append(_cards(own) if family != "block" else _names(own))
    parts += [f"## [{_OTHERS}](others.md)", ", ".join(map(markdown.escaped, OTHERS))]
    targets = "\n".join([*map(family_page, FAMILIES), "others"])
    return "\n\n".join(parts) + f"\n\n```{{toctree}}\n:hidden:\n\n{targets}\n```\n"


def _names(ops: list[Op]) -> str:
    return ", ".join(f"[{markdown.escaped(title(op))}]({op.name}.md)" for op in ops)


def _cards(ops: list[Op]) -> str:
    """Return small pictures with names, each a link."""
    cards = []
    for op in ops:
        words = "<wbr>".join(map(escape, pieces(title(op))))
        cards.append(
            f'<a class="card-of-system" href="{op.name}.html">{pool_svg(op)}<span>{words}</span></a>'
        )
    return markdown.html(f'<div class="systems">{"".join(cards)}</div>')


def family(name: str) -> str:
    """Return the page of a family."""
    own = [op for op in systems().values() if op.family == name]
    rows = [
        [f"[{markdown.escaped(title(op))}]({op.name}.md)", markdown.text(derivation_of(op).summary)]
        for op in own
    ]
    targets = "\n".join(op.name for op in own)
    return "\n\n".join(
        [
            f"# {family_title(name)}",
            markdown.table(["system", "what it does"], rows),
            f"```{{toctree}}\n:hidden:\n\n{targets}\n```\n",
        ]
    )


def others() -> str:
    """Return the page of the systems that are not one op, from their docstrings."""
    parts = [f"# {_OTHERS}"]
    for system, names in OTHERS.items():
        parts.append(f"## {markdown.escaped(system)}")
        for name in names.split():
            thing = operator.attrgetter(name)(tn)
            parts += [f"**{markdown.name(name)}**", *_docstring(inspect.getdoc(thing) or "")]
    return "\n\n".join(parts) + "\n"


def _docstring(docstring: str) -> list[str]:
    """Return the paragraphs of a docstring, formulas as formulas, without arguments and exceptions."""
    found = []
    for block in filter(str.strip, docstring.split("\n\n")):
        head, _, lines = block.partition("\n")
        if head in ("Formula:", "Backward:"):
            found.append(markdown.formulas(lines.splitlines()))
        elif derived := _DERIVED_IN.fullmatch(" ".join(block.split())):
            file = derived[1]
            found.append(f"Derived path by path in [{file.rpartition('/')[2]}](../../{file}).")
        elif head not in ("Args:", "Returns:", "Raises:", "Yields:"):
            is_code = "\n    " in f"\n{block}"
            found.append(markdown.code(block) if is_code else markdown.text(" ".join(block.split())))
    return found
