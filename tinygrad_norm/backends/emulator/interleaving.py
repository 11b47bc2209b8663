"""How launches run: in which order, how closely watched, and what they leave on record."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy


@dataclass(frozen=True)
class Schedule:
    """The settings of a launch.

    `seed` chooses the order of blocks, warps and lanes (0: ascending), `checked` asks for the build
    that reports races and bad accesses, `timeout` (seconds) ends a launch that does not end.
    """

    seed: int = 0
    checked: bool = False
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if not isinstance(self.seed, int | numpy.integer) or not 0 <= self.seed < 2**64:
            raise ValueError(f"seed must be an integer of 0 or more, below 2⁶⁴, not {self.seed!r}")
        if not isinstance(self.timeout, int | float) or not self.timeout > 0:
            raise ValueError(f"timeout must be a positive number of seconds, not {self.timeout!r}")


@dataclass(frozen=True)
class Launch:
    """One launch on record.

    `traffic` maps the index of an array argument to the bytes that all threads together read from it
    and wrote to it; it is empty in plain mode. `sizes` has the bytes of that array.
    """

    name: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_mem: int
    seconds: float
    traffic: dict[int, tuple[int, int]] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)


class _State(threading.local):
    # Not context variables: ops switch contexts (ops/ieee.py), and their launches belong here too.
    schedule = Schedule()
    records: tuple[list[Launch], ...] = ()


_state = _State()


def current() -> Schedule:
    """Return the schedule in effect."""
    return _state.schedule


@contextmanager
def schedule(
    *, seed: int | None = None, checked: bool | None = None, timeout: float | None = None
) -> Iterator[Schedule]:
    """Run the launches inside under another schedule; what is not given stays as it was.

    Raises:
        ValueError: for a negative seed or a timeout that is not positive.
    """
    now = current()
    chosen = Schedule(
        now.seed if seed is None else seed,
        now.checked if checked is None else checked,
        now.timeout if timeout is None else timeout,
    )
    _state.schedule = chosen
    try:
        yield chosen
    finally:
        _state.schedule = now


@contextmanager
def record() -> Iterator[list[Launch]]:
    """Collect the launches made inside, in order, in the list it gives."""
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
