"""The options by which `explain` and `draw` take an op's first input and the gradient of its result."""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy
import typer

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
        raise typer.BadParameter(f"{' and '.join(several)} all give x: choose one")
