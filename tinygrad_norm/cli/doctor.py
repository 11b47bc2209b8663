"""`tinygrad-norm doctor FILE.py:NAME`: what is wrong with a backward."""

from typing import Annotated

import typer

from ..backends import current_backend
from ..learn.doctor.verdict import FAILED, verdict_on
from ..learn.loading import LOADED
from ..learn.ownprocess import in_own_process
from .errors import print_error
from .op_names import find_op


def doctor(
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py:NAME",
            help="A Function class, a module, a pair (forward, backward), or NAME_forward and NAME_backward.",
        ),
    ],
    like: Annotated[
        str | None,
        typer.Option(metavar="OP", help="The registered op that forward should compute, such as layer_norm."),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Give up after this many seconds.", show_default=True)
    ] = 60.0,
) -> None:
    """Say whether a backward is right, and if not, which mistake it has.

    It is compared with finite differences. If it is wrong, known mistakes are tried on the derivation until
    one gives the same gradient. Inputs are found by the arguments' names, unless the file has NAME_inputs, a
    tuple of arrays and numbers. Exits with status 1 if the backward is wrong, 2 if it cannot be checked.
    """
    if like is not None:
        like = find_op(like).name
    status, _ = examine(target, like, seconds)
    if status:
        raise typer.Exit(status)


def examine(target: str, like: str | None = None, seconds: float = 60.0) -> tuple[int, str]:
    """Print the verdict on FILE.py:NAME, found in a process of its own; return exit status and verdict.

    The status is 1 if the backward is wrong, 2 if it cannot be checked, else 0.
    """
    given = target, like, current_backend().name, tuple(LOADED)
    try:
        status, text = in_own_process(verdict_on, *given, seconds=seconds, file=target.rpartition(":")[0])
    except (TimeoutError, RuntimeError, ValueError) as error:
        status, text = FAILED, f"{target}: {error}"
    if status == FAILED:
        print_error(text)
    else:
        typer.echo(text)
    return status, text
