"""The benchmark networks in other libraries: PyTorch, JAX, HIPS autograd.

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
from .benchmark_network import BETA1, BETA2, EPS, LR, MLP, Network, Program, ours
from .functional_networks import forward_of, loss_of
from .rungs import rungs
from .timing import thread_limit, torch_if_installed

EAGER = "PyTorch eager"
Weights = Mapping[str, numpy.ndarray]


def programs(network: Network = MLP) -> dict[str, Program]:
    """Return the programs of all installed libraries, ours first, all with the same weights."""
    model = network.build(nn)
    weights = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    return {
        **{f"tinygrad_norm, {rung}": _ours(network, weights, rung) for rung in rungs()},
        **{name: BASELINES[name](network, weights) for name in baselines(network)},
    }


def _ours(network: Network, weights: Weights, rung: str) -> Program:
    model = network.build(nn)
    model.load_state_dict(weights)
    return ours(model, rung)


def baselines(network: Network) -> list[str]:
    """Return the names of the other programs that run the network here."""
    missing = left_out()
    return [name for name in BASELINES if name not in missing and (name != HIPS or network is MLP)]


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


def _torchs(network: Network, weights: Weights, fused: bool = False, compiled: bool = False) -> Program:
    torch = torch_if_installed()
    model = network.build(torch.nn)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=fused)

    def forward(images: Any, labels: Any) -> Any:
        return torch.nn.functional.cross_entropy(model(images), labels)

    compute, update = forward, optimizer.step
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


def _hips(network: Network, weights: Weights) -> Program:
    import autograd.numpy as anp
    from autograd import value_and_grad

    parameters = _parameters(weights)
    m, v = ([numpy.zeros_like(p) for p in parameters] for _ in range(2))
    steps = 0
    with_gradients = value_and_grad(partial(loss_of, forward_of(network.build), anp))

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


def _jax(network: Network, weights: Weights) -> Program:
    import jax
    import jax.numpy as jnp

    compute = partial(loss_of, forward_of(network.build), jnp)

    def update(steps: Any, p: Any, g: Any, mean: Any, square: Any) -> Any:
        mean, square = BETA1 * mean + (1 - BETA1) * g, BETA2 * square + (1 - BETA2) * g * g
        root = jnp.sqrt(square / (1 - BETA2**steps))
        return p - LR / (1 - BETA1**steps) * mean / (root + EPS), mean, square

    @partial(jax.jit, donate_argnums=0)
    def compiled(state: Any, images: Any, labels: Any) -> Any:
        steps, parameters, m, v = state
        steps = steps + 1
        loss, gradients = jax.value_and_grad(compute)(parameters, images, labels)
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


COMPILED, JAX, HIPS = "PyTorch compiled", "JAX, jit", "HIPS autograd"
COMPILED_PROGRAMS = COMPILED, JAX
BASELINES: dict[str, Callable[[Network, Weights], Program]] = {
    EAGER: _torchs,
    "PyTorch eager, fused Adam": partial(_torchs, fused=True),
    COMPILED: partial(_torchs, compiled=True),
    JAX: _jax,
    HIPS: _hips,
}
MODULES = dict.fromkeys(BASELINES, "torch") | {JAX: "jax", HIPS: "autograd"}
