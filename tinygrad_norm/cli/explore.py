"""`tinygrad-norm explore`: a page in the browser in which the library computes."""

from typing import Annotated
from urllib.parse import quote

import typer

from ..explore import Server
from .browser import opened
from .errors import errors_printed
from .op_names import Load, find_op


def explore(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Where to begin.", show_default=False),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1.", show_default="a free one")
    ] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address, and open no browser.")
    ] = False,
    load: Load = None,
) -> None:
    """Explore normalizations in the browser: numbers to edit, every step forward and backward, broken paths.

    The page is served on this machine only, and only to whoever has the address with its token. Ctrl-C ends
    it.
    """
    start = ""
    if name is not None:
        op = find_op(name)
        if op.kind != "normalization":
            raise typer.BadParameter(f"{name} is not a normalization: `explain {name}` shows it")
        start = f"#op={quote(op.name)}"
    with errors_printed():
        server = Server(port)
    address = server.address + start
    with server:
        typer.echo(f"The explorer is at {address}\nCtrl-C ends it.")
        if not no_browser and not opened(address):
            typer.echo("No browser could be started: open the address in one, on this machine.")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("The explorer has ended.")
