"""`tinygrad-norm new`: files to start from."""

import shlex
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from ..files import replacing
from ..learn.skeleton import layer_name, normalization_skeleton
from .paths import new_file
from .program import Program

PACKAGE = Path("tinygrad_norm", "normalization")


class Family(StrEnum):
    """The folders of `tinygrad_norm/normalization`: what shares the statistic."""

    batch = "batch"
    sample = "sample"
    vector = "vector"
    weight = "weight"
    gradient = "gradient"
    graph = "graph"


new = Program()


@new.callback()
def _new() -> None:
    """Write a file to start from."""


@new.command()
def normalization(
    name: Annotated[
        str, typer.Argument(help="Name of the function, in lower case with underscores, such as my_norm.")
    ],
    family: Annotated[
        Family | None,
        typer.Option(
            help="In a checkout of tinygrad_norm: write to its folder normalization/FAMILY.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Write to DIR.", show_default="the current folder"),
    ] = None,
) -> None:
    """Write a small, complete normalization, without CUDA, to change into yours.

    The file has all parts: derivation, composed and closed form, function, layer and registration, with
    cases and error cases. It passes gradcheck as written.
    """
    if family and out:
        raise typer.BadParameter("give --family, for a checkout of tinygrad_norm, or --out DIR, not both")
    folder = PACKAGE / family if family else out or Path()
    if family and not folder.is_dir():
        raise typer.BadParameter(
            f"there is no folder {folder} here: change to a checkout of tinygrad_norm, or use --out DIR",
            param_hint="--family",
        )
    try:
        file, text = normalization_skeleton(name, in_package=family is not None)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="NAME") from None
    path = folder / file
    new_file(path)
    if path.exists():
        raise typer.BadParameter(f"{path} exists: choose another name, or move it away", param_hint="NAME")
    if not family and find_spec(path.stem) is not None:
        raise typer.BadParameter(
            f"there is a module named {path.stem!r} already: choose another name", param_hint="NAME"
        )
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    steps = [
        "replace formula, derivation, paper and cases with yours",
        f"check it: tinygrad-norm gradcheck --load {shlex.quote(str(path))} {name}",
    ]
    if family:
        source = f"from .{family}.{path.stem} import"
        layer = layer_name(name)
        steps += [
            f"add a line to {PACKAGE / 'functions.py'}: {source} {name} as {name}",
            f"add a line to {PACKAGE / 'layers.py'}: {source} {layer} as {layer}",
            "renew the README's tables: python -m tinygrad_norm.learn.systems README.md",
        ]
    typer.echo(f"{path} is written, with a small normalization to change. Next:")
    for number, step in enumerate(steps, 1):
        typer.echo(f"{number}. {step}")
