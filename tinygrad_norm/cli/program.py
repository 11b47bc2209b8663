"""The program around the commands: it prints on every terminal, and says so if it cannot write.

An option that a command takes once raises if it is repeated, and so does a path that is an empty text, as an
unset variable of a shell leaves it: pathlib would take it for the current folder.
"""

import errno
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand

WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EPIPE, errno.EIO)
"""The errors of a full disk and of a closed pipe; without a file name they are those of stdout."""
C = TypeVar("C", bound=Callable[..., Any])


class Command(TyperCommand):
    """A command that raises if an option is repeated, or a path is an empty text."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given, _, order = self.make_parser(ctx).parse_args(args=list(args))
        params: list[Any] = self.params
        for param in params:
            takes_one = param.param_type_name == "option" and not (param.multiple or param.is_flag)
            if takes_one and order.count(param) > 1:
                raise typer.BadParameter("this option was given more than once: give it once", ctx, param)
        rest = super().parse_args(ctx, args)
        for param in params:
            value, text = ctx.params.get(param.name), given.get(param.name)
            is_path = any(isinstance(one, Path) for one in (value if isinstance(value, list) else [value]))
            if is_path and "" in (text if isinstance(text, list | tuple) else [text]):
                raise typer.BadParameter(
                    "the path is an empty text: pass a path, or . for the current folder", ctx, param
                )
        return rest


class Program(typer.Typer):
    """The commands, with characters that stdout lacks printed as "?" and errors of writing in one line."""

    def command(
        self, *arguments: Any, cls: type[TyperCommand] | None = None, **options: Any
    ) -> Callable[[C], C]:
        """Register a `Command`; as Typer's."""
        return super().command(*arguments, cls=cls or Command, **options)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        try:
            try:
                return super().__call__(*arguments, **options)
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()
        except OSError as error:
            if error.errno not in WRITING or error.filename is not None:
                raise
            if error.errno != errno.EPIPE:
                print(f"cannot write the output: {error.strerror}", file=sys.stderr)
            with open(os.devnull, "wb") as nothing:  # what is left in the buffer fails again at exit
                os.dup2(nothing.fileno(), sys.stdout.fileno())
            raise SystemExit(1) from None
