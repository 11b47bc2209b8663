"""`tinygrad-norm export`: a trained model for PyTorch, or as an ONNX file."""

from pathlib import Path
from typing import Annotated

import numpy
import typer

from ..autograd.tensor import Tensor
from ..onnx import export as export_onnx
from ..training import FinishedRun, load_run
from ..training.dataset_task import for_model
from ..training.language_modelling import CONTEXT
from ..training.pytorch_source import pytorch_source
from .errors import errors_printed
from .paths import new_file


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    onnx: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the model to this ONNX file instead.", callback=new_file),
    ] = None,
) -> None:
    """Print the Python lines that build the model of RUN in PyTorch and load its weights."""
    with errors_printed():
        finished = load_run(run)
        if onnx is None:
            typer.echo(pytorch_source(finished))
            return
        x = _example(finished)
        export_onnx(finished.model, x, onnx, dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}})
        sizes = " × ".join(["batch", *map(str, x.shape[1:])])
        scaler = finished.scaler
        scaled = "" if scaler is None else f", scaled by {type(scaler).__name__} as in training"
        typer.echo(f"{onnx}: input x ({sizes}){scaled}, output y")


def _example(run: FinishedRun) -> Tensor:
    """Return two inputs of the model.

    Raises:
        ValueError: if the run does not know the shape of its inputs.
    """
    if run.alphabet is not None:
        return Tensor(numpy.arange(2 * CONTEXT).reshape(2, CONTEXT) % len(run.alphabet))
    if run.input_shape is None:
        raise ValueError(f"{run.folder} has no shape of inputs: use tinygrad_norm.onnx.export in Python")
    x = numpy.random.default_rng(0).integers(0, 2, (2, *run.input_shape)).astype(numpy.uint8)
    x = x.astype(numpy.float32) if run.scaler is None else run.scaler.transform(x)
    return Tensor(for_model(run.model, x, run.config))
