"""An explanation as HTML: a table for a notebook, or a page that needs no other file, light and dark."""

from html import escape

from .explain_table import OK, UNKNOWN, Row, Section, cells, sections, title_of
from .explained import ExplainedOp

_COLUMNS, _ROWS = 8, 40
_STYLE = """
.explained { --paper: #ffffff; --ink: #1f2933; --quiet: #5f6c7b; --line: #d9dee4; --band: #f2f5f8;
  --good: #1d7a3e; --bad: #b42318; color: var(--ink); background: var(--paper);
  font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; }
@media (prefers-color-scheme: dark) { .explained { --paper: #171d25; --ink: #e6eaf0; --quiet: #a3afbd;
  --line: #3a4552; --band: #242d38; --good: #6fd08f; --bad: #ff8f85; } }
.explained h1 { font-size: 1.35rem; margin: 0 0 .2rem; overflow-wrap: anywhere; }
.explained h2 { font-size: 1.1rem; margin: 1.8rem 0 .3rem; }
.explained p { color: var(--quiet); margin: .2rem 0 .6rem; }
.explained .scroll { overflow-x: auto; }
.explained table { border-collapse: collapse; width: 100%; color: inherit; }
.explained tr { background: none; }
.explained td { border-top: 1px solid var(--line); padding: .25rem .8rem .25rem .4rem; vertical-align: top;
  text-align: left; }
.explained td.formula { color: var(--quiet); }
.explained td.numbers, .explained td.formula, .explained td.label { font: 13px/1.6 ui-monospace, monospace; }
.explained td.label { width: 11rem; }
.explained td.formula { width: 17rem; }
.explained td.numbers { white-space: pre; }
.explained td.verdict { font-weight: 700; color: var(--good); }
.explained td.wrong { color: var(--bad); }
.explained td.unknown { color: var(--quiet); }
.explained tr.step td { background: var(--band); padding-top: .45rem;
  font: 600 13px/1.6 ui-monospace, monospace; }
.explained tr.step .formula { font-weight: 400; color: var(--quiet); margin-left: 1.5rem; }
"""
_PAGE_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0; padding: 2rem 1rem; background: #ffffff; }
@media (prefers-color-scheme: dark) { body { background: #171d25; } }
"""


def as_page(found: ExplainedOp) -> str:
    """Return a whole page, with its styles inside."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(found.op.name)}, explained</title>\n<style>{_PAGE_STYLE}</style>\n</head>\n"
        f"<body>\n{as_fragment(found)}</body>\n</html>\n"
    )


def as_fragment(found: ExplainedOp) -> str:
    """Return the tables and their styles, for a notebook or as the body of a page."""
    heading = f"<h1>{escape(title_of(found))}</h1>\n"
    paper = f"<p>{escape(found.op.paper)}</p>\n" if found.op.paper else ""
    tables = "".join(_section(section) for section in sections(found))
    return f'<div class="explained">\n<style>{_STYLE}</style>\n{heading}{paper}{tables}</div>\n'


def _section(section: Section) -> str:
    note = f"<p>{escape(section.note)}</p>\n" if section.note else ""
    rows = "".join(_row(row) for row in section.rows)
    return f'<h2>{escape(section.title)}</h2>\n{note}<div class="scroll"><table>\n{rows}</table></div>\n'


def _row(row: Row) -> str:
    label, formula = escape(row.label), escape(row.formula)
    if row.heading:
        return f'<tr class="step"><td colspan="4">{label}<span class="formula">{formula}</span></td></tr>\n'
    lines = [] if row.array is None else cells(row.array, _ROWS, _COLUMNS)
    numbers = "\n".join("".join(cell.rjust(11) for cell in line).rstrip() for line in lines)
    verdict = {OK: "verdict", UNKNOWN: "verdict unknown"}.get(row.verdict, "verdict wrong")
    return (
        f'<tr><td class="label">{label}</td><td class="formula">{formula}</td>'
        f'<td class="numbers">{numbers}</td><td class="{verdict}">{row.verdict}</td></tr>\n'
    )
