"""What the docstring of a system's file says: formula, paths of the gradient, derivation, insight."""

import inspect
import re
from dataclasses import dataclass

from tinygrad_norm.normalization.core.summary import formula_lines, gradient_lines

from . import markdown

_PATH = re.compile(r"straight|through \S.*|to \S+")
_FILE = re.compile(r"(?<![\w/.])(\w+\.py)\b")


@dataclass(frozen=True)
class Derivation:
    """The parts of a docstring.

    Attributes:
        summary: its first sentence.
        formula: the lines that say what y is.
        paths: path, what it passes through, and its contribution to the gradient; empty if not in this form.
        gradients: the lines that say what a gradient is.
        body: all paragraphs but the first; those with indented lines are formulas.
    """

    summary: str
    formula: list[str]
    paths: list[tuple[str, ...]]
    gradients: list[str]
    body: list[str]

    @classmethod
    def of(cls, docstring: str) -> "Derivation":
        """Return the parts of the docstring of a module."""
        summary, *body = re.split(r"\n\s*\n", inspect.cleandoc(docstring))
        return cls(
            " ".join(summary.split()),
            formula_lines(docstring) if "y = " in docstring.partition("\nBackward")[0] else [],
            next(filter(None, map(_paths, body)), []),
            gradient_lines(docstring),
            body,
        )

    def markdown(self, pages: dict[str, str]) -> str:
        """Return the derivation as it stands; the names of files in `pages` become links to their pages."""
        found = []
        for block in self.body:
            if block.startswith("    "):
                found.append(markdown.code(inspect.cleandoc(block)))
                continue
            paragraph = _linked(markdown.text(" ".join(block.split())), pages)
            found.append(re.sub(r"^Insight:", "**Insight:**", paragraph))
        return "\n\n".join(found)

    @property
    def insight(self) -> str:
        """The paragraph of insight; empty if there is none."""
        return next((" ".join(block.split())[9:] for block in self.body if block.startswith("Insight: ")), "")


def _linked(paragraph: str, pages: dict[str, str]) -> str:
    return _FILE.sub(
        lambda file: f"[{file[1]}]({pages[file[1]]})" if file[1] in pages else file[1], paragraph
    )


def _paths(block: str) -> list[tuple[str, ...]]:
    """Return the rows of a block of paths; nothing if it is another block."""
    rows = [tuple(re.split(r" {2,}", line.strip())) for line in block.splitlines()]
    is_table = len(rows) > 1 and all(_PATH.fullmatch(row[0]) and 2 <= len(row) <= 3 for row in rows)
    return [(row[0], *[""] * (3 - len(row)), *row[1:]) for row in rows] if is_table else []
