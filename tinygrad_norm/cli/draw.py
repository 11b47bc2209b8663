"""`tinygrad-norm draw NAME`: draw a registered op, composed form beside closed form."""

import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..learn.draw import MAX_NODES
from ..learn.draw_op import draw_op
from .array_options import Dy, Options, Seed, Shape, X, choose_one, numbers, options_of, sizes
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
    x: X = None,
    dy: Dy = None,
    shape: Shape = None,
    seed: Seed = 0,
    case: Annotated[
        int | None, typer.Option(help="Draw a registered case of the op, by its index from 0.")
    ] = None,
    option: Options = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write: .svg, .png, .pdf or .dot.", show_default="NAME.svg"),
    ] = None,
    before: Annotated[
        bool, typer.Option("--before", help="Draw the graph before backward, without gradients.")
    ] = False,
    max_nodes: Annotated[
        int, typer.Option("--max-nodes", min=1, help="Draw at most so many functions and tensors of a form.")
    ] = MAX_NODES,
    load: Load = None,
) -> None:
    """Draw the graph of an op with values and gradients: composed form beside closed form.

    Values have the names of the derivation. An arrow shows its part of a gradient if several add up; a box
    shows formula and derivative. Without other options the numbers are few and small, as in `explain`. What
    is too large to read is folded by the functions that it calls.

    If Graphviz's program dot is missing or fails, saves the DOT text instead and exits with status 1.
    """
    op = find_op(name)
    choose_one({"--x": x, "--shape": shape, "--case": case})
    if case is not None and not 0 <= case < len(op.cases):
        listed = "; ".join(f"{i}: {known}" for i, known in enumerate(op.cases))
        raise typer.BadParameter(f"{name} has no case {case}. Its cases are {listed}", param_hint="--case")
    out = out or Path(f"{name}.svg")
    new_file(out)
    both = ("closed",) if op.composed is None else ("composed", "closed")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            drawing = draw_op(
                op,
                None if case is None else op.cases[case],
                both if form is Form.both else (form,),
                backward=not before,
                x=numbers(x, "--x"),
                dy=numbers(dy, "--dy"),
                shape=sizes(shape),
                seed=seed,
                options=options_of(op, option),
                max_nodes=max_nodes,
            )
            path = drawing.save(out)
        except (ValueError, OSError) as error:
            raise typer.BadParameter(str(error)) from None
    for warning in caught:
        typer.echo(warning.message, err=True)
    if path != out:
        raise typer.Exit(1)
    if drawing.omitted:
        typer.echo(
            f"{drawing.omitted} functions are not drawn: raise --max-nodes ({max_nodes}) or draw fewer",
            err=True,
        )
    shown = "" if case is None else f" (case {case}: {op.cases[case]})"
    typer.echo(f"{name}{shown} drawn to {path}")
