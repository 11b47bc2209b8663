"""The data of the GPU benchmark: drawn once, copied to the device once, and read by all contestants.

Drawing on the CPU takes about 10 ns per number, and the bus is fifty times slower than the GPU's memory: a
benchmark that prepares its data there waits for the CPU most of the time. So at most DRAWN numbers of an
array are drawn, and repeated; the array is copied to the device once; and the other buffers of the rotation
are copies that the device makes. PyTorch and Triton read the same memory.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy

from ..backends import Array, asarray
from ..registry import Case, Input

DRAWN = 1 << 20  # numbers
Shape = tuple[int, ...]


def typed(case: Case, dtype: Any) -> list[tuple[numpy.ndarray, bool]]:
    """Return a case's inputs, floating-point ones in `dtype`, and whether each needs a gradient."""
    inputs = [one if isinstance(one, Input) else Input(one) for one in case.inputs if one is not None]
    few = [dataclasses.replace(one, shape=_at_most_drawn(one.shape)) for one in inputs]
    drawn = [pair for pair in Case(tuple(few)).draw() if pair is not None]
    return [
        (numpy.resize(values.astype(dtype) if values.dtype.kind == "f" else values, one.shape), wanted)
        for (values, wanted), one in zip(drawn, inputs, strict=True)
    ]


def drawn_dy(shape: Shape, output: int = 0, dtype: Any = numpy.float64) -> numpy.ndarray:
    """Return the dy of an output."""
    few = numpy.random.default_rng(output + 1).normal(size=_at_most_drawn(shape))
    return numpy.resize(few.astype(dtype), shape)


def _at_most_drawn(shape: Shape) -> Shape:
    return shape if math.prod(shape) <= DRAWN else (DRAWN,)


class Data:
    """The inputs and output gradients of one case on the current backend, in `copies` buffers each.

    Contestants only read them. An optimizer, which writes its parameters, makes its own copy.

    Attributes:
        inputs: by buffer, the arguments of forward.
        wanted: whether each argument needs a gradient.
    """

    def __init__(self, case: Case, dtype: numpy.dtype, copies: int) -> None:
        self.dtype, self.copies = dtype, copies
        drawn = typed(case, dtype)
        self.wanted = [wanted for _, wanted in drawn]
        self.inputs = list(zip(*(self._buffers(values) for values, _ in drawn), strict=True))
        self._dys: dict[tuple[int, int], list[Array]] = {}

    def dys(self, buffer: int, *shapes: Shape) -> list[Array]:
        """Return the gradients of outputs of these shapes, from one buffer."""
        return [self._dy(k, math.prod(shape))[buffer].reshape(shape) for k, shape in enumerate(shapes)]

    def _dy(self, output: int, size: int) -> list[Array]:
        if (output, size) not in self._dys:
            self._dys[output, size] = self._buffers(drawn_dy((size,), output, self.dtype))
        return self._dys[output, size]

    def _buffers(self, values: numpy.ndarray) -> list[Array]:
        first = asarray(values)
        return [first, *(first.copy() for _ in range(self.copies - 1))]
