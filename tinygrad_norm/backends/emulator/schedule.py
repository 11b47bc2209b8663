"""How launches run: in which order, how closely watched, and what they leave on record."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


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
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, not {self.seed}")
        if not self.timeout > 0:
            raise ValueError(f"timeout must be a positive number of seconds, not {self.timeout}")


@dataclass(frozen=True)
class Launch:
    """One launch on record.

    `traffic` maps the index of an array argument to the bytes that all threads together read from it
    and wrote to it; it is empty in plain mode.
    """

    name: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_mem: int
    seconds: float
    traffic: dict[int, tuple[int, int]] = field(default_factory=dict)


_schedule: ContextVar[Schedule | None] = ContextVar("schedule", default=None)
_records: ContextVar[tuple[list[Launch], ...]] = ContextVar("records", default=())


def current() -> Schedule:
    """Return the schedule in effect."""
    return _schedule.get() or Schedule()


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
    token = _schedule.set(chosen)
    try:
        yield chosen
    finally:
        _schedule.reset(token)


@contextmanager
def record() -> Iterator[list[Launch]]:
    """Collect the launches made inside, in order, in the list it gives."""
    launches: list[Launch] = []
    token = _records.set((*_records.get(), launches))
    try:
        yield launches
    finally:
        _records.reset(token)


def note(launch: Launch) -> None:
    """Add `launch` to every open record."""
    for launches in _records.get():
        launches.append(launch)
