"""Timing: contestants take turns, so that a slow moment of the machine slows all of them equally.

With one thread, CPU time is measured, since other programs disturb it least; on an idle machine it equals
wall time, because one thread never waits. With several threads, CPU time would be their sum, so wall time
is measured; so it is if each program has the threads that it takes by default.
"""

import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from types import MappingProxyType
from typing import Any, TypeVar

import numpy

from ..backends.cpu.threads import blas_threads
from ..learn.loading import LOADED, load_all
from .rungs import LOOPS, loop_facts, on_rung

Contestants = Mapping[str, Callable[[], Any]]


def best_times(
    contestants: Contestants, seconds: float = 1.0, rung: Mapping[str, str] = MappingProxyType({})
) -> dict[str, float]:
    """Return each contestant's best time in seconds for one call; `rung` names those not on the default rung.

    They run A B C A B C ... for `seconds`, and at least ten rounds. A turn is one untimed call, which
    reloads the caches, then about ten milliseconds of timed calls: a training step of 0.5 ms reaches the
    speed of real training only after ten calls.
    """
    clock = clock_of_calls()
    calls = {}
    for name, function in contestants.items():
        with on_rung(rung.get(name, LOOPS)):
            calls[name] = _calls_per_round(function, clock)
    best = dict.fromkeys(contestants, float("inf"))
    start, rounds = time.perf_counter(), 0
    while rounds < 10 or time.perf_counter() - start < seconds:
        for name, function in contestants.items():
            n = calls[name]
            with on_rung(rung.get(name, LOOPS)):
                function()
                began = clock()
                for _ in range(n):
                    function()
                best[name] = min(best[name], (clock() - began) / n)
        rounds += 1
    return best


def clock_of_calls() -> Callable[[], float]:
    """Return the clock to use: CPU time with one thread, wall time with several or the default."""
    return time.process_time if thread_limit() == 1 else time.perf_counter


def _calls_per_round(function: Callable[[], Any], clock: Callable[[], float], target: float = 1e-2) -> int:
    function()  # warms caches, compiles, allocates
    began = clock()
    function()
    return max(1, int(target / max(clock() - began, 1e-9)))


LIMITS = ("TINYGRAD_NORM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
KEEPING = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(1 << 30))
"""Make glibc keep freed memory, so that page faults that occur once in a training loop are not measured."""


def settings(threads: int = 1) -> dict[str, str]:
    """Return the environment variables of a fair comparison; libraries read them when they are loaded."""
    xla = {"NPROC": str(threads), "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()}"}
    return {**dict.fromkeys(LIMITS, str(threads)), **xla, **KEEPING}


def is_fair(threads: int = 1) -> bool:
    """Return whether this process was started with `settings(threads)`."""
    return all(os.environ.get(name) == value for name, value in settings(threads).items())


def thread_limit() -> int | None:
    """Return the number of threads of all programs, or None if each has its default."""
    limits = {os.environ.get(name) for name in LIMITS}
    limit = limits.pop()
    return None if limits or limit is None else int(limit)


T = TypeVar("T")


def with_default_malloc(function: Callable[..., T], *arguments: Any) -> T:
    """Return function(*arguments), computed in a new process whose malloc returns freed memory."""
    kept = {name: os.environ.pop(name) for name in KEEPING if name in os.environ}
    try:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, spawn, initializer=load_all, initargs=(LOADED,)) as process:
            return process.submit(function, *arguments).result()
    finally:
        os.environ.update(kept)


def torch_if_installed() -> Any:
    """Return PyTorch, limited to `thread_limit()` threads, or None if it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    limit = thread_limit()
    if limit is not None:
        torch.set_num_threads(limit)
    return torch


def environment() -> dict[str, str]:
    """Return what is needed to compare figures: versions, threads, processor, clock."""
    torch = torch_if_installed()
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        **loop_facts(),
        "torch": torch.__version__ if torch else "not installed",
        "threads": os.environ.get("TINYGRAD_NORM_THREADS", "1"),
        "BLAS threads": str(thread_limit() or blas_threads()),
        **({"torch threads": str(torch.get_num_threads())} if torch else {}),
        "clock": "processor time" if thread_limit() == 1 else "wall",
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
