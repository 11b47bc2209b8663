"""`tinygrad-norm export`: the lines that load a trained model into PyTorch."""

from pathlib import Path
from typing import Annotated

import typer

from ..training import load_run
from ..training.pytorch_source import pytorch_source
from .errors import errors_printed


def export(run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]) -> None:
    """Print the Python lines that build the model of RUN in PyTorch and load its weights."""
    with errors_printed():
        typer.echo(pytorch_source(load_run(run)))
