"""Conversion: the methods that put a tensor on another device, or into another dtype."""

from typing import Any

import numpy

from ..backends import DEVICES, check_precision, to_device
from .tensor import Tensor

NOT_A_DTYPE = (TypeError, ValueError, SyntaxError)
"""What numpy.dtype raises: ValueError for "5(", SyntaxError for ",,"."""


def to(
    x: Tensor,
    *targets: Any,
    device: str | None = None,
    dtype: Any = None,
    non_blocking: bool = False,
    copy: bool = False,
) -> Tensor:
    """Return the tensor on another device ("cpu", "cuda"), as another dtype, or both.

    With `copy`, the result has memory of its own also if nothing changes. `non_blocking` has no effect.

    Raises:
        TypeError: if a target is neither a device nor a dtype, or there are two of one kind.
        ValueError: if a name is unknown.
        RuntimeError: if a computed tensor is to move to another device; this includes a leaf that requires
            grad and is converted to another dtype first.
    """
    if copy:
        moved = x.to(*targets, device=device, dtype=dtype)
        return x.clone() if moved is x else moved
    device, dtype = device_and_dtype(targets, device, dtype)
    if dtype is not None and dtype != x.dtype:
        return x.astype(dtype).to(device=device)
    if device is None or device == x.device:
        return x
    if x.creator is not None:
        raise RuntimeError("only leaves move between devices: use detach().to(...)")
    moved = x._wrap(to_device(x.array, device))
    moved._requires_grad = x._requires_grad
    return moved


def cpu(x: Tensor) -> Tensor:
    """Return the tensor on the CPU."""
    return x.to("cpu")


def cuda(x: Tensor) -> Tensor:
    """Return the tensor on the GPU."""
    return x.to("cuda")


def device_and_dtype(
    targets: tuple[Any, ...], device: str | None, dtype: Any
) -> tuple[str | None, numpy.dtype | None]:
    """Return the device and the dtype that `to(*targets, device=device, dtype=dtype)` asks for.

    None means that it stays as it is.

    Raises:
        TypeError: if a target is neither a device nor a dtype, or there are two of one kind.
        ValueError: if a name is unknown.
    """
    devices, dtypes = [device], [dtype]
    for target in targets:
        is_device = isinstance(target, str) and (target in DEVICES or not _is_dtype(target))
        (devices if is_device else dtypes).append(target)
    devices, dtypes = [[x for x in given if x is not None] for given in (devices, dtypes)]
    if len(devices) > 1 or len(dtypes) > 1:
        raise TypeError(f"to() takes one device and one dtype, got {', '.join(map(repr, devices + dtypes))}")
    return _as_device(*devices) if devices else None, _as_dtype(*dtypes) if dtypes else None


def _is_dtype(name: str) -> bool:
    try:
        numpy.dtype(name)
    except NOT_A_DTYPE:
        return False
    return True


def _as_device(device: Any) -> str:
    if not isinstance(device, str) or device not in DEVICES:
        raise ValueError(
            f"unknown device {device!r}: choose one of {', '.join(DEVICES)} (one GPU is used, without a "
            "number), or a dtype such as tn.float32"
        )
    return device


def _as_dtype(dtype: Any) -> numpy.dtype:
    try:
        dtype = numpy.dtype(dtype)
    except NOT_A_DTYPE:
        raise TypeError(
            f"to() takes a device ({', '.join(DEVICES)}) or a dtype such as tn.float32, got {dtype!r}"
        ) from None
    check_precision(dtype)
    return dtype
