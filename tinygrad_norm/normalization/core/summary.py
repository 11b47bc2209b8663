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


def show_derivations(values: Iterable[Any]) -> None:
    """Let `help` show what their files derive: of layers in short, of functions where it is."""
    for value in values:
        if isinstance(value, type) and issubclass(value, Module):
            derived_in()(value)
        elif inspect.isfunction(value) and value.__doc__:
            source = sys.modules[value.__module__]
            if gradient_lines(source.__doc__ or ""):
                value.__doc__ = f"{inspect.cleandoc(value.__doc__)}\n\n{_place(source)}"


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
                _place(source),
            ]
            layer.__doc__ = "\n\n".join(parts)
        return layer

    return add


def _place(source: ModuleType) -> str:
    return f"Derived path by path in {source.__name__.replace('.', '/')}.py."


def _indented(heading: str, lines: list[str]) -> str:
    return "\n".join([heading, *(f"    {line}" for line in lines)])
