"""Counted messages: groups whose messages are counted by kind and timed, and one without other processes.

    kind                    call         elements
    weighing                all-reduce   1, the number of samples
    SyncBatchNorm forward   all-gather   4·C
    SyncBatchNorm backward  all-reduce   2·C
    bucket                  all-reduce   its gradients, and one for each of its parameters

Bytes are those that one rank passes to the call. How many travel depends on the algorithm: see alpha_beta.py.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy

from ..backends import Array
from ..distributed.group import Collectives, Group, Work

WEIGHING, BUCKET = "weighing", "bucket"
FORWARD, BACKWARD = "SyncBatchNorm forward", "SyncBatchNorm backward"
KINDS = (WEIGHING, FORWARD, BACKWARD, BUCKET)


@dataclass(frozen=True)
class Message:
    """A message that this rank has begun at `moment`, in seconds of the record's clock."""

    kind: str
    nbytes: int
    dtype: str
    moment: float

    def repeat(self, group: Group) -> None:
        """Exchange as much in the same way, and wait for it."""
        x = numpy.zeros(self.nbytes // numpy.dtype(self.dtype).itemsize, self.dtype)
        if self.kind == FORWARD:
            group.all_gather(x)
        elif self.kind == BACKWARD:
            group.all_reduce(x)
        else:
            group.start_all_reduce(x).wait()


class Record:
    """The messages since the last `clear`, and the seconds that this rank has spent in their calls."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.clear()

    def clear(self) -> None:
        self.messages: list[Message] = []
        self.seconds = 0.0


def counted_groups(
    group: Group, clock: Callable[[], float] = time.perf_counter
) -> tuple[Group, Group, Record]:
    """Return groups for DistributedDataParallel and for SyncBatchNorm over `group`, and their record."""
    record = Record(clock)

    def counted(*names: str) -> Group:
        return Group(group.rank, group.size, _Counted(group, record, *names), _ends_nothing)

    return counted("at the start", BUCKET), counted(FORWARD, BACKWARD), record


def counts_and_bytes(messages: Iterable[Message]) -> dict[str, tuple[int, int]]:
    """Return how many messages of each kind there are, and their bytes together."""
    sizes = defaultdict(list)
    for message in messages:
        sizes[message.kind].append(message.nbytes)
    return {kind: (len(sizes[kind]), sum(sizes[kind])) for kind in KINDS}


def _ends_nothing(status: int) -> None:
    """Leave it to the group of all processes."""


class _Counted:
    """Passes messages on to `carrier`; all-gathers are of the kind `gathers`, all-reduces of `reduces`."""

    def __init__(self, carrier: Collectives, record: Record, gathers: str, reduces: str) -> None:
        self.carrier, self.record, self.gathers, self.reduces = carrier, record, gathers, reduces

    def broadcast(self, x: Array) -> None:
        self.carrier.broadcast(x)

    def all_gather(self, x: Array) -> Array:
        began = self._begin(self.gathers, x)
        gathered = self.carrier.all_gather(x)
        self.record.seconds += self.record.clock() - began
        return gathered

    def all_reduce(self, x: Array) -> None:
        began = self._begin(self.reduces, x)
        self.carrier.all_reduce(x)
        self.record.seconds += self.record.clock() - began

    def start_all_reduce(self, x: Array) -> Work:
        began = self._begin(WEIGHING if x.dtype.kind == "i" else self.reduces, x)
        work = self.carrier.start_all_reduce(x)
        self.record.seconds += self.record.clock() - began
        return _TimedWork(work, self.record)

    def _begin(self, kind: str, x: Array) -> float:
        began = self.record.clock()
        self.record.messages.append(Message(kind, x.nbytes, str(x.dtype), began))
        return began


class _TimedWork:
    def __init__(self, work: Work, record: Record) -> None:
        self.work, self.record = work, record

    def poll(self) -> None:
        began = self.record.clock()
        self.work.poll()
        self.record.seconds += self.record.clock() - began

    def wait(self) -> None:
        began = self.record.clock()
        self.work.wait()
        self.record.seconds += self.record.clock() - began


def mirrored() -> Group:
    """Return a group of two ranks that are both this process: all the work of messages, but no waiting."""
    return Group(0, 2, _Mirror(), _ends_nothing)


class _Mirror:
    def broadcast(self, x: Array) -> None: ...
    def poll(self) -> None: ...
    def wait(self) -> None: ...

    def all_gather(self, x: Array) -> Array:
        twice: Any = x[None].repeat(2, 0)
        return twice

    def all_reduce(self, x: Array) -> None:
        x *= 2

    def start_all_reduce(self, x: Array) -> Work:
        x *= 2
        return self
