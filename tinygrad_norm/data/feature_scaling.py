"""Scale every feature by statistics of the training data.

    min-max       y = a + (x − min)·(b − a)/(max − min)       x = min + (y − a)·(max − min)/(b − a)
    standard      y = (x − mean)/std                          x = mean + y·std

A feature is one position after the sample axis: x is (N, D), or (N, …) for images. A feature that is
constant in the training data gets the divisor 1: it becomes a (min-max) or 0 (standard).

`std` divides by N. It is computed in two passes over a block of samples, and blocks are combined as in
T. Chan, G. Golub, R. LeVeque 1979, "Updating Formulae and a Pairwise Algorithm for Computing Sample
Variances": with N = n + k samples and δ = mean_k − mean_n,

    mean = mean_n + δ·k/N            std² = (n·std_n² + k·std_k² + δ²·n·k/N)/N

which never subtracts two large squares, as E[x²] − E[x]² would. All differences are halved, because
max − min can overflow where (max − min)/2 does not.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

import numpy

from .scaler import Scaler, ascending, blocks, by_blocks, half_difference, mean_and_std, real_numbers


class FeatureScaler(Scaler):
    """Base class of MinMaxScaler and StandardScaler: statistics per feature, computed block by block.

    `n_samples_seen_` counts the training samples; `feature_shape_` is the shape of one sample.
    """

    n_samples_seen_ = 0
    feature_shape_: tuple[int, ...] = ()

    def fit(self, x: Any) -> Self:
        """Compute the statistics of the training data `x`, (N, …), discarding earlier ones; return self.

        Raises:
            TypeError: if x does not hold real numbers.
            ValueError: if x has no samples or no feature axis, or holds NaN or infinity.
        """
        x = _training_data(x)
        self.n_samples_seen_ = 0
        return self._learn_all(x)

    def partial_fit(self, x: Any) -> Self:
        """Add a part `x` of the training data to the statistics, for data too large for memory; return self.

        Raises:
            TypeError, ValueError: as in `fit`; ValueError also if the feature shape changes.
        """
        return self._learn_all(_training_data(x))

    def transform(self, x: Any) -> numpy.ndarray:
        """Return `x` scaled by the statistics of the training data.

        Raises:
            RuntimeError: if the scaler is not fitted.
            TypeError: if x does not hold real numbers.
            ValueError: if the feature shape differs from the fitted one, x holds NaN or infinity, or a
                result overflows its dtype.
        """
        return self._apply(self._forward, x)

    def inverse_transform(self, y: Any) -> numpy.ndarray:
        """Return the x whose `transform` is `y`.

        Raises:
            RuntimeError, TypeError, ValueError: as in `transform`.
        """
        return self._apply(self._inverse, y)

    def _learn_all(self, x: numpy.ndarray) -> Self:
        if self.n_samples_seen_ == 0:
            self.feature_shape_ = x.shape[1:]
        self._check_features(x)
        for rows in blocks(x):
            self._learn(x[rows].astype(numpy.float64))
            self.n_samples_seen_ += len(x[rows])
        return self

    def _apply(self, f: Callable[[numpy.ndarray], numpy.ndarray], x: Any) -> numpy.ndarray:
        if self.n_samples_seen_ == 0:
            raise RuntimeError(
                f"this {type(self).__name__} is not fitted: call fit(x) with the training data first"
            )
        x = real_numbers(x)
        self._check_features(x)
        return by_blocks(f, x)

    def _check_features(self, x: numpy.ndarray) -> None:
        if x.shape[1:] != self.feature_shape_:
            expected = ", ".join(map(str, ("N", *self.feature_shape_)))
            raise ValueError(
                f"this {type(self).__name__} was fitted on data of shape ({expected}), got {x.shape}: "
                "all axes after the first must match"
            )

    @abstractmethod
    def _learn(self, x: numpy.ndarray) -> None:
        """Combine the statistics of a block of samples with those of the earlier samples."""

    @abstractmethod
    def _forward(self, x: numpy.ndarray) -> numpy.ndarray: ...

    @abstractmethod
    def _inverse(self, y: numpy.ndarray) -> numpy.ndarray: ...


class MinMaxScaler(FeatureScaler):
    """Map each feature's range in the training data onto `feature_range` = (a, b).

    y = a + (x − min)·(b − a)/(max − min); other data can fall outside [a, b]. After `fit`,
    `data_min_` and `data_max_` hold each feature's range.

    Raises:
        TypeError: if a limit is not a number.
        ValueError: unless feature_range is (a, b) with a < b, both finite.
    """

    data_min_: numpy.ndarray
    data_max_: numpy.ndarray

    def __init__(self, feature_range: tuple[float, float] = (0.0, 1.0)) -> None:
        self.feature_range = ascending(feature_range)

    def _learn(self, x: numpy.ndarray) -> None:
        low, high = x.min(0), x.max(0)
        if self.n_samples_seen_:
            low, high = numpy.minimum(low, self.data_min_), numpy.maximum(high, self.data_max_)
        self.data_min_, self.data_max_ = low, high

    def _half_range(self) -> numpy.ndarray:
        half = half_difference(self.data_max_, self.data_min_)
        return numpy.where(half > 0, half, 0.5)

    def _forward(self, x: numpy.ndarray) -> numpy.ndarray:
        a, b = self.feature_range
        t = half_difference(x, self.data_min_) / self._half_range()
        return a * (1 - t) + b * t

    def _inverse(self, y: numpy.ndarray) -> numpy.ndarray:
        a, b = self.feature_range
        t = (y - a) / (b - a)
        return 2 * (0.5 * self.data_min_ + t * self._half_range())


class StandardScaler(FeatureScaler):
    """Scale each feature to mean 0 and standard deviation 1 on the training data: y = (x − mean)/std.

    After `fit`, `mean_` and `std_` hold each feature's statistics; if `std_` is 0, the divisor is 1.
    """

    mean_: numpy.ndarray
    std_: numpy.ndarray

    def _learn(self, x: numpy.ndarray) -> None:
        mean, std = (statistic[0] for statistic in mean_and_std(x, axis=0))
        if self.n_samples_seen_:
            share = len(x) / (self.n_samples_seen_ + len(x))
            half_delta = half_difference(mean, self.mean_)
            std = numpy.hypot(numpy.sqrt(1 - share) * self.std_, numpy.sqrt(share) * std)
            std = numpy.hypot(std, 2 * numpy.sqrt(share * (1 - share)) * half_delta)
            mean = 2 * (0.5 * self.mean_ + share * half_delta)
        self.mean_, self.std_ = mean, std

    def _half_scale(self) -> numpy.ndarray:
        half = 0.5 * self.std_
        return numpy.where(half > 0, half, 0.5)

    def _forward(self, x: numpy.ndarray) -> numpy.ndarray:
        return half_difference(x, self.mean_) / self._half_scale()

    def _inverse(self, y: numpy.ndarray) -> numpy.ndarray:
        return 2 * (0.5 * self.mean_ + y * self._half_scale())


def _training_data(x: Any) -> numpy.ndarray:
    x = real_numbers(x)
    if x.ndim < 2:
        raise ValueError(
            f"expected samples and features, (N, D) or (N, …), got shape {x.shape}: "
            "reshape a single feature with x.reshape(-1, 1)"
        )
    if x.size == 0:
        raise ValueError(f"cannot fit a scaler without samples or without features: got shape {x.shape}")
    return x
