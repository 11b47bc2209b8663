"""The benchmark networks as functions of a list of parameters, for libraries without modules.

The parameters are those of tinygrad_norm's module, in the order of its state. `xp` is `autograd.numpy` or
`jax.numpy`; the networks with convolutions need JAX.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy

from .benchmark_network import GROUPS, HEADS, cnn, encoder, mlp

Forward = Callable[[Any, Sequence[Any], Any], Any]
"""From xp, parameters and inputs to logits."""


def loss_of(forward: Forward, xp: Any, parameters: Sequence[Any], inputs: Any, labels: Any) -> Any:
    """Return the mean cross entropy."""
    z = forward(xp, parameters, inputs)
    z = z - xp.max(z, axis=1, keepdims=True)
    log_p = z - xp.log(xp.sum(xp.exp(z), axis=1, keepdims=True))
    return -xp.mean(log_p[numpy.arange(len(labels)), labels])


def _standardize(xp: Any, x: Any, axes: tuple[int, ...]) -> Any:
    centered = x - xp.mean(x, axis=axes, keepdims=True)
    return centered / xp.sqrt(xp.mean(centered * centered, axis=axes, keepdims=True) + 1e-5)


def _mlp(xp: Any, parameters: Sequence[Any], x: Any) -> Any:
    *hidden, weight, bias = parameters
    for k in (0, 4):
        w, b, scale, shift = hidden[k : k + 4]
        x = xp.maximum(_standardize(xp, xp.dot(x, w.T) + b, (0,)) * scale + shift, 0)
    return xp.dot(x, weight.T) + bias


def _cnn(xp: Any, parameters: Sequence[Any], x: Any, norm: str) -> Any:
    from jax import lax

    *convolutions, weight, bias = parameters
    for k in (0, 4, 8):
        w, b, scale, shift = convolutions[k : k + 4]
        x = _normalize(xp, lax.conv(x, w, (1, 1), "SAME") + b[:, None, None], norm)
        scale, shift = (p if norm == "layer" else p[:, None, None] for p in (scale, shift))
        x = xp.maximum(x * scale + shift, 0)
        if k == 4:
            x = lax.reduce_window(x, -xp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return xp.dot(x.reshape(len(x), -1), weight.T) + bias


def _normalize(xp: Any, x: Any, norm: str) -> Any:
    if norm == "group":
        grouped = x.reshape(len(x), GROUPS, -1)
        return _standardize(xp, grouped, (2,)).reshape(x.shape)
    return _standardize(xp, x, {"batch": (0, 2, 3), "layer": (1, 2, 3)}[norm])


def _encoder(xp: Any, parameters: Sequence[Any], x: Any) -> Any:
    w_in, b_in, w_out, b_out, w1, b1, w2, b2, n1, c1, n2, c2, weight, bias = parameters
    N, T, D = x.shape
    qkv = xp.dot(_standardize(xp, x, (2,)) * n1 + c1, w_in.T) + b_in
    q, k, v = (part.reshape(N, T, HEADS, -1).transpose(0, 2, 1, 3) for part in xp.split(qkv, 3, axis=2))
    scores = xp.matmul(q, k.transpose(0, 1, 3, 2)) / (D // HEADS) ** 0.5
    p = xp.exp(scores - xp.max(scores, axis=3, keepdims=True))
    p = p / xp.sum(p, axis=3, keepdims=True)
    x = x + xp.dot(xp.matmul(p, v).transpose(0, 2, 1, 3).reshape(N, T, D), w_out.T) + b_out
    hidden = xp.maximum(xp.dot(_standardize(xp, x, (2,)) * n2 + c2, w1.T) + b1, 0)
    x = x + xp.dot(hidden, w2.T) + b2
    return xp.dot(x.reshape(N * T, D), weight.T) + bias


def forward_of(build: Any) -> Forward:
    """Return the function of the network that `build` builds."""
    if isinstance(build, partial) and build.func is cnn:
        return partial(_cnn, norm=build.keywords["norm"])
    forwards: dict[Any, Forward] = {mlp: _mlp, encoder: _encoder}
    return forwards[build.func if isinstance(build, partial) else build]
