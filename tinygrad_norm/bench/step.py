"""A whole training step of a small network: forward, loss, backward, optimizer. Ours against PyTorch's."""

from collections.abc import Callable
from typing import Any

import numpy

from .. import nn, optim
from ..autograd.tensor import Tensor
from ..module import Module
from ..nn import functional as F

BATCH = 64


def _mlp(nn: Any) -> Any:
    """Build the same network from our `nn` or from PyTorch's: 64-128-128-10 with BatchNorm."""
    return nn.Sequential(
        nn.Linear(64, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def _batch() -> tuple[numpy.ndarray, numpy.ndarray]:
    rng = numpy.random.default_rng(0)
    return rng.random((BATCH, 64), numpy.float32), rng.integers(0, 10, BATCH)


def our_step(model: Module) -> Callable[[], float]:
    """Return a function that does one Adam step of `model` and returns the loss."""
    x, labels = (Tensor(array) for array in _batch())
    optimizer = optim.Adam(model.parameters(), lr=1e-3)

    def step() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def torch_step(weights: dict[str, numpy.ndarray], fused: bool = False) -> Callable[[], float]:
    """Return the same for PyTorch in eager mode, from the same weights.

    Raises:
        ImportError: where PyTorch is not installed.
    """
    import torch

    model = _mlp(torch.nn)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    x, labels = (torch.from_numpy(array) for array in _batch())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def contestants() -> dict[str, Callable[[], float]]:
    """Return the steps to compare, all from the same weights; PyTorch's where it is installed."""
    model = _mlp(nn)
    weights = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    steps = {"tinygrad_norm": our_step(model)}
    try:
        steps["PyTorch eager"] = torch_step(weights)
        steps["PyTorch eager, fused Adam"] = torch_step(weights, fused=True)
    except ImportError:
        pass
    return steps
