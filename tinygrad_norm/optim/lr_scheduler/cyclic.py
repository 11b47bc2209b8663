"""The learning rate goes up and down between two bounds, the momentum the other way.

Within a cycle of step_size_up + step_size_down steps, h goes from 0 to 1 and back to 0, along straight lines:

    lr = base_lr + (max_lr - base_lr)·h·s      momentum = max_momentum - (max_momentum - base_momentum)·h·s

with the scale s = 1 ("triangular"), 1/2^(cycle - 1) ("triangular2"), gamma^t ("exp_range"), or a function.
Smith 2017, arXiv:1506.01186.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ...ops.arguments import as_number, check_flags
from ..optimizer import Optimizer
from .base import LRScheduler, check_optimizer, check_steps, is_new
from .onecycle import per_group

MODES = ("triangular", "triangular2", "exp_range")


class CyclicLR(LRScheduler):
    """Set learning rate and momentum for cycles between two bounds; a step is a batch.

    Args:
        optimizer: if the momentum is cycled, one with "momentum" or "betas", whose first is the momentum.
        base_lr: the rate at both ends of a cycle, or one for each group.
        max_lr: the rate in the middle, or one for each group.
        step_size_up: the number of steps up.
        step_size_down: the number of steps down; by default as many as up.
        mode: how the height of the cycles changes, see above; not used with a scale_fn.
        gamma: the factor per step of "exp_range".
        scale_fn: a function that returns the scale; it is not saved.
        scale_mode: what scale_fn gets: the number of the "cycle", from 1, or that of the step ("iterations").
        cycle_momentum: move the momentum in the opposite direction of the learning rate.
        base_momentum: the momentum in the middle, or one for each group.
        max_momentum: the momentum at both ends, or one for each group.
        last_epoch: as in LRScheduler.

    Raises:
        TypeError: if `optimizer` is not an Optimizer, or a bound is not a number.
        ValueError: if a number of steps is below 1, mode or scale_mode is unknown, a list does not have one
            entry per group, or the optimizer has no momentum to cycle.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | Sequence[float],
        max_lr: float | Sequence[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.8,
        max_momentum: float | Sequence[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        check_flags(cycle_momentum=cycle_momentum)
        check_steps("step_size_up", step_size_up)
        step_size_down = step_size_up if step_size_down is None else step_size_down
        check_steps("step_size_down", step_size_down)
        if scale_fn is None and mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(map(repr, MODES))}, got {mode!r}")
        if scale_mode not in ("cycle", "iterations"):
            raise ValueError(f"scale_mode must be 'cycle' or 'iterations', got {scale_mode!r}")
        if scale_fn is not None and not callable(scale_fn):
            raise TypeError(f"scale_fn must be a function, got {scale_fn!r}")
        self.step_size_up, self.total_size = float(step_size_up), float(step_size_up + step_size_down)
        self.mode, self.gamma, self.scale_mode = mode, as_number(gamma, "gamma"), scale_mode
        self.cycle_momentum, self._scale_fn = cycle_momentum, scale_fn
        self.low_lrs = per_group("base_lr", base_lr, optimizer)
        self.max_lrs = per_group("max_lr", max_lr, optimizer)
        if is_new(optimizer, last_epoch):
            for group, lr in zip(optimizer.param_groups, self.low_lrs, strict=True):
                group["lr"] = lr
        if cycle_momentum:
            if not {"momentum", "betas"} & optimizer.defaults.keys():
                raise ValueError(
                    f"{type(optimizer).__name__} has no momentum to cycle: pass cycle_momentum=False"
                )
            for name, value in (("base_momentum", base_momentum), ("max_momentum", max_momentum)):
                for group, entry in zip(
                    optimizer.param_groups, per_group(name, value, optimizer), strict=True
                ):
                    group[name] = entry
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x, up = 1 + self.last_epoch / self.total_size - cycle, self.step_size_up / self.total_size
        height = (x / up if x <= up else (x - 1) / (up - 1)) * self._scale(cycle)
        if self.cycle_momentum:
            for group in self.optimizer.param_groups:
                momentum = group["max_momentum"] - (group["max_momentum"] - group["base_momentum"]) * height
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum
        return [low + (high - low) * height for low, high in zip(self.low_lrs, self.max_lrs, strict=True)]

    def _scale(self, cycle: int) -> float:
        if self._scale_fn is not None:
            return self._scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.mode == "triangular2":
            return 1 / 2.0 ** (cycle - 1)
        return self.gamma**self.last_epoch if self.mode == "exp_range" else 1.0

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimizer and the scale_fn."""
        return {name: value for name, value in super().state_dict().items() if name != "_scale_fn"}
