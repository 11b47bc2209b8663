"""Reading and writing by an index, as CuPy does.

Masks wait for the device, because the host must know how many elements are chosen. Lists and NumPy's arrays
are copied to the device. Integers out of bounds wrap around if they are in an array.
"""

import numpy as np

from .device import change, make, wait
from .memory import OnDevice, arrays_in, wrap
from .transfer import uploaded

_BASIC = (slice, type(None), type(Ellipsis))


def get_item(array, key):
    """Return array[key]: a view, or a new array if an array is in the key."""
    parts, given = _prepared(key)
    if not given:
        whole = parts if ... in parts else (*parts, ...)
        return wrap(make(lambda: array._values[whole], [array._values]), array)
    index = _index(array, parts)
    return wrap(make(lambda: np.asarray(array._values[index()])))


def set_item(array, key, value):
    """Write `value` to array[key]."""
    parts, given = _prepared(key)
    values = array._values
    if not given:
        new = _filling(value)
        change(lambda: values.__setitem__(parts or ..., new))
        return
    new = (value if isinstance(value, OnDevice) else uploaded(value, array.dtype))._values
    index = _index(array, parts)
    _refuse_races(values, index(), new)
    change(lambda: values.__setitem__(index(), new))


def index_of(array, key):
    """Return a function that returns NumPy's index for array[key], for a key with arrays or without."""
    return _index(array, _prepared(key)[0])


def _filling(value):
    """What is written to a view: an array of the device, or one number."""
    if isinstance(value, OnDevice):
        return value._values
    if isinstance(value, np.ndarray) and value.shape != ():
        raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
    if isinstance(value, list | tuple):
        raise TypeError(f"fill takes a number, got {value!r}")
    return value


def _prepared(key):
    """Return the key as a tuple, and the arrays in it, all on the device."""
    parts = tuple(
        part if isinstance(part, (*_BASIC, OnDevice)) or _is_integer(part) else _array(part)
        for part in (key if isinstance(key, tuple) else (key,))
    )
    given = list(arrays_in(parts))
    for part in given:
        if part.dtype.kind not in "biu":
            raise IndexError(f"arrays used as indices must be of integer or boolean type, got {part.dtype}")
        if part.dtype.kind == "b":
            wait("a mask as an index")
    return parts, given


def _is_integer(part):
    return np.isscalar(part) and not isinstance(part, bool | np.bool_)


def _array(part):
    made = uploaded(part)
    return made.astype(np.int32) if not made.size and isinstance(part, list | tuple) else made


def _index(array, parts):
    """Return a function that returns NumPy's index: it reads the arrays anew, so that it can be replayed."""
    if ... not in [part for part in parts if not isinstance(part, OnDevice)]:
        parts = (*parts, ...)
    rest = array.ndim - sum(_axes(part) for part in parts)
    starts, axis = [], 0
    for part in parts:
        starts.append(axis)
        axis += rest if part is Ellipsis else _axes(part)

    def index():
        return tuple(
            _wrapped(part._values, array.shape[start]) if isinstance(part, OnDevice) else part
            for part, start in zip(parts, starts, strict=True)
        )

    return index


def _axes(part):
    if isinstance(part, OnDevice):
        return part.ndim if part.dtype.kind == "b" else 1
    return int(part is not None and part is not Ellipsis)


def _wrapped(index, size):
    return index if index.dtype.kind == "b" or not size else index % size


def _refuse_races(values, index, new):
    """Raise if one element is written several times, by different numbers: which one stays is undefined."""
    if new.size <= 1:
        return
    places = np.arange(values.size).reshape(values.shape)[index]
    if np.unique(places).size == places.size:
        return
    check = np.empty(values.size, values.dtype)
    written = np.broadcast_to(new, places.shape).astype(values.dtype)
    check[places] = written
    if not np.array_equal(check[places], written, equal_nan=values.dtype.kind == "f"):
        raise RuntimeError("different values are written to one element: which of them stays is undefined")
