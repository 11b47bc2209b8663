"""Contrast normalization: scale each image, or each neighbourhood in it, to mean 0 and deviation 1.

    global        y = (x − mean)/max(std, eps)                   mean, std over the image
    local         v = x − w∗x        y = v/max(√(w∗v²), eps)     w a Gaussian window

Local contrast follows K. Jarrett, K. Kavukcuoglu, M. Ranzato, Y. LeCun 2009, "What is the Best
Multi-Stage Architecture for Object Recognition?": the window covers all channels together. At a border
it holds only pixels of the image, and its weights are rescaled to sum to 1.

A constant image becomes exactly 0. Brightness and contrast are lost, so there is no inverse.
"""

from typing import Any

import numpy

from ..ops.arguments import as_number
from .scaler import Scaler, by_blocks, half_difference, mean_and_std, power_of_two, real_images, real_numbers


class GlobalContrastScaler(Scaler):
    """Scale each image to (x − mean)/max(std, eps), over all its channels and pixels.

    `eps` is in units of x. Images are (N, …), in any layout. `fit` does nothing.

    Raises:
        TypeError: if eps is not a number.
        ValueError: if eps is not positive and finite.
    """

    def __init__(self, eps: float = 1e-8) -> None:
        self.eps = _positive("eps", eps)

    def transform(self, x: Any) -> numpy.ndarray:
        """Return the images `x` with normalized contrast.

        Raises:
            TypeError: if x does not hold real numbers.
            ValueError: if x has fewer than two axes, or holds NaN or infinity.
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
    """Subtract the mean of a Gaussian window around each pixel, and divide by the window's deviation.

    Args:
        sigma: standard deviation of the Gaussian, in pixels; the window ends at 3·sigma.
        eps: smallest divisor, in units of x: contrast below it is not amplified to 1.
        channels_last: images are (N, H, W, C) instead of (N, C, H, W).

    `fit` does nothing.

    Raises:
        TypeError: if sigma or eps is not a number.
        ValueError: if sigma or eps is not positive and finite.
    """

    def __init__(self, sigma: float = 1.5, eps: float = 1e-8, *, channels_last: bool = False) -> None:
        self.sigma, self.eps = _positive("sigma", sigma), _positive("eps", eps)
        self.channels_last = channels_last

    def transform(self, x: Any) -> numpy.ndarray:
        """Return the images `x` with normalized local contrast.

        Raises:
            TypeError: if x does not hold real numbers.
            ValueError: if x does not have 4 axes, or holds NaN or infinity.
        """
        return by_blocks(self._forward, real_images(x, self.channels_last))

    def _forward(self, x: numpy.ndarray) -> numpy.ndarray:
        if self.channels_last:
            x = numpy.moveaxis(x, -1, 1)
        over_rows, over_columns = (_gaussian(size, self.sigma) for size in x.shape[2:])

        def window_mean(x: numpy.ndarray) -> numpy.ndarray:
            return over_rows @ x.mean(1, keepdims=True) @ over_columns.T

        x = half_difference(x, x[:, :1, :1, :1])  # so that constant images become exact zeros
        exponent = power_of_two(x, axis=(1, 2, 3))
        x = x * numpy.ldexp(1.0, -exponent)
        v = x - window_mean(x)
        y = v / numpy.maximum(numpy.sqrt(window_mean(v * v)), numpy.ldexp(0.5 * self.eps, -exponent))
        return numpy.moveaxis(y, 1, -1) if self.channels_last else y


def _gaussian(size: int, sigma: float) -> numpy.ndarray:
    """Return the (size, size) matrix whose row i averages over the window around position i."""
    distance = numpy.abs(numpy.arange(size) - numpy.arange(size)[:, None])
    weights = numpy.exp(-0.5 * (distance / sigma) ** 2) * (distance <= 3 * sigma)
    return weights / weights.sum(1, keepdims=True)


def _positive(name: str, value: float) -> float:
    if not 0 < as_number(value, name) < numpy.inf:
        raise ValueError(f"{name} must be positive and finite, got {value}")
    return value
