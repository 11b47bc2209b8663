"""The ops with handwritten kernels on a GPU: time, bytes per second, and PyTorch on the same device.

An op whose kernels do nothing needless is bound by memory, so the measure is how close it comes to a copy:

    rate = floor / time        floor: the bytes that any implementation must read and write
    fraction = rate / C        C: bytes per second that a copy reads and writes, measured in the same run

Times are those of the GPU, between two events, the median of all. Three things would spoil them: a host
that is slower than the GPU, so the GPU is given copies to do first, and the host runs ahead; data left in
the cache by the call before, so calls rotate through buffers of 1 GB and more in all; a device that is
slower for a while, so contestants take turns.
"""

from __future__ import annotations

import functools
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from ..autograd import grad
from ..autograd.tensor import Tensor
from ..backends import Array, current_backend, machine, namespace
from ..registry import REGISTRY, Case, Op, integers

ROTATED = 1 << 30  # bytes
ROUNDS = 20
_WIDTHS = (512, 1024, 2048, 4096, 8192, 16384)
_IMAGES = ((64, 64, 32, 32), (64, 256, 28, 28), (64, 64, 112, 112))


def _rows(count: int) -> tuple[tuple[int, int], ...]:
    return tuple((count, D) for D in _WIDTHS)


SIZES: dict[str, tuple[Case, ...]] = {
    "layer_norm": tuple(Case((s, s[1:], s[1:]), {"normalized_shape": s[1:]}) for s in _rows(4096)),
    "rms_norm": tuple(Case((s, s[1:]), {"normalized_shape": s[1:]}) for s in _rows(4096)),
    "batch_norm": tuple(
        Case((s, None, None, s[1:2], s[1:2]), {"training": True}) for s in ((8192, 1024), *_IMAGES)
    ),
    "group_norm": tuple(Case((s, s[1:2], s[1:2]), {"num_groups": 32}) for s in _IMAGES),
    "instance_norm": tuple(Case((s, None, None, s[1:2], s[1:2])) for s in _IMAGES),
    "softmax": tuple(Case((s,), {"dim": -1}) for s in _rows(4096)),
    "log_softmax": tuple(Case((s,), {"dim": -1}) for s in _rows(4096)),
    "cross_entropy": tuple(Case((s, integers(s[1], s[0]), None)) for s in _rows(4096)),
}
"""What is timed, by the name of the op."""


@dataclass(frozen=True)
class Memory:
    """What bounds the passes: bytes of shared memory a block can have, and of the GPU's L2 cache."""

    shared: int
    cache: int


def floors(op: str, case: Case, itemsize: int, memory: Memory) -> tuple[int, int]:
    """Return the bytes that forward and backward must at least read and write.

    Counted are arrays of the input's size, each once or, where it is needed again and nothing near can
    hold it meanwhile, twice. The rest (weights, statistics, targets) is small beside them.
    """
    first: Any = case.inputs[0]
    whole = itemsize * int(numpy.prod(first))
    if op == "batch_norm":
        forward, backward = 2 if whole <= memory.cache else 3, 5
    elif op in ("group_norm", "instance_norm"):
        slab = whole // (first[0] * case.options.get("num_groups", first[1]))
        forward, backward = (2, 3) if slab <= memory.shared else (3, 5)
    else:
        forward, backward = 2, 2 if op == "cross_entropy" else 3  # its dy is a number a row
    return forward * whole, backward * whole


@dataclass(frozen=True)
class Row:
    """One direction of one op at one size: bytes at least, and seconds by contestant, "ours" first."""

    op: str
    case: str
    direction: str
    floor: int
    seconds: Mapping[str, float]

    @property
    def rate(self) -> float:
        """Bytes per second, counting those that must be moved."""
        return self.floor / self.seconds["ours"]

    def ratio(self, rival: str) -> float | None:
        """Return how many times as long the rival takes; None where it was not timed."""
        return self.seconds[rival] / self.seconds["ours"] if rival in self.seconds else None


def cells(row: Row, copy_rate: float, rivals: Sequence[str]) -> list[str]:
    """Return a row of the table: op, sizes, direction, µs, GB/s, fraction of a copy, ratios to rivals."""
    ratios = (row.ratio(rival) for rival in rivals)
    return [
        row.op,
        row.case,
        row.direction,
        f"{row.seconds['ours'] * 1e6:.1f}",
        f"{row.rate / 1e9:.0f}",
        f"{row.rate / copy_rate:.2f}",
        *("–" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
    ]


# -- time


class Clock:
    """Times calls on the GPU of `cuda`, which is `cupy.cuda`, on its current stream."""

    def __init__(self, cuda: Any, scratch: Array) -> None:
        self.cuda, self._source, self._target = cuda, scratch, scratch.copy()
        self.copy_seconds = self._copy_seconds()
        self.copy_rate = 2 * scratch.nbytes / self.copy_seconds

    def _copy(self) -> None:
        namespace(self._source).copyto(self._target, self._source)

    def _copy_seconds(self) -> float:
        def back() -> None:
            namespace(self._source).copyto(self._source, self._target)

        self.copy_seconds = 0.0
        return statistics.median(self.times({"copy": [self._copy, back]})["copy"])

    def times(self, contestants: Mapping[str, Sequence[Callable[[], Any]]]) -> dict[str, list[float]]:
        """Return the seconds of every call after a first round: each contestant's calls in turn."""
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for calls in contestants.values():
            self._round(calls, 0.0)
        for _ in range(-(-ROUNDS // max(map(len, contestants.values())))):
            for name, calls in contestants.items():
                began = time.perf_counter()
                self._round(calls, 0.0)
                host = time.perf_counter() - began
                seconds[name] += self._round(calls, host)
        return seconds

    def _round(self, calls: Sequence[Callable[[], Any]], ahead: float) -> list[float]:
        """Time each call once, after copies that keep the GPU busy for `ahead` seconds."""
        if self.copy_seconds:
            for _ in range(int(ahead / self.copy_seconds) + 1):
                self._copy()
        events = [(self.cuda.Event(), self.cuda.Event()) for _ in calls]
        for (start, stop), call in zip(events, calls, strict=True):
            start.record()
            call()
            stop.record()
        events[-1][1].synchronize()
        return [self.cuda.get_elapsed_time(start, stop) / 1000 for start, stop in events]


# -- contestants

Calls = tuple[list[Callable[[], Any]], list[Callable[[], Any]]]
"""Forward and backward, once for each of the rotated buffers."""
Maker = Callable[[Op, Case, str, int], Calls]


def _drawn(case: Case, dtype: str) -> list[Any]:
    return [
        None if pair is None else (pair[0].astype(dtype) if pair[0].dtype.kind == "f" else pair[0], pair[1])
        for pair in case.draw()
    ]


def _dy(shape: tuple[int, ...]) -> numpy.ndarray:
    return numpy.asarray(numpy.random.default_rng(1).normal(size=shape))


def ours(op: Op, case: Case, dtype: str, copies: int) -> Calls:
    """Return our calls, on the current backend."""
    forward: list[Callable[[], Any]] = []
    backward: list[Callable[[], Any]] = []
    drawn = _drawn(case, dtype)
    for _ in range(copies):
        xs = [None if pair is None else Tensor(pair[0].copy(), requires_grad=pair[1]) for pair in drawn]
        call = functools.partial(op.call, xs, case.options)
        y = call()
        leaves = [x for x in xs if x is not None and x.requires_grad]
        dy = Tensor(_dy(y.shape).astype(dtype)).array
        forward.append(call)
        backward.append(functools.partial(grad, y, leaves, dy, retain_graph=True))
    return forward, backward


def torch_calls(
    op: Op, case: Case, dtype: str, copies: int, *, compiled: bool = False, device: str = "cuda"
) -> Calls:
    """Return PyTorch's calls of the same function, eager or compiled, on `device`."""
    import torch

    module, name = op.torch.rsplit(".", 1)
    function: Any = getattr(importlib.import_module(module), name)
    function = torch.compile(function) if compiled else function
    forward: list[Callable[[], Any]] = []
    backward: list[Callable[[], Any]] = []
    drawn = _drawn(case, dtype)
    for _ in range(copies):
        xs = [
            None if pair is None else torch.tensor(pair[0], device=device, requires_grad=pair[1])
            for pair in drawn
        ]
        call = functools.partial(op.call, xs, case.options, function)
        y = call()
        leaves = [x for x in xs if x is not None and x.requires_grad]
        dy = torch.tensor(_dy(tuple(y.shape)).astype(dtype), device=device)
        forward.append(call)
        backward.append(functools.partial(torch.autograd.grad, y, leaves, dy, retain_graph=True))
    return forward, backward


def rivals() -> dict[str, Maker]:
    """Return PyTorch's two ways where it is installed and sees a GPU; the compiled one needs Triton."""
    try:
        import torch
    except ImportError:
        return {}
    if not torch.cuda.is_available():
        return {}
    found: dict[str, Maker] = {"PyTorch eager": torch_calls}
    if importlib.util.find_spec("triton") is not None:
        found["torch.compile"] = functools.partial(torch_calls, compiled=True)
    return found


# -- measuring


def copies_of(case: Case, itemsize: int, rotated: int) -> int:
    """Return how many buffers of the case's first input are at least `rotated` bytes; two at least."""
    first: Any = case.inputs[0]
    return max(2, -(-rotated // (itemsize * int(numpy.prod(first)))))


def measure(
    op: Op,
    case: Case,
    dtype: str,
    clock: Clock,
    memory: Memory,
    against: Mapping[str, Maker],
    rotated: int,
) -> list[Row]:
    """Return the rows of forward and backward of one case, every contestant's median."""
    itemsize = numpy.dtype(dtype).itemsize
    copies = copies_of(case, itemsize, rotated)
    calls = {name: make(op, case, dtype, copies) for name, make in {"ours": ours, **against}.items()}
    rows = []
    for i, direction in enumerate(("forward", "backward")):
        times = clock.times({name: pair[i] for name, pair in calls.items()})
        medians = {name: statistics.median(seconds) for name, seconds in times.items()}
        floor = floors(op.name, case, itemsize, memory)[i]
        rows.append(Row(op.name, str(case), direction, floor, medians))
    return rows


@dataclass(frozen=True)
class Bench:
    """A GPU that is ready to be measured: its clock, its memory, its rivals, and what a reader must know."""

    clock: Clock
    memory: Memory
    against: Mapping[str, Maker]
    environment: Mapping[str, str]
    rotated: int = ROTATED

    def rows(self, names: Sequence[str], dtype: str) -> Iterator[Row]:
        """Yield two rows for every size of the named ops, or of all."""
        for name in names or SIZES:
            for case in SIZES[name]:
                yield from measure(
                    REGISTRY[name], case, dtype, self.clock, self.memory, self.against, self.rotated
                )


def prepare() -> Bench:
    """Return what measures the GPU of the current backend."""
    xp: Any = current_backend().namespace
    scratch = xp.ones(ROTATED // 4, "float32")
    device = xp.cuda.Device()
    properties = xp.cuda.runtime.getDeviceProperties(device.id)
    versions = {"cupy": xp.__version__, "CUDA": str(xp.cuda.runtime.runtimeGetVersion())}
    against = rivals()
    if against:
        versions["torch"] = importlib.import_module("torch").__version__
    return Bench(
        Clock(xp.cuda, scratch),
        Memory(machine.machine_of(scratch).shared_memory, device.attributes["L2CacheSize"]),
        against,
        {"device": properties["name"].decode(), **versions},
    )
