"""Copies between the host's memory and the device's."""

import numpy as np

from .device import copy_to_device, make, wait
from .memory import arrays_in, unwrap, wrap

_KINDS = "biufc"  # of dtypes that CuPy has


def host_copy(array, what):
    """Return a copy of the array's numbers; the host waits for the device."""
    wait(what)
    return array._values.copy()


def uploaded(data, dtype=None, order="K"):
    """Return the host's `data` on the device.

    Raises:
        ValueError: for a dtype that CuPy does not have.
        CaptureError: during a capture.
    """
    if any(True for _ in arrays_in([data])):
        values = make(lambda: np.array(unwrap(data), dtype, order=order))
        return wrap(values)
    values = np.array(data, dtype, order=order)
    if values.dtype.kind not in _KINDS and values.dtype.name != "bfloat16":
        raise ValueError(f"Unsupported dtype {values.dtype}")
    copy_to_device("array()")
    return wrap(make(lambda: values))
