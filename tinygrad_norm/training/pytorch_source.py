"""The lines that load the model of a finished run into PyTorch."""

from __future__ import annotations

from .. import nn
from ..module import Module
from .finished_run import FinishedRun

PLAIN = (
    nn.Embedding,
    nn.Linear,
    nn.Conv2d,
    nn.MaxPool2d,
    nn.Flatten,
    nn.ReLU,
    nn.Identity,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.GroupNorm,
    nn.InstanceNorm2d,
    nn.LocalResponseNorm,
)
"""Modules whose printed form builds the same module in PyTorch."""


def pytorch_source(run: FinishedRun) -> str:
    """Return Python source that builds the model of `run` in PyTorch and loads its weights.

    Raises:
        ValueError: if the model is not a Sequential of modules that PyTorch has under the same name.
    """
    if not isinstance(run.model, nn.Sequential):
        raise ValueError(_message(run, run.model))
    for module in run.model:
        if type(module) not in PLAIN:
            raise ValueError(_message(run, module))
    layers = "".join(f"    nn.{module!r},\n" for module in run.model)
    lines = [
        "from safetensors.torch import load_file",
        "from torch import nn",
        "",
        f"model = nn.Sequential(\n{layers})",
        f"model.load_state_dict(load_file({str(run.folder / 'model.safetensors')!r}))",
        "model.eval()",
    ]
    if run.scaler is not None:
        lines.append(
            "# scale inputs as in the training: tinygrad_norm.training.load_run("
            f"{str(run.folder)!r}).scaler.transform(inputs)"
        )
    if run.target_scaler is not None:
        lines.append("# and the outputs back: load_run(...).target_scaler.inverse_transform(outputs)")
    return "\n".join(lines)


def _message(run: FinishedRun, module: Module) -> str:
    return (
        f"PyTorch has no module {type(module).__name__}, which the model of {run.folder} has: write an ONNX "
        f"file with tinygrad-norm export {run.folder} --onnx FILE, or build the model in PyTorch with layers "
        "of the same state names, and load model.safetensors into it"
    )
