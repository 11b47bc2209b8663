"""Measure how time and memory grow with batch, width, depth and sequence length, in both forms of an op.

Training memory is what the tape keeps until backward: a closed form keeps its inputs and a few statistics,
a composed form keeps every intermediate result.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy

from ..autograd.function import Function
from ..autograd.memory import owner
from ..autograd.paths import reachable
from ..autograd.tensor import Tensor
from ..registry import REGISTRY
from .timing import best_times

FORMS = ("closed form", "composed")
Build = Callable[[int, bool], Callable[[], Tensor]]
"""From a size, and whether to use the composed form, to a function that computes a differentiable result."""


@dataclass(frozen=True)
class Point:
    """One size of one experiment, which varies `variable`: seconds of forward and backward, and bytes.

    `peak` is the maximum memory of arrays and Python objects (few) beyond the inputs; `kept` is the memory
    of the arrays kept for backward.
    """

    experiment: str
    variable: str
    size: int
    form: str
    seconds: float
    peak: int
    kept: int


def _leaf(*shape: int) -> Tensor:
    rng = numpy.random.default_rng(0)
    return Tensor(rng.standard_normal(shape, numpy.float32), requires_grad=True)


def _form(name: str, composed: bool) -> Callable[..., Any]:
    op = REGISTRY[name]
    return op.composed if composed and op.composed is not None else op.function


def _layer_norm(N: int, D: int, depth: int, composed: bool) -> Callable[[], Tensor]:
    x, weight, bias = _leaf(N, D), _leaf(D), _leaf(D)
    layer_norm = _form("layer_norm", composed)

    def run() -> Tensor:
        y = x
        for _ in range(depth):
            y = layer_norm(y, (D,), weight, bias)
        return y

    return run


def _attention(T: int, composed: bool) -> Callable[[], Tensor]:
    q, k, v = (_leaf(4, 4, T, 32) for _ in range(3))
    attention = _form("scaled_dot_product_attention", composed)
    return lambda: attention(q, k, v)


EXPERIMENTS: dict[str, tuple[str, Build, tuple[int, ...]]] = {
    "LayerNorm (N, 512)": ("N", lambda N, c: _layer_norm(N, 512, 1, c), (16, 64, 256, 1024, 4096)),
    "LayerNorm (256, D)": ("D", lambda D, c: _layer_norm(256, D, 1, c), (16, 64, 256, 1024, 4096)),
    "LayerNorm (64, 128), deep": ("layers", lambda L, c: _layer_norm(64, 128, L, c), (1, 4, 16, 64, 256)),
    "attention (4, 4, T, 32)": ("T", _attention, (16, 32, 64, 128, 256, 512)),
}


def measure(seconds: float) -> Iterator[Point]:
    """Yield the points of every experiment, closed form first; each size takes about `seconds`."""
    for name, (variable, build, sizes) in EXPERIMENTS.items():
        for size in sizes:
            runs = {form: build(size, form == "composed") for form in FORMS}
            times = best_times({form: _with_backward(run) for form, run in runs.items()}, seconds)
            for form, run in runs.items():
                peak, kept = peak_bytes(_with_backward(run)), kept_bytes(run())
                yield Point(name, variable, size, form, times[form], peak, kept)


def _with_backward(run: Callable[[], Tensor]) -> Callable[[], None]:
    dy = numpy.random.default_rng(1).standard_normal(run().shape, numpy.float32)
    return lambda: run().backward(dy)


def peak_bytes(function: Callable[[], Any]) -> int:
    """Return the peak memory that `function` allocates, in bytes of arrays and Python objects."""
    function()
    started = not tracemalloc.is_tracing()
    if started:
        tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    try:
        function()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        if started:
            tracemalloc.stop()


def kept_bytes(y: Tensor) -> int:
    """Return the bytes of all arrays that the graph of `y` keeps for backward, each once, without leaves."""
    nodes = reachable([y.creator]) if y.creator is not None else []
    leaves = {
        id(owner(x.array))
        for node in nodes
        for x in node.inputs
        if isinstance(x, Tensor) and x.creator is None
    }
    kept = {id(array): array.nbytes for node in nodes for array in map(owner, _saved_arrays(node))}
    return sum(nbytes for key, nbytes in kept.items() if key not in leaves)


def _saved_arrays(node: Function) -> Iterator[numpy.ndarray]:
    waiting = [node.saved]
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, numpy.ndarray):
            yield entry
        elif isinstance(entry, dict):
            waiting.extend(entry.values())
        elif isinstance(entry, tuple | list):
            waiting.extend(entry)
