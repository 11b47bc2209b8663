"""The stand-in's device: what waits for it, what copies between it and the host, capture and replay.

During a capture, operations are recorded. They also run, so that code sees arrays of the right values; when
the capture ends, all memory that was there before holds what it held before, as on a GPU, where a capture
runs nothing. Replaying repeats the operations on the same memory.
"""

import contextlib
import gc
import os
import sys
import traceback
from dataclasses import dataclass, field

import numpy as np

from .memory import OnDevice, root_of

HERE = os.path.dirname(__file__) + os.sep


class CaptureError(RuntimeError):
    """Something was done during a capture that CUDA or CuPy does not allow."""


class Capture:
    """The operations of a capture, and what was in the device's memory before."""

    def __init__(self):
        self.operations = []
        roots = (root_of(thing._values) for thing in gc.get_objects() if type(thing) is OnDevice.kind)
        self.before = {id(root): (root, root.copy()) for root in roots if root.flags.writeable}

    def end(self):
        """Undo what the capture has changed; return the operations."""
        for root, values in self.before.values():
            root[...] = values
        return self.operations


@dataclass
class State:
    """The lists in which waits are noted, and the capture that is running."""

    waits: list[list[str]] = field(default_factory=list)
    capture: Capture | None = None


DEVICE = State()


# -- what waits for the device


@contextlib.contextmanager
def record_waits():
    """Yield a list to which everything within is added that waits for the device: what, and where."""
    waits = []
    DEVICE.waits.append(waits)
    try:
        yield waits
    finally:
        DEVICE.waits.remove(waits)


def wait(what):
    """Note that `what` waits for the device.

    Raises:
        CaptureError: during a capture, which CUDA ends with an error.
    """
    if DEVICE.capture is not None:
        raise CaptureError(f"{what} waits for the device, which a stream that is captured cannot")
    if DEVICE.waits:
        where = _place()
        for waits in DEVICE.waits:
            waits.append(f"{what} at {where}")


def copy_to_device(what):
    """Note that `what` copies from the host. A copy during a capture would be replayed from stale memory.

    Raises:
        CaptureError: during a capture.
    """
    if DEVICE.capture is not None:
        raise CaptureError(f"{what} copies from the host, which a stream that is captured cannot")


def call_cublas(what):
    """Note that `what` calls cuBLAS.

    Raises:
        NotImplementedError: during a capture, as CuPy's wrappers of cuBLAS do.
    """
    if DEVICE.capture is not None:
        raise NotImplementedError(
            f"{what}: calling cuBLAS API during stream capture is currently unsupported"
        )


def _place():
    """Return the line of the package, or of the test, that the stand-in was called from."""
    for frame, line in traceback.walk_stack(sys._getframe(2)):
        if not frame.f_code.co_filename.startswith(HERE):
            return f"{frame.f_code.co_filename}:{line} ({frame.f_code.co_name})"
    return "?"


# -- operations


def make(operation, inputs=()):
    """Return what `operation()` returns: a NumPy array, or several, of new memory or views of `inputs`."""
    with np.errstate(all="ignore"):
        result = operation()
    if DEVICE.capture is not None:
        _record(result, operation, inputs)
    return result


def _record(result, operation, inputs):
    results = result if isinstance(result, tuple | list) else (result,)
    given = {id(root_of(values)) for values in inputs}
    fresh = [(k, values) for k, values in enumerate(results) if id(root_of(values)) not in given]
    if not fresh:
        return  # views: nothing runs on the device

    def again():
        repeated = operation()
        for k, values in fresh:
            values[...] = repeated[k] if isinstance(repeated, tuple | list) else repeated

    DEVICE.capture.operations.append(again)


def change(operation):
    """Run `operation()`, which writes to memory of the device."""
    if DEVICE.capture is not None:
        DEVICE.capture.operations.append(operation)
    with np.errstate(all="ignore"):
        return operation()


def begin_capture():
    if DEVICE.capture is not None:
        raise CaptureError("this stream is captured already")
    DEVICE.capture = Capture()


def end_capture():
    """Return a function that replays what was done since `begin_capture`."""
    if DEVICE.capture is None:
        raise CaptureError("no capture has begun")
    operations = DEVICE.capture.end()
    DEVICE.capture = None

    def replay():
        with np.errstate(all="ignore"):
            for operation in operations:
                operation()

    return replay
