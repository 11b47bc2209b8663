"""Sharding: each rank's part of a batch."""

from __future__ import annotations

from typing import Any

from .group import Group
from .world import default_group


def shard(batch: Any, process_group: Group | None = None) -> Any:
    """Return this rank's part of `batch`: a tensor or an array, or tuples, lists and dicts of some.

    Axis 0 is cut into neighbouring parts, one for each rank, without overlap. If they cannot be equal, the
    first ranks get one sample more; of a batch that is smaller than the number of ranks, the last get none.
    All ranks must pass the same batch: a loader with the same seed on all of them makes it.
    """
    group = default_group() if process_group is None else process_group
    if isinstance(batch, dict):
        return {key: shard(value, group) for key, value in batch.items()}
    if type(batch) in (tuple, list):
        return type(batch)(shard(value, group) for value in batch)
    least, longer = divmod(len(batch), group.size)
    start = group.rank * least + min(group.rank, longer)
    return batch[start : start + least + (group.rank < longer)]
