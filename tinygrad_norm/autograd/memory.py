"""Memory: when a piece of memory was last written to, so that backward detects what was changed in place.

Recorded calls and writes get their time from one clock, so a saved array has changed exactly if it was
written to after its call. Tensors that share memory (views, `detach`) share one `Memory`. Tensors report
their own writes. An array returned by `.data` or `.numpy()` can be written to by any code, so it is
compared by checksum for as long as a reference to it, or to a view of it, exists. A program that never asks
for the raw array pays nothing.
"""

import itertools
import warnings
import weakref
import zlib
from typing import Any

import numpy

from ..backends import Array

tick = itertools.count(1).__next__
"""The clock: every call returns a later time."""


class _Writes:
    latest = 0


writes = _Writes()
"""The time of the latest write to any memory: calls recorded after it need not be checked."""

watched: "set[Memory]" = set()
"""The memories whose raw array is referenced by a user: check them for writes before reading `written`."""


class Memory:
    """When a piece of memory was last written to; 0 means before the first recorded call."""

    __slots__ = ("exposed", "sharing", "written")

    def __init__(self) -> None:
        self.written = 0
        self.exposed: dict[int, _Exposed] = {}
        self.sharing: weakref.WeakValueDictionary[int, Any] | None = None  # a leaf's detached tensors, by id

    def mark_written(self) -> None:
        """Set the time of the last write to now."""
        self.written = writes.latest = tick()

    def check_for_writes(self) -> None:
        """Mark the memory as written if an exposed array has changed since the last check."""
        for exposed in tuple(self.exposed.values()):
            if exposed.was_written():
                self.mark_written()

    def __reduce__(self) -> "tuple[type[Memory], tuple[()]]":
        return Memory, ()  # a copy is new memory

    def share(self, tensor: Any) -> None:
        """Let `tensor`, which has the array of a leaf, follow when that array moves."""
        if self.sharing is None:
            self.sharing = weakref.WeakValueDictionary()  # in a set, tensors would be compared with ==
        self.sharing[id(tensor)] = tensor

    def move(self, old: Array, new: Array) -> None:
        """Give the tensors that share the array `old` the array `new`, which has the same values.

        An array cannot follow: if one returned by `expose` is still referenced, a warning says so, and if
        `old` itself is one, made of another library's memory.
        """
        for tensor in list(self.sharing.values()) if self.sharing else ():
            if tensor.array is old:
                tensor.array = new
        if any(exposed.array is old or is_exposed(old, exposed.array) for exposed in self.exposed.values()):
            warnings.warn(
                "an optimizer moves its parameters to memory of its own: the array of shape "
                f"{new.shape} that .numpy() or .data returned before, or that the memory was shared with by "
                "DLPack, keeps its values: take it again",
                stacklevel=2,
            )

    def expose(self, array: Array) -> Array:
        """Return a view of `array` for users, watched while there is a reference to it or to a view of it.

        Arrays that are not NumPy's are returned unwatched: a checksum would stall the GPU.
        """
        if type(array) is not numpy.ndarray:
            return array
        # The base of a view of a view is the array that owns the memory. A view that is made from a
        # memoryview is itself the base of its views, so every view of it keeps it alive.
        view = numpy.asarray(array.data)
        key = id(view)

        def released(_: object) -> None:
            if self.exposed.pop(key).was_written():
                self.mark_written()
            if not self.exposed:
                watched.discard(self)

        self.exposed[key] = _Exposed(array, weakref.ref(view, released))
        watched.add(self)
        return view


def is_exposed(view: Array, array: Array) -> bool:
    """Return whether `view` is what `expose(array)` returned: all of the array, in its order."""
    return isinstance(view, numpy.ndarray) and isinstance(view.base, memoryview) and view.base.obj is array


def writable(array: Array) -> Array:
    """Return the array.

    Raises:
        RuntimeError: if it cannot be written to.
    """
    if type(array) is numpy.ndarray and not array.flags.writeable:
        raise RuntimeError(
            "this tensor cannot be changed in place: its memory is read-only, as that of an expanded tensor, "
            "whose elements share memory: write to x.clone()"
        )
    return array


def overwrite(array: Array, values: Array) -> None:
    """Write `values` to the array, broadcast to its shape.

    Raises:
        RuntimeError: if the array cannot be written to.
        ValueError: if the values have more axes, or do not broadcast to its shape.
    """
    if values.ndim > array.ndim:
        raise ValueError(f"values of shape {values.shape} do not fit into a tensor of shape {array.shape}")
    writable(array)[...] = values


def owner(array: Array) -> Array:
    """Return the array that owns the memory of `array`, also if `expose` returned `array`."""
    found: Any = array
    while (base := getattr(found, "base", None)) is not None:
        found = base.obj if isinstance(base, memoryview) else base
    return found


class _Exposed:
    __slots__ = ("array", "checksum", "holder")

    def __init__(self, array: numpy.ndarray, holder: weakref.ref[Any]) -> None:
        self.array, self.holder, self.checksum = array, holder, _checksum(array)

    def was_written(self) -> bool:
        before, self.checksum = self.checksum, _checksum(self.array)
        return self.checksum != before


def _checksum(array: numpy.ndarray) -> int:
    return zlib.crc32(array.data if array.flags.c_contiguous else array.tobytes())
