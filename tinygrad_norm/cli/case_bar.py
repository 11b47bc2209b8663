"""A bar that counts the cases of ops, on a terminal."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..registry import Op


@contextmanager
def case_bar(console: Console, ops: Sequence[Op]) -> Iterator[Callable[[Op], Callable[[], None]]]:
    """Show the bar; called with an op, the result names it and returns the function that counts a case."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("cases"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=sum(len(op.cases) for op in ops))

        def counted(op: Op) -> Callable[[], None]:
            bar.update(task, description=op.name)
            return lambda: bar.advance(task)

        yield counted
