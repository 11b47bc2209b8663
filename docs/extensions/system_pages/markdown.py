"""Small pieces of Markdown: text that shows as it is, formulas, code, tables."""

import functools
import re
from collections.abc import Iterable, Sequence

from reference_names import Reference

from .formula import Segment, is_equation, segments
from .symbols import NotAFormula

_CODE = re.compile(r"(`[^`]+`)")
_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")


def text(plain: str) -> str:
    """Return prose as Markdown: `code` stays code or leads to the reference, arXiv ids become links."""
    pieces = [
        name(piece.strip("`"))
        if k % 2
        else _ARXIV.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", escaped(piece))
        for k, piece in enumerate(_CODE.split(plain))
    ]
    return "".join(pieces)


def name(code: str) -> str:
    """Return a name as code; if it is public, it leads to its place in the reference."""
    target = _reference().resolve(code)
    return f"{{py:obj}}`{code} <{target}>`" if target else f"`{code}`"


@functools.cache
def _reference() -> Reference:
    return Reference.read()


def escaped(plain: str) -> str:
    """Return text without any meaning in Markdown."""
    return re.sub(r"([\\*_\[\]<>$|{}#~^`])", r"\\\1", plain)


def inline(plain: str, display: bool = True) -> str:
    """Return a formula of a docstring as Markdown, its parts set apart; what is not understood as code."""
    return "&emsp; ".join(_part(part, display) for part in re.split(r"\s{2,}", plain.strip()))


def _part(part: str, display: bool) -> str:
    try:
        found = segments(part)
    except NotAFormula:
        return f"`{part}`"
    style = r"\displaystyle " if display and is_equation(part) else ""
    words = ""
    for segment in found:
        is_glued = segment.text[0] in ",;:.)!?" or words.endswith("(") or not words
        gap = "&nbsp;" if segment.kind == "code" else " "
        words += ("" if is_glued else gap) + _segment(segment, style)
    return words


def _segment(segment: Segment, style: str) -> str:
    if segment.kind == "formula":
        return f"{{math}}`{style}{segment.text.strip()}`"
    return f"`{segment.text}`" if segment.kind == "code" else escaped(segment.text)


def formulas(lines: Iterable[str]) -> str:
    """Return lines of formulas, one paragraph each, in a box."""
    return "\n\n".join(["```{container} formulas", *(inline(line) for line in lines if line.strip()), "```"])


def code(lines: str, language: str = "text") -> str:
    """Return a block of code."""
    fence = "````" if "```" in lines else "```"
    return f"{fence}{language}\n{lines.rstrip()}\n{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Return a table; the columns `right` are aligned to the right."""
    numbers = set(right)
    rules = ["---:" if k in numbers else "---" for k in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rules, *rows))


def folded(title: str, body: str) -> str:
    """Return a part of a page that opens when it is clicked."""
    return f"<details>\n<summary>{title}</summary>\n\n{body}\n\n</details>"


def html(body: str) -> str:
    """Return HTML that stands on a page as it is."""
    return f"```{{raw}} html\n{body}\n```"
