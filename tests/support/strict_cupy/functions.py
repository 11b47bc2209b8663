"""CuPy's functions: NumPy's, with the arguments that CuPy's have, on arrays of the device only."""

import functools
import operator

import numpy as np

from tinygrad_norm.backends import emulator

from . import exchange, ufuncs
from .device import call_cublas, change, make, wait
from .memory import OnDevice, arrays_in, refuse_host_arrays, unwrap, wrap
from .signatures import recorded
from .transfer import host_copy, uploaded


def _names(text):
    return frozenset(text.split())


# CuPy's source says of these that they wait for the device, or it reads a number of theirs.
WAITS = _names("""
    argwhere bincount choose compress delete digitize extract flatnonzero histogram histogram2d histogramdd
    intersect1d isin nanmax nanmin nonzero percentile piecewise place putmask quantile ravel_multi_index
    select setdiff1d setxor1d shares_memory trim_zeros union1d unique unravel_index
""")
CUBLAS = _names("dot einsum inner matmul tensordot vdot")
WITHOUT_ARRAYS = _names("arange eye full identity indices linspace logspace ones tri zeros")
WRITES = _names("copyto fill_diagonal place put putmask")
ABOUT_ARRAYS = _names("""
    broadcast_shapes can_cast common_type iscomplexobj isrealobj isscalar may_share_memory min_scalar_type
    ndim promote_types result_type shape shares_memory size
""")
EINSUM_OPTIONS = {"dtype", "optimize"}


class Function:
    """A function of CuPy, computed by NumPy's of the same name."""

    def __init__(self, name):
        self.__name__ = self.name = name
        self.signature = recorded().function(name)
        self._numpy = getattr(np, name)

    def __call__(self, *args, **options):
        name = self.name
        self.signature.check(args, options)
        refuse_host_arrays(name, args, options)
        arrays = list(arrays_in((*args, *options.values())))
        if name not in WITHOUT_ARRAYS and name not in ABOUT_ARRAYS:
            _check_first(name, args)
        if name in CUBLAS:
            call_cublas(name)
        if name in WAITS or (name in WITHOUT_ARRAYS - {"full"} and arrays):
            wait(f"{name}()")
        if name == "einsum" and not options.keys() <= EINSUM_OPTIONS:
            raise TypeError(
                f"Did not understand the following kwargs: {sorted(options.keys() - EINSUM_OPTIONS)}"
            )
        given, named = unwrap(args), {key: unwrap(value) for key, value in options.items()}
        if name in ABOUT_ARRAYS:
            return self._numpy(*given, **named)
        if name in WRITES:
            return change(lambda: self._numpy(*given, **named))
        if options.get("out") is not None:
            out = options["out"]
            change(lambda: self._numpy(*given, **named))
            return out
        return self._wrapped(
            make(lambda: _as_arrays(self._numpy(*given, **named)), [a._values for a in arrays]), arrays
        )

    def _wrapped(self, result, arrays):
        if isinstance(result, tuple | list):
            return type(result)(wrap(values, *arrays) for values in result)
        return next((array for array in arrays if array._values is result), None) or wrap(result, *arrays)


def _as_arrays(result):
    """NumPy's scalars and Python's truth values are 0-d arrays in CuPy."""
    if isinstance(result, tuple | list):
        return type(result)(map(np.asarray, result)) if type(result) in (tuple, list) else tuple(result)
    return np.asarray(result)


def _check_first(name, args):
    """Raise TypeError unless the first argument is an array of the device, or several of them."""
    first = next((arg for arg in args if not isinstance(arg, str)), None)
    several = isinstance(first, tuple | list) and first and all(isinstance(x, OnDevice) for x in first)
    if not isinstance(first, OnDevice) and not several:
        raise TypeError(f"CuPy's {name} takes arrays of the device, got {type(first)}")


# -- functions that differ from NumPy's


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    if isinstance(obj, OnDevice):
        made = obj.astype(obj.dtype if dtype is None else dtype, order, copy=copy)
    else:
        made = uploaded(obj, dtype, order or "K")
    return made.reshape((1,) * (ndmin - made.ndim) + made.shape) if made.ndim < ndmin else made


def asarray(a, dtype=None, order=None, *, blocking=False):
    return array(a, dtype, False, order or "K")


def ascontiguousarray(a, dtype=None):
    made = asarray(a, dtype)
    return made if made.flags.c_contiguous else made.copy()


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    return host_copy(a, "asnumpy()") if isinstance(a, OnDevice) else np.asarray(a, order=order)


def empty(shape, dtype=float, order="C"):
    """An array between guard zones, whose unwritten numbers are NaN."""
    shape = tuple(map(operator.index, shape)) if isinstance(shape, tuple | list) else (operator.index(shape),)
    if order == "F":
        return empty(shape[::-1], dtype).T
    return wrap(make(lambda: emulator.empty(shape, dtype).view(np.ndarray)))


def empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    refuse_host_arrays("empty_like", prototype)
    dtype = prototype.dtype if dtype is None else dtype
    if shape is None and order == "K" and not prototype.flags.c_contiguous:
        return wrap(make(lambda: np.empty_like(prototype._values, dtype)))
    return empty(prototype.shape if shape is None else shape, dtype)


def where(condition, x=None, y=None):
    if x is None and y is None:
        return condition.nonzero()
    if x is None or y is None:
        raise ValueError("Must provide both 'x' and 'y' or neither.")
    refuse_host_arrays("where", condition, x, y)
    condition = condition.astype(bool, copy=False)
    given = [value._values if isinstance(value, OnDevice) else value for value in (x, y)]
    return wrap(make(lambda: np.asarray(np.where(condition._values, *given))))


def take(a, indices, axis=None, out=None):
    return a.take(indices, axis, out)


def argsort(a, axis=-1, kind=None):
    return a.argsort(axis, kind)


def as_strided(x, shape=None, strides=None):
    return wrap(make(lambda: np.lib.stride_tricks.as_strided(x._values, shape, strides), [x._values]), x)


_OWN = {
    function.__name__: function
    for function in (
        *(array, asarray, ascontiguousarray, asnumpy, empty, empty_like, where, take, argsort),
        exchange.from_dlpack,
    )
}


@functools.cache
def find(name, module="numpy"):
    """Return the function or ufunc `name`, or None if CuPy, or the stand-in, has none."""
    if module == "numpy.lib.stride_tricks" and name == "as_strided":
        return as_strided
    if module != "numpy":
        return None
    if name in _OWN:
        return _OWN[name]
    if ufuncs.find(name) is not None:
        return ufuncs.find(name)
    return Function(name) if name in recorded().lines["function"] and hasattr(np, name) else None
