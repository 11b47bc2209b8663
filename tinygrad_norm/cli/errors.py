"""Print an error of a command and exit."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console

from ..distributed.world import default_group
from .program import WRITING


def print_error(message: str) -> None:
    """Print `message` as an error."""
    Console(stderr=True).print(
        f"error: {message}", style="bold red", markup=False, emoji=False, highlight=False, soft_wrap=True
    )


def exit_with(message: str) -> NoReturn:
    """Print `message` as an error, and exit with status 2; of several processes that train, end all."""
    group = default_group()
    if group.size > 1:
        group.abort(f"error: {message}", status=2)
    print_error(message)
    sys.exit(2)


@contextmanager
def ctrl_c_ends_all() -> Iterator[None]:
    """After Ctrl-C in the body, end all processes of several; the others may wait for this one."""
    try:
        yield
    except KeyboardInterrupt:
        group = default_group()
        if group.size == 1:
            raise
        group.end("Stopped by Ctrl-C.", status=130)


@contextmanager
def errors_printed() -> Iterator[None]:
    """Print what went wrong with files and values in the body, without a traceback, and exit."""
    try:
        yield
    except OSError as error:
        if error.errno in WRITING and error.filename is None:
            raise  # stdout: the program around the commands says so
        where = f"{error.filename}: " if error.filename else ""
        exit_with(f"{where}{error.strerror}" if error.strerror else str(error))
    except (ValueError, TypeError, RuntimeError) as error:
        exit_with(str(error))
