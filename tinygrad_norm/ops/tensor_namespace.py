"""NumPy's names for functions of tensors, so that a backward can run on Tensors and be recorded.

`namespace(dy)` of a Tensor is this module. A backward that uses only operators, methods that arrays and
Tensors share, and functions of `namespace(dy)` works on both, and on Tensors can be differentiated again.
The NumPy functions that it needs must be listed here. Writes into a new array cannot be recorded: such a
backward checks for a Tensor first and passes it to an op.
"""

from typing import Any

from ..autograd.tensor import Tensor
from .creation import arange, zeros_like
from .elementwise import cos, exp, log, sin
from .joining import cat as concatenate
from .joining import flip, roll
from .kinks import abs, sign
from .masking import tril, triu, where
from .operands import as_tensor
from .shape import broadcast_to
from .shape import permute as transpose

__all__ = [
    "abs",
    "arange",
    "asarray",
    "broadcast_to",
    "concatenate",
    "cos",
    "exp",
    "flip",
    "log",
    "roll",
    "sign",
    "sin",
    "transpose",
    "tril",
    "triu",
    "where",
    "zeros_like",
]


def asarray(x: Any, dtype: Any) -> Tensor:
    """Return `x` as a tensor of `dtype`."""
    return as_tensor(x).astype(dtype)
