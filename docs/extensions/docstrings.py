"""Docstrings of the package as reStructuredText.

    prose               as it is, but `code` becomes code, or a link if it is a public name; arXiv ids and
                        files of the package are links
    indented blocks     formulas, diagrams and code, with their line breaks
    Args:, Raises:, …   fields, one for each entry
    Formula:, …         any other heading above an indented block

All else that reStructuredText would take for a mark is escaped.
"""

import ast
import re
from collections.abc import Callable

FIELDS = {"Args": "param", "Raises": "raises", "Attributes": "", "Returns": "returns", "Yields": "yields"}
_INDENT = "    "
_ENTRY = re.compile(r"(\*{0,2}[\w., ]+?(?: \([^)]*\))?): ?(.*)", re.DOTALL)
_PARTS = re.compile(
    r"(?P<code>``?[^`]+``?)|arXiv:(?P<arxiv>\d{4}\.\d{4,5})|(?P<file>\b(?:tinygrad_norm|examples)/[\w/]+\.(?:py|cuh?))"
)
Resolve = Callable[[str], str | None]


def as_rst(docstring: str, resolve: Resolve = lambda name: None) -> list[str]:
    """Return a docstring, without its indentation, as lines of reStructuredText.

    Args:
        docstring: the text, as `inspect.getdoc` returns it.
        resolve: from a name in `backticks` to the full name of what it means, or None.
    """
    lines: list[str] = []
    for block in _blocks(docstring.splitlines()):
        lines += [*_block(block, resolve), ""]
    return lines


def prose(text: str, resolve: Resolve = lambda name: None) -> str:
    """Return a text with its marks escaped; code, arXiv ids and files of the package become links."""
    parts, end = [], 0
    for found in _PARTS.finditer(text):
        parts += [_escaped(text[end : found.start()]), _marked(found, resolve)]
        end = found.end()
    return "".join([*parts, _escaped(text[end:])])


def _blocks(lines: list[str]) -> list[list[str]]:
    """Divide at empty lines, and where indented lines begin or end; a heading keeps its indented lines."""
    blocks: list[list[str]] = []
    gap = False
    for line in lines:
        if not line.strip():
            gap = True
            continue
        indented = line.startswith(_INDENT)
        if blocks and _continues(blocks[-1], indented, gap):
            blocks[-1] += ["", line] if gap else [line]
        else:
            blocks.append([line])
        gap = False
    return blocks


def _continues(block: list[str], indented: bool, gap: bool) -> bool:
    """Whether a line belongs to the block before it, which a gap may precede."""
    if indented:
        return block[-1].startswith(_INDENT) or bool(_heading(block)) or (_is_list(block) and not gap)
    return not gap and not block[-1].startswith(_INDENT)


def _heading(block: list[str]) -> str:
    """Return the heading of a block with one, such as Args: and what is indented under it."""
    found = re.fullmatch(r"([A-Z][\w ]*):", block[0]) if block else None
    return found[1] if found else ""


def _is_list(block: list[str]) -> bool:
    return block[0].lstrip().startswith("- ")


def _block(block: list[str], resolve: Resolve) -> list[str]:
    heading = _heading(block)
    if heading in FIELDS and len(block) > 1:
        return _fields(heading, _dedented(block[1:]), resolve)
    if heading and len(block) > 1:
        return [f".. rubric:: {heading}", "", *_literal(_dedented(block[1:]))]
    if block[0].startswith(">>>"):
        return [".. code-block:: pycon", "", *("    " + line for line in block)]
    if block[0].startswith(_INDENT) or _is_aligned(block):
        return _literal(_dedented(block))
    if found := re.match(r"(Returns|Yields): (.*)", block[0]):
        return [f":{found[1].lower()}: " + prose(" ".join([found[2], *block[1:]]), resolve)]
    if _is_list(block):
        return [re.sub(r"^(- |)(.*)", lambda m: m[1] + prose(m[2], resolve), line) for line in block]
    paragraphs = [prose(" ".join(part), resolve) for part in _with_source_apart(block)]
    return [re.sub("::$", ":", paragraph) for paragraph in paragraphs]


def _with_source_apart(block: list[str]) -> list[list[str]]:
    """Divide a paragraph before a line "Source: …", with an empty line between."""
    for i, line in enumerate(block):
        if i and line.startswith("Source: "):
            return [block[:i], [""], block[i:]]
    return [block]


def _is_aligned(block: list[str]) -> bool:
    """Whether the lines are a table, with columns apart by several spaces."""
    return len(block) > 1 and sum(bool(re.search(r"\S {2,}\S", line)) for line in block) > len(block) // 2


def _dedented(block: list[str]) -> list[str]:
    margin = min(len(line) - len(line.lstrip()) for line in block if line.strip())
    return [line[margin:] for line in block]


def _literal(lines: list[str]) -> list[str]:
    text = "\n".join(lines)
    language = "pycon" if text.startswith(">>>") else "python" if _is_python(text) else "text"
    return [f".. code-block:: {language}", "", *("    " + line if line else "" for line in lines)]


def _is_python(text: str) -> bool:
    """Whether a block is code: Python in ASCII that calls or imports something."""
    if not text.isascii():
        return False
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return False
    return any(isinstance(node, ast.Call | ast.Import | ast.ImportFrom) for node in ast.walk(tree))


def _fields(heading: str, lines: list[str], resolve: Resolve) -> list[str]:
    field = FIELDS[heading]
    if field in ("returns", "yields"):
        return [f":{field}: " + prose(" ".join(lines), resolve)]
    entries: list[list[str]] = []
    for line in lines:
        if line.startswith(" ") and entries:
            entries[-1].append(line.strip())
        elif line.strip():
            entries.append([line])
    fields = []
    for entry in entries:
        found = _ENTRY.fullmatch(" ".join(entry))
        name, text = (found[1], found[2]) if found else (entry[0], " ".join(entry[1:]))
        start = f":{field} {_escaped(name)}:" if field else f"- :code:`{name}`:"
        fields.append(f"{start} {prose(text, resolve)}")
    return fields if field else [f".. rubric:: {heading}", "", *fields]


def _marked(found: re.Match[str], resolve: Resolve) -> str:
    if file := found["file"]:
        return f"\\ :source:`{file}`\\ "
    if number := found["arxiv"]:
        return f"\\ `arXiv:{number} <https://arxiv.org/abs/{number}>`__\\ "
    code = found["code"].strip("`")
    target = resolve(code.removesuffix("()"))
    return f"\\ :py:obj:`{code} <{target}>`\\ " if target else f"\\ :code:`{_code(code)}`\\ "


def _code(text: str) -> str:
    return text.replace("\\", "\\\\")


def _escaped(text: str) -> str:
    return re.sub(r"([\\*|_`])", r"\\\1", text)
