"""`tinygrad-norm draw NAME`: draw a registered op, composed form beside closed form."""

import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..learn.draw_op import draw_op
from .op_names import Load, find_op
from .paths import new_file


class Form(StrEnum):
    """The forms of an op that can be drawn."""

    composed = "composed"
    closed = "closed"
    both = "both"


def draw(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A registered op, such as layer_norm.")],
    form: Annotated[
        Form,
        typer.Option(help="composed: built from primitives; closed: one fused function; both: side by side."),
    ] = Form.both,
    case: Annotated[int, typer.Option(help="Index of the op's registered case, from 0.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write: .svg, .png, .pdf or .dot.", show_default="NAME.svg"),
    ] = None,
    before: Annotated[
        bool, typer.Option("--before", help="Draw the graph before backward, without gradients.")
    ] = False,
    load: Load = None,
) -> None:
    """Draw the graph of an op with shapes, values and gradients: composed form beside closed form.

    If Graphviz's program dot is missing or fails, saves the DOT text instead and exits with status 1.
    """
    op = find_op(name)
    if not 0 <= case < len(op.cases):
        listed = "; ".join(f"{i}: {known}" for i, known in enumerate(op.cases))
        raise typer.BadParameter(f"{name} has no case {case}. Its cases are {listed}", param_hint="--case")
    out = out or Path(f"{name}.svg")
    new_file(out)
    both = ("closed",) if op.composed is None else ("composed", "closed")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            drawing = draw_op(op, op.cases[case], both if form is Form.both else (form,), backward=not before)
            path = drawing.save(out)
        except (ValueError, OSError) as error:
            raise typer.BadParameter(str(error)) from None
    for warning in caught:
        typer.echo(warning.message, err=True)
    if path != out:
        raise typer.Exit(1)
    typer.echo(f"{name} (case {case}: {op.cases[case]}) drawn to {path}")
