"""Find ops by the names given on the command line, including ops from a user's file."""

import difflib
import inspect
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Annotated

import typer

from .. import nn, normalization, optim
from ..learn.loading import load_all
from ..registry import REGISTRY, Op
from ..training.norm_choices import NORMS

PACKAGE = __name__.partition(".")[0]


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

    The title of an op and the name of its layer are names too: RevIN is reversible_instance_norm,
    EvoNorm2dB0 is evo_norm_b0. Upper and lower case, underscores, hyphens and spaces make no difference.
    For an unknown name, similar ones of the ops in `known` are suggested.

    Raises:
        typer.BadParameter: if no registered op has this name, or it is that of a class without an op.
    """
    op = REGISTRY.get(NORMS[name].op if name in NORMS else name)
    if op is not None:
        return op
    letters = _letters(name)
    named = _named()
    if letters in named:
        return named[letters][1]
    for layer in _classes():
        if _letters(layer.__name__) == letters:
            raise typer.BadParameter(_without_op(layer), param_hint="NAME")
    hint = f"Choose one of {', '.join(sorted(known))}"
    if close := _similar(name, known):
        hint = f"Did you mean {', '.join(close)}?"
    raise typer.BadParameter(f"no registered op is called {name!r}. {hint}", param_hint="NAME")


def _named() -> dict[str, tuple[str, Op]]:
    """Return each name and its op, by the name's letters; an op's own name goes before any other.

    Then come the names for `train --norm`, the layers, and the titles, if they name one op only.
    """
    named = {_letters(op.name): (op.name, op) for op in REGISTRY.values()}
    for name, choice in NORMS.items():
        if choice.op in REGISTRY:
            named.setdefault(_letters(name), (name, REGISTRY[choice.op]))
    titled, beside = _only(lambda op: _letters(op.title)), _only(_module_of)
    for layer in _classes():
        letters = _letters(layer.__name__)
        # The op with this layer's name as its title, or the one that is registered in its file.
        op = titled.get(letters) or beside.get(layer.__module__)
        if op is not None and issubclass(layer, nn.Module):
            named.setdefault(letters, (layer.__name__, op))
    for letters, op in titled.items():
        named.setdefault(letters, (op.title, op))
    return named


def _only(key: Callable[[Op], str]) -> dict[str, Op]:
    """Return the ops by their key, without those that share it, and those whose key is empty."""
    sharing: dict[str, list[Op]] = {}
    for op in REGISTRY.values():
        sharing.setdefault(key(op), []).append(op)
    return {value: ops[0] for value, ops in sharing.items() if value and len(ops) == 1}


def _module_of(op: Op) -> str:
    return getattr(op.function, "__module__", "")


def _classes() -> Iterator[type]:
    """Yield the public classes of nn, normalization and optim."""
    for public in {**vars(optim), **vars(normalization), **vars(nn)}.values():
        if inspect.isclass(public) and public.__module__.startswith(f"{PACKAGE}."):
            yield public


def _without_op(layer: type) -> str:
    """Return the message for a class without an op: its file, and the ops that the file has or imports."""
    file = layer.__module__.replace(".", "/") + ".py"
    message = f"the class {layer.__name__} has no op of its own. It is in {file}"
    source = vars(sys.modules[layer.__module__]).values()
    called = [op.name for op in REGISTRY.values() if any(op.function is value for value in source)]
    return f"{message}, which uses {', '.join(called)}" if called else message


def _similar(name: str, known: Collection[str]) -> list[str]:
    """Return at most five names of ops in `known` that resemble `name`, one of each op."""
    ops = {NORMS[k].op if k in NORMS else k for k in known}
    named = {letters: (spelled, op.name) for letters, (spelled, op) in _named().items() if op.name in ops}
    named.update({_letters(k): (k, NORMS[k].op if k in NORMS else k) for k in known})
    close = difflib.get_close_matches(_letters(name), named, n=15) or [
        letters for letters in named if _letters(name) and _letters(name) in letters
    ]
    first: dict[str, str] = {}
    for letters in close:
        spelled, op = named[letters]
        first.setdefault(op, spelled)
    return list(first.values())[:5]


def _letters(name: str) -> str:
    """Return the letters and digits of a name, in lower case."""
    return "".join(filter(str.isalnum, name)).lower()
