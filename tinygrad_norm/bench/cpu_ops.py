"""Time registered ops at their benchmark sizes, both ways: loops, NumPy bodies, composed, PyTorch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy

from ..autograd import grad
from ..autograd.tensor import Tensor
from ..registry import REGISTRY, Case, Input, Op
from ..suggestions import did_you_mean
from .rungs import LOOPS, NUMPY, runs_a_loop
from .timing import best_times, clock_of_calls, torch_if_installed, with_default_malloc

LARGE = 1 << 20  # bytes: any malloc keeps the freed memory of smaller arrays


@dataclass(frozen=True)
class Row:
    """One measured case: best times in seconds for one forward and backward; None if a form is missing.

    `loops` is None if no loop runs in this case. `floor` is the time a copy needs for the bytes that the op
    must move: inputs and dy read, y and the gradients written, once each. `to_torch_default_malloc` is
    `to_torch` measured with a malloc that returns freed memory to the system; None if PyTorch has no such
    op, or the arrays are small.
    """

    op: str
    case: str
    loops: float | None
    numpy: float
    composed: float | None
    torch: float | None
    floor: float
    to_torch_default_malloc: float | None = None

    @property
    def ours(self) -> float:
        """The time of the rung that runs by default: that of the loops, if there are any."""
        return self.numpy if self.loops is None else self.loops

    @property
    def to_torch(self) -> float | None:
        """Our time divided by PyTorch's."""
        return None if self.torch is None else self.ours / self.torch

    @property
    def loops_to_torch(self) -> float | None:
        """The time of the loops divided by PyTorch's."""
        return None if self.loops is None else self.to_torch

    @property
    def numpy_to_torch(self) -> float | None:
        """The time of the NumPy bodies divided by PyTorch's."""
        return None if self.torch is None else self.numpy / self.torch

    @property
    def to_composed(self) -> float | None:
        """The time of our closed form divided by that of our composed form."""
        return None if self.composed is None else self.ours / self.composed

    @property
    def bandwidth(self) -> float:
        """The achieved fraction of a copy's bandwidth; it can exceed 1 if the arrays fit in the caches."""
        return self.floor / self.ours


def mean_ratios(rows: Sequence[Row]) -> dict[str, float]:
    """Return the geometric means to PyTorch over the rows that have a ratio: of our default, and in NumPy."""
    compared = [row for row in rows if row.torch is not None]
    if not compared:
        return {}
    ratios = {NUMPY: [row.numpy_to_torch or 0 for row in compared]}
    if any(row.loops is not None for row in compared):
        ratios = {LOOPS: [row.to_torch or 0 for row in compared], **ratios}
    return {rung: statistics.geometric_mean(values) for rung, values in ratios.items()}


def benchmark_cases(names: Sequence[str] = ()) -> list[tuple[Op, Case]]:
    """Return (op, case) for every benchmark size of the named ops, or of all.

    Raises:
        ValueError: if a name is not registered, or has no benchmark sizes.
    """
    timed = [name for name, op in REGISTRY.items() if op.bench]
    for name in names:
        if name not in timed:
            hint = did_you_mean(name, timed)
            raise ValueError(f"no op {name!r} with benchmark sizes: choose one of {', '.join(timed)}{hint}")
    return [(op, case) for op in map(REGISTRY.get, names or timed) if op is not None for case in op.bench]


def measure(op: Op, case: Case, seconds: float, copy_rate: float, dtype: str = "float32") -> Row:
    """Time one case, contestants taking turns; `copy_rate` is in bytes per second."""
    drawn = [None if pair is None else (_typed(pair[0], dtype), pair[1]) for pair in case.draw()]
    ours = _our_run(op, case, drawn, op.function)
    contestants: dict[str, Callable[[], Any]] = {LOOPS: ours} if runs_a_loop(ours) else {}
    contestants[NUMPY] = ours
    if op.composed is not None:
        contestants["composed"] = _our_run(op, case, drawn, op.composed)
    torch_run = _torch_run(op, case, drawn)
    if torch_run is not None:
        contestants["torch"] = torch_run
    best = best_times(contestants, seconds, {NUMPY: NUMPY})
    read = sum(pair[0].nbytes for pair in drawn if pair is not None)
    gradients = sum(pair[0].nbytes for pair in drawn if pair is not None and pair[1])
    moved = read + gradients + 2 * sum(y.nbytes for y in ours())
    times = best.get(LOOPS), best[NUMPY], best.get("composed"), best.get("torch")
    return Row(op.name, str(case), *times, moved / copy_rate)


def measure_all(names: Sequence[str], seconds: float, dtype: str, copy_rate: float) -> Iterator[Row]:
    """Yield a row per benchmark case, `seconds` each; large cases are timed again with the default malloc."""
    for op, case in benchmark_cases(names):
        row = measure(op, case, seconds, copy_rate, dtype)
        if row.torch is not None and _is_large(case, dtype):
            ratio = with_default_malloc(ratio_to_torch, op.name, op.bench.index(case), seconds, dtype)
            row = replace(row, to_torch_default_malloc=ratio)
        yield row


def ratio_to_torch(name: str, index: int, seconds: float, dtype: str) -> float | None:
    """Return our time divided by PyTorch's for benchmark case `index` of the op."""
    op = replace(REGISTRY[name], composed=None)
    return measure(op, op.bench[index], seconds, 1.0, dtype).to_torch


def _is_large(case: Case, dtype: str) -> bool:
    shapes: list[tuple[int, ...]] = [
        i.shape if isinstance(i, Input) else i for i in case.inputs if i is not None
    ]
    return max(map(math.prod, shapes)) * numpy.dtype(dtype).itemsize >= LARGE


def copy_bandwidth(nbytes: int = 1 << 28) -> float:
    """Return the bytes per second that a copy of a large array reads and writes; best of ten."""
    clock = clock_of_calls()
    source, target = numpy.ones(nbytes // 4, numpy.float32), numpy.empty(nbytes // 4, numpy.float32)
    best = float("inf")
    for _ in range(10):
        start = clock()
        numpy.copyto(target, source)
        best = min(best, clock() - start)
    return 2 * nbytes / best


def _typed(array: numpy.ndarray, dtype: str) -> numpy.ndarray:
    return array.astype(dtype) if array.dtype.kind == "f" else array


def _our_run(op: Op, case: Case, drawn: list[Any], function: Callable[..., Any]) -> Callable[[], Any]:
    tensors = [None if pair is None else Tensor(pair[0], requires_grad=pair[1]) for pair in drawn]
    leaves = [t for t in tensors if t is not None and t.requires_grad]
    dys = [_dy(y.array) for y in _varying(op.call(tensors, case.options, function))]

    def run() -> list[numpy.ndarray]:
        ys = _varying(op.call(tensors, case.options, function))
        grad(ys, leaves, dys)
        return [y.array for y in ys]

    return run


def _varying(result: Any) -> list[Any]:
    """Return the outputs that have a gradient, from any nesting, as a flat list."""
    if isinstance(result, tuple | list):
        return [y for part in result for y in _varying(part)]
    return [result] if result is not None and result.requires_grad else []


def _dy(y: numpy.ndarray) -> numpy.ndarray:
    return numpy.random.default_rng(1).normal(size=y.shape).astype(y.dtype)


def _torch_run(op: Op, case: Case, drawn: list[Any]) -> Callable[[], Any] | None:
    torch = torch_if_installed()
    if torch is None or not op.is_in_torch(case):
        return None
    function = op.torch_function(torch)
    tensors = [
        None if pair is None else torch.from_numpy(pair[0].copy()).requires_grad_(pair[1]) for pair in drawn
    ]
    leaves = [t for t in tensors if t is not None and t.requires_grad]
    ys = _varying(op.call(tensors, case.options, function))
    dys = [torch.from_numpy(_dy(y.detach().numpy())) for y in ys]

    def run() -> None:
        torch.autograd.grad(_varying(op.call(tensors, case.options, function)), leaves, dys)

    return run
