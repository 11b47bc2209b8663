"""Checks of indices on the GPU that do not make the host wait for it.

The host can look at a value on the GPU only after waiting until it is computed. So a check keeps the largest
index that it has seen in the GPU's memory, and the error is raised when the host next reads an array anyway
(`.item()`, `.numpy()`, printing). This works inside a captured step too: each replay repeats the check.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy

from .. import Array, namespace
from .capture import current_graph


class _Check(NamedTuple):
    """All indices must be below `limit`; "{}" in `message` stands for one that is not."""

    array_type: type
    device: int
    limit: int
    message: str
    error: type[Exception]


_largest: dict[_Check, Array] = {}
_unread: set[_Check] = set()


def check_later(index: Array, limit: int, message: str, error: type[Exception] = IndexError) -> None:
    """Check that the integers `index` (...) are from 0 to limit - 1, without waiting for the GPU.

    A wrong one raises error(message.format(wrong)) when the host next reads an array of the GPU.

    Raises:
        RuntimeError: if a step is captured that did not make this check when it warmed up.
    """
    if not index.size:
        return
    xp = namespace(index)
    check = _Check(type(index), getattr(getattr(index, "device", None), "id", 0), limit, message, error)
    graph = current_graph()
    if check not in _largest:
        if graph is not None and graph.capturing:  # a capture would not write the 0
            raise RuntimeError(
                "indices are checked that the run before did not check: let the step warm up until it does "
                "the same every time"
            )
        _largest[check] = xp.zeros((), numpy.uint64)
    largest = _largest[check]
    # A negative index is a very large one without its sign: one comparison for both ends.
    xp.maximum(largest, index.astype(numpy.int64, copy=False).view(numpy.uint64).max(), out=largest)
    _unread.add(check)
    if graph is not None:
        graph.after_each_run(functools.partial(_unread.add, check))


def check_all_later(right: Array, message: str, error: type[Exception] = ValueError) -> None:
    """Check that all bools of `right` are True; else error(message) is raised as by `check_later`."""
    check_later((~right).astype(numpy.int64), 1, message, error)


def raise_found() -> None:
    """Raise the error of a check that has found a wrong index since the last call: this waits for the GPU."""
    while _unread:
        check = _unread.pop()
        largest = _largest[check]
        wrong = numpy.uint64(largest.item())
        if wrong >= check.limit:
            largest.fill(0)
            raise check.error(check.message.format(wrong.view(numpy.int64)))


def raises_found(to_numpy: Callable[[Any], numpy.ndarray]) -> Callable[[Any], numpy.ndarray]:
    """Return `to_numpy`, which copies an array from the GPU, made to raise what checks have found."""

    @functools.wraps(to_numpy)
    def checked(x: Any) -> numpy.ndarray:
        values = to_numpy(x)
        raise_found()
        return values

    return checked
