"""Ops by the names given on the command line."""

import difflib
from collections.abc import Collection

import typer

from ..registry import REGISTRY, Op


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
