"""Conversion: the methods that put a tensor on another device, or into another dtype."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy

from ..backends import to_device
from .destination import destination

if TYPE_CHECKING:
    from .tensor import Tensor


def to(x: Tensor, *targets: Any, device: str | None = None, dtype: Any = None) -> Tensor:
    """Return the tensor on another device ("cpu", "cuda"), as another dtype, or both.

    Raises:
        TypeError: for what is neither a device nor a dtype, and for two of one kind.
        ValueError: for an unknown name.
        RuntimeError: where a computed tensor, or one whose dtype changes too, is to move with its graph.
    """
    device, dtype = destination(targets, device, dtype)
    if dtype is not None and dtype != x.dtype:
        return x.astype(dtype).to(device=device)
    if device is None or device == x.device:
        return x
    if x.creator is not None:
        raise RuntimeError("only leaves move between devices: use detach().to(...)")
    moved = x._wrap(to_device(x.array, device))
    moved._requires_grad = x._requires_grad
    return moved


def double(x: Tensor) -> Tensor:
    """Return the tensor as float64."""
    return x.to(numpy.float64)


def float(x: Tensor) -> Tensor:
    """Return the tensor as float32."""
    return x.to(numpy.float32)


def half(x: Tensor) -> Tensor:
    """Return the tensor as float16."""
    return x.to(numpy.float16)


def long(x: Tensor) -> Tensor:
    """Return the tensor as int64."""
    return x.to(numpy.int64)


def cpu(x: Tensor) -> Tensor:
    """Return the tensor on the CPU."""
    return x.to("cpu")


def cuda(x: Tensor) -> Tensor:
    """Return the tensor on the GPU."""
    return x.to("cuda")
