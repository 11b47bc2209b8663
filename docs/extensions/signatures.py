"""Signatures and members of the package's functions and classes, as the reference shows them."""

import inspect
import re
from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Any

PACKAGE = "tinygrad_norm"


def called(value: Any, described: Mapping[int, str], bound: bool = False) -> str:
    """Return the signature in short: types by their last name, `described` ones as links.

    Args:
        value: a function or a class.
        described: full names by the identity of what they name.
        bound: leave out the first argument.
    """
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"
    shorts = {full.rsplit(".", 1)[-1]: full for full in described.values()}
    links = {short: full for short, full in shorts.items() if short[0].isupper()}
    parameters = list(signature.parameters.values())[bound:]
    shown = [
        one.replace(annotation=_shown(one.annotation, links), default=_default(one.default))
        for one in parameters
    ]
    returns = signature.return_annotation
    if inspect.isclass(value) or returns is inspect.Signature.empty:
        return str(inspect.Signature(shown))
    return str(inspect.Signature(shown, return_annotation=_shown(returns, links)))


class _Text:
    """An annotation or a default that prints as this text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def members(cls: type, described: Mapping[int, str]) -> Iterator[tuple[str, Any]]:
    """Yield the methods and properties with a docstring that a class adds to those of its `described` bases.

    `forward` and such have none: the docstring of the class speaks for them.
    """
    ours = [base for base in cls.__mro__ if base.__module__.partition(".")[0] == PACKAGE]
    inherited = {name for base in ours[1:] if id(base) in described for name in dir(base)}
    for name in dict.fromkeys(name for base in ours for name in vars(base)):
        if name.startswith("_") or (name in inherited and name not in vars(cls)):
            continue
        member = inspect.getattr_static(cls, name)
        is_method = isinstance(member, property | classmethod | staticmethod) or inspect.isfunction(member)
        if is_method and member.__doc__:
            yield name, member if isinstance(member, property) else getattr(cls, name)


def _shown(annotation: Any, links: Mapping[str, str]) -> Any:
    empty = inspect.Parameter.empty
    return empty if annotation is empty else _Text(_type(annotation, links))


def _type(annotation: Any, links: Mapping[str, str]) -> str:
    """Return a type in short, such as Sequence[int] | None, with links to classes of the package."""
    text = inspect.formatannotation(annotation).strip("'").replace("~", "")
    text = re.sub(r"(?<![\w.'])(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])", "", text).replace("NoneType", "None")
    names = r"(?<!['\w])[A-Z]\w*(?!['\w])"
    return re.sub(names, lambda name: f"~{links[name[0]]}" if name[0] in links else name[0], text)


def _default(default: Any) -> Any:
    plain = bool | int | float | str | tuple | dict | NoneType
    if default is inspect.Parameter.empty or isinstance(default, plain):
        return default
    name = getattr(default, "__name__", "") or getattr(default, "name", "")
    return _Text(name if name.isidentifier() else "...")
