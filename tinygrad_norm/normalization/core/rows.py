"""Rows: an input that is normalized over its last axes, as the matrix (N, D) of bodies and kernels."""

import math
from typing import Any

import numpy

from ...autograd.tensor import Tensor
from ...backends import Array
from ...backends.cpu.half import is_half
from ...backends.float_info import finfo
from ...ops.dims import Shape


def as_rows(normalized_shape: Shape, x: Array, *vectors: Array | None) -> Any:
    """Return x (..., *normalized_shape) as (N, D), and vectors of `normalized_shape`, or None, as (D,)."""
    if len(normalized_shape) == 1:
        return (x if x.ndim == 2 else x.reshape(-1, normalized_shape[0])), *vectors
    D = math.prod(normalized_shape)
    return x.reshape(-1, D), *[None if v is None else v.reshape(D) for v in vectors]


def machine_eps(x: Tensor) -> float:
    """Return the machine epsilon of the dtype in which `x` is normalized: float32 for half types."""
    return float(finfo(numpy.float32 if is_half(x.array) else x.dtype).eps)
