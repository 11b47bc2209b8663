"""What `help` shows of a layer: the formula and the gradient that the docstring of its file derives."""

import inspect
import re
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, TypeVar

from ...module import Module

_BLOCK = re.compile(r"^    \S.*(?:\n    .*)*", re.MULTILINE)
_GRADIENT = re.compile(r"^ +(d\w+ = .*)$", re.MULTILINE)
_Layer = TypeVar("_Layer", bound=type[Module])


def formula_lines(derivation: str) -> list[str]:
    """Return the lines of the formula: the indented lines, up to the block that says what y is."""
    lines: list[str] = []
    for block in _BLOCK.findall(inspect.cleandoc(derivation).partition("\nBackward")[0]):
        lines += [line[4:] for line in block.splitlines()]
        if re.search(r"\by = ", block):
            break
    return lines


def gradient_lines(derivation: str) -> list[str]:
    """Return the lines that say what a gradient is, without how it is derived."""
    return _GRADIENT.findall(inspect.cleandoc(derivation).partition("\nBackward")[2])


def show_derivations(layers: Iterable[Any]) -> None:
    """Let `help` show, of every layer in these values, what the file that defines it derives."""
    for layer in layers:
        if isinstance(layer, type) and issubclass(layer, Module):
            derived_in()(layer)


def derived_in(module: ModuleType | None = None) -> Callable[[_Layer], _Layer]:
    """Return a decorator that adds formula, gradient and place of a derivation to a layer's docstring.

    The derivation is that of `module`, else that of the file that defines the layer.
    """

    def add(layer: _Layer) -> _Layer:
        source = module or sys.modules[layer.__module__]
        own, derivation = vars(layer).get("__doc__"), source.__doc__
        if own and derivation:
            parts = [
                inspect.cleandoc(own),
                _indented("Formula:", formula_lines(derivation)),
                _indented("Backward:", gradient_lines(derivation)),
                f"Derived path by path in {source.__name__.replace('.', '/')}.py.",
            ]
            layer.__doc__ = "\n\n".join(parts)
        return layer

    return add


def _indented(heading: str, lines: list[str]) -> str:
    return "\n".join([heading, *(f"    {line}" for line in lines)])
