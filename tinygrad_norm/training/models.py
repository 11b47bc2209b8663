"""The models of `tinygrad-norm train`, each with a choice of normalization."""

from collections.abc import Callable

from .. import nn
from ..module import Module

Norm = Callable[[tuple[int, ...]], Module]
"""Makes a normalization for features of shape (D,) or (C, H, W), the batch axis left out."""


def _batch(shape: tuple[int, ...]) -> Module:
    return nn.BatchNorm1d(shape[0]) if len(shape) == 1 else nn.BatchNorm2d(shape[0])


def _group(shape: tuple[int, ...]) -> Module:
    return nn.GroupNorm(max(1, shape[0] // 8), shape[0])  # groups of 8 channels


def _instance(shape: tuple[int, ...]) -> Module:
    if len(shape) == 1:
        raise ValueError(
            "instance normalization works over the positions of a channel, and the features of an mlp "
            "have none: use --model cnn, or --norm layer"
        )
    return nn.InstanceNorm2d(shape[0], affine=True)


NORMS: dict[str, Norm] = {
    "batch": _batch,
    "layer": nn.LayerNorm,
    "rms": nn.RMSNorm,
    "group": _group,
    "instance": _instance,
    "none": lambda shape: nn.Identity(),
}


def mlp(shape: tuple[int, ...], classes: int, norm: Norm) -> Module:
    """Return Linear, norm, ReLU twice with 128 features, and a Linear to the classes."""
    channels, height, width = shape
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * height * width, 128),
        norm((128,)),
        nn.ReLU(),
        nn.Linear(128, 128),
        norm((128,)),
        nn.ReLU(),
        nn.Linear(128, classes),
    )


def cnn(shape: tuple[int, ...], classes: int, norm: Norm) -> Module:
    """Return three 3×3 convolutions with norm and ReLU, pooled by 2 after the second, and a Linear."""
    channels, height, width = shape
    if height < 2 or width < 2:
        raise ValueError(f"the cnn pools by 2 and needs images of at least 2×2, got {height}×{width}")
    pooled = height // 2, width // 2
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        norm((16, height, width)),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        norm((32, height, width)),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1),
        norm((32, *pooled)),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * pooled[0] * pooled[1], classes),
    )


MODELS: dict[str, Callable[[tuple[int, ...], int, Norm], Module]] = {"mlp": mlp, "cnn": cnn}


def build_model(model: str, norm: str, shape: tuple[int, ...], classes: int) -> Module:
    """Return the model called `model` for images of `shape` (C, H, W), with the named normalization.

    Raises:
        ValueError: for an unknown model or normalization, or a pair that does not fit.
    """
    for name, choices in ((model, MODELS), (norm, NORMS)):
        if name not in choices:
            kind = "model" if choices is MODELS else "norm"
            raise ValueError(f"unknown {kind} {name!r}: choose one of {', '.join(choices)}")
    return MODELS[model](shape, classes, NORMS[norm])
