"""Formulas: what the docstring of a Function says of it, with the names and numbers of one call filled in."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..autograd.function import Function
from ..autograd.tensor import Tensor
from .array_summary import format_number
from .subgraph import is_drawn

_SYMBOLS = {"Add": "+", "Sub": "−", "Mul": "×", "Div": "/", "Pow": "**"}


def formula_of(function: type[Function]) -> tuple[str, str]:
    """Return formula and derivative from a class docstring "y = ... · dx = ..."; else two empty strings."""
    formula, dot, derivative = _first_line(function).replace("`", "").partition(" · ")
    return (formula, derivative) if dot else ("", "")


def options_of(node: Function) -> str:
    """Return the attributes that the formula names in `backticks`, as "correction = 1, axes = (0, 2)"."""
    named = re.findall(r"`(\w+)`", _first_line(type(node)).partition(" · ")[0])
    kept = {name: vars(node)[name] for name in named if name in vars(node)}
    return ", ".join(
        f"{name} = {format_number(value) if isinstance(value, int | float) else value}"
        for name, value in kept.items()
    )


def _first_line(function: type[Function]) -> str:
    return (vars(function).get("__doc__") or "").strip().partition("\n")[0]


def call_of(node: Function) -> str:
    """Return the call with its constant numbers, if any: "x ** -0.5" for operators, else "low = 0"."""
    arguments = argument_names(node.forward, len(node.inputs))
    constants = _constants(node, arguments)
    if not constants:
        return ""
    if node.name in _SYMBOLS and len(arguments) == 2:
        a, b = (constants.get(name, name) for name in arguments)
        return f"{a} {_SYMBOLS[node.name]} {b}"
    return ", ".join(f"{name} = {text}" for name, text in constants.items())


def _constants(node: Function, arguments: Sequence[str]) -> dict[str, str]:
    return {
        name: format_number(x.item() if isinstance(x, Tensor) else x)
        for name, x in zip(arguments, node.inputs, strict=False)
        if x is not None and not is_drawn(x)
    }


def argument_names(function: Callable[..., Any], count: int) -> list[str]:
    """Return the names of the first `count` positional arguments: x, weight, or tensors[0] of *tensors."""
    parameters = inspect.signature(function).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "input")
    return (names + [f"{rest}[{i}]" for i in range(count - len(names))])[:count]


def derivative_of(node: Function) -> str:
    """Return the derivatives of the arguments that have a gradient, with constant numbers filled in."""
    arguments = argument_names(node.forward, len(node.inputs))
    derivative = formula_of(type(node))[1]
    if node.inputs:
        constant = [a for a, needed in zip(arguments, node.needs, strict=True) if not needed]
        derivative = _without(derivative, constant)
    numbers = _constants(node, arguments)
    if node.name == "Pow" and "b" in numbers:
        derivative = _with_exponent(derivative, float(numbers["b"]))
    return _renamed(derivative, numbers) if numbers else derivative


def operand(x: Any, names: Mapping[int, str]) -> str:
    """Return the name of an argument, or its value if it is one number."""
    if isinstance(x, Tensor):
        if id(x) in names:
            return names[id(x)]
        return format_number(x.item()) if x.numel() == 1 else "constant"
    return format_number(x) if isinstance(x, int | float) else str(x)


def formula_and_derivative(
    node: Function, inputs: Sequence[Any], y: Tensor, names: Mapping[int, str]
) -> tuple[str, str]:
    """Return the formula of the call that made `y`, with its options, and its derivative, in `names`."""
    arguments = argument_names(node.forward, len(inputs))
    given = {a: operand(x, names) for a, x in zip(arguments, inputs, strict=True) if x is not None}
    formula, derivative = formula_of(type(node))
    if node.name == "Pow" and isinstance(inputs[1], int | float):
        formula, derivative = (_with_exponent(text, inputs[1]) for text in (formula, derivative))
    constant = [a for a, needed in zip(arguments, node.needs, strict=True) if not needed]
    derivative = _without(derivative, constant)
    formula, derivative = (_renamed(text, {"y": names[id(y)]} | given) for text in (formula, derivative))
    derivative = ", ".join(dict.fromkeys(derivative.split(", ")))
    options = options_of(node)
    if options.count(" = ") == 1 and formula.endswith(options.partition(" = ")[0]):
        formula, options = formula.removesuffix(options.partition(" = ")[0]) + options, ""
    return f"{formula}, {options}" if options and formula else formula, derivative


def _with_exponent(text: str, b: float) -> str:
    text = re.sub(r" \(0 where .*?\)", "", text)
    return text.replace("ᵇ⁻¹", f"^{format_number(b - 1)}").replace("ᵇ", f"^{format_number(b)}")


def _without(derivative: str, constant: Sequence[str]) -> str:
    """Leave out the derivatives of the arguments that have no gradient."""
    parts = re.split(r", (?=d\w+ =)", derivative)
    return ", ".join(part for part in parts if not part.startswith(tuple(f"d{name} =" for name in constant)))


def _renamed(text: str, names: Mapping[str, str]) -> str:
    """Replace the symbols of a primitive's formula, and the d of each, by the names of its values."""
    symbols = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    pattern = rf"(?<![A-Za-z_])(d?)({symbols})(?![A-Za-z_'\u0302])"  # x̂ is not x

    def renamed(found: re.Match[str]) -> str:
        name = found[1] + names[found[2]]
        is_factor = text[: found.start()].endswith("·")
        return f"({name})" if is_factor and name.startswith("-") else name

    return re.sub(pattern, renamed, text)
