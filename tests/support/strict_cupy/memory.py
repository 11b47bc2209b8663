"""Arrays in the device's memory: in the place of NumPy's, and NumPy's in their place."""

import numpy as np

SCALARS = (bool, int, float, complex, np.generic)


class OnDevice:
    """The base of `ndarray`: its numbers are in `_values`, which only the stand-in looks at."""

    __slots__ = ("__weakref__", "_values", "base")
    kind: type

    def __init_subclass__(cls):
        OnDevice.kind = cls


def root_of(values):
    """Return the NumPy array that owns the memory of `values`."""
    while isinstance(values.base, np.ndarray):
        values = values.base
    return values


def wrap(values, *inputs):
    """Return the array of the NumPy array `values`; a view of one of `inputs` if they share memory."""
    array = OnDevice.kind.__new__(OnDevice.kind)
    array._values, array.base = values, None
    if values.base is not None and inputs:
        root = root_of(values)
        for given in inputs:
            if root_of(given._values) is root:
                array.base = given if given.base is None else given.base
    return array


def unwrap(value):
    """Return `value` with NumPy's arrays in the place of the device's, in tuples and lists too."""
    if isinstance(value, OnDevice):
        return value._values
    return type(value)(map(unwrap, value)) if type(value) in (tuple, list) else value


def arrays_in(values):
    """Yield all arrays of the device in `values`, in tuples and lists too."""
    for value in values:
        if isinstance(value, OnDevice):
            yield value
        elif type(value) in (tuple, list):
            yield from arrays_in(value)


def refuse_host_arrays(name, *values):
    """Raise TypeError for an array of NumPy in `values`, as CuPy does."""
    for value in values:
        if isinstance(value, np.ndarray):
            raise TypeError(
                f"{name}: Unsupported type {type(value)}: an array of {value.dtype} and shape {value.shape} "
                "in the host's memory, among arrays on the device"
            )
        if type(value) in (tuple, list):
            refuse_host_arrays(name, *value)
        elif type(value) is dict:
            refuse_host_arrays(name, *value.values())
