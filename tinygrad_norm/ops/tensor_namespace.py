"""NumPy as a Tensor sees it: the functions of tensors by NumPy's names, which are recorded.

`namespace(dy)` of a Tensor is this module. So a backward that is written with operators, with methods that
both have and with functions of `namespace(dy)` works on arrays, and on Tensors can be differentiated itself;
what it needs of NumPy has to stand here. Code that writes into an array that it made cannot be recorded:
it asks for a Tensor first, and gives that to an op.
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
