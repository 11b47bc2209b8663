"""Scale images by known constants: from pixel values to [0, 1] or [−1, 1], then per channel.

    [0, 1]        y = x/255
    [−1, 1]       y = x/127.5 − 1
    per channel   y = (x/255 − mean)/std

`mean` and `std` describe images already scaled to [0, 1]: the division by 255 comes first.
torchvision's pretrained networks expect images scaled with IMAGENET_MEAN and IMAGENET_STD.
"""

from collections.abc import Sequence
from typing import Any

import numpy

from ..ops.arguments import as_number
from .scaler import Scaler, ascending, by_blocks, real_images

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""The means of red, green and blue over ImageNet, for pixels from 0 to 1."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""The standard deviations of red, green and blue over ImageNet, for pixels from 0 to 1."""


class ImageScaler(Scaler):
    """Scale pixels 0 … `max_value` to `feature_range`, then each channel to (y − mean)/std.

    Args:
        feature_range: (0, 1) divides by 255; (−1, 1) divides by 127.5 and subtracts 1.
        mean, std: one number per channel, for images in [0, 1]; give both or neither.
        max_value: the value of a white pixel: 255 for bytes, 16 for scikit-learn's digits, 1 for images that
            are in [0, 1] already.
        channels_last: images are (N, H, W, C) instead of (N, C, H, W).

    Integer images are always scaled. Floating-point images that look already scaled raise ValueError unless
    max_value is 1. `fit` does nothing.

    Raises:
        TypeError: if a limit, mean, std or max_value is not a number.
        ValueError: if feature_range is not ascending; if only one of `mean` and `std` is given, or they
            are given with a range other than (0, 1); if `std` is not positive or `max_value` is
            below 1.
    """

    def __init__(
        self,
        feature_range: tuple[float, float] = (0.0, 1.0),
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        *,
        max_value: float = 255,
        channels_last: bool = False,
    ) -> None:
        self.feature_range = ascending(feature_range)
        self.max_value, self.channels_last = max_value, channels_last
        if not 1 <= as_number(max_value, "max_value") < numpy.inf:
            raise ValueError(f"max_value must be at least 1 (255 for bytes), got {max_value}")
        if (mean is None) != (std is None):
            raise ValueError("mean and std belong together: give both or neither")
        if mean is not None and tuple(feature_range) != (0, 1):
            raise ValueError(f"mean and std are for images in [0, 1], not in {list(feature_range)}")
        self.mean, self.std = mean, std
        self._mean = _numbers("mean", [0.0] if mean is None else mean)
        self._std = _numbers("std", [1.0] if std is None else std)
        if self._mean.shape != self._std.shape:
            raise ValueError(f"mean and std must each have one number per channel, got {mean} and {std}")
        self.channels = None if mean is None else len(mean)
        if not (numpy.isfinite([self._mean, self._std]).all() and (self._std > 0).all()):
            raise ValueError(f"mean and std must be finite and std positive, got {mean} and {std}")

    def transform(self, x: Any) -> numpy.ndarray:
        """Return the scaled images; the pixels of `x` are 0 … `max_value`.

        Raises:
            TypeError: if x does not hold integers or floating-point numbers.
            ValueError: if the number of channels is wrong, pixels lie outside 0 … `max_value` or are NaN
                or infinite, or floating-point images look already scaled.
        """
        x = self._images(x)
        self._check_pixels(x)
        return by_blocks(self._forward, x)

    def inverse_transform(self, y: Any) -> numpy.ndarray:
        """Return the images, with pixels 0 … `max_value`, whose `transform` is `y`; not rounded.

        Raises:
            TypeError: if y does not hold integers or floating-point numbers.
            ValueError: if the number of channels is wrong, or y holds NaN or infinity.
        """
        return by_blocks(self._inverse, self._images(y))

    def _forward(self, x: numpy.ndarray) -> numpy.ndarray:
        a, b = self.feature_range
        y = x / (self.max_value / (b - a)) + a
        return (y - self._per_channel(self._mean)) / self._per_channel(self._std)

    def _inverse(self, y: numpy.ndarray) -> numpy.ndarray:
        a, b = self.feature_range
        y = y * self._per_channel(self._std) + self._per_channel(self._mean)
        return (y - a) * (self.max_value / (b - a))

    def _per_channel(self, values: numpy.ndarray) -> numpy.ndarray:
        return values if self.channels_last else values.reshape(-1, 1, 1)

    def _images(self, x: Any) -> numpy.ndarray:
        x = real_images(x, self.channels_last)
        axis = 3 if self.channels_last else 1
        if self.channels not in (None, x.shape[axis]):
            raise ValueError(
                f"mean and std are for {self.channels} channels, but axis {axis} of shape {x.shape} has "
                f"{x.shape[axis]}: is channels_last={self.channels_last} right?"
            )
        return x

    def _check_pixels(self, x: numpy.ndarray) -> None:
        if x.dtype.kind == "b":
            raise TypeError("expected numbers as pixels, got bools: multiply them by max_value first")
        low, high = (x.min(), x.max()) if x.size else (0, 0)
        if low < 0 or high > self.max_value:
            raise ValueError(
                f"pixels must lie in 0 … {self.max_value}, got {low} … {high}: "
                f"{'are they already scaled?' if low < 0 else 'is max_value right?'}"
            )
        if x.dtype.kind == "f" and 0 < high <= 1 < self.max_value:
            raise ValueError(
                f"these images look already scaled: the largest pixel is {high}, expected up to "
                f"{self.max_value}. Scale only once; for images recorded in [0, 1], pass max_value=1"
            )


def _numbers(name: str, values: Sequence[float]) -> numpy.ndarray:
    if numpy.ndim(values) != 1:
        raise ValueError(f"{name} must have one number per channel, got {values!r}")
    return numpy.array([as_number(value, name) for value in values])
