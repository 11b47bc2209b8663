"""Ranks: a run on several processes, each with its shard of every batch. Rank 0 alone writes files.

The batches are those of one process, whatever the number of ranks is: rank r of R has the r-th of R
neighbouring parts, the first of which have one sample more if they are not equal. So the losses and weights
are those of one process, if no layer has statistics of the shard (BatchNorm; SyncBatchNorm has those of the
batch) and no dropout: its masks are drawn by each rank from a stream of its own.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from ..autograd.tensor import Tensor
from ..backends import to_numpy
from ..backends.random import generator, manual_seed, mask_state, set_mask_state
from ..distributed.group import Group
from ..distributed.reducer import Reducer
from ..distributed.sharding import shard
from ..module import Module
from .task import Batch, Sums, Task

RandomState = tuple[Mapping[str, Any], list[int]]
"""The state of a process's random numbers: the generator's, and that of the masks of a GPU."""


class Ranks:
    """The part of this process in a run on all processes of `group`."""

    def __init__(self, group: Group) -> None:
        self.group = group

    @property
    def first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.group.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are other processes."""
        return self.group.size > 1

    def check_start(self, model: Module, settings: Mapping[str, Any], task: Task) -> None:
        """Check that all ranks start with the same settings, data and weights; then average their gradients.

        The data are all parts of those of `task`: the ranks share the work of evaluating them too.

        Raises:
            RuntimeError: on all ranks, if one differs from rank 0; the message names it.
        """
        if not self.several:
            return
        weights = 0
        for name, value in model.state_dict().items():
            weights = zlib.crc32(to_numpy(value.array).tobytes(), zlib.crc32(name.encode(), weights))
        names = {"train": "training"}
        data = {f"checksum_of_the_{names.get(k, k)}_data": value for k, value in task.checksums().items()}
        self.group.check_same(**settings, **data, checksum_of_the_weights=weights)
        self.reducer = Reducer(model.parameters(), self.group)

    def shard(self, batch: Batch) -> tuple[Batch, float]:
        """Return this rank's part of a batch, and its weight in the mean over ranks; see weighing.py."""
        if not self.several:
            return batch, 1.0
        part = shard(batch, self.group)
        return part, len(part[0]) * self.group.size / len(batch[0])

    def join(self, sums: Sums) -> Sums:
        """Return the sums over all ranks, of sums that were read."""
        return sum(self.group.all_gather_object(sums), Sums()) if self.several else sums

    def share_buffers(self, model: Module) -> None:
        """Give the model the buffers of rank 0: those of layers with statistics of the shard differ."""
        for buffer in model.buffers() if self.several else ():
            self.group.broadcast(buffer.array)
            buffer.mark_written()

    # -- random numbers

    def own_stream(self, seed: int, epoch: int = 0) -> None:
        """Let the ranks after the first draw random numbers of their own from now on."""
        if not self.first:
            key = numpy.random.SeedSequence(seed, spawn_key=(self.group.rank, epoch))
            manual_seed(int(key.generate_state(1, numpy.uint64)[0]))

    def random_states(self) -> list[RandomState]:
        """Return the states of all ranks."""
        state = generator().bit_generator.state, mask_state()
        return self.group.all_gather_object(state) if self.several else [state]

    def restore_random_state(self, states: Sequence[RandomState], seed: int, epoch: int) -> None:
        """Continue from the states of a run; if it had other ranks, all but the first start anew."""
        if self.first or len(states) == self.group.size:
            generator().bit_generator.state, masks = states[self.group.rank]
            set_mask_state(masks)
        else:
            self.own_stream(seed, epoch)


def sum_of_nothing(outputs: Tensor) -> Tensor:
    """Return a loss of an empty shard: 0, with the graph of the outputs, so that no other rank waits."""
    return (outputs * 0).sum()
