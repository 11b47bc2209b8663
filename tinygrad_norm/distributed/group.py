"""Group: the processes that train one model together, and the messages between them.

    broadcast(x)          x of rank 0, in place, on every rank
    all_gather(x)         (R, ...): the x of all R ranks, in their order
    all_reduce(x)         add up the x of all ranks, in place
    start_all_reduce(x)   begin to; `wait()` on the result ends it

Every rank makes the same calls in the same order, with arrays of one shape and dtype. The order in which sums
are started is apart from that of all other messages, except on GPUs. `Collectives` is the interface of what
carries them out. It is chosen by where x lives: MPI for arrays of the CPU (mpi.py), NCCL for those of GPUs
(backends/cuda/nccl.py).
"""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

import numpy

from ..backends import Array, backend_of, namespace, to_numpy

DELAY, LONGEST_DELAY = 0.3, 3.0
"""Seconds by which a rank that ends all waits longer than the rank before it, and the most that one waits."""


class Work(Protocol):
    """A message that is under way."""

    def poll(self) -> None:
        """Let it proceed, without waiting."""

    def wait(self) -> None:
        """Wait until it is complete: before that, the array must be neither read nor written."""


class Collectives(Protocol):
    """Messages between all ranks, with contiguous arrays of one kind of memory."""

    def broadcast(self, x: Array) -> None: ...
    def all_gather(self, x: Array) -> Array: ...
    def all_reduce(self, x: Array) -> None: ...
    def start_all_reduce(self, x: Array) -> Work: ...


class Group:
    """`size` processes, of which this one is number `rank`, counted from 0.

    Args:
        rank: the number of this process.
        size: the number of processes.
        host: carries messages with NumPy's arrays.
        end_all: ends all processes with an exit status, without waiting for them.
        local_rank: the number of this process among those of its machine.
        machine: the number of the first process of its machine.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        host: Collectives,
        end_all: Callable[[int], None],
        local_rank: int = 0,
        machine: int = 0,
    ) -> None:
        self.rank, self.size, self.local_rank, self.machine = rank, size, local_rank, machine
        self._host, self._end_all = host, end_all
        self._by_backend: dict[str, Collectives] = {"numpy": host}

    def broadcast(self, x: Array) -> None:
        """Overwrite the array `x` with that of rank 0."""
        if x.flags.c_contiguous:
            self._for(x).broadcast(x)
        else:
            copy = x.copy(order="C")
            self._for(x).broadcast(copy)
            x[...] = copy

    def all_gather(self, x: Array) -> Array:
        """Return the arrays `x` of all ranks, as (R, ...)."""
        return self._for(x).all_gather(namespace(x).ascontiguousarray(x))

    def start_all_reduce(self, x: Array) -> Work:
        """Begin to replace `x`, contiguous, by its sum over all ranks, in place."""
        return self._for(x).start_all_reduce(x)

    def all_reduce(self, x: Array) -> None:
        """Replace `x`, contiguous, by its sum over all ranks, in place."""
        self._for(x).all_reduce(x)

    def all_gather_object(self, value: Any) -> list[Any]:
        """Return the values of all ranks, which are small Python objects."""
        message = numpy.frombuffer(pickle.dumps(value), numpy.uint8)
        lengths = self._host.all_gather(numpy.array([message.size]))[:, 0]
        padded = numpy.zeros(lengths.max(), numpy.uint8)
        padded[: message.size] = message
        messages: Any = self._host.all_gather(padded)
        return [pickle.loads(sent[:length].tobytes()) for sent, length in zip(messages, lengths, strict=True)]

    def check_same(self, **values: Any) -> None:
        """Check that `values`, small Python objects by name, are those of rank 0 on every rank.

        Raises:
            RuntimeError: on all ranks, if they are not; the message names the first rank that differs.
        """
        first, *others = self.all_gather_object(values)
        for rank, other in enumerate(others, 1):
            for name, value in first.items():
                if other[name] != value:
                    raise RuntimeError(
                        f"rank {rank} has another {name.replace('_', ' ')} than rank 0 ({other[name]!r} "
                        f"instead of {value!r}): all processes of a training must start with the same"
                    )

    def abort(self, message: str, status: int = 1) -> NoReturn:
        """Print `message` with the number of this rank, and end the processes of all ranks."""
        self.end(f"rank {self.rank} of {self.size}: {message}", status)

    def end(self, message: str, status: int) -> NoReturn:
        """Print `message`, and end the processes of all ranks.

        If several ranks do at once, most often for the same reason, the message is that of the first.
        """
        time.sleep(min(self.rank * DELAY, LONGEST_DELAY))
        sys.stderr.write(f"{message}\n")  # in one piece: others write too
        sys.stderr.flush()
        self._end_all(status)
        raise SystemExit(status)

    def _for(self, x: Array) -> Collectives:
        name = backend_of(x).name
        if name not in self._by_backend:
            self._by_backend[name] = self._nccl() if name == "cupy" else ThroughHost(self._host)
        return self._by_backend[name]

    def _nccl(self) -> Collectives:
        from ..backends.cuda.nccl import NcclCollectives, new_id

        identity = numpy.zeros(128, numpy.int8) if self.rank else numpy.array(new_id(), numpy.int8)
        self._host.broadcast(identity)
        return NcclCollectives(self.rank, self.size, tuple(identity.tolist()))

    def __deepcopy__(self, _: dict[int, Any]) -> Group:
        return self  # a copy of a model trains in the same group


class ThroughHost:
    """Carries messages with arrays of any backend by way of NumPy's."""

    def __init__(self, host: Collectives) -> None:
        self.host = host

    def broadcast(self, x: Array) -> None:
        values = to_numpy(x).copy()
        self.host.broadcast(values)
        x[...] = backend_of(x).from_numpy(values)

    def all_gather(self, x: Array) -> Array:
        gathered: Any = self.host.all_gather(to_numpy(x))
        return backend_of(x).from_numpy(gathered)

    def all_reduce(self, x: Array) -> None:
        values = to_numpy(x).copy()
        self.host.all_reduce(values)
        x[...] = backend_of(x).from_numpy(values)

    def start_all_reduce(self, x: Array) -> Work:
        return _CopiedBack(self.host, x)


class _CopiedBack:
    def __init__(self, host: Collectives, x: Array) -> None:
        self.x, self.values = x, to_numpy(x).copy()
        self.work = host.start_all_reduce(self.values)

    def poll(self) -> None:
        self.work.poll()

    def wait(self) -> None:
        self.work.wait()
        self.x[...] = backend_of(self.x).from_numpy(self.values)


class Alone:
    """Carries the messages of a single process, which is its whole group."""

    def broadcast(self, x: Array) -> None: ...
    def all_reduce(self, x: Array) -> None: ...
    def poll(self) -> None: ...
    def wait(self) -> None: ...

    def all_gather(self, x: Array) -> Array:
        return x[None].copy()

    def start_all_reduce(self, x: Array) -> Work:
        return self
