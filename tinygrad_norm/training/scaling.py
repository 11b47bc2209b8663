"""The scalers of `tinygrad-norm train --scale`, and their file in the folder of a run.

A scaler is saved with its class, its arguments and what it learned from the training part (the attributes
whose names end in an underscore).
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from .. import data
from .checkpoint import load_tree, naming, save_tree

SCALERS = {
    scaler.__name__: scaler
    for scaler in (
        data.MinMaxScaler,
        data.StandardScaler,
        data.ImageScaler,
        data.GlobalContrastScaler,
        data.LocalContrastScaler,
    )
}


def make_scaler(scale: str | None, dataset: data.Dataset) -> data.Scaler | None:
    """Return the scaler called `scale` for a dataset; None if the inputs are to stay as they are.

    Raises:
        ValueError: if the scaler is for images, and the inputs are not.
    """
    if scale is None:
        scale = "standard" if dataset.max_value is None else "image"
    if scale == "image":
        if dataset.max_value is None:
            raise ValueError(
                f"the scale 'image' is for images with a known largest value; {dataset.name} has inputs of "
                f"shape {dataset.shape}: use standard, minmax or none"
            )
        return data.ImageScaler(max_value=dataset.max_value)
    makers = {
        "minmax": data.MinMaxScaler,
        "standard": data.StandardScaler,
        "contrast": data.GlobalContrastScaler,
    }
    return makers[scale]() if scale in makers else None


def save_scalers(path: Path, scalers: dict[str, data.Scaler | None]) -> bool:
    """Write scalers by name; return False, and write nothing, if there is none of this package's classes."""
    known = {name: scaler for name, scaler in scalers.items() if type(scaler).__name__ in SCALERS}
    if not known:
        return False
    save_tree(path, {name: _state(scaler) for name, scaler in known.items() if scaler is not None})
    return True


def load_scalers(path: Path) -> dict[str, data.Scaler]:
    """Return the scalers that `save_scalers` wrote.

    Raises:
        ValueError: if the file cannot be read, or is not of this kind.
    """
    scalers: dict[str, data.Scaler] = {}
    with naming(path):
        for name, state in load_tree(path).items():
            scaler = SCALERS[state["class"]](**state["arguments"])
            vars(scaler).update(state["learned"])
            scalers[name] = scaler
    return scalers


def _state(scaler: data.Scaler) -> dict[str, Any]:
    arguments = inspect.signature(type(scaler)).parameters
    learned = {name: value for name, value in vars(scaler).items() if name.endswith("_")}
    return {
        "class": type(scaler).__name__,
        "arguments": {name: getattr(scaler, name) for name in arguments},
        "learned": learned,
    }
