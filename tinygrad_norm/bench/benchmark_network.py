"""The network used by `bench step` and `bench train`, and its training step in tinygrad_norm.

An MLP 64-128-128-10 with batch normalization, cross entropy and Adam. All programs start from the same
weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

from .. import nn, optim
from ..autograd.tensor import Tensor
from ..nn import functional as F


@dataclass(frozen=True)
class Program:
    """The training step of one library.

    tensor   converts an array
    step     makes one Adam step on tensors of images (N, 64) and labels (N,); returns the loss before it
    """

    tensor: Callable[[numpy.ndarray], Any]
    step: Callable[[Any, Any], float]


LR, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8


def mlp(nn: Any) -> Any:
    """Build the network from tinygrad_norm's `nn` or PyTorch's."""
    return nn.Sequential(
        nn.Linear(64, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def ours(model: nn.Module) -> Program:
    """Return the program of tinygrad_norm."""
    optimizer = optim.Adam(model.parameters(), lr=LR)

    def step(images: Tensor, labels: Tensor) -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return Program(Tensor, step)
