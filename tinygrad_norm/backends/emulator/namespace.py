"""NumPy's functions for the emulator's arrays: functions that make arrays make EmulatorArrays.

This module is `namespace(x)` of an EmulatorArray. Functions that are not defined here are NumPy's own.
"""

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy

from .array import EmulatorArray, asarray, asnumpy, empty, zeros

__all__ = [
    "arange",
    "array",
    "asarray",
    "ascontiguousarray",
    "asnumpy",
    "empty",
    "empty_like",
    "eye",
    "full",
    "full_like",
    "lib",
    "linspace",
    "ndarray",
    "ones",
    "ones_like",
    "zeros",
    "zeros_like",
]

ndarray = EmulatorArray


def _guarded(function: Callable[..., numpy.ndarray]) -> Callable[..., EmulatorArray]:
    @functools.wraps(function)
    def make(*args: Any, **options: Any) -> EmulatorArray:
        made = function(*args, **options)
        guarded = empty(made.shape, made.dtype)
        guarded[...] = made
        return guarded

    return make


arange = _guarded(numpy.arange)
array = _guarded(numpy.array)
eye = _guarded(numpy.eye)
full = _guarded(numpy.full)
full_like = _guarded(numpy.full_like)
linspace = _guarded(numpy.linspace)
ones = _guarded(numpy.ones)
ones_like = _guarded(numpy.ones_like)


def empty_like(x: Any, dtype: Any = None, *, shape: Any = None) -> EmulatorArray:
    """Return an array filled with NaN bytes; shape, dtype and the order of axes default to those of `x`."""
    made = empty(numpy.shape(x) if shape is None else shape, x.dtype if dtype is None else dtype)
    if shape is not None or x.flags.c_contiguous:
        return made
    axes = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))  # as CuPy: the longest strides first
    return empty([x.shape[axis] for axis in axes], made.dtype).transpose(numpy.argsort(axes))


def zeros_like(x: Any, dtype: Any = None, *, shape: Any = None) -> EmulatorArray:
    """Return an array of zeros; shape and dtype default to those of `x`."""
    return zeros(numpy.shape(x) if shape is None else shape, x.dtype if dtype is None else dtype)


def ascontiguousarray(x: Any, dtype: Any = None) -> EmulatorArray:
    """Return `x` itself if it is C-contiguous, otherwise a contiguous copy."""
    x = asarray(x, dtype)
    return x if x.flags.c_contiguous else array(x, order="C")


def _as_strided(x: EmulatorArray, shape: Any = None, strides: Any = None) -> Any:
    return numpy.lib.stride_tricks.as_strided(x, shape, strides, subok=True)


lib = SimpleNamespace(stride_tricks=SimpleNamespace(as_strided=_as_strided))


def __getattr__(name: str) -> Any:
    return getattr(numpy, name)
