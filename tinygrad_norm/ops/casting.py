"""Change of dtype."""

from typing import Any

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, check_precision
from ..backends.cpu.silence import silent
from ..registry import Case, ErrorCase, register
from .operands import as_tensor


class Cast(Function):
    """y = x in another dtype · dx = dy in the dtype of x"""

    def forward(self, x: Array, *, dtype: numpy.dtype) -> Array:
        self.saved = (x.dtype,)
        return x.astype(dtype)

    def backward(self, dy: Array) -> Gradients:
        (dtype,) = self.saved
        return dy.astype(dtype)


def astype(input: Tensor, dtype: Any) -> Tensor:
    """Return `input` in `dtype`; the same tensor if it already has that dtype.

    No gradient flows through integers and bools: such a result does not require grad.

    Raises:
        TypeError: unless it is a dtype of bools or of real numbers with up to 64 bits.
    """
    x = as_tensor(input)
    dtype = numpy.dtype(dtype)
    if dtype.kind not in "biuf":
        raise TypeError(f"a tensor holds real numbers or bools, not {dtype}")
    check_precision(dtype)
    if x.array.dtype == dtype:
        return x
    if dtype.kind != "f":
        with silent():
            return Tensor._wrap(x.array.astype(dtype))
    return Cast.apply(x, dtype=dtype)


register(
    name="astype",
    function=astype,
    composed=None,
    cases=(Case(((3, 4),), {"dtype": numpy.float64}),),
    errors=(ErrorCase(lambda: astype(Tensor([1.0]), "complex64"), TypeError, "real numbers"),),
    kind="primitive",
)
