"""Ops by the names given on the command line."""

import difflib

import typer

from ..registry import REGISTRY, Op


def find_op(name: str) -> Op:
    """Return the registered op called `name`.

    Raises:
        typer.BadParameter: for an unknown name, with the known ones that look like it.
    """
    if name in REGISTRY:
        return REGISTRY[name]
    close = difflib.get_close_matches(name, REGISTRY, n=5) or [known for known in REGISTRY if name in known]
    hint = f"Did you mean {', '.join(close)}?" if close else f"There are: {', '.join(sorted(REGISTRY))}"
    raise typer.BadParameter(f"no registered op is called {name!r}. {hint}", param_hint="NAME")
