"""Destination: what `Tensor.to` and `Module.to` are asked for, a device, a dtype, or both."""

from typing import Any

import numpy

from ..backends import DEVICES

NO_DTYPE = (TypeError, ValueError, SyntaxError)  # what NumPy raises: for "5(" the second, for ",," the third


def destination(
    targets: tuple[Any, ...], device: str | None, dtype: Any
) -> tuple[str | None, numpy.dtype | None]:
    """Return the device and the dtype that `to(*targets, device=device, dtype=dtype)` means; None: as it is.

    Raises:
        TypeError: for what is neither a device nor a dtype, and for two of one kind.
        ValueError: for an unknown name.
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
    except NO_DTYPE:
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
        return numpy.dtype(dtype)
    except NO_DTYPE:
        raise TypeError(
            f"to() takes a device ({', '.join(DEVICES)}) or a dtype such as tn.float32, got {dtype!r}"
        ) from None
