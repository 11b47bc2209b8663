"""MPI: messages with NumPy's arrays between the processes that `mpiexec` started, by mpi4py.

There are two communicators, so that two orders are independent: that in which gradients are sent, which a
rank whose loss leaves out some parameters finds earlier or later, and that of all other messages.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy

from ..backends import Array
from .group import Alone, Group, Work
from .lifeline import Lifeline
from .watcher import ENDED, LEFT


def launched(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many processes an MPI launcher says it has started with this one; 0 if it started one."""
    sizes = (environment.get(name, "") for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE"))
    largest = max(int(size) if size.isdecimal() else 0 for size in sizes)
    return largest if largest > 1 else 0


def perhaps_launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether a launcher that does not say how many may have started several: MPI must be asked."""
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "")
    return "PMIX_RANK" in environment or (tasks.isdecimal() and int(tasks) > 1)


def mpi_group() -> Group:
    """Return the group of all processes that were started together.

    Raises:
        RuntimeError: if there are several, and mpi4py or an MPI library is missing, or they cannot find each
            other.
    """
    expected = launched()
    if not expected and not (perhaps_launched() and find_spec("mpi4py")):
        return _alone()
    lifeline = Lifeline() if sys.platform == "linux" else None
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # mpi4py's: no MPI library was found
        raise RuntimeError(
            f"several processes were started, but they cannot find each other: {error}. pip install "
            "'tinygrad_norm[mpi]', and start them with the mpiexec that it brings"
        ) from error
    world = MPI.COMM_WORLD
    if not expected and world.size == 1:
        return _alone()
    if expected and world.size != expected:
        raise RuntimeError(
            f"mpiexec started {expected} processes, but mpi4py found {world.size}: it was built for another "
            "MPI than that of mpiexec. Use the mpiexec beside this Python, from pip install "
            "'tinygrad_norm[mpi]'"
        )
    local = world.Split_type(MPI.COMM_TYPE_SHARED)
    if lifeline:
        lifeline.attach(local, world.rank, world.size)
        atexit.register(_leave, MPI, lifeline)

    def end_all(status: int) -> None:
        if lifeline:
            lifeline.leave(ENDED)
        world.Abort(status)

    machine = local.bcast(world.rank)
    return Group(world.rank, world.size, MpiCollectives(MPI, world), end_all, local.rank, machine)


def _alone() -> Group:
    return Group(0, 1, Alone(), lambda status: None)


def _leave(MPI: Any, lifeline: Lifeline) -> None:
    """Wait until all ranks end, as MPI does at exit, and only then take leave: it may be killed meanwhile."""
    if not MPI.Is_finalized():
        MPI.Finalize()
    lifeline.leave(LEFT)


class MpiCollectives:
    """Carries messages with NumPy's arrays over copies of the communicator `comm`."""

    def __init__(self, MPI: Any, comm: Any) -> None:
        self.MPI, self.size = MPI, comm.size
        self.blocking, self.started = comm.Dup(), comm.Dup()

    def broadcast(self, x: Array) -> None:
        """As bytes: MPI has no type for some dtypes."""
        self.blocking.Bcast([x, x.nbytes, self.MPI.BYTE], root=0)

    def all_gather(self, x: Array) -> Array:
        gathered: Any = numpy.empty((self.size, *x.shape), x.dtype)
        self.blocking.Allgather([x, x.nbytes, self.MPI.BYTE], [gathered, x.nbytes, self.MPI.BYTE])
        return gathered

    def all_reduce(self, x: Array) -> None:
        self.blocking.Allreduce(self.MPI.IN_PLACE, x, op=self.MPI.SUM)

    def start_all_reduce(self, x: Array) -> Work:
        return MpiWork(self.started.Iallreduce(self.MPI.IN_PLACE, x, op=self.MPI.SUM))


class MpiWork:
    """A request of MPI: most libraries proceed only while they are called."""

    def __init__(self, request: Any) -> None:
        self.request = request

    def poll(self) -> None:
        self.request.Test()

    def wait(self) -> None:
        self.request.Wait()
