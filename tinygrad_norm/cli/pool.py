"""`tinygrad-norm pool NAME`: draw which entries of an array share a statistic."""

from pathlib import Path
from typing import Annotated

import typer

from ..files import replacing
from ..learn.poolpicture import pool_picture
from ..learn.sharing import small_input
from ..registry import REGISTRY
from .array_options import Shape, sizes
from .op_names import Load, find_op
from .paths import new_file

GREY = "#808b96"
"""The colour of the letters in a file: legible on white and on black."""


def pool(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A normalization, such as group_norm.")],
    shape: Shape = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write: .svg.", show_default="NAME_pool.svg"),
    ] = None,
    load: Load = None,
) -> None:
    """Draw the pool of a normalization: the entries that share a statistic with one of them.

    The array is a cube of samples, channels and positions. Orange is one entry of the result, blue are the
    entries of the input that it depends on.
    """
    known = [name for name, op in REGISTRY.items() if op.kind == "normalization"]
    op = find_op(name, known)
    if op.kind != "normalization":
        raise typer.BadParameter(f"{op.name} is not a normalization: it has no pool", param_hint="NAME")
    out = out or Path(f"{op.name}_pool.svg")
    if out.suffix.lower() != ".svg":
        raise typer.BadParameter(f"{out} must end in .svg", param_hint="--out")
    new_file(out)
    try:
        picture = pool_picture(op, small_input(op, shape=sizes(shape)))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--shape") from None
    with replacing(out) as temporary:
        temporary.write_text(picture.replace("<svg ", f'<svg color="{GREY}" ', 1) + "\n", encoding="utf-8")
    typer.echo(f"the pool of {op.name} drawn to {out}")
