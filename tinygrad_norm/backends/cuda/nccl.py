"""NCCL: messages between GPUs, one per process, by `cupy.cuda.nccl`.

All messages run on one stream of their own, in the order of the calls. It waits for what the current stream
has computed so far, and the current stream waits for it before the result is used. The host waits for
neither, and an all-reduce runs beside the backward of the layers below.

NCCL asks of every rank the same order of all calls. There is one communicator, so with SyncBatchNorm all
ranks must compute the same graph: otherwise its sums and the buckets of gradients would come in another
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from .. import Array
from .availability import load_cupy

_TYPES = {"float16": "NCCL_FLOAT16", "float32": "NCCL_FLOAT32", "float64": "NCCL_FLOAT64"}


def visible_gpus() -> list[str]:
    """Return the PCI bus id of each GPU that this process sees."""
    cupy: Any = load_cupy()
    return [cupy.cuda.Device(i).pci_bus_id for i in range(cupy.cuda.runtime.getDeviceCount())]


def take_device(local_rank: int, seen: Sequence[Sequence[str]]) -> None:
    """Make a GPU that no other process of this machine takes the current one.

    `seen` are the `visible_gpus` of each process of the machine: all, or those that the launcher shows it.

    Raises:
        RuntimeError: if there are more processes than GPUs.
    """
    taken = [gpus[i % len(gpus)] for i, gpus in enumerate(seen)]
    if taken[local_rank] in taken[:local_rank]:
        count = len({gpu for gpus in seen for gpu in gpus})
        raise RuntimeError(
            f"this is process {local_rank + 1} of this machine, which has {count} GPU"
            f"{'s' * (count > 1)}: start one process for each GPU"
        )
    cupy: Any = load_cupy()
    cupy.cuda.Device(local_rank % len(seen[local_rank])).use()


def new_id() -> tuple[int, ...]:
    """Return what all ranks must know to find each other: 128 numbers of 8 bits, with sign."""
    return _nccl().get_unique_id()


def _nccl() -> Any:
    cupy: Any = load_cupy()
    nccl = cupy.cuda.nccl
    if not getattr(nccl, "available", False):
        major = cupy.cuda.runtime.runtimeGetVersion() // 1000
        raise RuntimeError(
            "training on several GPUs needs NCCL, which CuPy does not find: pip install "
            f"nvidia-nccl-cu{major}"
        )
    return nccl


class NcclCollectives:
    """Carries messages with CuPy's arrays, which are contiguous and on the current device of this process."""

    def __init__(self, rank: int, size: int, identity: tuple[int, ...]) -> None:
        self.cupy: Any = load_cupy()
        self.nccl, self.size = _nccl(), size
        self.communicator = self.nccl.NcclCommunicator(size, identity, rank)
        self.stream = self.cupy.cuda.Stream(non_blocking=True)

    def broadcast(self, x: Array) -> None:
        """As bytes: NCCL has no type for some dtypes."""
        self._wait_for_current_stream()
        pointer: int = x.data.ptr  # type: ignore[attr-defined]
        self.communicator.broadcast(pointer, pointer, x.nbytes, self.nccl.NCCL_UINT8, 0, self.stream.ptr)
        self._started(x).wait()

    def all_gather(self, x: Array) -> Array:
        gathered: Any = self.cupy.empty((self.size, *x.shape), x.dtype)
        self._wait_for_current_stream()
        self.communicator.allGather(
            x.data.ptr,  # type: ignore[attr-defined]
            gathered.data.ptr,
            x.nbytes,
            self.nccl.NCCL_UINT8,
            self.stream.ptr,
        )
        self._started(x).wait()
        return gathered

    def all_reduce(self, x: Array) -> None:
        self.start_all_reduce(x).wait()

    def start_all_reduce(self, x: Array) -> NcclWork:
        kind = getattr(self.nccl, _TYPES[numpy.dtype(x.dtype).name])
        self._wait_for_current_stream()
        pointer: int = x.data.ptr  # type: ignore[attr-defined]
        self.communicator.allReduce(pointer, pointer, x.size, kind, self.nccl.NCCL_SUM, self.stream.ptr)
        return self._started(x)

    def _wait_for_current_stream(self) -> None:
        self.stream.wait_event(self.cupy.cuda.get_current_stream().record())

    def _started(self, x: Array) -> NcclWork:
        return NcclWork(self.cupy, self.stream.record(), x)


class NcclWork:
    """A call on NCCL's stream. It keeps its array: memory that is freed may be used at once."""

    def __init__(self, cupy: Any, event: Any, x: Array) -> None:
        self.cupy, self.event, self.x = cupy, event, x

    def poll(self) -> None:
        """Do nothing: a GPU proceeds by itself."""

    def wait(self) -> None:
        """Let the current stream wait; the host does not."""
        self.cupy.cuda.get_current_stream().wait_event(self.event)
