"""Formulas of single numbers over pieces that a core's cache holds: intermediate results never leave it."""

from collections.abc import Callable
from typing import Any

import numpy

from .. import Array

PIECE = 1 << 19
"""Bytes of one array worked on at a time: with less, the calls take longer than what the cache saves."""


def in_pieces(formula: Callable[..., tuple[Array, ...]], x: Array, **options: Any) -> tuple[Array, ...]:
    """Return `formula(x, **options)`, computed piece by piece: its results are arrays of x's shape."""
    step = PIECE // x.dtype.itemsize
    if x.size <= 4 * step or type(x) is not numpy.ndarray:
        return formula(x, **options)
    flat = x.reshape(-1)
    whole: tuple[Array, ...] = ()
    for start in range(0, x.size, step):
        part = slice(start, start + step)
        results = formula(flat[part], **options)
        whole = whole or tuple([numpy.empty(x.size, result.dtype) for result in results])
        for y, result in zip(whole, results, strict=True):
            y[part] = result
    return tuple([y.reshape(x.shape) for y in whole])
