"""What a call of a kernel costs, counted on the emulator: launches, and bytes that threads read and write."""

from dataclasses import dataclass

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm.backends import emulator
from tinygrad_norm.bench.gpu_data import Data
from tinygrad_norm.bench.gpu_ops import SUBJECTS, Memory
from tinygrad_norm.registry import Case, integers

SHARED_MEMORY = 232_448  # bytes: the most of a block of sm_90
SMALL = 32  # an array that is this much smaller than the input stays in the caches


@dataclass(frozen=True)
class Counted:
    """One call: its launches, the bytes, and the bytes that any implementation must move.

    `moved` counts the reads of weights, statistics and other small arrays once: caches serve the others.
    `asked` counts all of them.
    """

    launches: list
    moved: int
    asked: int
    floor: int

    @property
    def ratio(self):
        return self.moved / self.floor


def count(name, case, dtype):
    """Count the calls of the benchmark's subject `name`, by direction."""
    subject, dtype = SUBJECTS[name], np.dtype(dtype)
    floors = subject.floors(case, dtype, Memory(SHARED_MEMORY, cache=0))
    x_bytes = int(np.prod(case.inputs[0])) * dtype.itemsize
    found = {}
    with tn.use_backend("emulator"):
        calls = subject.calls(Data(case, dtype, 1))
        for direction, (call,) in calls.items():
            with emulator.schedule(checked=True), emulator.record() as launches:
                call()
            moved, asked = (sum(of(launch, x_bytes) for launch in launches) for of in (moved_by, asked_by))
            found[direction] = Counted(launches, moved, asked, floors[direction])
    return found


def moved_by(launch, x_bytes):
    """The bytes of a launch; an array that is only read, and small, counts once."""
    total = 0
    for index, (read, written) in launch.traffic.items():
        size = launch.sizes[index]
        total += written + (min(read, size) if not written and size * SMALL <= x_bytes else read)
    return total


def asked_by(launch, x_bytes=0):
    """The bytes that all threads of a launch ask for."""
    return sum(read + written for read, written in launch.traffic.values())


def sized(name, *shape):
    """A case of the subject `name` whose input has this shape."""
    large = SUBJECTS[name].cases[0].inputs
    if name == "embedding":  # four indices for every row of the weight
        return Case((shape, integers(shape[0], 4 * shape[0])))
    if name == "cross_entropy":
        return Case((shape, integers(shape[1], shape[0])))
    return Case(tuple(_sized(one, large[0], shape) for one in large))


def _sized(one, large, shape):
    if hasattr(one, "shape"):  # an Input with options
        return type(one)(**{**vars(one), "shape": _sized(one.shape, large, shape)})
    return shape if one == large else shape[1:2]
