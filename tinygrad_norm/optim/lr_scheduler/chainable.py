"""Schedules that multiply the current learning rate, so that several may act on one optimizer.

With f(t) the fraction of the initial rate at step t, a step sets lr ← lr·f(t)/f(t - 1). A change of lr in
the meantime, by hand or by another schedule, stays in it as a factor.
"""

from __future__ import annotations

import math

from ...ops.arguments import as_number
from ..optimizer import Optimizer
from .base import LRScheduler, check_steps


class StepLR(LRScheduler):
    """Multiply the learning rate by `gamma` every `step_size` steps: f(t) = gamma^⌊t/step_size⌋.

    Raises:
        TypeError: if `optimizer` is not an Optimizer.
        ValueError: if step_size is below 1.
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        check_steps("step_size", step_size)
        self.step_size, self.gamma = step_size, as_number(gamma, "gamma")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        drops = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return [group["lr"] * (self.gamma if drops else 1) for group in self.optimizer.param_groups]

    def lr_from_base(self) -> list[float]:
        return [base * self.gamma ** (self.last_epoch // self.step_size) for base in self.base_lrs]


class LinearLR(LRScheduler):
    """Go from `start_factor` to `end_factor` of the initial rate in `total_iters` steps, then stay: warm-up.

    f(t) = start_factor + (end_factor - start_factor)·min(t/total_iters, 1). Warm-up keeps the first steps
    small, as their gradients are the largest: Goyal et al. 2017, arXiv:1706.02677.

    Raises:
        TypeError: if `optimizer` is not an Optimizer.
        ValueError: if start_factor is outside of (0, 1], end_factor is outside of [0, 1], or
            total_iters is below 1.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        check_steps("total_iters", total_iters)
        if not 0 < as_number(start_factor, "start_factor") <= 1:
            raise ValueError(f"start_factor must be above 0 and at most 1, got {start_factor}")
        if not 0 <= as_number(end_factor, "end_factor") <= 1:
            raise ValueError(f"end_factor must be between 0 and 1, got {end_factor}")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def first_lr(self) -> list[float]:
        return self._times(self.start_factor if self.last_epoch == 0 else 1.0)

    def get_lr(self) -> list[float]:
        t, rise = self.last_epoch, (self.end_factor - self.start_factor) / self.total_iters
        if t > self.total_iters:
            return self._times(1.0)
        return self._times((self.start_factor + rise * t) / (self.start_factor + rise * (t - 1)))

    def lr_from_base(self) -> list[float]:
        rise = (self.end_factor - self.start_factor) * min(self.last_epoch / self.total_iters, 1)
        return [base * (self.start_factor + rise) for base in self.base_lrs]

    def _times(self, ratio: float) -> list[float]:
        return [group["lr"] * ratio for group in self.optimizer.param_groups]


class CosineAnnealingLR(LRScheduler):
    """Go from the initial rate down to `eta_min` along half a cosine of `T_max` steps, then up again.

    lr = eta_min + (initial - eta_min)·f(t) with f(t) = (1 + cos(πt/T_max))/2: the height above eta_min is
    multiplied by f(t)/f(t - 1). Source: Loshchilov, Hutter 2017, arXiv:1608.03983.

    Raises:
        TypeError: if `optimizer` is not an Optimizer.
        ValueError: if T_max is below 1.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        check_steps("T_max", T_max)
        self.T_max, self.eta_min = T_max, as_number(eta_min, "eta_min")
        super().__init__(optimizer, last_epoch)

    def first_lr(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def get_lr(self) -> list[float]:
        t, groups = self.last_epoch, self.optimizer.param_groups
        if (t - 1) % (2 * self.T_max) == self.T_max:  # f(t - 1) = 0: there is no height to multiply
            heights = [(base - self.eta_min) * self._fraction(t) for base in self.base_lrs]
            return [group["lr"] + height for group, height in zip(groups, heights, strict=True)]
        ratio = self._fraction(t) / self._fraction(t - 1)
        return [self.eta_min + (group["lr"] - self.eta_min) * ratio for group in groups]

    def lr_from_base(self) -> list[float]:
        fraction = self._fraction(self.last_epoch)
        return [self.eta_min + (base - self.eta_min) * fraction for base in self.base_lrs]

    def _fraction(self, t: int) -> float:
        return (1 + math.cos(math.pi * t / self.T_max)) / 2
