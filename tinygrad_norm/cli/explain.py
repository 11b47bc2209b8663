"""`tinygrad-norm explain NAME`: an op step by step with numbers, forward and backward."""

from pathlib import Path
from typing import Annotated

import numpy
import typer

from ..learn.explanation import explain as explain_op
from .op_names import Load, find_op
from .paths import new_file


def _numbers(text: str | None, option: str) -> numpy.ndarray | None:
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


def _shape(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    sizes = text.lower().replace("×", "x").split("x")
    if not all(size.isascii() and size.isdigit() for size in sizes):
        raise typer.BadParameter(f"{text!r} must be sizes such as 2x4", param_hint="--shape")
    return tuple(map(int, sizes))


def _file(path: Path | None) -> numpy.ndarray | None:
    if path is None:
        return None
    try:
        values = numpy.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}", param_hint="--input") from None
    if not isinstance(values, numpy.ndarray):
        raise typer.BadParameter(f"{path} must be a .npy file of one array", param_hint="--input")
    return values


def explain(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A registered op, such as layer_norm.")],
    x: Annotated[
        str | None,
        typer.Option("--x", metavar="NUMBERS", help="The first input: 1,2,3,6, or rows: '1,2;3,4'."),
    ] = None,
    dy: Annotated[
        str | None,
        typer.Option("--dy", metavar="NUMBERS", help="The gradient of y; random if x is given without it."),
    ] = None,
    shape: Annotated[
        str | None, typer.Option(metavar="SIZES", help="Draw x at random, in this shape: 2x4.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is drawn at random.")] = 0,
    input_file: Annotated[
        Path | None, typer.Option("--input", metavar="FILE.npy", help="Read x from a file.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write one HTML page instead, that needs no network."),
    ] = None,
    load: Load = None,
) -> None:
    """Show an op step by step with numbers: forward, backward, and the paths that add up to the gradient.

    Every step is compared with finite differences, and so is the closed form. If something differs, exits
    with status 1.
    """
    op = find_op(name)
    given = {"--x": x, "--shape": shape, "--input": input_file}
    several = [option for option, value in given.items() if value is not None]
    if len(several) > 1:
        raise typer.BadParameter(f"{' and '.join(several)} all give x: choose one")
    new_file(html)
    values = _file(input_file) if x is None else _numbers(x, "--x")
    try:
        found = explain_op(op, values, _numbers(dy, "--dy"), shape=_shape(shape), seed=seed)
        if html is None:
            typer.echo(str(found))
        else:
            typer.echo(f"{name} explained in {found.save(html)}")
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from None
    if not found.correct:
        raise typer.Exit(1)
