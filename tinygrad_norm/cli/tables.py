"""Tables of figures. In a terminal, words fold at spaces and numbers never do; else they are Markdown."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

NOTHING = "–"


def wide_console() -> Console:
    """Return a console; if its output is a file or a pipe, it is wide enough for a whole table."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 400)
    return console


def figures_table(
    console: Console, words: Sequence[str], numbers: Sequence[str], rows: Sequence[Sequence[str]]
) -> Table:
    """Return a table of `rows`: columns `words`, then columns `numbers` without those that are empty.

    In a terminal the words of a row share one column, so that the table fits 80 characters.
    """
    shown = [k for k in range(len(numbers)) if any(row[len(words) + k] != NOTHING for row in rows)]
    if console.is_terminal:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
        table.add_column(", ".join(words), overflow="fold")
    else:
        table = Table(box=box.MARKDOWN)
        for word in words:
            table.add_column(word, overflow="fold")
    for k in shown:
        heading = numbers[k].replace(" ", "\n") if console.is_terminal else numbers[k]
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        names = [" ".join(row[: len(words)])] if console.is_terminal else row[: len(words)]
        table.add_row(*names, *(row[len(words) + k] for k in shown))
    return table


def words_table(console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table of words: the first column, of names, never folds; the others do at spaces."""
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else box.MARKDOWN)
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading == headings[0])
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def print_line(console: Console, line: str) -> None:
    """Print a line without markup; in a terminal it folds at spaces."""
    console.print(line, markup=False, highlight=False, soft_wrap=not console.is_terminal)
