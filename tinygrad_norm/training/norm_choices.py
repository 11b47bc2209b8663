"""The normalizations of `tinygrad-norm train`, by name."""

from collections.abc import Callable

from .. import nn
from ..autograd.tensor import Tensor
from ..module import Module

Norm = Callable[[tuple[int, ...]], Module]
"""Builds a normalization for features of shape (D,) or (C, H, W), without the batch axis."""


def _batch(shape: tuple[int, ...]) -> Module:
    return nn.BatchNorm1d(shape[0]) if len(shape) == 1 else nn.BatchNorm2d(shape[0])


def _group(shape: tuple[int, ...]) -> Module:
    return nn.GroupNorm(max(1, shape[0] // 8), shape[0])  # groups of 8 channels


def _instance(shape: tuple[int, ...]) -> Module:
    if len(shape) == 1:
        raise ValueError(
            "instance normalization needs several positions per channel, but the features of this model have "
            "none (sequences are normalized step by step): use --norm layer, or for images --model cnn"
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


class Stepwise(Module):
    """Apply a `module` for (N, D) to sequences (N, T, D), every step as a sample of its own."""

    def __init__(self, module: Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x.flatten(0, 1)).reshape(x.shape)


def sequence_norm(norm: Norm, features: int) -> Module:
    """Return `norm` for sequences (N, T, features); each step is normalized like a sample.

    Only batch normalization mixes steps, and only in training: its statistics are over all N·T steps.

    Raises:
        ValueError: if `norm` is instance normalization.
    """
    module = norm((features,))
    return module if isinstance(module, nn.LayerNorm | nn.RMSNorm | nn.Identity) else Stepwise(module)
