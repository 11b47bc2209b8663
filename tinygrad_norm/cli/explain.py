"""`tinygrad-norm explain NAME`: an op step by step with numbers, forward and backward."""

from pathlib import Path
from typing import Annotated

import numpy
import typer

from ..learn.explanation import explain as explain_op
from .array_options import Dy, Options, Seed, Shape, X, choose_one, numbers, options_of, sizes
from .op_names import Load, find_op
from .paths import new_file


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
    x: X = None,
    dy: Dy = None,
    shape: Shape = None,
    seed: Seed = 0,
    input_file: Annotated[
        Path | None, typer.Option("--input", metavar="FILE.npy", help="Read x from a file.")
    ] = None,
    option: Options = None,
    full: Annotated[
        bool, typer.Option("--full", help="Show every number, also of an op of many steps.")
    ] = False,
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
    choose_one(given)
    new_file(html)
    values = _file(input_file) if x is None else numbers(x, "--x")
    try:
        found = explain_op(
            op, values, numbers(dy, "--dy"), shape=sizes(shape), seed=seed, **options_of(op, option)
        )
        if html is None:
            typer.echo(found.text() if full else str(found))
        else:
            typer.echo(f"{name} explained in {found.save(html)}")
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from None
    if not found.correct:
        raise typer.Exit(1)
