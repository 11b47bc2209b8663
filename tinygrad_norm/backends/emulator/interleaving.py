"""The settings of launches: order, checks and timeout; and the record of launches."""

import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy


@dataclass(frozen=True)
class Schedule:
    """The settings of a launch.

    Attributes:
        seed: chooses the order of blocks, warps and lanes; 0 is ascending order.
        checked: runs the build that reports races and invalid accesses.
        timeout: in seconds; a launch that takes longer is stopped.
        flush_to_zero: reads and writes subnormal numbers as zero, as code compiled with -ftz=true does on a
            GPU; launches with arrays of float64 are not changed. Needs an x86 processor.
    """

    seed: int = 0
    checked: bool = False
    timeout: float = 60.0
    flush_to_zero: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.seed, int | numpy.integer) or not 0 <= self.seed < 2**64:
            raise ValueError(f"seed must be an integer from 0 to 2⁶⁴ - 1, not {self.seed!r}")
        if not isinstance(self.timeout, int | float) or not self.timeout > 0:
            raise ValueError(f"timeout must be a positive number of seconds, not {self.timeout!r}")
        if self.flush_to_zero and platform.machine() not in ("x86_64", "AMD64"):
            raise RuntimeError(
                f"flush_to_zero needs an x86 processor, and this is {platform.machine()}: leave it out"
            )


@dataclass(frozen=True)
class Launch:
    """One recorded launch.

    `traffic` maps the index of an array argument to the bytes that all threads read from it and wrote to
    it; it is empty in plain mode. `sizes` maps the same index to the size of the array in bytes.
    """

    name: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_mem: int
    seconds: float
    traffic: dict[int, tuple[int, int]] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)


class _State(threading.local):
    schedule = Schedule()
    records: tuple[list[Launch], ...] = ()


_state = _State()


def current() -> Schedule:
    """Return the schedule in effect."""
    return _state.schedule


@contextmanager
def schedule(
    *,
    seed: int | None = None,
    checked: bool | None = None,
    timeout: float | None = None,
    flush_to_zero: bool | None = None,
) -> Iterator[Schedule]:
    """Change the schedule of the launches inside the block; arguments that are None keep their setting.

    Raises:
        ValueError: if the seed is negative, or the timeout is not positive.
        RuntimeError: for flush_to_zero, if the processor is not an x86.
    """
    now = current()
    chosen = Schedule(
        now.seed if seed is None else seed,
        now.checked if checked is None else checked,
        now.timeout if timeout is None else timeout,
        now.flush_to_zero if flush_to_zero is None else flush_to_zero,
    )
    _state.schedule = chosen
    try:
        yield chosen
    finally:
        _state.schedule = now


@contextmanager
def record() -> Iterator[list[Launch]]:
    """Collect the launches made inside the block, in order, in the list that it yields."""
    launches: list[Launch] = []
    before = _state.records
    _state.records = (*before, launches)
    try:
        yield launches
    finally:
        _state.records = before


def note(launch: Launch) -> None:
    """Add `launch` to every open record."""
    for launches in _state.records:
        launches.append(launch)
