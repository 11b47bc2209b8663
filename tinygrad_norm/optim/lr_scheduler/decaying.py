"""Further schedules that multiply the current learning rate, so that several may act on one optimizer.

MultiStepLR      f(t) = gamma^(number of milestones up to t)
ExponentialLR    f(t) = gamma^t
ConstantLR       f(t) = factor before step total_iters, then 1
PolynomialLR     f(t) = (1 - min(t/total_iters, 1))^power
"""

from __future__ import annotations

from collections.abc import Iterable

from ...ops.arguments import as_number, as_size
from ..optimizer import Optimizer
from .base import LRScheduler, check_optimizer, check_steps


class MultiStepLR(LRScheduler):
    """Multiply the learning rate by `gamma` at each of the steps `milestones`.

    A milestone that is given twice multiplies twice.

    Raises:
        TypeError: if `optimizer` is not an Optimizer, or the milestones are not ints.
        ValueError: if a milestone is negative.
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        check_optimizer(optimizer)
        if not isinstance(milestones, Iterable):
            raise TypeError(f"milestones must be a list of ints, got {milestones!r}")
        self.milestones = sorted(as_size(step, "a milestone", 0) for step in milestones)
        self.gamma = as_number(gamma, "gamma")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        factor = self.gamma ** self.milestones.count(self.last_epoch)
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def lr_from_base(self) -> list[float]:
        passed = sum(milestone <= self.last_epoch for milestone in self.milestones)
        return [base * self.gamma**passed for base in self.base_lrs]


class ExponentialLR(LRScheduler):
    """Multiply the learning rate by `gamma` at every step.

    Raises:
        TypeError: if `optimizer` is not an Optimizer, or gamma is not a number.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = as_number(gamma, "gamma")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        factor = self.gamma if self.last_epoch > 0 else 1
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def lr_from_base(self) -> list[float]:
        return [base * self.gamma**self.last_epoch for base in self.base_lrs]


class ConstantLR(LRScheduler):
    """Use `factor` of the initial rate before step `total_iters`, then the initial rate.

    Raises:
        TypeError: if `optimizer` is not an Optimizer.
        ValueError: if factor is outside of (0, 1], or total_iters is negative.
    """

    def __init__(
        self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        if not 0 < as_number(factor, "factor") <= 1:
            raise ValueError(f"factor must be above 0 and at most 1, got {factor}")
        self.factor, self.total_iters = factor, as_size(total_iters, "total_iters", 0)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        ratio = 1.0
        if self.last_epoch == 0:
            ratio = self.factor
        elif self.last_epoch == self.total_iters:
            ratio = 1 / self.factor
        return [group["lr"] * ratio for group in self.optimizer.param_groups]

    def lr_from_base(self) -> list[float]:
        factor = self.factor if self.last_epoch < self.total_iters else 1
        return [base * factor for base in self.base_lrs]


class PolynomialLR(LRScheduler):
    """Go from the initial rate to 0 in `total_iters` steps, along a power of the remaining fraction.

    Raises:
        TypeError: if `optimizer` is not an Optimizer, or power is not a number.
        ValueError: if total_iters is below 1.
    """

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        check_steps("total_iters", total_iters)
        self.total_iters, self.power = total_iters, as_number(power, "power")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t, n = self.last_epoch, self.total_iters
        ratio = 1.0 if t == 0 or t > n else ((n - t) / (n - t + 1)) ** self.power
        return [group["lr"] * ratio for group in self.optimizer.param_groups]

    def lr_from_base(self) -> list[float]:
        left = 1 - min(self.last_epoch / self.total_iters, 1)
        return [base * left**self.power for base in self.base_lrs]
