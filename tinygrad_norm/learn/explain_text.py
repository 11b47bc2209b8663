"""An explanation as text for a terminal, at most 100 columns wide."""

import sys

from .array_summary import columns
from .explain_table import Row, cells, first_cells, padded, sections, title_of, wrapped
from .explained import ExplainedOp

_WIDTH, _LABEL, _TEXT, _CELL, _COLUMNS, _ROWS = 100, 18, 37, 10, 6, 12
MOST_LINES = 300
"""Of a text that can still be read: what is longer is shortened."""


def as_text(found: ExplainedOp, most_lines: int = sys.maxsize) -> str:
    """Return the tables of an explanation one below the other, and whether everything agrees.

    If there are more lines, a value of a step has one line, and steps have their outgoing gradients only.
    """
    lines = _lines(found, brief=False)
    return "\n".join(lines if len(lines) <= most_lines else _lines(found, brief=True))


def _lines(found: ExplainedOp, brief: bool) -> list[str]:
    lines = [*wrapped(title_of(found), _WIDTH)]
    lines += wrapped(found.op.paper, _WIDTH) if found.op.paper else []
    for section in sections(found, brief):
        lines += ["", section.title, *(wrapped(section.note, _WIDTH) if section.note else [])]
        for row in section.rows:
            lines += _row(row)
    verdict = (
        "Everything agrees: steps, paths, closed form and finite differences."
        if found.correct
        else "✗ marks what does not agree."
    )
    if found.correct and any(gradient.at_kink for gradient in found.gradients):
        verdict = "– marks a kink of forward: between the slopes on its two sides, every gradient is right."
    lines += ["", verdict if found.gradients else f"{found.op.name} has no gradient."]
    if brief:
        lines += [f"Shortened: {len(found.steps)} steps. --full, or .text() in Python, shows all numbers."]
    return [line.rstrip() for line in lines]


def _row(row: Row) -> list[str]:
    if row.heading:
        lines = wrapped(f"{row.label}   {row.formula}" if row.formula else row.label, _WIDTH - 4)
        return ["", f"  {lines[0]}", *(f"      {line}" for line in lines[1:])]
    if columns(row.label) >= _LABEL or columns(row.formula) > _TEXT - _LABEL - 2:
        # Too long for one line: label and formula above, the numbers below.
        heading = f"{row.label}   {row.formula}" if row.formula else row.label
        above, beside = [f"  {line}" for line in wrapped(heading, _WIDTH - 2)], ""
    else:
        above, beside = [], f"  {padded(row.label, _LABEL)}{row.formula}"
    if row.array is None:
        numbers: list[list[str]] = []
    else:
        numbers = [first_cells(row.array, _COLUMNS)] if row.brief else cells(row.array, _ROWS, _COLUMNS)
    beside_all = [beside, *[""] * (len(numbers) - 1)]
    lines = [
        padded(text, _TEXT) + "".join(cell.rjust(_CELL) for cell in line)
        for text, line in zip(beside_all, numbers, strict=True)
    ]
    if lines and row.verdict:
        lines[-1] += f"  {row.verdict}"
    return above + (lines or [padded(beside, _TEXT) + "     no numbers"])
