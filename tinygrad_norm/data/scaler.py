"""Scaler: the base class of all scalers, and the functions that they share.

Scalers compute in float64, on blocks of samples that fit in a core's cache, and return the dtype of
their input.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy

from ..autograd.tensor import Tensor
from ..backends import check_unmasked
from ..backends.cpu.blocks import slices
from ..ops.arguments import as_number

BLOCK = 1 << 18  # elements


class Scaler(ABC):
    """Base class: fit on training data, then transform any data; arrays in, arrays out.

    float16, float32 and float64 keep their dtype, integers become float32. Tensors are accepted unless
    they require grad, since the result has no gradient.
    """

    def fit(self, x: Any) -> Self:
        """Learn from the training data `x` what `transform` needs; return self."""
        return self

    @abstractmethod
    def transform(self, x: Any) -> numpy.ndarray:
        """Return `x` scaled."""

    def fit_transform(self, x: Any) -> numpy.ndarray:
        """Return the training data `x` scaled by its own statistics."""
        return self.fit(x).transform(x)


def real_numbers(x: Any) -> numpy.ndarray:
    """Return `x` as a NumPy array of finite real numbers.

    Raises:
        TypeError: if x does not hold real numbers, or is a Tensor that requires grad.
        ValueError: if x holds NaN, infinity or masked values.
    """
    if isinstance(x, Tensor) and x.requires_grad:
        raise TypeError(
            "expected data, got a Tensor that requires grad: a scaler returns an array without gradient, "
            "so pass x.detach()"
        )
    check_unmasked(x, "the data")
    x = numpy.asarray(x)
    if x.dtype.kind not in "biuf" or x.dtype.itemsize > 8:
        raise TypeError(f"expected an array of integers or of float16, float32, float64, got {x.dtype}")
    if x.dtype.kind == "f" and not (finite := numpy.isfinite(x)).all():
        where = tuple(numpy.argwhere(~finite)[0].tolist())
        raise ValueError(f"the data has {x[where]} at index {where}: replace or drop such samples first")
    return x


def real_images(x: Any, channels_last: bool) -> numpy.ndarray:
    """Return `x` as a NumPy array of images, (N, H, W, C) with `channels_last`, else (N, C, H, W).

    Raises:
        TypeError: if x does not hold real numbers.
        ValueError: if x does not have 4 axes, or holds NaN or infinity.
    """
    x = real_numbers(x)
    if x.ndim != 4:
        layout = "(N, H, W, C)" if channels_last else "(N, C, H, W)"
        raise ValueError(f"expected images {layout}, got shape {x.shape}: add the missing axes with None")
    return x


def blocks(x: numpy.ndarray) -> Iterator[slice]:
    """Cut the samples of `x` into blocks of about `BLOCK` elements; none if `x` is empty."""
    rows = max(1, BLOCK * len(x) // max(1, x.size))
    return slices(len(x) if x.size else 0, rows)


def by_blocks(f: Callable[[numpy.ndarray], numpy.ndarray], x: numpy.ndarray) -> numpy.ndarray:
    """Apply `f` to the samples of `x` in float64; return the result in x's dtype (float32 for integers).

    Raises:
        ValueError: if a result overflows that dtype.
    """
    y = numpy.empty(x.shape, x.dtype if x.dtype.kind == "f" else numpy.float32)
    with numpy.errstate(over="ignore", invalid="ignore"):
        for rows in blocks(x):
            y[rows] = f(x[rows].astype(numpy.float64))
    if not numpy.isfinite(y).all():
        raise ValueError(
            f"the scaled values do not fit {y.dtype}: convert the data to a wider dtype, or check that its "
            "magnitude is that of the fitted data"
        )
    return y


def power_of_two(x: numpy.ndarray, axis: int | tuple[int, ...]) -> numpy.ndarray:
    """Return the exponent e, along `axis`, for which the largest |x|·2⁻ᵉ is about 1.

    Multiplying by 2⁻ᵉ is exact, and keeps squares from overflowing or underflowing.
    """
    exponent = numpy.frexp(numpy.abs(x).max(axis, keepdims=True))[1]
    return numpy.maximum(exponent, -1000)


def half_difference(a: numpy.ndarray, b: numpy.ndarray) -> numpy.ndarray:
    """Return (a − b)/2, which is finite for any finite a and b."""
    return 0.5 * a - 0.5 * b


def mean_and_std(x: numpy.ndarray, axis: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return the mean and the standard deviation (ddof 0) of float64 `x` over `axis`, which is kept.

    Equal entries give exactly their value and exactly 0.
    """
    exponent = power_of_two(x, axis)
    z = x * numpy.ldexp(1.0, -exponent)
    first = z.take([0], axis)
    z -= first
    mean = z.mean(axis, keepdims=True)
    z -= mean
    std = numpy.sqrt((z * z).mean(axis, keepdims=True))
    return numpy.ldexp(first + mean, exponent), numpy.ldexp(std, exponent)


def ascending(feature_range: tuple[float, float]) -> tuple[float, float]:
    """Return `feature_range` unchanged after checking it.

    Raises:
        TypeError: if a limit is not a number.
        ValueError: unless it is (a, b) with a < b, both finite.
    """
    if numpy.shape(feature_range) == (2,):
        a, b = feature_range
        if -numpy.inf < as_number(a, "feature_range") < as_number(b, "feature_range") < numpy.inf:
            return a, b
    raise ValueError(f"feature_range must be (a, b) with a < b, both finite, got {feature_range!r}")
