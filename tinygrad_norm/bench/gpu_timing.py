"""Time handwritten kernels on a GPU, and PyTorch and Triton on the same device.

An efficient op is bound by memory bandwidth, so the measure is how close it comes to a copy:

    rate = floor / time        floor: the bytes that any implementation must read and write
    fraction = rate / C        C: bytes per second that a copy reads and writes, measured in the same run

Times are GPU times between two events; the median is reported. Three measures make them reliable. If the
host is slower than the GPU, the GPU would wait: it is given copies to do first, so that the host runs
ahead. The previous call leaves data in the cache: calls rotate through buffers that are several times as
large as any cache. The device may be slower for a while: contestants take turns.
"""

from __future__ import annotations

import functools
import gc
import importlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy

from ..backends import Array, current_backend, namespace
from ..backends.cuda import machine
from ..registry import Case
from .gpu_data import Data
from .gpu_ops import SUBJECTS, Call, Memory, Optimizer
from .gpu_plan import Planned
from .kernel_baselines import COMPILED, Maker, baselines

ROTATED = 1 << 28  # bytes, of x alone; and at least CACHES times the L2 cache
CACHES = 4
ROUNDS = 20

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One direction of one op at one size: the minimum bytes, and seconds by contestant, "ours" first.

    Contestants that do not fit in the GPU's memory are left out; if "ours" does not fit, all are.
    """

    op: str
    case: str
    dtype: str
    direction: str
    floor: int
    seconds: Mapping[str, float]

    @property
    def rate(self) -> float | None:
        """Bytes per second, counting only the minimum; None if nothing was timed."""
        return self.floor / self.seconds["ours"] if self.seconds else None

    def ratio(self, baseline: str) -> float | None:
        """Return how many times as long the baseline takes; None if it was not timed."""
        return self.seconds[baseline] / self.seconds["ours"] if baseline in self.seconds else None


def cells(row: Row, copy_rate: float, baselines: Sequence[str]) -> list[str]:
    """Return a row of the table: op, sizes, direction, µs, GB/s, fraction of a copy, ratios to baselines."""
    ratios = [f"{ratio:.2f}" if (ratio := row.ratio(baseline)) is not None else "–" for baseline in baselines]
    figures = ["–"] * 3
    if row.rate is not None:
        figures = [
            f"{row.seconds['ours'] * 1e6:.1f}",
            f"{row.rate / 1e9:.0f}",
            f"{row.rate / copy_rate:.2f}",
        ]
    return [row.op, row.case, row.direction, *figures, *ratios]


# -- time


class Clock:
    """Time calls on a GPU, on its current stream; `cuda` is `cupy.cuda`."""

    def __init__(self, cuda: Any, scratch: Array) -> None:
        self.cuda, self._source, self._target = cuda, scratch, scratch.copy()
        self.copy_seconds = self._copy_seconds()
        self.copy_rate = 2 * scratch.nbytes / self.copy_seconds

    def _copy(self) -> None:
        namespace(self._source).copyto(self._target, self._source)

    def _copy_seconds(self) -> float:
        def copy_back() -> None:
            namespace(self._source).copyto(self._source, self._target)

        self.copy_seconds = 0.0
        return statistics.median(self.times({"copy": [self._copy, copy_back]})["copy"])

    def times(self, contestants: Mapping[str, Sequence[Call]], least: float = 0.0) -> dict[str, list[float]]:
        """Return the seconds of every call after a first round; contestants take turns.

        Runs for at least `least` seconds, and ROUNDS calls of the contestant with the most buffers.
        """
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for calls in contestants.values():
            self._round(calls, 0.0)
        start, most = time.perf_counter(), max(contestants, key=lambda name: len(contestants[name]))
        while len(seconds[most]) < ROUNDS or time.perf_counter() - start < least:
            for name, calls in contestants.items():
                began = time.perf_counter()
                self._round(calls, 0.0)
                host = time.perf_counter() - began
                seconds[name] += self._round(calls, host)
        return seconds

    def _round(self, calls: Sequence[Call], ahead: float) -> list[float]:
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


# -- measuring


def copies_of(case: Case, itemsize: int, rotated: int) -> int:
    """Return how many copies of the case's first input make `rotated` bytes; at least two."""
    shape: Any = case.inputs[0]
    return max(2, -(-rotated // (itemsize * math.prod(shape))))


@dataclass(frozen=True)
class Bench:
    """A GPU ready for measurements: its clock, its memory, the baselines, and the environment to report."""

    clock: Clock
    memory: Memory
    against: Mapping[str, Maker]
    environment: Mapping[str, str]
    rotated: int = ROTATED
    free_memory: Callable[[], None] = lambda: None  # empties the memory pools of all contestants

    def rows(
        self, plan: Sequence[Planned], dtype: numpy.dtype, seconds: float, limit: float = math.inf
    ) -> Iterator[list[Row]]:
        """Yield the rows of one planned case after the other, until `limit` seconds are over.

        A case shares what is left of them with those to come: see `measure`.
        """
        start = time.perf_counter()
        for k, one in enumerate(plan):
            left = limit - (time.perf_counter() - start)
            if left <= 0:
                return
            share = left / (len(plan) - k)
            yield list(self.measure(one.name, one.case, dtype, seconds, share, one.compiled))

    def measure(
        self,
        name: str,
        case: Case,
        dtype: numpy.dtype,
        seconds: float,
        share: float = math.inf,
        compiled: bool = True,
    ) -> Iterator[Row]:
        """Yield a row for every direction of one case, with the medians of all contestants that fit.

        After `share` seconds, the baselines that are not prepared yet are left out; so is PyTorch's compiler
        unless `compiled`.
        """
        start = time.perf_counter()
        self.free_memory()
        subject = SUBJECTS[name]
        copies = 1 if isinstance(subject, Optimizer) else copies_of(case, dtype.itemsize, self.rotated)
        data = self._within_memory(functools.partial(Data, case, dtype, copies))
        ours = None if data is None else self._within_memory(functools.partial(subject.calls, data))
        calls = {} if ours is None else {"ours": ours}
        for baseline, make in self.against.items():
            late = time.perf_counter() - start >= share
            if data is None or ours is None or late or (baseline == COMPILED and not compiled):
                continue
            theirs = self._within_memory(functools.partial(make, name, data))
            if theirs is not None:
                calls[baseline] = theirs
        for direction, floor in subject.floors(case, dtype, self.memory).items():
            chosen = {contestant: made[direction] for contestant, made in calls.items()}
            times = self._within_memory(functools.partial(self.clock.times, chosen, seconds)) if calls else {}
            medians = {contestant: statistics.median(taken) for contestant, taken in (times or {}).items()}
            yield Row(name, str(case), dtype.name, direction, floor, medians)

    def _within_memory(self, act: Callable[[], T]) -> T | None:
        """Return the result of `act`, or None if it needs more memory than the GPU has."""
        try:
            return act()
        except Exception as error:
            # CuPy's OutOfMemoryError is a MemoryError, PyTorch's is a RuntimeError.
            if type(error).__name__ != "OutOfMemoryError":
                raise
        self.free_memory()
        return None


def storage(name: str) -> numpy.dtype:
    """Return the dtype called `name`, after checking that the current backend supports it.

    Raises:
        RuntimeError: for bfloat16, if ml_dtypes is not installed or CuPy is too old.
    """
    if name != "bfloat16":
        return numpy.dtype(name)
    try:
        dtype = numpy.dtype(importlib.import_module("ml_dtypes").bfloat16)
    except ImportError:
        raise RuntimeError("bfloat16 needs a package: pip install ml_dtypes") from None
    try:
        current_backend().namespace.zeros(1, "float32").astype(dtype)
    except (TypeError, ValueError, KeyError) as error:
        raise RuntimeError(f"this CuPy has no bfloat16: pip install a newer version ({error})") from None
    return dtype


def free_memory(xp: Any, against: Mapping[str, Maker]) -> None:
    """Empty the memory pools of CuPy (`xp`) and PyTorch: neither can use the memory of the other."""
    gc.collect()
    xp.get_default_memory_pool().free_all_blocks()
    if against:
        importlib.import_module("torch").cuda.empty_cache()


def prepare(rotated: int | None = None) -> Bench:
    """Return a Bench for the GPU of the current backend; `rotated` bytes of x, or as many as it needs."""
    xp: Any = current_backend().namespace
    device = xp.cuda.Device()
    cache = device.attributes["L2CacheSize"]
    rotated = rotated or max(ROTATED, CACHES * cache)
    scratch = xp.ones(rotated // 4, "float32")
    properties = xp.cuda.runtime.getDeviceProperties(device.id)
    versions = {"cupy": xp.__version__, "CUDA": str(xp.cuda.runtime.runtimeGetVersion())}
    against = baselines()
    modules = {"torch": "PyTorch eager", "triton": "Triton"}
    for module in (module for module, baseline in modules.items() if baseline in against):
        versions[module] = importlib.import_module(module).__version__
    return Bench(
        Clock(xp.cuda, scratch),
        Memory(machine.machine_of(scratch).shared_memory, cache),
        against,
        {"device": properties["name"].decode(), **versions},
        rotated,
        free_memory=functools.partial(free_memory, xp, against),
    )
