"""DistributedDataParallel: one model on several processes, each with a shard of every batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..autograd.grad_mode import is_grad_enabled
from ..autograd.tensor import Tensor
from ..module import Module
from .group import Group
from .reducer import Reducer
from .weighing import Weighing, weigh
from .world import default_group


class DistributedDataParallel(Module):
    """`module`, with its gradients averaged over all processes by the time `backward` returns.

    Each process calls it with its own shard of the batch, and the loss is the mean over that shard. Shards
    count by their samples, the size of axis 0 of the first input that is a tensor, by position or else by
    keyword: with a batch of 7 as 4 and 3 samples, the gradients are those of one process that has all 7. A
    shard may be empty, if the module takes an empty input: its loss must still depend on the outputs, as
    (outputs * 0).sum() does. The gradients of inputs are weighed too, unlike PyTorch's.

    Parameters and buffers are those of rank 0 at first. Buffers of later are each rank's own; SyncBatchNorm
    keeps them equal. The state has the module's names with "module." before them, as in PyTorch.

    Args:
        module: the same on all processes; frozen parameters must be frozen now.
        process_group: from `init`; default: all processes.
        bucket_cap_mb: gradients are sent in parts of about so many MiB.

    Raises:
        RuntimeError: if the modules of the ranks differ in their parameters' names, shapes or dtypes.

    Source: Li et al. 2020, arXiv:2006.15704.
    """

    def __init__(
        self, module: Module, *, process_group: Group | None = None, bucket_cap_mb: float = 1.0
    ) -> None:
        super().__init__()
        self.module = module
        group = default_group() if process_group is None else process_group
        broadcast_state(module, group)
        self.process_group = group
        self.last_weighing: Weighing | None = None
        self.reducer = Reducer(module.parameters(), group, bucket_cap_mb * 2**20)
        self.synchronizes = True

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Accumulate the gradients of forwards in the body on each rank, without messages.

        The first backward of a forward after it averages the sums. All ranks must use it equally:

            with model.no_sync():
                loss(model(first)).backward()
            loss(model(second)).backward()

        Shards of different sizes still exchange their sizes, and SyncBatchNorm its statistics.
        """
        before, self.synchronizes = self.synchronizes, False
        try:
            yield
        finally:
            self.synchronizes = before

    def forward(self, *inputs: Any, **options: Any) -> Any:
        if self.process_group.size == 1 or not is_grad_enabled():
            return self.module(*inputs, **options)
        self.reducer.active = self.synchronizes
        self.reducer.end_broken()
        if self.last_weighing is not None:
            self.last_weighing.weight()  # there may have been no backward to end its message
        self.last_weighing = Weighing(_samples((*inputs, *options.values())), self.process_group)
        return weigh(self.module(*inputs, **options), self.last_weighing)


def broadcast_state(module: Module, group: Group) -> None:
    """Give `module` the parameters and buffers of rank 0.

    Raises:
        RuntimeError: on all ranks, if their names, shapes or dtypes differ; the message says where.
    """
    if group.size == 1:
        return
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    layout = [(name, tensor.shape, str(tensor.dtype)) for name, tensor in tensors.items()]
    layouts = group.all_gather_object(layout)
    for rank, other in enumerate(layouts):
        for own, first in zip(other, layouts[0], strict=False):
            if own != first:
                raise RuntimeError(
                    f"rank {rank} has another model than rank 0: {own} instead of {first}, as (name, shape, "
                    "dtype)"
                )
        if len(other) != len(layouts[0]):
            raise RuntimeError(
                f"rank {rank} has another model than rank 0: {len(other)} parameters and buffers instead of "
                f"{len(layouts[0])}"
            )
    for tensor in tensors.values():
        group.broadcast(tensor.array)
        tensor.mark_written()


def _samples(inputs: tuple[Any, ...]) -> int:
    """Return the size of axis 0 of the first tensor that has one."""
    return next((x.shape[0] for x in inputs if isinstance(x, Tensor) and x.ndim), 1)
