"""The world: the group of all processes that were started together."""

from __future__ import annotations

import sys
import traceback
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType

import numpy

from ..backends import current_backend
from .group import Alone, Group
from .mpi import mpi_group


class _World:
    group = Group(0, 1, Alone(), lambda status: None)
    initialized = False


_world = _World()


def init() -> Group:
    """Join the other processes; a process that was not started by mpiexec stays alone, as a group of one.

    Call it in every process, once, before a model is made, and choose the backend before: on GPUs, the
    processes of a machine take one each. From then on, an error that nothing catches ends all processes, with
    its traceback and the number of its rank; the others would wait for it forever. Ctrl-C ends all too.

    Raises:
        RuntimeError: if mpi4py is missing or does not fit the launcher, there are too few GPUs, or a rank has
            another version or backend than rank 0; the message names it.
    """
    if _world.initialized:
        return _world.group
    group = mpi_group()
    if current_backend().name == "cupy":
        from ..backends.cuda.nccl import take_device

        take_device(group.local_rank)
    _world.group, _world.initialized = group, True
    if group.size > 1:
        sys.excepthook = _end_all
        group.check_same(
            version_of_tinygrad_norm=_own_version(),
            version_of_NumPy=numpy.__version__,
            backend=current_backend().name,
        )
    return group


def is_initialized() -> bool:
    """Return whether `init` was called."""
    return _world.initialized


def default_group() -> Group:
    """Return the group of all processes; before `init`, this process alone."""
    return _world.group


def get_rank() -> int:
    """Return the number of this process, from 0; 0 before `init`."""
    return _world.group.rank


def get_world_size() -> int:
    """Return the number of processes; 1 before `init`."""
    return _world.group.size


def _own_version() -> str:
    try:
        return version("tinygrad_norm")
    except PackageNotFoundError:
        return "not installed"  # its files are on the path


def _end_all(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        _world.group.end("Stopped by Ctrl-C.", status=130)
    lines = traceback.format_exception(kind, error, trace)
    _world.group.abort(f"{lines[-1].strip()}\n{''.join(lines).rstrip()}")
