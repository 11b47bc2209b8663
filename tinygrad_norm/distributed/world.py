"""The world: the group of all processes that were started together."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Any

import numpy

from ..backends import current_backend
from .group import Alone, Group
from .mpi import mpi_group


class _World:
    group = Group(0, 1, Alone(), lambda status: None)
    initialized = False


_world = _World()


def init(prepare: Callable[[], Any] | None = None) -> Group:
    """Join the other processes; a process that was not started by mpiexec stays alone, as a group of one.

    Call it in every process, once, before all that may fail on one rank alone. From then on, an error that
    nothing catches ends all processes, with its traceback and the number of its rank; the others would wait
    for it forever. Ctrl-C ends all too.

    Args:
        prepare: called when the processes have joined; it may choose the backend, as
            `lambda: tn.use_backend("cupy")` does. On GPUs, the processes of a machine then take one each.

    Raises:
        RuntimeError: on all ranks, if mpi4py is missing or does not fit the launcher, `prepare` raises on
            one, there are too few GPUs, or a rank has another version or backend than rank 0; the message
            names it.
    """
    if _world.initialized:
        if prepare is not None:
            _of_all(_world.group, lambda: _backend_after(prepare))
        return _world.group
    group = mpi_group()
    _world.group, _world.initialized = group, True
    if group.size > 1:
        sys.excepthook = _end_all
    backend = _of_all(group, lambda: _backend_after(prepare))[group.rank]
    if group.size > 1:
        group.check_same(
            version_of_tinygrad_norm=_own_version(), version_of_NumPy=numpy.__version__, backend=backend
        )
    if backend == "cupy":
        _take_gpu(group)
    return group


def _backend_after(prepare: Callable[[], Any] | None) -> str:
    if prepare is not None:
        prepare()
    return current_backend().name


def _take_gpu(group: Group) -> None:
    from ..backends.cuda.nccl import take_device, visible_gpus

    all_seen = _of_all(group, lambda: (group.machine, visible_gpus()))
    here = [gpus for machine, gpus in all_seen if machine == group.machine]
    _of_all(group, lambda: take_device(group.local_rank, here))


def _of_all(group: Group, function: Callable[[], Any]) -> list[Any]:
    """Return what `function` returns on each rank; if it raises on one, raise on all."""
    if group.size == 1:
        return [function()]
    mine, problem = None, None
    try:
        mine = function()
    except Exception as error:
        problem = str(error) or type(error).__name__
    found = group.all_gather_object((mine, problem))
    for rank, (_, trouble) in enumerate(found):
        if trouble is not None:
            raise RuntimeError(f"rank {rank}: {trouble}")
    return [value for value, _ in found]


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
