"""Ops by the names given on the command line, those in a file of the user's included."""

import difflib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from ..learn.loading import load_all
from ..registry import REGISTRY, Op


def _load(paths: list[Path] | None) -> list[Path] | None:
    try:
        load_all(paths or ())
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None
    return paths


Load = Annotated[
    list[Path] | None,
    typer.Option(
        "--load",
        metavar="FILE.py",
        callback=_load,
        help="Import a file of yours first: the ops it registers are then known. May be repeated.",
        show_default=False,
    ),
]


def find_op(name: str, known: Collection[str] = REGISTRY) -> Op:
    """Return the registered op called `name`; `known` are those that a misspelt name may mean.

    Raises:
        typer.BadParameter: for an unknown name, with those of `known` that look like it.
    """
    if name in REGISTRY:
        return REGISTRY[name]
    close = difflib.get_close_matches(name, known, n=5) or [one for one in known if name in one]
    hint = f"Did you mean {', '.join(close)}?" if close else f"There are: {', '.join(sorted(known))}"
    raise typer.BadParameter(f"no registered op is called {name!r}. {hint}", param_hint="NAME")
