"""The benchmark network in other libraries: PyTorch, JAX, HIPS autograd.

The versions without modules keep no running statistics and implement Adam here; their results are equal.
"""

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy

from .. import nn
from .benchmark_network import BETA1, BETA2, EPS, LR, Program, mlp, ours
from .timing import thread_limit, torch_if_installed

EAGER = "PyTorch eager"
Weights = Mapping[str, numpy.ndarray]


def programs() -> dict[str, Program]:
    """Return the programs of all installed libraries, ours first, all with the same weights."""
    model = mlp(nn)
    weights = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    missing = left_out()
    others = {name: build(weights) for name, build in BASELINES.items() if name not in missing}
    return {"tinygrad_norm": ours(model), **others}


def left_out() -> dict[str, str]:
    """Return the reason for each program that cannot run here."""
    missing = {
        name: f"{module} is not installed" for name, module in MODULES.items() if find_spec(module) is None
    }
    if COMPILED not in missing and shutil.which(os.environ.get("CXX", "g++")) is None:
        missing[COMPILED] = "no C++ compiler"
    return missing


def to_eager(times: Mapping[str, float]) -> dict[str, float]:
    """Return the programs' times divided by that of PyTorch eager; empty without PyTorch."""
    return {name: time / times[EAGER] for name, time in times.items()} if EAGER in times else {}


def facts() -> dict[str, str]:
    """Return the versions and threads of JAX and autograd, to report beside `timing.environment`."""
    found = {module: version(module) for module in ("jax", "autograd") if find_spec(module) is not None}
    if "jax" in found:
        found["jax threads"] = (
            f"{thread_limit() or 'not limited'} to compute, its runtime threads not limited"
        )
    return found


def _torchs(weights: Weights, fused: bool = False, compiled: bool = False) -> Program:
    torch = torch_if_installed()
    model = mlp(torch.nn)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=fused)

    def loss_of(images: Any, labels: Any) -> Any:
        return torch.nn.functional.cross_entropy(model(images), labels)

    compute, update = loss_of, optimizer.step
    if compiled:
        logging.getLogger("torch._dynamo").setLevel(logging.ERROR)  # it warns about a harmless hook
        compute, update = (torch.compile(function, dynamic=False) for function in (compute, update))

    def step(images: Any, labels: Any) -> float:
        optimizer.zero_grad()
        loss = compute(images, labels)
        loss.backward()
        update()
        return float(loss.item())

    return Program(torch.from_numpy, step)


def _parameters(weights: Weights) -> list[numpy.ndarray]:
    return [value.copy() for name, value in weights.items() if name.endswith(("weight", "bias"))]


def _loss_of(xp: Any, parameters: Any, images: Any, labels: Any) -> Any:
    """Return the loss from functions of `xp`: autograd.numpy or jax.numpy."""

    def batch_norm(x: Any, weight: Any, bias: Any) -> Any:
        centered = x - xp.mean(x, axis=0)
        return centered / xp.sqrt(xp.mean(centered * centered, axis=0) + 1e-5) * weight + bias

    w1, b1, n1, c1, w2, b2, n2, c2, w3, b3 = parameters
    x = xp.maximum(batch_norm(xp.dot(images, w1.T) + b1, n1, c1), 0)
    x = xp.maximum(batch_norm(xp.dot(x, w2.T) + b2, n2, c2), 0)
    z = xp.dot(x, w3.T) + b3
    z = z - xp.max(z, axis=1, keepdims=True)
    log_p = z - xp.log(xp.sum(xp.exp(z), axis=1, keepdims=True))
    return -xp.mean(log_p[numpy.arange(len(labels)), labels])


def _hips(weights: Weights) -> Program:
    import autograd.numpy as anp
    from autograd import value_and_grad

    parameters = _parameters(weights)
    m, v = ([numpy.zeros_like(p) for p in parameters] for _ in range(2))
    steps = 0
    with_gradients = value_and_grad(partial(_loss_of, anp))

    def step(images: numpy.ndarray, labels: numpy.ndarray) -> float:
        nonlocal steps
        steps += 1
        loss, gradients = with_gradients(parameters, images, labels)
        rate = LR * (1 - BETA2**steps) ** 0.5 / (1 - BETA1**steps)
        eps = EPS * (1 - BETA2**steps) ** 0.5
        for p, g, mean, square in zip(parameters, gradients, m, v, strict=True):
            mean *= BETA1
            mean += (1 - BETA1) * g
            square *= BETA2
            square += (1 - BETA2) * g * g
            p -= rate * mean / (numpy.sqrt(square) + eps)
        return float(loss)

    return Program(numpy.asarray, step)


def _jax(weights: Weights) -> Program:
    import jax
    import jax.numpy as jnp

    def update(steps: Any, p: Any, g: Any, mean: Any, square: Any) -> Any:
        mean, square = BETA1 * mean + (1 - BETA1) * g, BETA2 * square + (1 - BETA2) * g * g
        root = jnp.sqrt(square / (1 - BETA2**steps))
        return p - LR / (1 - BETA1**steps) * mean / (root + EPS), mean, square

    @partial(jax.jit, donate_argnums=0)
    def compiled(state: Any, images: Any, labels: Any) -> Any:
        steps, parameters, m, v = state
        steps = steps + 1
        loss, gradients = jax.value_and_grad(partial(_loss_of, jnp))(parameters, images, labels)
        new = map(partial(update, steps), parameters, gradients, m, v)
        return (steps, *map(list, zip(*new, strict=True))), loss

    parameters = [jnp.asarray(p) for p in _parameters(weights)]
    m, v = ([jnp.zeros_like(p) for p in parameters] for _ in range(2))
    state = jnp.float32(0), parameters, m, v

    def step(images: Any, labels: Any) -> float:
        nonlocal state
        state, loss = compiled(state, images, labels)
        return float(loss)

    return Program(jnp.asarray, step)


COMPILED = "PyTorch compiled"
BASELINES: dict[str, Callable[[Weights], Program]] = {
    EAGER: _torchs,
    "PyTorch eager, fused Adam": partial(_torchs, fused=True),
    COMPILED: partial(_torchs, compiled=True),
    "JAX, jit": _jax,
    "HIPS autograd": _hips,
}
MODULES = dict.fromkeys(BASELINES, "torch") | {"JAX, jit": "jax", "HIPS autograd": "autograd"}
