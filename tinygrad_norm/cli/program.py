"""The program around the commands: it prints on every terminal, and says so if it cannot write."""

import errno
import io
import os
import sys
from typing import Any

import typer

WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EPIPE, errno.EIO)
"""The errors of a full disk and of a closed pipe; without a file name they are those of stdout."""


class Program(typer.Typer):
    """The commands, with characters that stdout lacks printed as "?" and errors of writing in one line."""

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
