"""The networks of `bench step` and `bench train`, and their training step in tinygrad_norm.

All are trained with cross entropy and Adam, and all programs start from the same weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy

from .. import nn, optim
from ..autograd.tensor import Tensor
from ..nn import functional as F
from .rungs import LOOPS


@dataclass(frozen=True)
class Program:
    """The training step of one library.

    tensor   converts an array
    step     makes one Adam step on tensors of inputs and labels; returns the loss before it
    rung     the rung on which kernels of tinygrad_norm run
    """

    tensor: Callable[[numpy.ndarray], Any]
    step: Callable[[Any, Any], float]
    rung: str = LOOPS


@dataclass(frozen=True)
class Network:
    """A network for the benchmark of a training step.

    name     its name on the command line
    title    its name in prose
    build    builds it from tinygrad_norm's `nn` or PyTorch's
    shape    that of its input
    labels   the number of labels in a batch, from 10 classes
    """

    name: str
    title: str
    build: Callable[[Any], Any]
    shape: tuple[int, ...]
    labels: int

    def batch(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return random inputs in [0, 1), float32, and labels."""
        rng = numpy.random.default_rng(0)
        return rng.random(self.shape, numpy.float32), rng.integers(0, 10, self.labels)


LR, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8
GROUPS, HEADS = 4, 4


def mlp(nn: Any) -> Any:
    """Build two hidden layers (Linear, BatchNorm, ReLU) of 128 features and a Linear, for (N, 64)."""
    return nn.Sequential(
        nn.Linear(64, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def cnn(nn: Any, norm: str, side: int) -> Any:
    """Build the cnn of `tinygrad-norm train`, for (N, 1, side, side): three 3×3 convolutions with norm, ReLU.

    `norm` is "batch", "group" (4 groups) or "layer". 2×2 max pooling follows the second, a Linear the third.
    """

    def block(C: int, F: int, side: int) -> list[Any]:
        norms = {
            "batch": lambda: nn.BatchNorm2d(F),
            "group": lambda: nn.GroupNorm(GROUPS, F),
            "layer": lambda: nn.LayerNorm((F, side, side)),
        }
        return [nn.Conv2d(C, F, 3, padding=1), norms[norm](), nn.ReLU()]

    half = side // 2
    convolutions = [*block(1, 16, side), *block(16, 32, side), nn.MaxPool2d(2), *block(32, 32, half)]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(32 * half * half, 10))


def encoder(nn: Any, features: int) -> Any:
    """Build a pre-LN encoder layer (4 heads, 4·features hidden, no dropout) and a Linear for every step.

    It takes (N, T, features) and returns (N·T, 10).
    """
    layer = nn.TransformerEncoderLayer(
        features, HEADS, 4 * features, dropout=0.0, batch_first=True, norm_first=True
    )
    return nn.Sequential(layer, nn.Flatten(0, 1), nn.Linear(features, 10))


MLP = Network("mlp", "MLP, BatchNorm", mlp, (64, 64), 64)
_CNNS = {
    name: Network(name, f"CNN, {title}", partial(cnn, norm=norm, side=28), (64, 1, 28, 28), 64)
    for name, title, norm in (
        ("cnn-batch", "BatchNorm", "batch"),
        ("cnn-group", "GroupNorm", "group"),
        ("cnn-layer", "LayerNorm", "layer"),
    )
}
_ENCODER = Network("encoder", "encoder layer, pre-LN", partial(encoder, features=96), (8, 128, 96), 8 * 128)
NETWORKS = {MLP.name: MLP, **_CNNS, _ENCODER.name: _ENCODER}
"""By name."""


def ours(model: nn.Module, rung: str = LOOPS) -> Program:
    """Return the program of tinygrad_norm."""
    optimizer = optim.Adam(model.parameters(), lr=LR)

    def step(inputs: Tensor, labels: Tensor) -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return Program(Tensor, step, rung)
