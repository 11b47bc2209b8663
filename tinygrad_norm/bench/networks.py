"""The network that the benchmarks of a step and of training share, and one step of it in every program.

An MLP 64-128-128-10 with batch normalization, cross entropy and Adam. All begin with the same weights.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy

from .. import nn, optim
from ..autograd.tensor import Tensor
from ..nn import functional as F
from .timing import torch_if_installed


@dataclass(frozen=True)
class Program:
    """A library's way to do it: `tensor` from an array, and one Adam `step` on tensors of images (N, 64) and
    labels (N,), which returns the loss before it.
    """

    tensor: Callable[[numpy.ndarray], Any]
    step: Callable[[Any, Any], float]


EAGER = "PyTorch eager"
LR, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8


def mlp(nn: Any) -> Any:
    """Build the network from our `nn` or from PyTorch's."""
    return nn.Sequential(
        nn.Linear(64, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def programs() -> dict[str, Program]:
    """Return every program that is installed, all with the same weights."""
    model = mlp(nn)
    weights = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    found = {"tinygrad_norm": _ours(model)}
    if torch_if_installed() is not None:
        found[EAGER] = _torchs(weights)
        found["PyTorch eager, fused Adam"] = _torchs(weights, fused=True)
    with contextlib.suppress(ImportError):
        found["HIPS autograd"] = _hips(weights)
    return found


def to_eager(times: Mapping[str, float]) -> dict[str, float]:
    """Return the programs' times in units of PyTorch's in eager mode; nothing without PyTorch."""
    return {name: time / times[EAGER] for name, time in times.items()} if EAGER in times else {}


def _ours(model: nn.Module) -> Program:
    optimizer = optim.Adam(model.parameters(), lr=LR)

    def step(images: Tensor, labels: Tensor) -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return Program(Tensor, step)


def _torchs(weights: dict[str, numpy.ndarray], fused: bool = False) -> Program:
    import torch

    model = mlp(torch.nn)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=fused)

    def step(images: Any, labels: Any) -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return Program(torch.from_numpy, step)


def _hips(weights: dict[str, numpy.ndarray]) -> Program:
    """Return HIPS autograd's program, which keeps no running statistics."""
    import autograd.numpy as anp
    from autograd import value_and_grad

    parameters = [value.copy() for name, value in weights.items() if name.endswith(("weight", "bias"))]
    m, v = ([numpy.zeros_like(p) for p in parameters] for _ in range(2))
    taken = 0

    def batch_norm(x: Any, weight: Any, bias: Any) -> Any:
        centered = x - anp.mean(x, axis=0)
        return centered / anp.sqrt(anp.mean(centered * centered, axis=0) + 1e-5) * weight + bias

    def loss_of(parameters: list[Any], images: numpy.ndarray, labels: numpy.ndarray) -> Any:
        w1, b1, n1, c1, w2, b2, n2, c2, w3, b3 = parameters
        x = anp.maximum(batch_norm(anp.dot(images, w1.T) + b1, n1, c1), 0)
        x = anp.maximum(batch_norm(anp.dot(x, w2.T) + b2, n2, c2), 0)
        z = anp.dot(x, w3.T) + b3
        z = z - anp.max(z, axis=1, keepdims=True)
        log_p = z - anp.log(anp.sum(anp.exp(z), axis=1, keepdims=True))
        return -anp.mean(log_p[numpy.arange(len(labels)), labels])

    with_gradients = value_and_grad(loss_of)

    def step(images: numpy.ndarray, labels: numpy.ndarray) -> float:
        nonlocal taken
        taken += 1
        loss, gradients = with_gradients(parameters, images, labels)
        rate = LR * (1 - BETA2**taken) ** 0.5 / (1 - BETA1**taken)
        eps = EPS * (1 - BETA2**taken) ** 0.5
        for p, g, mean, square in zip(parameters, gradients, m, v, strict=True):
            mean *= BETA1
            mean += (1 - BETA1) * g
            square *= BETA2
            square += (1 - BETA2) * g * g
            p -= rate * mean / (numpy.sqrt(square) + eps)
        return float(loss)

    return Program(numpy.asarray, step)
