"""Find ops by the names given on the command line, including ops from a user's file."""

import difflib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from ..learn.loading import load_all
from ..registry import REGISTRY, Op
from ..training.norm_choices import NORMS


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
        help="Import this file first, to use the ops that it registers. May be repeated.",
        show_default=False,
    ),
]


def find_op(name: str, known: Collection[str] = REGISTRY) -> Op:
    """Return the registered op called `name`, or the one that `train --norm` calls so, as in "group".

    LayerNorm and layernorm are layer_norm. For an unknown name, similar ones from `known` are suggested.

    Raises:
        typer.BadParameter: if no registered op has this name.
    """
    op = REGISTRY.get(NORMS[name].op if name in NORMS else name) or _by_letters(name)
    if op is not None:
        return op
    close = difflib.get_close_matches(name, known, n=5) or [other for other in known if name in other]
    hint = f"Did you mean {', '.join(close)}?" if close else f"Choose one of {', '.join(sorted(known))}"
    raise typer.BadParameter(f"no registered op is called {name!r}. {hint}", param_hint="NAME")


def _by_letters(name: str) -> Op | None:
    """Return the op whose name has these letters, in upper or lower case, with or without underscores."""
    letters = name.replace("_", "").lower()
    found = [op for known, op in REGISTRY.items() if known.replace("_", "").lower() == letters]
    return found[0] if len(found) == 1 else None
