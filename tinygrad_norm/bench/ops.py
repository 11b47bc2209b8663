"""Every registered op at its benchmark sizes: forward and backward, ours against composed and PyTorch's."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy

from ..autograd import grad
from ..autograd.tensor import Tensor
from ..registry import REGISTRY, Case, Op
from .timing import best_times


@dataclass(frozen=True)
class Row:
    """One measured case: best times in seconds for one forward and backward, None where there is none.

    `floor` is the time in which a copy moves as many bytes as the op must: the inputs and dy read, y
    and the gradients written, once each.
    """

    op: str
    case: str
    ours: float
    composed: float | None
    torch: float | None
    floor: float


def benchmark_cases(names: list[str] | None = None) -> list[tuple[Op, Case]]:
    """Return (op, case) for every benchmark size of the named ops, or of all."""
    ops = [REGISTRY[name] for name in names] if names else REGISTRY.values()
    return [(op, case) for op in ops for case in op.bench]


def measure(op: Op, case: Case, seconds: float, copy_rate: float) -> Row:
    """Time one case, all contestants in turn; `copy_rate` in bytes per second."""
    drawn = [None if pair is None else (_single(pair[0]), pair[1]) for pair in case.draw()]
    ours = _our_run(op, case, drawn, op.function)
    contestants: dict[str, Callable[[], Any]] = {"ours": ours}
    if op.composed is not None:
        contestants["composed"] = _our_run(op, case, drawn, op.composed)
    torch_run = _torch_run(op, case, drawn)
    if torch_run is not None:
        contestants["torch"] = torch_run
    best = best_times(contestants, seconds)
    y_bytes = ours().nbytes
    read = sum(array.nbytes for pair in drawn if pair is not None for array in pair[:1])
    moved = 2 * read + 2 * y_bytes
    return Row(op.name, str(case), best["ours"], best.get("composed"), best.get("torch"), moved / copy_rate)


def copy_bandwidth(nbytes: int = 1 << 28) -> float:
    """Return how many bytes per second a copy of a large array reads and writes, best of ten."""
    source, target = numpy.ones(nbytes // 4, numpy.float32), numpy.empty(nbytes // 4, numpy.float32)
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        numpy.copyto(target, source)
        best = min(best, time.perf_counter() - start)
    return 2 * nbytes / best


def _single(array: numpy.ndarray) -> numpy.ndarray:
    return array.astype(numpy.float32) if array.dtype.kind == "f" else array


def _our_run(op: Op, case: Case, drawn: list[Any], function: Callable[..., Any]) -> Callable[[], Any]:
    tensors = [None if pair is None else Tensor(pair[0], requires_grad=pair[1]) for pair in drawn]
    leaves = [t for t in tensors if t is not None and t.requires_grad]
    dy = _dy(op.call(tensors, case.options, function).array)

    def run() -> numpy.ndarray:
        y = op.call(tensors, case.options, function)
        grad(y, leaves, dy)
        return y.array

    return run


def _dy(y: numpy.ndarray) -> numpy.ndarray:
    return numpy.random.default_rng(1).normal(size=y.shape).astype(y.dtype)


def _torch_run(op: Op, case: Case, drawn: list[Any]) -> Callable[[], Any] | None:
    try:
        import torch
    except ImportError:
        return None
    if not op.torch:
        return None
    module, name = op.torch.rsplit(".", 1)
    function = getattr(importlib.import_module(module), name)
    tensors = [
        None if pair is None else torch.from_numpy(pair[0].copy()).requires_grad_(pair[1]) for pair in drawn
    ]
    leaves = [t for t in tensors if t is not None and t.requires_grad]
    dy = torch.from_numpy(_dy(op.call(tensors, case.options, function).detach().numpy()))

    def run() -> None:
        torch.autograd.grad(op.call(tensors, case.options, function), leaves, dy)

    return run


def measure_all(names: list[str] | None, seconds: float) -> Iterator[Row]:
    """Yield a row per benchmark case, `seconds` each."""
    copy_rate = copy_bandwidth()
    for op, case in benchmark_cases(names):
        yield measure(op, case, seconds, copy_rate)
