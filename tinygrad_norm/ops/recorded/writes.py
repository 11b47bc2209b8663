"""Writes as functions: what an array holds after a part of it was written to."""

from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...backends import Array, namespace
from ..broadcast import shape_of, unbroadcast


class Put(Function):
    """y = x, but y[key] = value · dx = dy, but dx[key] = 0, dvalue = dy[key]"""

    def forward(self, x: Array, value: Array, *, key: Any) -> Array:
        self.saved = key, shape_of(value)
        y = x.copy()
        y[key] = value
        return y

    def backward(self, dy: Array) -> Gradients:
        key, shape = self.saved
        kept = numpy.ones(dy.shape, bool)
        kept[key] = False
        return dy * namespace(dy).asarray(kept), unbroadcast(dy[key], shape)


class PutAdded(Function):
    """y = x, but y[key] += value for every occurrence in the key · dx = dy, dvalue = dy[key]"""

    def forward(self, x: Array, value: Array, *, key: Any) -> Array:
        self.saved = key, shape_of(value)
        y = x.copy()
        namespace(x).add.at(y, key, value)
        return y

    def backward(self, dy: Array) -> Gradients:
        key, shape = self.saved
        return dy, unbroadcast(dy[key], shape)
