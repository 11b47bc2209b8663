"""How `explain` and `draw` take the first input of an op, the gradient of its result, and its options."""

import ast
import inspect
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy
import typer

from ..learn.given import names_of_arguments
from ..registry import Op
from ..suggestions import unknown

X = Annotated[
    str | None,
    typer.Option("--x", metavar="NUMBERS", help="The first input: 1,2,3,6, or rows: '1,2;3,4'."),
]
Dy = Annotated[
    str | None,
    typer.Option("--dy", metavar="NUMBERS", help="The gradient of y; random if x is given without it."),
]
Shape = Annotated[str | None, typer.Option(metavar="SIZES", help="Draw x at random, in this shape: 2x4.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of what is drawn at random.")]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="An option of the op, as in Python: num_groups=2, training=False. May be repeated.",
        show_default=False,
    ),
]


def numbers(text: str | None, option: str) -> numpy.ndarray | None:
    """Return "1,2;3,4" as an array: commas between numbers, semicolons between rows."""
    if text is None:
        return None
    rows = [row.split(",") for row in text.split(";")]
    try:
        values = numpy.array([[float(number) for number in row] for row in rows])
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} must be numbers with commas between them, such as 1,2,3,6; with a semicolon between "
            "rows of equal length",
            param_hint=option,
        ) from None
    return values if len(rows) > 1 else values[0]


def sizes(text: str | None) -> tuple[int, ...] | None:
    """Return "2x4" as a shape."""
    if text is None:
        return None
    found = text.lower().replace("×", "x").split("x")
    if not all(size.isascii() and size.isdigit() for size in found):
        raise typer.BadParameter(f"{text!r} must be sizes such as 2x4", param_hint="--shape")
    return tuple(map(int, found))


def choose_one(given: Mapping[str, Any]) -> None:
    """Check that at most one of the options that give x has a value.

    Raises:
        typer.BadParameter: if several have.
    """
    several = [option for option, value in given.items() if value is not None]
    if len(several) > 1:
        raise typer.BadParameter(f"{' and '.join(several)} each give x: choose one")


def options_of(op: Op, given: Sequence[str] | None) -> dict[str, Any]:
    """Return ["dim=-1", "reduction=sum"] as options of the op. What is not a Python literal is a text.

    Raises:
        typer.BadParameter: if there is no "=", or the op has no such option.
    """
    inputs = names_of_arguments(op, max(len(case.inputs) for case in op.cases))
    known = [name for name in inspect.signature(op.function).parameters if name not in inputs]
    found: dict[str, Any] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{text!r} must be NAME=VALUE, such as dim=-1", param_hint="--option")
        if name not in known:
            message = unknown(f"option of {op.name}", name, known) if known else f"{op.name} has no options"
            raise typer.BadParameter(message, param_hint="--option")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found
