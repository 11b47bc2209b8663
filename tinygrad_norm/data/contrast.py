"""Contrast normalization: every image, or every neighbourhood in it, to mean 0 and standard deviation 1.

    global        y = (x − mean)/max(std, eps)                   mean, std over the image
    local         v = x − w∗x        y = v/max(√(w∗v²), eps)     w a Gaussian window

Local contrast follows K. Jarrett, K. Kavukcuoglu, M. Ranzato, Y. LeCun 2009, "What is the Best
Multi-Stage Architecture for Object Recognition?": the window runs over all channels together. At a
border it holds only pixels of the image, and its weights are made to sum to 1 again.

An image of one value becomes exactly 0. Brightness and contrast are gone, so there is no way back.
"""

from typing import Any

import numpy

from ..ops.arguments import as_number
from .scaler import Scaler, by_blocks, half_difference, mean_and_std, power_of_two, real_images, real_numbers


class GlobalContrastScaler(Scaler):
    """Scale each image to (x − mean)/max(std, eps), over all its channels and pixels.

    `eps` is in units of x. Images are (N, …), in any layout. There is nothing to fit.

    Raises:
        TypeError, ValueError: unless eps is a positive, finite number.
    """

    def __init__(self, eps: float = 1e-8) -> None:
        self.eps = _positive("eps", eps)

    def transform(self, x: Any) -> numpy.ndarray:
        """Return the images `x` with their contrast normalized.

        Raises:
            TypeError: for anything but real numbers.
            ValueError: for an array without a sample and a pixel axis, NaN or infinity.
        """
        x = real_numbers(x)
        if x.ndim < 2:
            raise ValueError(f"expected images (N, …), got shape {x.shape}: for one image, pass x[None]")
        return by_blocks(self._forward, x)

    def _forward(self, x: numpy.ndarray) -> numpy.ndarray:
        pixels = x.reshape(len(x), -1)
        mean, std = mean_and_std(pixels, axis=1)
        y = half_difference(pixels, mean) / (0.5 * numpy.maximum(std, self.eps))
        return y.reshape(x.shape)


class LocalContrastScaler(Scaler):
    """Subtract from each pixel the mean of a Gaussian window round it, divide by the window's deviation.

    Args:
        sigma: standard deviation of the Gaussian, in pixels; the window ends at 3·sigma.
        eps: smallest divisor, in units of x: weaker contrast is not blown up to 1.
        channels_last: images are (N, H, W, C) instead of (N, C, H, W).

    There is nothing to fit.

    Raises:
        TypeError, ValueError: unless sigma and eps are positive, finite numbers.
    """

    def __init__(self, sigma: float = 1.5, eps: float = 1e-8, *, channels_last: bool = False) -> None:
        self.sigma, self.eps = _positive("sigma", sigma), _positive("eps", eps)
        self.channels_last = channels_last

    def transform(self, x: Any) -> numpy.ndarray:
        """Return the images `x` with their local contrast normalized.

        Raises:
            TypeError: for anything but real numbers.
            ValueError: for another number of axes than 4, NaN or infinity.
        """
        return by_blocks(self._forward, real_images(x, self.channels_last))

    def _forward(self, x: numpy.ndarray) -> numpy.ndarray:
        if self.channels_last:
            x = numpy.moveaxis(x, -1, 1)
        over_rows, over_columns = (_gaussian(size, self.sigma) for size in x.shape[2:])

        def window_mean(x: numpy.ndarray) -> numpy.ndarray:
            return over_rows @ x.mean(1, keepdims=True) @ over_columns.T

        x = half_difference(x, x[:, :1, :1, :1])  # one pixel is subtracted first: exact zeros where flat
        exponent = power_of_two(x, axis=(1, 2, 3))
        x = x * numpy.ldexp(1.0, -exponent)
        v = x - window_mean(x)
        y = v / numpy.maximum(numpy.sqrt(window_mean(v * v)), numpy.ldexp(0.5 * self.eps, -exponent))
        return numpy.moveaxis(y, 1, -1) if self.channels_last else y


def _gaussian(size: int, sigma: float) -> numpy.ndarray:
    """Return the (size, size) matrix whose row i averages over the window round position i."""
    distance = numpy.abs(numpy.arange(size) - numpy.arange(size)[:, None])
    weights = numpy.exp(-0.5 * (distance / sigma) ** 2) * (distance <= 3 * sigma)
    return weights / weights.sum(1, keepdims=True)


def _positive(name: str, value: float) -> float:
    if not 0 < as_number(value, name) < numpy.inf:
        raise ValueError(f"{name} must be positive and finite, got {value}")
    return value
