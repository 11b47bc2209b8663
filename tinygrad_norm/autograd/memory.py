"""Memory: what the tape knows of one piece of memory, so that a write behind its back is noticed.

Recorded calls and writes are stamped by one clock, so a saved array was changed behind the tape's back
exactly where it was written to after its call. Tensors that share memory (views, `detach`) share one
`Memory`. Writes made through tensors report themselves; an array handed out by `.data` or `.numpy()`
may be written to by anyone, so it is compared by checksum for as long as somebody holds it, or a view of
it. Who never asks for the raw array pays nothing.
"""

import itertools
import weakref
import zlib
from typing import Any

import numpy

from ..backends import Array

tick = itertools.count(1).__next__
"""The clock: every call of it returns a later time."""


class _Writes:
    latest = 0


writes = _Writes()
"""The time of the latest write to any memory: calls recorded after it need not be checked."""

watched: "set[Memory]" = set()
"""The memories of which somebody holds a raw array: they are to be looked at before `written` is read."""


class Memory:
    """When a piece of memory was last written to; 0 is before the first recorded call."""

    __slots__ = ("exposed", "written")

    def __init__(self) -> None:
        self.written = 0
        self.exposed: dict[int, _Exposed] = {}

    def mark_written(self) -> None:
        """Note that it is written to now."""
        self.written = writes.latest = tick()

    def look(self) -> None:
        """Notice what was written to an exposed array, as written now."""
        for exposed in tuple(self.exposed.values()):
            if exposed.was_written():
                self.mark_written()

    def __reduce__(self) -> "tuple[type[Memory], tuple[()]]":
        return Memory, ()  # a copy is new memory

    def expose(self, array: Array) -> Array:
        """Return a view of `array` to hand out, watched until the last holder of it or of its views lets go.

        Arrays that are not NumPy's are handed out unwatched: a checksum would stall the GPU.
        """
        if type(array) is not numpy.ndarray:
            return array
        # A view's base is the array that owns the memory, not the view between them, unless that was made
        # from something else than an array: so every view of this one keeps it alive.
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
    """Say whether `view` is `array` as `expose` handed it out: all of it, in its order."""
    return isinstance(view, numpy.ndarray) and isinstance(view.base, memoryview) and view.base.obj is array


def owner(array: Array) -> Array:
    """Return the array that owns the memory of `array`, also where that was handed out by `expose`."""
    found: Any = array
    while (base := getattr(found, "base", None)) is not None:
        found = base.obj if isinstance(base, memoryview) else base
    return found


class _Exposed:
    __slots__ = ("array", "checksum", "holder")

    def __init__(self, array: numpy.ndarray, holder: weakref.ref) -> None:
        self.array, self.holder, self.checksum = array, holder, _checksum(array)

    def was_written(self) -> bool:
        before, self.checksum = self.checksum, _checksum(self.array)
        return self.checksum != before


def _checksum(array: numpy.ndarray) -> int:
    return zlib.crc32(array.data if array.flags.c_contiguous else array.tobytes())
