"""Memory: what the tape knows of one piece of memory, so that a write behind its back is noticed.

Tensors that share memory (views, `detach`) share one `Memory`. Its version counts writes: those made
through tensors report themselves; an array handed out by `.data` or `.numpy()` may be written to by
anyone, so it is compared by checksum for as long as somebody holds it. Who never asks for the raw
array pays nothing.
"""

import weakref
import zlib

import numpy

from ..backends import Array


class Memory:
    """The version of a piece of memory."""

    __slots__ = ("exposed", "written")

    def __init__(self) -> None:
        self.written = 0
        self.exposed: dict[int, _Exposed] = {}

    def version(self) -> int:
        """Return a number that is different after every write."""
        for exposed in tuple(self.exposed.values()):
            self.written += exposed.was_written()
        return self.written

    def expose(self, array: Array) -> Array:
        """Return a view of `array` to hand out, watched until its last holder lets go.

        Arrays that are not NumPy's are handed out unwatched: a checksum would stall the GPU.
        """
        if not isinstance(array, numpy.ndarray):
            return array
        view = array.view()
        key = id(view)

        def released(_: object) -> None:
            self.written += self.exposed.pop(key).was_written()

        self.exposed[key] = _Exposed(array, weakref.ref(view, released))
        return view


class _Exposed:
    __slots__ = ("array", "checksum", "holder")

    def __init__(self, array: numpy.ndarray, holder: weakref.ref) -> None:
        self.array, self.holder, self.checksum = array, holder, _checksum(array)

    def was_written(self) -> bool:
        before, self.checksum = self.checksum, _checksum(self.array)
        return self.checksum != before


def _checksum(array: numpy.ndarray) -> int:
    return zlib.crc32(array.data if array.flags.c_contiguous else array.tobytes())
