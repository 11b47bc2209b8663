"""Half a cosine down, again and again, each `T_mult` times as long as the last.

    lr = eta_min + (initial - eta_min)·(1 + cos(π·T_cur/T_i))/2

T_cur is the number of steps since the last restart, T_i the length of the current cosine: T_0, T_0·T_mult, …
Source: Loshchilov, Hutter 2017, arXiv:1608.03983.
"""

from __future__ import annotations

import math

from ...ops.arguments import as_finite, as_number, as_size
from ..optimizer import Optimizer
from .base import LRScheduler


class CosineAnnealingWarmRestarts(LRScheduler):
    """Go from the initial rate to `eta_min` in `T_0` steps, then again, each time `T_mult` times as long.

    `step` also takes the time in epochs as a fraction, such as `epoch + batch/batches`.

    Raises:
        TypeError: if `optimizer` is not an Optimizer, or T_0 or T_mult is not an int.
        ValueError: if T_0 or T_mult is below 1.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_0, self.T_mult = as_size(T_0, "T_0"), as_size(T_mult, "T_mult")
        self.eta_min = as_number(eta_min, "eta_min")
        self.T_i, self.T_cur = self.T_0, 0.0
        super().__init__(optimizer, last_epoch)

    def begin(self, step: int = 0) -> None:
        self._go_to(step)
        super().begin(step)

    def advance(self) -> None:
        self.T_cur += 1
        if self.T_cur >= self.T_i:
            self.T_cur -= self.T_i
            self.T_i *= self.T_mult
        super().advance()

    def step(self, epoch: float | None = None) -> None:
        """Set the learning rates of the next step, or of the time `epoch`.

        Raises:
            RuntimeError: if groups were added after this schedule was created.
            TypeError, ValueError: if `epoch` is not a finite number of at least 0.
        """
        self._check_order()
        if epoch is None:
            self.advance()
            return
        self._groups()
        if as_finite(epoch, "epoch") < 0:
            raise ValueError(f"epoch must be at least 0, got {epoch}")
        self._go_to(epoch)
        self.last_epoch = math.floor(epoch)
        self._apply(self.get_lr())

    def _go_to(self, time: float) -> None:
        self.T_i, self.T_cur = self.T_0, float(time)
        if self.T_mult == 1:
            self.T_cur %= self.T_0
        while self.T_cur >= self.T_i:
            self.T_cur -= self.T_i
            self.T_i *= self.T_mult

    def get_lr(self) -> list[float]:
        fraction = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * fraction for base in self.base_lrs]
