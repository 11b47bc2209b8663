"""ReduceLROnPlateau: the learning rate falls when a measured value no longer improves."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...ops.arguments import as_number, as_size, check_numbers
from ..optimizer import Optimizer
from .base import LRScheduler, check_optimizer
from .onecycle import per_group


class ReduceLROnPlateau(LRScheduler):
    """Multiply the learning rate by `factor` after more than `patience` steps without a better value.

    Args:
        optimizer: the optimizer whose learning rates are set.
        mode: "min" if a smaller value is better, as of a loss; "max" if a larger one is.
        factor: below 1.
        patience: the steps without a better value that are waited for.
        threshold: how much better a value must be to count.
        threshold_mode: "rel", as a fraction of the best value so far, or "abs".
        cooldown: the steps after a reduction in which bad values do not count.
        min_lr: the smallest rate, or one for each group.
        eps: a reduction by less than this is left out.

    Raises:
        TypeError: if `optimizer` is not an Optimizer, or a number is not one.
        ValueError: if factor is not below 1, a mode is unknown, or a list does not have one entry per group.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        check_optimizer(optimizer)
        check_numbers(factor=factor, threshold=threshold, eps=eps)
        if not factor < 1:
            raise ValueError(f"factor must be below 1, got {factor}: the rate would not fall")
        if mode not in ("min", "max"):
            raise ValueError(f'mode must be "min" or "max", got {mode!r}')
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f'threshold_mode must be "rel" or "abs", got {threshold_mode!r}')
        self.optimizer, self.mode, self.factor = optimizer, mode, factor
        self.patience, self.cooldown = as_size(patience, "patience", 0), as_size(cooldown, "cooldown", 0)
        self.threshold, self.threshold_mode, self.eps = threshold, threshold_mode, eps
        self.min_lrs = per_group("min_lr", min_lr, optimizer)
        self.base_lrs = [float(group["lr"]) for group in optimizer.param_groups]
        self._last_lr, self.last_epoch = [*self.base_lrs], 0
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = 0

    def step(self, metrics: float, epoch: int | None = None) -> None:  # type: ignore[override]
        """Take the value of this step, and reduce the learning rates if it is time.

        Args:
            metrics: the measured value: a number or a 0-d tensor.
            epoch: the number of the step; by default one more than the last.

        Raises:
            RuntimeError: if groups were added after this schedule was created.
            TypeError: if the value is not a number.
        """
        value = as_number(metrics.item() if hasattr(metrics, "item") else metrics, "metrics")
        groups = self._groups()
        self.last_epoch = self.last_epoch + 1 if epoch is None else as_size(epoch, "epoch", 0)
        if self._is_better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(groups, self.min_lrs, strict=True):
                lr = max(group["lr"] * self.factor, least)
                if group["lr"] - lr > self.eps:
                    group["lr"] = lr
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [group["lr"] for group in groups]

    def _is_better(self, value: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if self.threshold_mode == "abs":
            return sign * value < sign * self.best - self.threshold
        return sign * value < sign * self.best * (1 - sign * self.threshold)
