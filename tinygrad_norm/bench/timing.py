"""Timing: contestants take turns, so that a slow second of the machine is slow for all of them.

What is taken is processor time, which other programs on the machine disturb least. Everybody has one
thread and nobody waits, so on an idle machine it is the time on the wall.
"""

import os
import platform
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy

Contestants = Mapping[str, Callable[[], Any]]


def best_times(contestants: Contestants, seconds: float = 1.0) -> dict[str, float]:
    """Return each contestant's best processor time in seconds for one call.

    They run A B C A B C ... for `seconds`, and at least ten rounds. A turn is one call that brings back
    into the caches what the others drove out, then as many timed ones as take about ten milliseconds:
    a training step of 0.5 ms needs ten of them to be as fast as it is in training.
    """
    calls = {name: _calls_per_round(function) for name, function in contestants.items()}
    best = dict.fromkeys(contestants, float("inf"))
    start, rounds = time.perf_counter(), 0
    while rounds < 10 or time.perf_counter() - start < seconds:
        for name, function in contestants.items():
            n = calls[name]
            function()
            began = time.process_time()
            for _ in range(n):
                function()
            best[name] = min(best[name], (time.process_time() - began) / n)
        rounds += 1
    return best


def _calls_per_round(function: Callable[[], Any], target: float = 1e-2) -> int:
    function()  # warms caches, compiles, allocates
    began = time.process_time()
    function()
    return max(1, int(target / max(time.process_time() - began, 1e-9)))


SETTINGS = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # Freed memory is kept, so that nobody is charged for page faults that a training loop has once.
    **dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(1 << 30)),
}
"""The environment of a fair comparison; libraries read it when they are loaded."""


def is_fair() -> bool:
    """Return whether this process was started with `SETTINGS`."""
    return all(os.environ.get(name) == value for name, value in SETTINGS.items())


def torch_if_installed() -> Any:
    """Return PyTorch, on one thread, or None."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    return torch


def environment() -> dict[str, str]:
    """Return what a reader needs to compare figures: versions, threads, processor."""
    torch = torch_if_installed()
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "torch": torch.__version__ if torch else "not installed",
        "threads": "1 each" if is_fair() else "as the environment says",
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
