"""Arguments that must be tensors of some dtype and shape: the checks that layers share."""

import math
from collections.abc import Sequence
from typing import Any

import numpy

from ..autograd.tensor import Tensor
from ..backends.cpu.half import is_half
from ..backends.float_info import finfo
from . import dims
from .arguments import as_finite, as_number

Shape = dims.Shape


def check_input(x: Any, name: str) -> None:
    """Raise TypeError unless `x` is a floating-point tensor; `name` is the function that takes it."""
    if not isinstance(x, Tensor):
        kind = type(x).__qualname__
        if type(x).__module__ != "builtins":
            kind = f"{type(x).__module__}.{kind}"
        raise TypeError(f"{name} takes a Tensor, got {kind}: wrap it with tn.tensor(...)")
    if x.array.dtype.kind != "f":
        raise TypeError(f"{name} takes a floating-point tensor, got {x.dtype}: convert it with .float()")


def check_same_dtype(name: str, x: Tensor, **others: Tensor | None) -> None:
    """Check that `others`, given by name, have the dtype of x: layers do not promote.

    Raises:
        TypeError: if one has another dtype.
    """
    dtype = x.array.dtype
    for what, other in others.items():
        if other is not None and other.array.dtype is not dtype and other.array.dtype != dtype:
            raise TypeError(
                f"{name} takes input and {what} of one dtype, got {x.dtype} and {other.dtype}: convert one "
                f"of them, as in x.to({other.dtype.name!r}) or layer.to({x.dtype.name!r})"
            )


def check_vector(vector: Tensor | None, name: str, shape: Shape) -> None:
    """Raise ValueError if a weight, bias or statistic has another shape than `shape`."""
    if vector is not None and vector.shape != shape:
        raise ValueError(f"{name} has shape {vector.shape}, expected {shape}")


def check_vectors(x: Tensor, shape: Shape, **vectors: Tensor | None) -> None:
    """Check the shape and dtype of weights, biases or statistics of x, given by name.

    The dtype must be that of x; for x in a half type it may also be float32.

    Raises:
        ValueError: if a shape is not `shape`.
        TypeError: if a dtype is not allowed.
    """
    dtype = x.array.dtype
    for name, vector in vectors.items():
        if vector is not None:
            array = vector.array
            if array.shape != shape:
                check_vector(vector, name, shape)
            if (
                array.dtype is not dtype
                and array.dtype != dtype
                and not (is_half(x.array) and array.dtype == numpy.float32)
            ):
                raise TypeError(
                    f"{name} has dtype {array.dtype} beside an input of {dtype}: convert one of them, as in "
                    f"x.to({array.dtype.name!r}) or layer.to({dtype.name!r})"
                )


def check_channels(x: Tensor, name: str, channels: int | None = None, axis: int = 1) -> int:
    """Return the number of channels of x (N, C, ...), which must be `channels` if that is given.

    A single sample (C, ...) has its channels on `axis` 0.
    """
    check_input(x, name)
    shape = x.array.shape
    if len(shape) < 2:
        layout = "(N, C, ...)" if axis != -1 else "(..., C)"
        raise ValueError(f"{name} takes x {layout} with at least 2 axes, got shape {shape}")
    if channels is not None and shape[axis] != channels:
        raise ValueError(
            f"{name} was made for {channels} channels, but x of shape {shape} has {shape[axis]} on "
            f"axis {axis}" + ("" if axis else f": with {len(shape)} axes it is a single sample, (C, ...)")
        )
    return shape[axis]


def check_pool(x: Tensor, pool: int, name: str, advice: str, owner: str = "channel") -> None:
    """Raise ValueError for pools of one value: their variance is 0, and y would not depend on x."""
    if pool == 1 and x.array.size:
        raise ValueError(
            f"{name} in training needs more than one value per {owner}, got shape {x.shape}: {advice}"
        )


def check_rows(
    x: Tensor, normalized_shape: int | Sequence[int], eps: float, name: str, **vectors: Tensor | None
) -> Shape:
    """Return `normalized_shape` as a tuple, the last sizes of x; check eps, and vectors of that shape too.

    What is right is accepted without a further call: small layers are bound by their checks.
    """
    shape: Any = normalized_shape
    if not (
        isinstance(x, Tensor)
        and x.array.dtype.kind == "f"
        and type(shape) is tuple
        and shape
        and x.array.shape[-len(shape) :] == shape
        and 0 not in shape
    ):
        shape = check_normalized_shape(x, normalized_shape, name)
    for vector in vectors.values():
        if vector is not None and (vector.array.shape != shape or vector.array.dtype is not x.array.dtype):
            check_vectors(x, shape, **vectors)
    if not (type(eps) is float and 0 <= eps < math.inf):
        check_eps(eps)
    return shape


def check_normalized_shape(x: Tensor, normalized_shape: int | Sequence[int], name: str) -> Shape:
    """Return `normalized_shape` as a tuple; it must be the last sizes of x."""
    check_input(x, name)
    shape = as_shape(normalized_shape)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(
            f"{name} over {shape} takes x whose last sizes are these, got shape {x.shape}"
            + ("" if shape else ": normalized_shape must name at least one axis")
        )
    return shape


def as_shape(normalized_shape: int | Sequence[int]) -> Shape:
    """Return `normalized_shape`, an int or a sequence of ints, as a tuple of positive sizes."""
    shape = dims.as_shape(normalized_shape, "normalized_shape")
    if any(n < 1 for n in shape):
        raise ValueError(f"normalized_shape must have positive sizes, got {shape}")
    return shape


def check_eps(eps: float) -> None:
    """Raise TypeError unless eps is a number, ValueError if it is negative or not finite."""
    if not as_number(eps, "eps") >= 0:
        raise ValueError(f"eps must be a number of at least 0, got {eps}")
    as_finite(eps, "eps")


def check_normal(value: float, x: Tensor, name: str) -> None:
    """Raise ValueError unless `value` is above 0 and a normal number of the dtype in which x is computed."""
    info = finfo(numpy.float32 if is_half(x.array) else x.array.dtype)
    if not float(info.tiny) <= value <= float(info.max):
        raise ValueError(
            f"{name} must be from {info.tiny:.2g} to {info.max:.2g}, since an input of {x.dtype} is "
            f"computed in {info.dtype}, got {value}"
        )
